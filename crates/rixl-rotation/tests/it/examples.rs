//! The examples run, and hold what they say.

#[path = "../../examples/own_store.rs"]
mod own_store;
#[path = "../../examples/rotate_to_file.rs"]
mod rotate_to_file;

#[test]
fn a_store_of_ones_own() {
    own_store::main().unwrap();
}

#[test]
fn a_lost_response_is_recovered_from() {
    rotate_to_file::main().unwrap();
}
