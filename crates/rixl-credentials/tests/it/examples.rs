//! The examples run, and hold what they say.

#[path = "../../examples/blocking.rs"]
mod blocking;
#[path = "../../examples/old_keys.rs"]
mod old_keys;
#[path = "../../examples/service.rs"]
mod service;
#[path = "../../examples/token_source.rs"]
mod token_source;

#[test]
fn a_program_without_async() {
    blocking::main().unwrap();
}

#[test]
fn old_keys_are_named() {
    old_keys::main().unwrap();
}

#[test]
fn a_token_is_read_again_from_its_file() {
    token_source::main().unwrap();
}

#[test]
fn a_service_goes_on_while_its_key_is_rotated() {
    service::main().unwrap();
}
