//! The program `rixl`.
fn main() {}
