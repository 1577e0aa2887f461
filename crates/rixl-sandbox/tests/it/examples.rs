//! The example runs, and holds what it says.

#[path = "../../examples/misbehave.rs"]
mod misbehave;

#[test]
fn a_gateway_that_misbehaves() {
    misbehave::main().unwrap();
}
