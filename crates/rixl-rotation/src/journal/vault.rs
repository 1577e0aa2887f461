//! A journal in Vault KV v2 / OpenBao.
