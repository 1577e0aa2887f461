//! Where calls can be made: a client that is used elsewhere says so, and does not panic.

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use rixl_credentials::{Client, ErrorKind, Outcome, PageRequest};
use tokio::runtime::{Builder, Runtime};

use crate::{
    mock::key_id,
    raw::{ISSUED, Raw},
};

fn refused(result: Result<(), rixl_credentials::Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!((error.kind(), error.outcome()), (ErrorKind::Configuration, Outcome::NotApplied));
    error.to_string()
}

#[test]
fn without_a_runtime_a_call_is_refused() {
    let server = Raw::responding(ISSUED);
    let api_key = Client::builder().base_url(&server.url).api_key("rxl_TESTSECRET").build().unwrap();
    for client in [server.client(), api_key] {
        let keys = client.first_generation().api_keys();
        let id = key_id();
        let mut call = pin!(keys.rotate(&id));
        let Poll::Ready(result) = call.as_mut().poll(&mut Context::from_waker(Waker::noop())) else {
            panic!("it waits, and nobody would wake it");
        };
        let said = refused(result.map(drop));
        assert_eq!(said, "rotate API key: there is no Tokio runtime here; make the call in one; nothing was sent");
    }
    assert_eq!(server.seen(), (0, 0));
}

#[test]
fn a_runtime_without_timers_or_io_is_refused() {
    let server = Raw::responding(ISSUED);
    let client = server.client();
    let bare: [fn() -> Runtime; 3] = [
        || Builder::new_current_thread().build().unwrap(),
        || Builder::new_current_thread().enable_time().build().unwrap(),
        || Builder::new_current_thread().enable_io().build().unwrap(),
    ];
    for runtime in bare {
        let keys = client.first_generation().api_keys();
        let said = refused(runtime().block_on(keys.rotate(&key_id())).map(drop));
        assert!(said.contains("the Tokio runtime here has no timers or no I/O; build it with enable_all()"), "{said}");
        let said = refused(runtime().block_on(client.tokens().exchange(&"rxl_TESTSECRET".into())).map(drop));
        assert!(said.ends_with("nothing was sent"), "{said}");
        refused(runtime().block_on(client.bearer_token()).map(drop));
        refused(runtime().block_on(client.api_key_header()).map(drop));
    }
    assert_eq!(server.seen(), (0, 0));

    // The same client in one that has both, and once more in one that has not.
    let whole = || Builder::new_current_thread().enable_all().build().unwrap();
    for number in 1..=2 {
        drop(whole().block_on(client.first_generation().api_keys().rotate(&key_id())).unwrap());
        assert_eq!(server.seen().0, number);
    }
    refused(bare[0]().block_on(client.first_generation().api_keys().list_page(PageRequest::default())).map(drop));
}
