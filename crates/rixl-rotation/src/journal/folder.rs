//! A journal in a folder.
