//! The protocol against a gateway that misbehaves, step by step.

use std::{
    fs,
    path::Path,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rixl_credentials::{
    ApiKeyUpdate, Client, KeyId, NewApiKey, OrganizationId, PageRequest, RawResponse, RetryPolicy, Secret,
};
use rixl_rotation::{
    Account, CancellationToken, Ending, EventKind, Failure, FailureKind, Next, OnLiveSecret, RecoverOptions, Recovery,
    RecoveryAction, Rotator, State,
    journal::{
        Append, Close, Entry, History, Journal, JournalError, ListUnfinished, Lock, LockStore, PutEscrow, ReadHistory,
        Unfinished,
    },
    store::{
        BoxFuture, Commit, Committed, FileStore, Prepare, Read, Store, StoreError, StoreErrorKind, StoredSecret, Stores,
    },
};
use rixl_sandbox::{Effect, Fault, KeyForm, Sandbox, SeedKey};

use crate::bench::{Bench, Spoiled};

#[tokio::test]
async fn a_rotation_runs_through_all_states() {
    let bench = Bench::new();
    let report = bench.rotate().await.unwrap();
    assert_eq!((report.ending, report.rotations), (Ending::Rotated, 1));
    assert_eq!(report.warnings, []);
    assert!(bench.is_stored_live() && !bench.sandbox.is_live(&bench.key.secret));
    assert_eq!(report.fingerprint, Some(rixl_rotation::fingerprint(&bench.stored())));
    let states: Vec<_> = bench.events.lock().unwrap().iter().map(|event| event.kind).collect();
    use State::{Done, Intent, Planned, Prepared, Received, Settled, Stored, Verified};
    let before = [Planned, Prepared, Intent, Received, Verified, Stored].map(EventKind::Reached);
    assert_eq!(states[..6], before);
    assert!(matches!(states[6], EventKind::Waiting(time) if time > Duration::ZERO), "{states:?}");
    assert_eq!(states[7..], [Settled, Done].map(EventKind::Reached));
    bench.assert_clean();
    let [audit] = &bench.history().await[..] else { panic!() };
    assert_eq!(audit.new_fingerprint, report.fingerprint);
    assert_eq!(audit.old_fingerprint, Some(rixl_rotation::fingerprint(&bench.key.secret)));
    assert_eq!(audit.key_id.as_deref(), Some(bench.key.id.as_str()));
    assert!(!audit.is_recovered && audit.outage_ms.is_some());
    assert_eq!((&audit.run_id, &audit.request_id), (&Some(report.run_id), &report.request_id));
    assert_eq!(report.request_id.unwrap(), bench.request_id());
}

#[tokio::test]
async fn the_response_is_in_escrow_before_it_is_read_and_only_its_owner_can_read_it() {
    let bench = Bench::new();
    let escrow = bench.folder.path().join("state/escrow").join(&bench.key.id);
    let seen = Arc::new(Mutex::new(None));
    let (path, sink) = (escrow.clone(), Arc::clone(&seen));
    let rotator = bench.rotator().with_observer(move |event| {
        if event.kind == State::Received.into() {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
            *sink.lock().unwrap() = Some((fs::read_to_string(&path).unwrap(), mode & 0o777));
        }
    });
    bench
        .sandbox
        .inject(Fault::new(Effect::edit_json(|json| *json = "not a response".into())).on("rotateApiKey"))
        .unwrap();
    rotator.rotate(&bench.key_id, bench.store()).await.unwrap();
    // The first was no response, and was kept before it was read; the second is what is stored now.
    let (text, mode) = seen.lock().unwrap().clone().unwrap();
    assert!(text.contains(&bench.stored()));
    assert_eq!(mode, 0o600);
    assert_eq!(bench.rotations(), 2);
    assert!(!escrow.exists());
}

#[tokio::test]
async fn a_lost_response_ends_the_run_and_recovery_repairs_it() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    let failure = bench.rotate().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unknown);
    assert_eq!((failure.effect(), failure.next()), (rixl_rotation::Effect::Unknown, &Next::Recover));
    assert!(failure.to_string().ends_with("; recover it"), "{failure}");
    assert_eq!(bench.rotations(), 1);
    // The entry is open: nobody may rotate on.
    assert_eq!(bench.rotate().await.unwrap_err().kind(), FailureKind::Unknown);
    assert_eq!(bench.rotations(), 1);
    // A dry run looks, and leaves all as it is.
    let looked = bench.recover(RecoverOptions::default().with_dry_run()).await.pop().unwrap().result.unwrap();
    let Recovery::Would(plan) = looked else { panic!("{looked:?}") };
    let reason = "the stored secret is dead, so it is rotated again at once";
    assert_eq!((plan.action, &*plan.reason, plan.wait), (RecoveryAction::RotateAgain, reason, None));
    assert!(bench.is_open().await && bench.rotations() == 1);
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!((report.ending, report.rotations, bench.rotations()), (Ending::Rotated, 2, 2));
    assert!(bench.is_stored_live());
    assert!(bench.history().await[0].is_recovered);
    bench.assert_clean();
}

#[tokio::test]
async fn a_request_that_was_not_carried_out_is_sent_again_or_dropped_as_the_user_says() {
    for (on_live, ending, rotations) in
        [(OnLiveSecret::Rotate, Ending::Rotated, 1), (OnLiveSecret::Drop, Ending::Dropped, 0)]
    {
        let bench = Bench::new();
        bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey").before_commit()).unwrap();
        assert_eq!(bench.rotate().await.unwrap_err().kind(), FailureKind::Unknown);
        let recovered = bench.recover(RecoverOptions::default().with_on_live(on_live)).await.pop().unwrap();
        assert_eq!(recovered.result.unwrap().report().unwrap().ending, ending);
        assert_eq!(bench.rotations(), rotations);
        assert!(bench.is_stored_live());
        assert!(bench.story().contains("for the first request to be over"), "{}", bench.story());
        bench.assert_clean();
    }
}

/// Recovery repeats a request of which nothing was heard, and is refused: the old secret may be as it was, and here it is.
#[tokio::test]
async fn a_refused_repeat_does_not_make_an_unheard_request_one_that_was_carried_out() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey").before_commit()).unwrap();
    assert_eq!(bench.rotate().await.unwrap_err().kind(), FailureKind::Unknown);
    let refuse = || {
        let response = Effect::Respond { status: 403, headers: vec![], body: vec![] };
        Fault::new(response).on("rotateApiKey").before_commit()
    };
    for _ in 0..2 {
        bench.sandbox.inject(refuse()).unwrap();
        let failure = bench.recover_one().await.unwrap_err();
        assert_eq!((failure.kind(), failure.effect()), (FailureKind::Unknown, rixl_rotation::Effect::Unknown));
    }
    let drop = RecoverOptions::default().with_on_live(OnLiveSecret::Drop);
    let dropped = bench.recover(drop).await.pop().unwrap();
    assert_eq!(dropped.result.unwrap().report().unwrap().ending, Ending::Dropped);
    assert_eq!(bench.rotations(), 0);
    assert!(bench.is_stored_live());
    bench.assert_clean();
}

/// A route that is not there says 404, too.
#[tokio::test]
async fn a_key_that_is_listed_is_not_deleted_whatever_the_deletion_says() {
    let bench = Bench::new();
    let missing = Effect::Respond { status: 404, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(missing).on("deleteApiKey").before_commit()).unwrap();
    let failure = bench.rotator().replace(&bench.key_id, bench.store(), Duration::ZERO).await.unwrap_err();
    assert!(failure.message().contains("could not be deleted"), "{failure}");
    assert_eq!(failure.effect(), rixl_rotation::Effect::Changed);
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!(report.ending, Ending::Replaced);
    bench.assert_clean();
}

/// Someone removed the entry beside it: it may be the only live secret, until they have removed that as well.
#[tokio::test]
async fn what_an_earlier_run_left_in_escrow_is_left_to_people() {
    let bench = Bench::new();
    let store = spoiled(&bench, |_| Some(StoreErrorKind::Unusable));
    bench.rotator().rotate(&bench.key_id, store).await.unwrap_err();
    fs::remove_file(bench.folder.path().join("state/entries").join(&bench.key.id)).unwrap();
    for failure in [bench.rotate().await.unwrap_err(), bench.recover_one().await.unwrap_err()] {
        assert_eq!((failure.kind(), bench.rotations()), (FailureKind::Refused, 1), "{failure}");
    }
    let escrow = bench.folder.path().join("state/escrow").join(&bench.key.id);
    assert!(fs::read_to_string(&escrow).unwrap().contains("rxl_"));
    fs::remove_file(escrow).unwrap();
    bench.rotate().await.unwrap();
    assert!(bench.is_stored_live());
    bench.assert_clean();
}

/// A gateway that repeats requests may refuse one that was carried out.
#[tokio::test]
async fn a_refusal_that_nobody_could_look_behind_is_not_said_to_have_changed_nothing() {
    let bench = Bench::new();
    let respond = |status| Effect::Respond { status, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(respond(403)).on("rotateApiKey")).unwrap();
    let sandbox = Arc::clone(&bench.sandbox);
    let rotator = bench.rotator().with_observer(move |event| {
        if event.kind == State::Intent.into() {
            let limit = Effect::Respond { status: 429, headers: vec![], body: vec![] };
            sandbox.inject(Fault::new(limit).on("exchangeApiKey").always()).unwrap();
        }
    });
    let failure = rotator.rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!(failure.effect(), rixl_rotation::Effect::Unknown, "{failure}");
    let open = rixl_rotation::open_runs(&bench.journal()).await.unwrap();
    assert_eq!(open[0].effect, rixl_rotation::Effect::Unknown);
    bench.sandbox.clear_faults();
    assert_eq!(bench.recover_one().await.unwrap().unwrap().rotations, 2);
    assert!(bench.is_stored_live());
}

/// And it is detected if RIXL can be asked.
#[tokio::test]
async fn a_refusal_of_what_was_carried_out_is_found_out() {
    let bench = Bench::new();
    let refuse = Effect::Respond { status: 403, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(refuse).on("rotateApiKey")).unwrap();
    let report = bench.rotate().await.unwrap();
    assert_eq!((report.ending, report.rotations, bench.rotations()), (Ending::Rotated, 2, 2));
    assert!(bench.is_stored_live());
}

/// Another key of that name was there before: it is nobody's orphan.
#[tokio::test]
async fn a_refused_creation_is_not_taken_for_a_key_that_was_there_before() {
    let bench = Bench::new();
    fs::remove_file(bench.file()).unwrap();
    let new = || NewApiKey::new("twin").with_project_id(bench.sandbox.project_id().parse().unwrap());
    bench.rotator().create(new(), bench.store()).await.unwrap();
    let refuse = Effect::Respond { status: 403, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(refuse).on("createApiKey").before_commit()).unwrap();
    let other = Arc::new(FileStore::new(bench.folder.path().join("other")).unwrap());
    let failure = bench.rotator().create(new(), other).await.unwrap_err();
    assert_eq!(failure.effect(), rixl_rotation::Effect::Unchanged, "{failure}");
    assert_eq!(bench.sandbox.calls("createApiKey"), 2);
    assert!(!bench.story().contains("delete"), "{}", bench.story());
    bench.assert_clean();
}

#[tokio::test]
async fn a_refusal_changes_nothing_and_leaves_nothing_open() {
    let bench = Bench::new();
    let refuse = Effect::Respond { status: 403, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(refuse).on("rotateApiKey").before_commit()).unwrap();
    let failure = bench.rotate().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Authentication);
    let error = failure.api_error().unwrap();
    assert_eq!((error.status(), error.request_id().is_some()), (Some(403), true));
    assert!(failure.store_error().is_none());
    assert!(bench.is_stored_live());
    assert_eq!(bench.history().await[0].ending, Ending::Refused);
    bench.assert_clean();
}

/// However deep the cause is, and whichever it is.
#[tokio::test]
async fn a_failure_can_be_asked_for_its_cause() {
    let bench = Bench::new();
    let spoil = Fault::new(Effect::edit_json(|json| json["api_key"]["secret"] = "".into())).on("rotateApiKey");
    let refuse = Fault::new(Effect::Respond { status: 409, headers: vec![], body: vec![] }).on("rotateApiKey");
    bench.sandbox.inject(spoil).unwrap();
    bench.sandbox.inject(refuse.before_commit()).unwrap();
    let failure = bench.rotate().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Lost);
    assert_eq!(failure.api_error().and_then(rixl_credentials::Error::status), Some(409));

    let bench = Bench::new();
    let store = spoiled(&bench, |_| Some(StoreErrorKind::Unusable));
    let failure = bench.rotator().rotate(&bench.key_id, store).await.unwrap_err();
    assert_eq!(failure.store_error().map(StoreError::kind), Some(StoreErrorKind::Unusable));
    assert!(failure.api_error().is_none());

    // Before anything is sent: what passes is for later, all else for people.
    for (kind, next) in [(StoreErrorKind::Busy, Next::Retry), (StoreErrorKind::Unusable, Next::Correct)] {
        let failure = Failure::from(StoreError::new(kind, "place", "no"));
        assert_eq!((failure.effect(), failure.next()), (rixl_rotation::Effect::Unchanged, &next));
    }
}

#[tokio::test]
async fn a_rate_limit_is_waited_for() {
    let bench = Bench::new();
    let headers = vec![("retry-after".to_owned(), "7".to_owned())];
    let refuse = Effect::Respond { status: 429, headers, body: vec![] };
    bench.sandbox.inject(Fault::new(refuse).on("rotateApiKey").before_commit().times(2)).unwrap();
    let rotator = bench.rotator_of(bench.client().with_retry(RetryPolicy::default()));
    assert_eq!(rotator.rotate(&bench.key_id, bench.store()).await.unwrap().rotations, 1);
    assert_eq!(bench.rotations(), 1);
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 3);
    // The jitter is on top of what was asked for, in whole seconds rounded up.
    assert!(bench.story().contains("retrying in 8 s"), "{}", bench.story());
}

#[tokio::test]
async fn a_client_that_repeats_nothing_makes_a_rotator_that_repeats_nothing() {
    let bench = Bench::new();
    let limit = Effect::Respond { status: 429, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(limit).on("rotateApiKey").before_commit().always()).unwrap();
    let rotator = bench.rotator_of(bench.client().with_retry(RetryPolicy::off()));
    assert!(rotator.rotate(&bench.key_id, bench.store()).await.is_err());
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 1);
    assert!(bench.is_stored_live());
    bench.assert_clean();
}

#[tokio::test]
async fn a_response_without_a_secret_is_rotated_again_within_the_budget() {
    let bench = Bench::new();
    let spoil = || Fault::new(Effect::edit_json(|json| json["api_key"]["secret"] = "".into())).on("rotateApiKey");
    bench.sandbox.inject(spoil()).unwrap();
    assert_eq!(bench.rotate().await.unwrap().rotations, 2);
    assert!(bench.is_stored_live());
    bench.sandbox.inject(spoil().always()).unwrap();
    let failure = bench.rotate().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Lost);
    assert_eq!(bench.rotations(), 5, "three more, and no storm");
    bench.sandbox.clear_faults();
    // The budget is that of the entry, not of the process: it takes a person to go beyond it.
    let failure = bench.recover_one().await.unwrap_err();
    assert_eq!((failure.kind(), failure.next(), bench.rotations()), (FailureKind::Lost, &Next::Decide, 5));
    let told = RecoverOptions::default().with_on_live(OnLiveSecret::RotateUnread);
    let report = bench.recover(told).await.pop().unwrap().result.unwrap().report().cloned().unwrap();
    assert_eq!((report.ending, report.rotations), (Ending::Rotated, 4));
    assert!(bench.is_stored_live());
}

/// It may be a login page: while the old secret is live, nothing says that the key was changed.
#[tokio::test]
async fn a_response_without_a_secret_beside_a_live_one_is_no_response() {
    let bench = Bench::new();
    let page = Effect::Respond { status: 200, headers: vec![], body: "<html>".into() };
    bench.sandbox.inject(Fault::new(page).on("rotateApiKey").before_commit()).unwrap();
    let failure = bench.rotate().await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Unknown, rixl_rotation::Effect::Unknown));
    assert_eq!((bench.sandbox.calls("rotateApiKey"), bench.is_stored_live()), (1, true));
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!((report.ending, bench.rotations()), (Ending::Rotated, 1));
    assert!(bench.is_stored_live());
    bench.assert_clean();
}

#[tokio::test]
async fn a_response_that_breaks_off_is_rotated_again() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Cut { after: 20 }).on("rotateApiKey")).unwrap();
    assert_eq!(bench.rotate().await.unwrap().rotations, 2);
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn a_response_about_another_key_is_not_stored() {
    let bench = Bench::new();
    let edit = Effect::edit_json(|json| json["api_key"]["id"] = "AnotherKey".into());
    bench.sandbox.inject(Fault::new(edit).on("rotateApiKey").always()).unwrap();
    assert_eq!(bench.rotate().await.unwrap_err().kind(), FailureKind::Lost);
    assert_eq!(bench.stored(), bench.key.secret);
}

#[tokio::test]
async fn a_delayed_copy_of_the_request_is_noticed_after_the_quiet_time() {
    let bench = Bench::new();
    let fault = Fault::new(Effect::Intact).on("rotateApiKey").repeated_after(Duration::from_secs(3));
    bench.sandbox.inject(fault).unwrap();
    let report = bench.rotate().await.unwrap();
    assert_eq!(report.rotations, 2);
    assert_eq!(bench.rotations(), 3, "two sent, one copied");
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn a_new_secret_that_comes_alive_slowly_is_waited_for_only_as_long_as_the_old_one_lives() {
    // The old one dies at once: waiting only lengthens the outage, so the run goes on, and is right after the quiet time.
    let bench = Bench::with(Sandbox::builder().activation(Duration::from_secs(12)));
    let rotator = bench.rotator().with_quiet_time(Duration::from_secs(20));
    let report = rotator.rotate(&bench.key_id, bench.store()).await.unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    assert!(bench.is_stored_live() && report.rotations == 1);
    // The old one lives on: the new one stays in escrow until it is confirmed.
    let bench = Bench::with(Sandbox::builder().activation(Duration::from_secs(60)).grace(Duration::from_secs(3600)));
    let failure = bench.rotate().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotStored);
    assert_eq!(bench.stored(), bench.key.secret);
    bench.sandbox.advance(Duration::from_secs(60));
    assert_eq!(bench.recover_one().await.unwrap().unwrap().rotations, 1);
    assert!(bench.is_stored_live() && bench.stored() != bench.key.secret);
}

#[tokio::test]
async fn an_unclear_probe_decides_nothing() {
    for (status, body) in [(503, ""), (401, "<html>sign in</html>"), (429, "{\"error\":\"slow_down\"}")] {
        let bench = Bench::new();
        let response = Effect::Respond { status, headers: vec![], body: body.into() };
        bench.sandbox.inject(Fault::new(response).on("exchangeApiKey").always()).unwrap();
        let failure = bench.rotate().await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::Refused, "{status}");
        assert_eq!(bench.sandbox.calls("rotateApiKey"), 0);
        bench.assert_clean();
    }
}

#[tokio::test]
async fn recovery_stays_where_rixl_is_unclear() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    bench.rotate().await.unwrap_err();
    let response = Effect::Respond { status: 503, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(response).on("exchangeApiKey").always()).unwrap();
    assert_eq!(bench.recover_one().await.unwrap_err().kind(), FailureKind::Unknown);
    assert_eq!(bench.rotations(), 1);
    assert!(bench.is_open().await);
}

#[tokio::test]
async fn the_secret_is_stored_in_the_form_in_which_its_consumers_use_it() {
    for form in [KeyForm::Whole, KeyForm::Prefixed, KeyForm::PrefixedTwice] {
        for is_composed in [false, true] {
            let bench = Bench::with(Sandbox::builder().key_form(form));
            let use_it = |stored: &str| match (form, is_composed) {
                // Consumers put the id before what is stored.
                (KeyForm::Prefixed | KeyForm::PrefixedTwice, false) => format!("{}_{stored}", bench.key.id),
                _ => stored.to_owned(),
            };
            if is_composed && form != KeyForm::Whole {
                fs::write(bench.file(), format!("{}_{}", bench.key.id, bench.key.secret)).unwrap();
            }
            assert!(bench.sandbox.opens(&bench.key.id, &use_it(&bench.stored())), "{form:?} {is_composed}");
            let report = bench.rotate().await.unwrap();
            assert_eq!(report.rotations, 1);
            assert!(bench.sandbox.opens(&bench.key.id, &use_it(&bench.stored())), "{form:?} {is_composed}");
        }
        // Nothing was stored: what is live as it stands is.
        let bench = Bench::with(Sandbox::builder().key_form(form));
        fs::remove_file(bench.file()).unwrap();
        bench.rotate().await.unwrap();
        assert!(bench.is_stored_live(), "{form:?}");
    }
}

#[tokio::test]
async fn the_key_that_the_token_is_bought_with_is_not_rotated() {
    let bench = Bench::new();
    let client = Client::builder().base_url(bench.sandbox.url()).api_key(&*bench.key.secret).build().unwrap();
    let failure = bench.rotator_of(client).rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Refused);
    assert!(failure.to_string().contains("obtained with the key"), "{failure}");
    // Whatever is stored, where the key string begins with the id.
    let client =
        Client::builder().base_url(bench.sandbox.url()).api_key(format!("{}_x", bench.key.id)).build().unwrap();
    assert!(client.is_bought_with(&bench.key_id, |_| false));
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 0);
}

#[tokio::test]
async fn a_token_that_ends_too_soon_is_refused() {
    let bench = Bench::new();
    let token = |seconds: i64| {
        use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
        let exp = rixl_credentials::Timestamp::now().as_second() + seconds;
        format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(format!("{{\"exp\":{exp}}}")))
    };
    for (seconds, kind) in [(-5, "has expired"), (20, "a run may take 125 s"), (500, "could not be listed")] {
        let client = Client::builder().base_url(bench.sandbox.url()).bearer_token(token(seconds)).build().unwrap();
        let key = bench.rotator().planned(&bench.key_id).await.unwrap();
        let rotator = bench.rotator_of(client);
        let failure = match seconds {
            // Long enough, but the sandbox does not know it.
            500 => rotator.rotate(&bench.key_id, bench.store()).await.unwrap_err(),
            _ => rotator.prepare(&key, bench.store()).await.unwrap_err(),
        };
        assert_eq!(failure.kind(), FailureKind::Authentication);
        assert!(failure.to_string().contains(kind), "{failure}");
    }
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 0);
}

#[tokio::test]
async fn an_unknown_key_is_refused() {
    let bench = Bench::new();
    let failure = bench.rotator().rotate(&KeyId::new("Nothing").unwrap(), bench.store()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Refused);
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 0);
}

#[tokio::test]
async fn a_second_rotator_of_the_key_or_of_the_place_is_refused() {
    let bench = Bench::new();
    let key = bench.rotator().planned(&bench.key_id).await.unwrap();
    let held = bench.rotator().prepare(&key, bench.store()).await.unwrap();
    assert_eq!(bench.rotate().await.unwrap_err().kind(), FailureKind::Locked);
    let other = bench.sandbox.create_key("other");
    let other = bench.rotator().rotate(&KeyId::new(other.id).unwrap(), bench.store()).await.unwrap_err();
    assert_eq!(other.kind(), FailureKind::Locked);
    assert!(other.to_string().contains("is about to write it"), "{other}");
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 0);
    drop(held);
    bench.assert_clean();
    bench.rotate().await.unwrap();
}

#[tokio::test]
async fn stop_is_heard_before_the_request_and_while_waiting_but_not_between() {
    // Before.
    let bench = Bench::new();
    let token = CancellationToken::new();
    token.cancel();
    let failure =
        bench.rotator().with_cancellation(token.clone()).rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Interrupted, rixl_rotation::Effect::Unchanged));
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 0);
    bench.assert_clean();
    // At the intent: it is not sent any more.
    let token = CancellationToken::new();
    let rotator = bench.rotator().with_cancellation(token.clone()).with_observer(move |event| {
        if event.kind == State::Intent.into() {
            token.cancel();
        }
    });
    let failure = rotator.rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Interrupted, rixl_rotation::Effect::Unchanged));
    assert_eq!(bench.sandbox.calls("rotateApiKey"), 0);
    bench.assert_clean();
    // Between: said when the response is there, heard once the secret is stored.
    let token = CancellationToken::new();
    let rotator = bench.rotator().with_cancellation(token.clone()).with_observer(move |event| {
        if event.kind == State::Received.into() {
            token.cancel();
        }
    });
    let failure = rotator.rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Interrupted);
    // Whoever only looks at the cause would take it for harmless.
    assert_eq!((failure.effect(), failure.next()), (rixl_rotation::Effect::Changed, &Next::Recover));
    assert!(failure.to_string().ends_with("; recover it"), "{failure}");
    assert!(bench.is_stored_live() && bench.is_open().await);
    assert_eq!(bench.recover_one().await.unwrap().unwrap().rotations, 1);
    bench.assert_clean();
}

/// Once, before the file is written: fails as is said, or goes on.
fn spoiled(bench: &Bench, spoil: impl Fn(&Path) -> Option<StoreErrorKind> + Send + Sync + 'static) -> Arc<Spoiled> {
    let (path, is_spoiled) = (bench.file(), AtomicBool::new(false));
    Spoiled::new(bench.store(), move |store, request| {
        let kind = if is_spoiled.swap(true, Ordering::SeqCst) { None } else { spoil(&path) };
        match kind {
            Some(kind) => Box::pin(async move { Err(StoreError::new(kind, store.location(), "a test says so")) }),
            None => store.commit(request),
        }
    })
}

#[tokio::test]
async fn a_store_that_fails_leaves_the_secret_in_escrow() {
    for kind in [StoreErrorKind::Unusable, StoreErrorKind::Invalid] {
        let bench = Bench::new();
        let store = spoiled(&bench, move |_| Some(kind));
        let failure = bench.rotator().rotate(&bench.key_id, store).await.unwrap_err();
        assert_eq!(failure.kind(), FailureKind::NotStored);
        assert!(failure.to_string().contains("in escrow at"), "{failure}");
        assert_eq!(bench.stored(), bench.key.secret);
        assert_eq!(bench.recover_one().await.unwrap().unwrap().rotations, 1);
        assert!(bench.is_stored_live());
        bench.assert_clean();
    }
    // A write that may be there is looked for, and tried again.
    let bench = Bench::new();
    let store = spoiled(&bench, |_| Some(StoreErrorKind::Unknown));
    bench.rotator().rotate(&bench.key_id, store).await.unwrap();
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn a_live_secret_of_another_rotator_stays_and_a_dead_one_does_not() {
    for is_live in [true, false] {
        let bench = Bench::new();
        // Someone who knows nothing of our locks, and rotates by hand.
        let sandbox = Arc::clone(&bench.sandbox);
        let key = bench.key.id.clone();
        let store = spoiled(&bench, move |path| {
            let secret = if is_live { rotate_by_hand(&sandbox, &key) } else { "rxl_stale".to_owned() };
            fs::write(path, secret).unwrap();
            None
        });
        let report = bench.rotator().rotate(&bench.key_id, store).await.unwrap();
        assert_eq!(report.ending, if is_live { Ending::Superseded } else { Ending::Rotated });
        assert_eq!(bench.rotations(), if is_live { 2 } else { 1 });
        assert!(bench.is_stored_live());
        assert_eq!(report.fingerprint, Some(rixl_rotation::fingerprint(&bench.stored())));
        bench.assert_clean();
    }
}

fn rotate_by_hand(sandbox: &Sandbox, key_id: &str) -> String {
    let client = Client::builder().base_url(sandbox.url()).bearer_token(sandbox.bearer_token()).build().unwrap();
    let key_id = KeyId::new(key_id).unwrap();
    by_hand(async move {
        client.first_generation().api_keys().rotate(&key_id).await.unwrap().secret.expose_secret().to_owned()
    })
}

#[tokio::test]
async fn recovery_makes_a_newer_secret_than_what_another_rotator_stored() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    bench.rotate().await.unwrap_err();
    fs::write(bench.file(), rotate_by_hand(&bench.sandbox, &bench.key.id)).unwrap();
    // Whether it is the newer one can't be told: the lost request may have been carried out after it, and this server may
    // let old secrets live on for a while.
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!((report.ending, bench.rotations()), (Ending::Rotated, 3));
    assert!(bench.is_stored_live());
    bench.assert_clean();
}

#[tokio::test]
async fn an_entry_of_another_server_is_left_alone() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    bench.rotate().await.unwrap_err();
    let other = Sandbox::start().unwrap();
    let client = Client::builder().base_url(other.url()).bearer_token(other.bearer_token()).build().unwrap();
    let recovered = bench.rotator_of(client).recover(&Stores::default(), RecoverOptions::default()).await.unwrap();
    let failure = recovered[0].result.as_ref().unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Refused, rixl_rotation::Effect::Unknown));
    assert!(bench.is_open().await && other.requests().is_empty());
}

#[tokio::test]
async fn a_successor_that_would_have_expired_is_not_created() {
    let bench = Bench::new();
    let rotator = bench.rotator().with_successor_expiry("2001-01-01T00:00:00Z".parse().unwrap());
    let failure = rotator.replace(&bench.key_id, bench.store(), Duration::ZERO).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Refused, rixl_rotation::Effect::Unchanged));
    assert_eq!(bench.sandbox.calls("createApiKey"), 0);
}

/// What the program holds is another place by the time of the run: its next run reads the text anew.
#[tokio::test]
async fn a_link_that_was_led_on_before_the_run_is_seen() {
    let bench = Bench::new();
    let path = |name: &str| bench.folder.path().join(name);
    for release in ["one", "two"] {
        fs::create_dir(path(release)).unwrap();
        fs::copy(bench.file(), path(release).join("secret")).unwrap();
    }
    std::os::unix::fs::symlink("one", path("current")).unwrap();
    let store = FileStore::new(path("current/secret")).unwrap();
    fs::remove_file(path("current")).unwrap();
    std::os::unix::fs::symlink("two", path("current")).unwrap();
    let failure = bench.rotator().rotate(&bench.key_id, store).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Refused, rixl_rotation::Effect::Unchanged));
    assert!(failure.message().contains("/two/secret now") && failure.message().ends_with("run it again"), "{failure}");
    let store = FileStore::new(path("current/secret")).unwrap();
    bench.rotator().rotate(&bench.key_id, store).await.unwrap();
    assert!(bench.sandbox.opens(&bench.key.id, &fs::read_to_string(path("two/secret")).unwrap()));
    bench.assert_clean();
}

/// Lists fail while a key seems to have expired: the recovery goes on, and does not list at each of its steps.
#[tokio::test]
async fn an_end_that_can_not_be_listed_is_asked_for_where_it_matters() {
    let bench = Bench::new();
    let key = bench.sandbox.create_key(SeedKey::new("ending").expiring_in(Duration::from_secs(8)));
    fs::write(bench.file(), &key.secret).unwrap();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey").before_commit()).unwrap();
    bench.rotator().rotate(&KeyId::new(&key.id).unwrap(), bench.store()).await.unwrap_err();
    let lists = bench.sandbox.calls("listApiKeys");
    bench.sandbox.inject(Fault::new(Effect::Close).on("listApiKeys").always()).unwrap();
    // It is over in the window of the request.
    let _ = bench.recover(RecoverOptions::default()).await;
    // Once before each further request.
    let (lists, sent) = (bench.sandbox.calls("listApiKeys") - lists, bench.sandbox.calls("rotateApiKey"));
    assert!(sent > 1 && lists == sent, "{lists} lists, {sent} requests");
}

/// A store whose location does not say on which server it is.
struct OnServer(Arc<dyn Store>, &'static str);

impl Store for OnServer {
    fn location(&self) -> String {
        "kept:app#key".to_owned()
    }
    fn server(&self) -> Option<String> {
        Some(self.1.to_owned())
    }
    fn prepare<'a>(&'a self, request: Prepare<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.0.prepare(request)
    }
    fn read<'a>(&'a self, request: Read<'a>) -> BoxFuture<'a, Result<StoredSecret, StoreError>> {
        self.0.read(request)
    }
    fn commit<'a>(&'a self, request: Commit<'a>) -> BoxFuture<'a, Result<Committed, StoreError>> {
        self.0.commit(request)
    }
}

/// The settings name another server by now, or another namespace: the same text is another place.
#[tokio::test]
async fn a_place_on_another_server_is_another_place() {
    let bench = Bench::new();
    let second = bench.folder.path().join("second");
    fs::write(&second, &bench.key.secret).unwrap();
    fs::set_permissions(&second, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let on = |server: &'static str| -> Arc<dyn Store> {
        let file: Arc<dyn Store> = match server {
            "one" => bench.store(),
            _ => Arc::new(rixl_rotation::store::FileStore::new(&second).unwrap()),
        };
        Arc::new(OnServer(file, server))
    };
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    bench.rotator().rotate(&bench.key_id, on("one")).await.unwrap_err();
    let recover = |store: Arc<dyn Store>| {
        let stores = Stores::default().with("kept:TEXT", move |_| Ok(Arc::clone(&store)));
        let rotator = bench.rotator();
        async move {
            let mut all = rotator.recover(&stores, RecoverOptions::default()).await.unwrap();
            all.pop().unwrap().result.map(drop)
        }
    };
    let failure = recover(on("two")).await.unwrap_err();
    assert_eq!(failure.next(), &Next::NameServer("one".to_owned()));
    assert!(failure.message().contains("kept:app#key leads to two now, and led to kept:app#key at one"), "{failure}");
    assert_eq!(fs::read_to_string(&second).unwrap(), bench.key.secret);
    recover(on("one")).await.unwrap();
    assert!(bench.is_stored_live());
    // Its consumers read the first one.
    fs::write(&second, bench.stored()).unwrap();
    let failure = bench.rotator().rotate(&bench.key_id, on("two")).await.unwrap_err();
    assert_eq!(failure.next(), &Next::NameServer("one".to_owned()));
    assert!(failure.message().contains("kept:app#key at one holds the secret"), "{failure}");
    assert!(failure.message().contains("the settings of this run name two; nothing was sent"), "{failure}");
    bench.rotator().rotate(&bench.key_id, on("one")).await.unwrap();
    // It is a place of one key alone.
    let other = KeyId::new(bench.sandbox.create_key("other").id).unwrap();
    // What has the very secret under another address may be the same server.
    fs::write(&second, bench.stored()).unwrap();
    for server in ["one", "two"] {
        let failure = bench.rotator().rotate(&other, on(server)).await.unwrap_err();
        assert_eq!(failure.next(), &Next::AllowTakeOver, "{server}");
    }
    bench.assert_clean();
}

/// It may be notes, or another program's password: neither overwritten nor shown to RIXL as a key.
#[tokio::test]
async fn what_is_no_keys_secret_is_neither_overwritten_nor_probed() {
    for foreign in ["postgres://app:pw@host/db", "first line\nsecond line", "A=1"] {
        let bench = Bench::new();
        std::fs::write(bench.file(), foreign).unwrap();
        let failure = bench.rotate().await.unwrap_err();
        assert_eq!((failure.kind(), failure.effect()), (FailureKind::Refused, rixl_rotation::Effect::Unchanged));
        assert!(!failure.to_string().contains("pw@") && !failure.to_string().contains("  "), "{failure}");
        assert_eq!(bench.sandbox.calls("exchangeApiKey") + bench.rotations(), 0);
        assert_eq!(std::fs::read_to_string(bench.file()).unwrap(), foreign);
    }
}

/// A mount that does not respond, or a company's certificates to be read: the executor has other things to do.
#[tokio::test]
async fn a_recovery_waits_for_a_store_that_is_slow_to_open_on_another_thread() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    bench.rotate().await.unwrap_err();
    let (opening, mut begun) = tokio::sync::mpsc::unbounded_channel();
    let (go_on, may_go_on) = std::sync::mpsc::channel();
    let may_go_on = std::sync::Mutex::new(may_go_on);
    let slow = Stores::default().with("file:PATH", move |open| {
        opening.send(()).unwrap();
        may_go_on.lock().unwrap().recv_timeout(Duration::from_secs(20)).expect("the executor is held up");
        Ok(Arc::new(FileStore::new(open.rest)?))
    });
    // On the thread that recovery runs on.
    let other = tokio::spawn(async move {
        while begun.recv().await.is_some() {
            go_on.send(()).unwrap();
        }
    });
    let recovered = bench.rotator().recover(&slow, RecoverOptions::default()).await.unwrap();
    recovered.into_iter().next().unwrap().result.unwrap();
    drop(slow);
    other.await.unwrap();
    assert!(bench.is_stored_live());
}

/// The only live secret is in escrow then: nothing of it may sound as if all were as before.
#[tokio::test]
async fn a_recovery_that_can_not_open_the_store_says_that_the_key_was_changed() {
    let bench = Bench::new();
    bench.sandbox.inject(Fault::new(Effect::Intact).on("rotateApiKey")).unwrap();
    let prepared = {
        let key = bench.rotator().planned(&bench.key_id).await.unwrap();
        bench.rotator().prepare(&key, bench.store()).await.unwrap()
    };
    // It is no file any more when the response is there.
    std::fs::remove_file(bench.file()).unwrap();
    std::fs::create_dir(bench.file()).unwrap();
    let failure = prepared.rotate().await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::NotStored, rixl_rotation::Effect::Changed));
    let nowhere = Stores::default()
        .with("file:PATH", |open| Err(StoreError::new(StoreErrorKind::Unusable, open.rest, "it is gone")));
    let recovered = bench.rotator().recover(&nowhere, RecoverOptions::default()).await.unwrap();
    let failure = recovered[0].result.as_ref().unwrap_err();
    assert_eq!((failure.effect(), failure.next()), (rixl_rotation::Effect::Changed, &Next::Recover));
    assert_eq!(
        failure.store_error().map(ToString::to_string).unwrap(),
        format!("file:{}: it is gone", bench.file().display())
    );
    std::fs::remove_dir(bench.file()).unwrap();
    // What is empty now may be the folder under a mount that is not there.
    let failure = bench.recover_one().await.unwrap_err();
    assert_eq!((failure.kind(), failure.next()), (FailureKind::NotStored, &Next::Decide));
    assert!(!bench.file().exists());
    let told = RecoverOptions::default().with_on_live(OnLiveSecret::RotateUnread);
    bench.recover(told).await.pop().unwrap().result.unwrap();
    assert_eq!(bench.rotations(), 1);
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn without_verification_nothing_is_probed() {
    let bench = Bench::new();
    let rotator: Rotator = bench.rotator().with_verification(false);
    rotator.rotate(&bench.key_id, bench.store()).await.unwrap();
    assert_eq!(bench.sandbox.calls("exchangeApiKey"), 0);
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn a_created_key_goes_into_the_store_by_the_same_protocol() {
    let bench = Bench::new();
    fs::remove_file(bench.file()).unwrap();
    let new = || NewApiKey::new("uploads").with_project_id(bench.sandbox.project_id().parse().unwrap());
    bench.sandbox.inject(Fault::new(Effect::Close).on("createApiKey")).unwrap();
    let failure = bench.rotator().create(new(), bench.store()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unknown);
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!(report.ending, Ending::Created);
    // The one whose response was lost is named, so that it can be deleted.
    assert!(
        report.warnings.iter().any(|warning| matches!(warning.next, Some(Next::DeleteKeys(_)))),
        "{:?}",
        report.warnings
    );
    assert!(bench.sandbox.opens(report.key_id.unwrap().as_str(), &bench.stored()));
    bench.assert_clean();
}

#[tokio::test]
async fn a_replaced_key_leaves_no_moment_without_a_live_secret() {
    let bench = Bench::new();
    let grace = Duration::from_secs(86_400);
    let sandbox = Arc::clone(&bench.sandbox);
    let (path, old, is_deleted) = (bench.file(), bench.key.secret.clone(), AtomicBool::new(false));
    let rotator = bench.rotator().with_observer(move |event| {
        is_deleted.fetch_or(event.sentence.ends_with("is deleted"), Ordering::SeqCst);
        if !is_deleted.load(Ordering::SeqCst) {
            assert!(sandbox.is_live(&old) && sandbox.is_live(&fs::read_to_string(&path).unwrap()), "{event:?}");
        }
    });
    let report = rotator.replace(&bench.key_id, bench.store(), grace).await.unwrap();
    assert_eq!(report.ending, Ending::Replaced);
    let new = report.key_id.unwrap();
    assert_ne!(new, bench.key_id);
    assert!(bench.sandbox.opens(new.as_str(), &bench.stored()));
    assert!(!bench.sandbox.is_live(&bench.key.secret), "the old key is deleted");
    assert_eq!(bench.history().await[0].replaced.as_deref(), Some(bench.key.id.as_str()));
    bench.assert_clean();
}

/// A journal that counts how often the lock is renewed.
struct Counted(rixl_rotation::journal::FolderJournal, Arc<std::sync::atomic::AtomicUsize>);

struct CountedEntry(Box<dyn Entry>, Arc<std::sync::atomic::AtomicUsize>);

impl Journal for Counted {
    fn location(&self) -> String {
        self.0.location()
    }
    fn lock<'a>(&'a self, request: Lock<'a>) -> BoxFuture<'a, Result<Box<dyn Entry>, JournalError>> {
        Box::pin(async move { Ok(Box::new(CountedEntry(self.0.lock(request).await?, Arc::clone(&self.1))) as _) })
    }
    fn unfinished(&self, request: ListUnfinished) -> BoxFuture<'_, Result<Unfinished, JournalError>> {
        self.0.unfinished(request)
    }
    fn history(&self, request: ReadHistory) -> BoxFuture<'_, Result<History, JournalError>> {
        self.0.history(request)
    }
}

impl Entry for CountedEntry {
    fn lines(&self) -> &[String] {
        self.0.lines()
    }
    fn lock_store<'a>(&'a mut self, request: LockStore<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.0.lock_store(request)
    }
    fn append<'a>(&'a mut self, request: Append<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.0.append(request)
    }
    fn renew(&mut self) -> BoxFuture<'_, Result<(), JournalError>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        self.0.renew()
    }
    fn put_escrow<'a>(&'a mut self, request: PutEscrow<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.0.put_escrow(request)
    }
    fn escrow(&self) -> BoxFuture<'_, Result<Option<RawResponse>, JournalError>> {
        self.0.escrow()
    }
    fn escrow_location(&self) -> String {
        self.0.escrow_location()
    }
    fn close<'a>(&'a mut self, request: Close<'a>) -> BoxFuture<'a, Result<(), JournalError>> {
        self.0.close(request)
    }
}

/// A lease of some minutes must last through a grace time of a day.
#[tokio::test]
async fn the_lock_is_renewed_at_least_once_a_minute_of_waiting() {
    let bench = Bench::new();
    let renewals = Arc::default();
    let journal = Counted(bench.journal(), Arc::clone(&renewals));
    let rotator = Rotator::new(Account::first_generation(bench.client()), Arc::new(journal));
    rotator.replace(&bench.key_id, bench.store(), Duration::from_secs(3600)).await.unwrap();
    // An hour, and a quarter of it to watch the old key.
    assert_eq!(renewals.load(Ordering::SeqCst), 60 + 15);
}

#[tokio::test]
async fn a_replacement_that_is_interrupted_in_its_grace_time_is_ended_by_recovery() {
    let bench = Bench::new();
    let token = CancellationToken::new();
    let rotator = bench.rotator().with_cancellation(token.clone()).with_observer(move |event| {
        if event.kind == State::Settled.into() {
            token.cancel();
        }
    });
    let failure = rotator.replace(&bench.key_id, bench.store(), Duration::from_secs(3600)).await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Interrupted, rixl_rotation::Effect::Changed));
    assert!(bench.sandbox.is_live(&bench.key.secret));
    assert_eq!(bench.recover_one().await.unwrap().unwrap().ending, Ending::Replaced);
    assert!(!bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(&bench.stored()));
}

/// Whoever recovers may have another credential than the run: the old key itself.
#[tokio::test]
async fn the_key_that_authorizes_a_recovery_is_not_deleted_by_it() {
    let bench = Bench::new();
    let token = CancellationToken::new();
    let rotator = bench.rotator().with_cancellation(token.clone()).with_observer(move |event| {
        if event.kind == State::Settled.into() {
            token.cancel();
        }
    });
    rotator.replace(&bench.key_id, bench.store(), Duration::ZERO).await.unwrap_err();
    let client = Client::builder().base_url(bench.sandbox.url()).api_key(&*bench.key.secret).build().unwrap();
    let rotator = bench.rotator_of(client).with_quiet_time(Duration::ZERO);
    let recovered = rotator.recover(&Stores::default(), RecoverOptions::default()).await.unwrap().pop().unwrap();
    let failure = recovered.result.unwrap_err();
    assert!(failure.message().contains("the bearer token was obtained with it"), "{failure}");
    assert!(bench.sandbox.is_live(&bench.key.secret));
    assert_eq!(bench.recover_one().await.unwrap().unwrap().ending, Ending::Replaced);
    bench.assert_clean();
}

#[tokio::test]
async fn an_old_key_that_is_still_used_is_not_deleted() {
    let bench = Bench::new();
    let sandbox = Arc::clone(&bench.sandbox);
    let (left, secret, url) = (Mutex::new(3), bench.key.secret.clone(), bench.sandbox.url().to_owned());
    let seen = Arc::new(Mutex::new(0));
    let count = Arc::clone(&seen);
    let rotator = bench.rotator().with_observer(move |event| {
        let mut left = left.lock().unwrap();
        // A consumer that has not read the new secret yet, and comes back three times.
        if event.sentence.starts_with("watches") && *left > 0 {
            *left -= 1;
            let (secret, url) = (Secret::from(&*secret), &url);
            sandbox.advance(Duration::from_secs(1));
            let client = Client::builder().base_url(url).build().unwrap();
            by_hand(async move { client.tokens().exchange(&secret).await.map(drop).unwrap() });
        }
        if event.sentence.contains("not deleted yet") {
            *count.lock().unwrap() += 1;
        }
    });
    rotator.replace(&bench.key_id, bench.store(), Duration::from_secs(3600)).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), 3, "each use was seen");
    assert!(!bench.sandbox.is_live(&bench.key.secret));
}

/// Calls RIXL while the test's own runtime is busy.
fn by_hand<T: Send + 'static>(call: impl Future<Output = T> + Send + 'static) -> T {
    std::thread::spawn(move || {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(call)
    })
    .join()
    .unwrap()
}

/// Somebody takes the policy of the successor away while it is waited, or what the policy permits is not given to it.
#[tokio::test]
async fn a_key_is_not_deleted_whose_successor_may_do_less() {
    let bench = Bench::new();
    let organization_id: OrganizationId = bench.sandbox.organization_id().parse().unwrap();
    let organization = bench.client().organization(&organization_id);
    let policy = bench.sandbox.create_policy("Uploader", ["videos:write"]);
    let attached = ApiKeyUpdate::default().with_added_policies([policy]);
    organization.update_api_key(&bench.key_id, attached).await.unwrap();
    let (old, of) = (bench.key_id.clone(), organization.clone());
    let account = Account::new(bench.client(), organization_id);
    let rotator = Rotator::new(account, Arc::new(bench.journal())).with_observer(move |event| {
        if event.sentence.starts_with("watches") {
            let (old, of) = (old.clone(), of.clone());
            by_hand(async move {
                let keys = of.api_keys().list_page(PageRequest::default()).await.unwrap();
                let successor = keys.items.into_iter().find(|key| key.id != old).unwrap();
                assert_eq!(successor.permissions, ["videos:write"]);
                let detached = ApiKeyUpdate::default().with_policies_replaced([]);
                of.update_api_key(&successor.id, detached).await.unwrap();
            });
        }
    });
    let failure = rotator.replace(&bench.key_id, bench.store(), Duration::ZERO).await.unwrap_err();
    assert!(failure.to_string().contains("lacks a policy or a permission"), "{failure}");
    let stored = fs::read_to_string(bench.file()).unwrap();
    assert!(bench.sandbox.is_live(&bench.key.secret) && bench.sandbox.is_live(stored.trim_end()));
}

#[tokio::test]
async fn what_a_lost_request_may_still_do_is_waited_for() {
    // The client gives up after 2 s, and 5 s are added to that.
    let late = |fault: Fault| fault.on("rotateApiKey").repeated_after(Duration::from_millis(6_300));
    // Carried out twice, both unheard: the second kills what recovery stored after the first.
    let bench = Bench::new();
    bench.sandbox.inject(late(Fault::new(Effect::Close))).unwrap();
    assert_eq!(bench.rotate().await.unwrap_err().kind(), FailureKind::Unknown);
    assert_eq!(bench.recover_one().await.unwrap().unwrap().ending, Ending::Rotated);
    bench.sandbox.advance(Duration::from_secs(60));
    assert!(bench.is_stored_live());
    // Carried out late: it kills what someone rotated by hand, which recovery would have adopted.
    let bench = Bench::new();
    bench.sandbox.inject(late(Fault::new(Effect::Close).before_commit())).unwrap();
    assert_eq!(bench.rotate().await.unwrap_err().kind(), FailureKind::Unknown);
    fs::write(bench.file(), rotate_by_hand(&bench.sandbox, &bench.key.id)).unwrap();
    assert_eq!(bench.recover_one().await.unwrap().unwrap().ending, Ending::Rotated);
    bench.sandbox.advance(Duration::from_secs(60));
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn a_copy_of_our_request_that_kills_a_rivals_secret_is_noticed() {
    let bench = Bench::new();
    let fault = Fault::new(Effect::Intact).on("rotateApiKey").repeated_after(Duration::from_secs(3));
    bench.sandbox.inject(fault).unwrap();
    let (sandbox, key) = (Arc::clone(&bench.sandbox), bench.key.id.clone());
    let store = spoiled(&bench, move |path| {
        fs::write(path, rotate_by_hand(&sandbox, &key)).unwrap();
        None
    });
    let report = bench.rotator().rotate(&bench.key_id, store).await.unwrap();
    assert_eq!((report.ending, bench.rotations()), (Ending::Rotated, 4), "ours, by hand, the copy, ours");
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn where_old_secrets_live_on_a_rivals_secret_stays_only_if_it_is_surely_newer() {
    let bench = Bench::with(Sandbox::builder().grace(Duration::from_secs(3600)));
    let (sandbox, key, path) = (Arc::clone(&bench.sandbox), bench.key.id.clone(), bench.file());
    let is_done = AtomicBool::new(false);
    // Just before our request, so that ours is the newest; theirs lives on for an hour.
    let rotator = bench.rotator().with_observer(move |event| {
        if event.kind == State::Intent.into() && !is_done.swap(true, Ordering::SeqCst) {
            fs::write(&path, rotate_by_hand(&sandbox, &key)).unwrap();
        }
    });
    let report = rotator.rotate(&bench.key_id, bench.store()).await.unwrap();
    assert_eq!((report.ending, report.rotations), (Ending::Rotated, 2));
    bench.sandbox.advance(Duration::from_secs(86_400));
    assert!(bench.is_stored_live());
    bench.assert_clean();
}

#[tokio::test]
async fn every_request_that_left_counts_against_the_budget() {
    let bench = Bench::new();
    let limit = Effect::Respond { status: 429, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(limit).on("rotateApiKey").before_commit()).unwrap();
    bench.sandbox.inject(Fault::new(Effect::Cut { after: 20 }).on("rotateApiKey")).unwrap();
    let rotator = bench.rotator_of(bench.client().with_retry(RetryPolicy::default()));
    assert_eq!(rotator.rotate(&bench.key_id, bench.store()).await.unwrap().rotations, 2);
    assert!(bench.is_stored_live());
    let limit = Effect::Respond { status: 429, headers: vec![], body: vec![] };
    bench.sandbox.inject(Fault::new(limit).on("rotateApiKey").before_commit()).unwrap();
    bench.sandbox.inject(Fault::new(Effect::Cut { after: 20 }).on("rotateApiKey")).unwrap();
    let failure = rotator.with_budget(2).rotate(&bench.key_id, bench.store()).await.unwrap_err();
    assert_eq!((failure.kind(), failure.next()), (FailureKind::Lost, &Next::Decide));
}

#[tokio::test]
async fn the_secret_is_said_to_be_in_escrow_only_if_it_is() {
    // Neither the escrow nor the store took it.
    let bench = Bench::new();
    let escrow = bench.folder.path().join("state/escrow");
    let folder = escrow.clone();
    let rotator = bench.rotator().with_observer(move |event| {
        if event.kind == State::Intent.into() {
            fs::remove_dir_all(&folder).unwrap();
        }
    });
    let store = Spoiled::new(bench.store(), |store, _| {
        let error = StoreError::new(StoreErrorKind::Unusable, store.location(), "a test says so");
        Box::pin(async { Err(error) })
    });
    let failure = rotator.with_patience(Duration::ZERO).rotate(&bench.key_id, store).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Lost, "{failure}");
    fs::create_dir(&escrow).unwrap();
    // Recovery doesn't go by what is not there.
    let report = bench.recover_one().await.unwrap().unwrap();
    assert_eq!((report.ending, report.rotations), (Ending::Rotated, 2));
    assert!(bench.is_stored_live());
    // Nothing is known, and the store can't be read.
    bench.sandbox.inject(Fault::new(Effect::Close).on("rotateApiKey")).unwrap();
    bench.rotate().await.unwrap_err();
    let stored = fs::read(bench.file()).unwrap();
    fs::write(bench.file(), [0xff]).unwrap();
    let failure = bench.recover_one().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::Unknown, "{failure}");
    fs::write(bench.file(), stored).unwrap();
    bench.recover_one().await.unwrap();
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn an_entry_whose_escrow_is_gone_is_rotated_again() {
    let bench = Bench::new();
    let store = spoiled(&bench, |_| Some(StoreErrorKind::Unusable));
    bench.rotator().rotate(&bench.key_id, store).await.unwrap_err();
    fs::remove_file(bench.folder.path().join("state/escrow").join(&bench.key.id)).unwrap();
    assert_eq!(bench.recover_one().await.unwrap().unwrap().rotations, 2);
    assert!(bench.is_stored_live());
}

#[tokio::test]
async fn a_rotation_can_be_spawned() {
    let bench = Bench::new();
    let (rotator, key_id, store) = (bench.rotator(), bench.key_id.clone(), bench.store());
    tokio::spawn(async move { rotator.rotate(&key_id, store).await }).await.unwrap().unwrap();
}
