//! What the history is told of the end of the old secret.

use std::{sync::Arc, time::Duration};

use rixl_rotation::{Audit, CancellationToken, Ending, State};
use rixl_sandbox::{Effect, Fault, Sandbox};

use crate::bench::Bench;

async fn only_line(bench: &Bench) -> Audit {
    let [audit] = &bench.history().await[..] else { panic!() };
    audit.clone()
}

fn exchanges(bench: &Bench) -> u64 {
    bench.sandbox.calls("exchangeApiKey")
}

#[tokio::test]
async fn it_is_seen_refused_once_all_is_done() {
    let bench = Bench::new();
    bench.rotate().await.unwrap();
    let audit = only_line(&bench).await;
    assert_eq!((audit.old_refused, audit.old_live_at), (1, None));
    let (sent, refused) = (audit.sent_at.unwrap(), audit.old_refused_at.unwrap());
    assert!(sent <= refused && refused <= audit.at, "{audit:?}");
    assert!(audit.issued_at.is_some_and(|issued| issued <= refused), "{audit:?}");
}

#[tokio::test]
async fn one_that_lives_on_is_seen_live() {
    // Longer than the time in which a stored secret is left alone.
    let bench = Bench::with(Sandbox::builder().grace(Duration::from_secs(24 * 60 * 60)));
    bench.rotate().await.unwrap();
    let audit = only_line(&bench).await;
    assert_eq!((audit.ending, audit.old_refused_at, audit.old_refused), (Ending::Rotated, None, 0));
    assert!(audit.old_live_at.is_some_and(|live| Some(live) > audit.sent_at), "{audit:?}");
    assert!(bench.sandbox.is_live(&bench.key.secret));
}

/// What was not asked is not claimed, and a run does not fail for it.
#[tokio::test]
async fn what_rixl_does_not_say_is_not_told() {
    let respond = |status| Effect::Respond { status, headers: Vec::new(), body: b"<html>".to_vec() };
    let effects = [Effect::Close, Effect::Stall, respond(503), respond(401)];
    for effect in effects {
        let bench = Bench::new();
        let sandbox = Arc::clone(&bench.sandbox);
        let rotator = bench.rotator().with_observer(move |event| {
            if event.kind == State::Settled.into() {
                sandbox.inject(Fault::new(effect.clone()).on("exchangeApiKey").always()).unwrap();
            }
        });
        rotator.rotate(&bench.key_id, bench.store()).await.unwrap();
        let audit = only_line(&bench).await;
        assert_eq!((audit.old_refused_at, audit.old_refused, audit.old_live_at), (None, 0, None));
        bench.assert_clean();
    }
}

#[tokio::test]
async fn nobody_waits_for_it_who_was_told_to_stop() {
    let bench = Bench::new();
    let (sandbox, token) = (Arc::clone(&bench.sandbox), CancellationToken::new());
    let told = token.clone();
    let rotator = bench.rotator().with_cancellation(token).with_observer(move |event| {
        if event.kind == State::Settled.into() {
            sandbox.inject(Fault::new(Effect::Stall).on("exchangeApiKey").always()).unwrap();
            told.cancel();
        }
    });
    let before = exchanges(&bench);
    rotator.rotate(&bench.key_id, bench.store()).await.unwrap();
    assert_eq!(only_line(&bench).await.old_refused_at, None);
    // The place before, the new one, the place once more.
    assert_eq!(exchanges(&bench) - before, 3);
}

#[tokio::test]
async fn without_probes_there_is_none() {
    let bench = Bench::new();
    let rotator = bench.rotator().with_verification(false);
    rotator.rotate(&bench.key_id, bench.store()).await.unwrap();
    let audit = only_line(&bench).await;
    assert_eq!((exchanges(&bench), audit.old_refused_at, audit.old_live_at), (0, None, None));
}

/// One that was dead before has no end to be seen.
#[tokio::test]
async fn one_that_was_dead_before_is_not_asked_for() {
    let bench = Bench::new();
    std::fs::write(bench.file(), "rxl_ofnokey0000000000000").unwrap();
    bench.rotate().await.unwrap();
    let audit = only_line(&bench).await;
    assert_eq!((audit.old_refused_at, audit.old_refused), (None, 0));
}
