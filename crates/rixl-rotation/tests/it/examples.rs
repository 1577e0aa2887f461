//! The examples run, and hold what they say.

#[path = "../../examples/journal.rs"]
mod journal;
#[path = "../../examples/rotate_to_file.rs"]
mod rotate_to_file;
#[path = "../../examples/store.rs"]
mod store;

#[test]
fn a_store_of_ones_own() {
    store::main().unwrap();
}

#[test]
fn a_journal_of_ones_own() {
    journal::main().unwrap();
}

#[test]
fn a_lost_response_is_recovered_from() {
    rotate_to_file::main().unwrap();
}
