//! What the exploration does not come to: records as they stand in a journal, credentials, owners, places that can't be read
//! back, forms of key strings.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use rixl_credentials::Timestamp;

use super::{
    intent::{Acks, AcksAt, Before, Deploy, Digest, Intent, Limits, Place, ProbeBy, Subject, VERSION},
    next::{is_cancellable, next},
    progress::{At, Begun, Held, Progress, ReadError, Record, Response, Sending, Why},
    seen::{
        Acked, Act, Authorizer, Because, Escrow, Holds, IfLive, KeySeen, KeysFailure, KeysSeen, Look, Mandate,
        NotRetired, Observation, Of, Owner, PlaceSeen, Proof, Seen, Sent, Step, Stop, StoreFailure, Wait,
    },
};
use crate::{
    ClientFormat, Effect, Ending,
    probe::{KeyFormat, Liveness},
    store::Version,
};

fn now() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn intent(subject: Subject) -> Intent {
    let before = Before { version: Version::absent(), value: None, live_as: None };
    Intent {
        v: VERSION,
        run: "r1".into(),
        began: now(),
        by: "ops@host".into(),
        base_url: "https://api.rixl.com".into(),
        organization: None,
        subject,
        places: vec![Place {
            given: "file:key".into(),
            asked: None,
            server: None,
            name: "file:/srv/key".into(),
            before,
        }],
        limits: Limits { window_ms: 35_000, quiet_ms: 5_000, budget: 3, is_probed: true, overlap: None },
        deploy: None,
        probes: Vec::new(),
        acks: None,
        used_within_ms: None,
        known: Vec::new(),
    }
}

fn rotation() -> Intent {
    intent(Subject::Rotate { key_id: "XyZ9aB8cD1".parse().unwrap(), name: Some("billing".into()), expiring_at: None })
}

fn sending(number: u32) -> Sending {
    let held = vec![Held { version: Version::absent(), value: None }];
    Sending {
        at: now(),
        number,
        held,
        stale: None,
        is_void: false,
        ahead_s: 0,
        unheard_until: None,
        orphans: Vec::new(),
    }
}

fn begun(intent: Intent) -> Record {
    Record::Intent(Box::new(Begun { intent, sending: sending(1) }))
}

fn secret() -> Digest {
    Digest::of(b"new")
}

fn lines(records: &[Record]) -> Vec<String> {
    records.iter().map(|record| serde_json::to_string(record).unwrap()).collect()
}

/// A run that has come so far, and a process that knows nothing else.
fn after(records: &[Record]) -> (Progress, Seen) {
    (Progress::read(&lines(records)).unwrap().unwrap(), Seen::new(now(), Mandate::LIVE, 1))
}

fn place(holds: Holds) -> PlaceSeen {
    PlaceSeen { at: now(), is_same: true, owner: Owner::ThisKey, is_elsewhere: false, holds: Ok(holds) }
}

fn received() -> Vec<Record> {
    vec![begun(rotation()), Record::Received { at: now(), request_id: None }]
}

/// Every kind of record stands for the same in a journal as in the process that wrote it.
#[test]
fn records_read_back() {
    let version = Version::new("7");
    let to = Place {
        given: "file:new".into(),
        asked: Some("file:link".into()),
        server: None,
        name: "file:/srv/new".into(),
        before: Before { version: version.clone(), value: Some(secret()), live_as: Some(KeyFormat::Prefixed) },
    };
    let records = [
        begun(rotation()),
        Record::Unknown { at: now() },
        Record::Lost { at: now(), why: Why::OldIsDead, is_spent: true, unheard_until: Some(now()) },
        Record::Sending(Sending { stale: Some(secret()), ..sending(2) }),
        Record::Refused { at: now(), status: 403, is_rixls_own: true },
        Record::Back { at: now() },
        Record::Sending(Sending { is_void: true, ahead_s: -3600, ..sending(3) }),
        Record::NotSent { at: now() },
        Record::Received { at: now(), request_id: None },
        Record::Redirected { at: now(), place: 0, to: Box::new(to) },
        Record::Verified { at: now(), secret: secret(), format: Some(KeyFormat::Whole) },
        Record::Stored { at: now(), place: 0, version, value: secret() },
        Record::Settled { at: now(), place: 0 },
        Record::Missing { at: now(), place: 0, version: Version::absent() },
        Record::Stored { at: now(), place: 0, version: Version::new("5"), value: secret() },
        Record::Settled { at: now(), place: 0 },
        Record::SettingEnd { at: now(), until: now() },
        Record::EndsAt { at: now(), until: now(), last_used: Some(now()) },
        Record::Retiring { at: now() },
        Record::Retired { at: now() },
        Record::Ended { at: now(), ending: Ending::Replaced },
    ];
    insta::assert_snapshot!(lines(&records).join("\n"));
    let mut progress = Progress::new(Arc::new(rotation()));
    for (count, record) in records.iter().enumerate() {
        progress.apply(record);
        assert_eq!(Progress::read(&lines(&records[..=count])).unwrap().as_ref(), Some(&progress), "after {record:?}");
    }
    assert_eq!(progress.effect(), Effect::Changed);
    assert_eq!(progress.intent.places[0].given, "file:new");
}

fn credential(grace_ms: u64) -> Subject {
    Subject::Credential {
        credential_id: "Z9Y8X7W6V5".parse().unwrap(),
        client_id: Some("XyZ9aB8cD1".into()),
        name: "web".into(),
        format: ClientFormat::Pair,
        grace_ms,
    }
}

/// So that what is explored of the one holds of the other.
#[test]
fn a_client_credential_is_replaced_by_the_rules_of_a_key() {
    let new = rixl_credentials::NewApiKey::new("web");
    let key = Subject::Replace { key_id: "XyZ9aB8cD1".parse().unwrap(), new, grace_ms: 7, expires: false };
    assert_eq!(credential(7).rules(), key.rules());
    assert_eq!((credential(7).key_id(), credential(7).old_id()), (None, Some("Z9Y8X7W6V5")));
    assert_eq!(credential(7).owner().as_deref(), Some("credential-Z9Y8X7W6V5"));
}

/// Its line is read by the next release too.
#[test]
fn the_intent_of_a_client_credential_reads_back() {
    let line = &lines(&[begun(intent(credential(7)))])[0];
    let subject = r#""subject":{"kind":"credential","credential_id":"Z9Y8X7W6V5","client_id":"XyZ9aB8cD1","name":"web","format":"pair","grace_ms":7}"#;
    assert!(line.contains(subject), "{line}");
    let progress = Progress::read(std::slice::from_ref(line)).unwrap().unwrap();
    assert_eq!(progress.intent.subject, credential(7));
}

/// As that of a key: what the place held live is what the last look at the old one is made with.
#[test]
fn what_a_place_holds_of_a_client_credential_is_tried_first() {
    let progress = Progress::new(Arc::new(intent(credential(0))));
    let mut seen = Seen::new(now(), Mandate::LIVE, 1);
    seen.has_turn = true;
    assert_eq!(next(&progress, &seen), Step::Act(Act::Prepare(0)));
    let held = Holds::Before(Version::new("1"), Digest::of(b"old"));
    seen.note(now(), &Step::Act(Act::Prepare(0)), &Observation::Prepared(0, place(held)));
    assert_eq!(next(&progress, &seen), Step::Look(Look::Probe(Of::Place(0))));
}

#[test]
fn no_line_is_no_run() {
    assert!(Progress::read(&[]).unwrap().is_none());
}

/// What another release wrote may look like ours and mean something else.
#[test]
fn records_of_another_version_are_not_read() {
    let first = &lines(&received())[0];
    for (line, version) in [
        (first.replace(r#""v":2"#, r#""v":3"#), 3),
        (first.replace(r#""v":2"#, r#""v":1"#), 1),
        (r#"{"state":"intent","v":1,"rotation":1}"#.to_owned(), 1),
    ] {
        assert!(matches!(Progress::read(&[line]), Err(ReadError::Version(found)) if found == version));
    }
}

#[test]
fn records_out_of_order_are_not_read() {
    let all = received();
    let order = |rest: Record| Progress::read(&lines(&[all[0].clone(), all[1].clone(), rest]));
    // The first one is gone.
    assert!(matches!(Progress::read(&lines(&all[1..])), Err(ReadError::Order)));
    assert!(matches!(order(begun(rotation())), Err(ReadError::Order)));
    assert!(matches!(order(Record::Settled { at: now(), place: 1 }), Err(ReadError::Order)));
    assert!(matches!(order(Record::Sending(Sending { held: Vec::new(), ..sending(2) })), Err(ReadError::Order)));
    assert!(matches!(Progress::read(&["{".to_owned()]), Err(ReadError::Record(_))));
}

#[test]
fn nothing_is_begun_with_a_credential_that_may_end() {
    let progress = Progress::new(Arc::new(rotation()));
    for (authorizer, own_key, step) in [
        (Authorizer::Fine, false, Step::Act(Act::Reserve)),
        (Authorizer::Ends, true, Step::Stop(Stop::TokenEnds)),
        (Authorizer::OwnKey, false, Step::Stop(Stop::OwnKey)),
        (Authorizer::OwnKey, true, Step::Act(Act::Reserve)),
        (Authorizer::MayBeOwnKey, false, Step::Stop(Stop::OwnKey)),
        (Authorizer::MayBeOwnKey, true, Step::Act(Act::Reserve)),
        (Authorizer::NotHandedOver, true, Step::Stop(Stop::NotHandedOver)),
    ] {
        let mut seen = Seen::new(now(), Mandate { own_key, ..Mandate::LIVE }, 1);
        seen.has_turn = true;
        let place = PlaceSeen {
            at: now(),
            is_same: true,
            owner: Owner::ThisKey,
            is_elsewhere: false,
            holds: Ok(Holds::Nothing(Version::absent())),
        };
        seen.note(now(), &Step::Act(Act::Prepare(0)), &Observation::Prepared(0, place));
        assert_eq!(next(&progress, &seen), Step::Look(Look::Authorizer));
        seen.authorizer = Some(authorizer);
        assert_eq!(next(&progress, &seen), step, "{authorizer:?}");
    }
}

/// A journal may open an entry whose escrow was left behind.
#[test]
fn what_is_in_escrow_before_a_request_is_no_response_to_it() {
    let progress = Progress::new(Arc::new(rotation()));
    let mut seen = Seen::new(now(), Mandate::LIVE, 1);
    (seen.has_turn, seen.authorizer, seen.is_reserved) = (true, Some(Authorizer::Fine), Some(true));
    let holds = place(Holds::Nothing(Version::absent()));
    seen.note(now(), &Step::Act(Act::Prepare(0)), &Observation::Prepared(0, holds));
    assert_eq!(next(&progress, &seen), Step::Look(Look::Escrow));
    seen.escrow = Some(Escrow::Unusable(secret()));
    let Step::Record(Record::Intent(begun)) = next(&progress, &seen) else { panic!("nothing is begun") };
    assert_eq!(begun.sending.stale, Some(secret()));
}

#[test]
fn nothing_is_begun_with_a_place_of_another() {
    let progress = Progress::new(Arc::new(rotation()));
    for (owner, take_over, is_taken) in [
        (Owner::ThisKey, false, false),
        (Owner::Another, false, true),
        (Owner::Another, true, false),
        (Owner::State, true, true),
    ] {
        let mut seen = Seen::new(now(), Mandate { take_over, ..Mandate::LIVE }, 1);
        seen.has_turn = true;
        seen.authorizer = Some(Authorizer::Fine);
        let holds = PlaceSeen { owner, ..place(Holds::Nothing(Version::absent())) };
        seen.note(now(), &Step::Act(Act::Prepare(0)), &Observation::Prepared(0, holds));
        let step = if is_taken { Step::Stop(Stop::PlaceTaken(0)) } else { Step::Act(Act::Reserve) };
        assert_eq!(next(&progress, &seen), step, "{owner:?}");
    }
}

/// Where the old secret dies, what has it elsewhere is in the way; where it lives on, not.
#[test]
fn no_secret_is_left_dead_in_another_place() {
    let key_id = "XyZ9aB8cD1".parse().unwrap();
    let replacement = intent(Subject::Replace {
        key_id,
        new: rixl_credentials::NewApiKey::new("billing"),
        grace_ms: 0,
        expires: false,
    });
    for (intent, leave, is_left) in [(rotation(), false, true), (rotation(), true, false), (replacement, false, false)]
    {
        let progress = Progress::new(Arc::new(intent));
        let mut seen = Seen::new(now(), Mandate { leave, ..Mandate::LIVE }, 1);
        seen.has_turn = true;
        let holds = PlaceSeen { is_elsewhere: true, ..place(Holds::Nothing(Version::absent())) };
        seen.note(now(), &Step::Act(Act::Prepare(0)), &Observation::Prepared(0, holds));
        let is_stopped = next(&progress, &seen) == Step::Stop(Stop::KeyElsewhere(0));
        assert_eq!(is_stopped, is_left, "{:?}", progress.intent.subject);
    }
}

/// What is said to name another place than it did is not written, whatever that one holds.
#[test]
fn a_place_that_moved_is_not_written() {
    let mut records = received();
    records.push(Record::Verified { at: now(), secret: secret(), format: Some(KeyFormat::Whole) });
    let (progress, mut seen) = after(&records);
    seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    let moved = PlaceSeen { is_same: false, ..place(Holds::Nothing(Version::absent())) };
    seen.note(now(), &Step::Look(Look::Place(0)), &Observation::Place(0, moved));
    assert_eq!(next(&progress, &seen), Step::Stop(Stop::PlaceMoved(0)));
}

/// A place that can't be read back is written once, and what is in escrow is what is tried after the quiet time.
#[test]
fn a_place_that_can_not_be_read_back() {
    let mut records = received();
    records.push(Record::Verified { at: now(), secret: secret(), format: Some(KeyFormat::Whole) });
    let (progress, mut seen) = after(&records);
    seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    let look = |seen: &mut Seen| {
        seen.note(now(), &Step::Look(Look::Place(0)), &Observation::Place(0, place(Holds::WriteOnly)));
    };
    look(&mut seen);
    let store = Step::Act(Act::Store { place: 0, expected: Version::untracked() });
    assert_eq!(next(&progress, &seen), store);
    seen.note(now(), &store, &Observation::Stored(0, Ok(Version::untracked())));
    look(&mut seen);
    let stored = Record::Stored { at: now(), place: 0, version: Version::untracked(), value: secret() };
    assert_eq!(next(&progress, &seen), Step::Record(stored.clone()));

    records.push(stored);
    let (progress, mut seen) = after(&records);
    seen.now = now().checked_add(Duration::from_secs(6)).unwrap();
    seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    seen.places[0].seen = Some(PlaceSeen { at: seen.now, ..place(Holds::WriteOnly) });
    assert_eq!(next(&progress, &seen), Step::Look(Look::Probe(Of::Ours)));
    seen.ours = Some(Liveness::Live(KeyFormat::Whole));
    assert_eq!(next(&progress, &seen), Step::Record(Record::Settled { at: seen.now, place: 0 }));
}

/// Stored unseen, it turns out to be live in another form than its consumers use: it is stored again, in that form.
#[test]
fn a_secret_that_is_live_in_another_form_is_stored_again() {
    let mut records = received();
    records.push(Record::Verified { at: now(), secret: secret(), format: None });
    records.push(Record::Stored { at: now(), place: 0, version: Version::new("1"), value: secret() });
    let (mut progress, mut seen) = after(&records);
    seen.now = now().checked_add(Duration::from_secs(6)).unwrap();
    seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    let ours = |fits| place(Holds::Ours { version: Version::new("1"), value: secret(), fits });
    seen.places[0].seen = Some(PlaceSeen { at: seen.now, ..ours(true) });
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Prefixed));
    let verified = Record::Verified { at: seen.now, secret: secret(), format: Some(KeyFormat::Prefixed) };
    let step = Step::Record(verified.clone());
    assert_eq!(next(&progress, &seen), step);
    progress.apply(&verified);
    seen.note(seen.now, &step, &Observation::Recorded(Ok(Duration::ZERO)));
    assert_eq!(progress.places, [At::Before(Version::new("1"))]);
    assert!(!is_cancellable(&progress));
    seen.places[0].seen = Some(ours(false));
    assert_eq!(next(&progress, &seen), Step::Act(Act::Store { place: 0, expected: Version::new("1") }));
}

/// Without the lock, what is in hand is put away, and nothing else is done.
#[test]
fn without_the_lock_nothing_is_begun() {
    let (progress, mut seen) = after(&received());
    seen.is_lock_lost = true;
    seen.escrow = Some(Escrow::Unusable(Digest::of(b"raw")));
    assert_eq!(next(&progress, &seen), Step::Stop(Stop::LockLost));
    seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    seen.ours = Some(Liveness::Live(KeyFormat::Whole));
    let verified = Record::Verified { at: now(), secret: secret(), format: Some(KeyFormat::Whole) };
    assert_eq!(next(&progress, &seen), Step::Record(verified));
}

/// Who may not list the keys may not create one: there is nothing to look for.
#[test]
fn a_refusal_is_believed_where_the_keys_may_not_be_listed() {
    let refused = Record::Refused { at: now(), status: 403, is_rixls_own: true };
    let creation = intent(Subject::Create(rixl_credentials::NewApiKey::new("billing")));
    let (progress, mut seen) = after(&[begun(creation), refused]);
    assert_eq!(progress.response, Response::Refused { status: 403, is_rixls_own: true });
    assert_eq!(next(&progress, &seen), Step::Look(Look::Keys));
    seen.keys = Some(Err(KeysFailure::Denied));
    seen.escrow = Some(Escrow::Nothing);
    assert_eq!(next(&progress, &seen), Step::Record(Record::Ended { at: now(), ending: Ending::Refused }));
}

/// Before it is believed, the old secret is tried; a place that is busy is waited for.
#[test]
fn a_refusal_is_not_believed_while_the_place_is_busy() {
    let refused = Record::Refused { at: now(), status: 403, is_rixls_own: true };
    let mut rotation = rotation();
    rotation.places[0].before.live_as = Some(KeyFormat::Whole);
    let (progress, mut seen) = after(&[begun(rotation), refused]);
    let holds = Err(super::seen::StoreFailure::Busy);
    let place =
        super::seen::PlaceSeen { at: now(), is_same: true, owner: Default::default(), is_elsewhere: false, holds };
    seen.places[0].seen = Some(place);
    let wait = super::seen::Wait::Retry(super::seen::Because::Place(0));
    assert_eq!(next(&progress, &seen), Step::Wait(wait));
}

fn later(seconds: u64) -> Timestamp {
    now().checked_add(Duration::from_secs(seconds)).unwrap()
}

fn verified() -> Vec<Record> {
    let mut records = received();
    records.push(Record::Verified { at: now(), secret: secret(), format: Some(KeyFormat::Whole) });
    records
}

fn with_escrow(records: &[Record]) -> (Progress, Seen) {
    let (progress, mut seen) = after(records);
    seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    (progress, seen)
}

fn recovery() -> Mandate {
    Mandate { stops_on_unknown: false, ..Mandate::LIVE }
}

/// Neither a read nor a write that fails for good is final where nothing but this process has the secret: a token may be renewed,
/// or a disk emptied.
#[test]
fn what_nothing_keeps_is_tried_for_as_long_as_there_is_patience() {
    let (progress, fresh) = with_escrow(&verified());
    let old = || Some(place(Holds::Before(Version::absent(), Digest::of(b"old"))));
    let store = Step::Act(Act::Store { place: 0, expected: Version::absent() });
    let wait = Step::Wait(Wait::Retry(Because::Place(0)));
    for is_kept in [true, false] {
        let after_failure = if is_kept { Step::Stop(Stop::NotStored) } else { wait.clone() };
        let mut seen = fresh.clone();
        (seen.is_kept, seen.tries.keep) = (Some(is_kept), 2);
        seen.places[0].seen = Some(PlaceSeen { holds: Err(StoreFailure::Permanent), ..place(Holds::WriteOnly) });
        assert_eq!(next(&progress, &seen), after_failure);
        for _ in 0..6 {
            seen.places[0].seen = old();
            assert_eq!(next(&progress, &seen), store);
            seen.note(now(), &store, &Observation::Stored(0, Err(StoreFailure::Permanent)));
            if is_kept {
                assert_eq!(next(&progress, &seen), after_failure);
                break;
            }
            seen.tries.keep = 2;
            assert_eq!(next(&progress, &seen), after_failure);
            seen.note(later(1), &wait, &Observation::Waited);
        }
        seen.now = later(120);
        seen.note(later(120), &store, &Observation::Stored(0, Err(StoreFailure::Permanent)));
        seen.tries.keep = 2;
        assert_eq!(next(&progress, &seen), Step::Stop(Stop::NotStored));
    }
}

/// The escrow may be back before the place is, or before this process ends.
#[test]
fn what_nothing_keeps_is_kept_again_before_each_wait() {
    let (progress, mut seen) = with_escrow(&verified());
    let (keep, wait) = (Step::Act(Act::Keep), Step::Wait(Wait::Retry(Because::Place(0))));
    (seen.is_kept, seen.tries.keep) = (Some(false), 1);
    for second in 1..9 {
        seen.places[0].seen = Some(PlaceSeen { holds: Err(StoreFailure::Busy), ..place(Holds::WriteOnly) });
        assert_eq!(next(&progress, &seen), keep);
        seen.note(later(second), &keep, &Observation::Kept(false));
        assert_eq!(next(&progress, &seen), wait);
        seen.note(later(second), &wait, &Observation::Waited);
    }
    seen.places[0].seen = Some(PlaceSeen { holds: Err(StoreFailure::Busy), ..place(Holds::WriteOnly) });
    seen.note(later(9), &keep, &Observation::Kept(true));
    assert_eq!(next(&progress, &seen), wait);
    // A new secret that comes alive is stored first.
    let (progress, mut seen) = with_escrow(&received());
    (seen.is_kept, seen.tries.keep, seen.ours) = (Some(false), 1, Some(Liveness::Dead));
    assert_eq!(next(&progress, &seen), Step::Wait(Wait::Retry(Because::Verify)));
}

/// The line that says so was never written: a recovery that finds neither it nor the escrow would take the response for lost.
#[test]
fn what_was_kept_late_is_said_to_have_ended_before_it_is_wiped() {
    let mut records = verified();
    records.push(Record::Stored { at: now(), place: 0, version: Version::new("1"), value: secret() });
    records.push(Record::Settled { at: now(), place: 0 });
    let (progress, mut seen) = with_escrow(&records);
    (seen.places[0].was_ours, seen.places[0].was_tried) = (true, true);
    let received = Step::Assume(Record::Received { at: now(), request_id: None });
    assert_eq!(next(&progress, &seen), Step::Act(Act::Close(Ending::Rotated)));
    seen.note(now(), &Step::Act(Act::Keep), &Observation::Kept(false));
    seen.note(now(), &received, &Observation::Assumed);
    seen.note(now(), &Step::Act(Act::Keep), &Observation::Kept(true));
    assert_eq!(next(&progress, &seen), Step::Record(Record::Ended { at: now(), ending: Ending::Rotated }));
}

/// Whatever passes is waited for: a place is neither given up nor written again at once because it can be read.
#[test]
fn a_write_that_failed_is_made_again_after_a_wait_and_for_as_long_as_there_is_patience() {
    let (progress, fresh) = with_escrow(&verified());
    let ours = || Holds::Ours { version: Version::absent(), value: secret(), fits: true };
    let (look, wait) = (Step::Look(Look::Place(0)), Step::Wait(Wait::Retry(Because::Place(0))));
    for (failure, holds) in [
        (StoreFailure::Busy, Holds::Nothing(Version::absent())),
        (StoreFailure::Conflict, Holds::Before(Version::absent(), Digest::of(b"old"))),
        (StoreFailure::Unknown, Holds::Before(Version::absent(), Digest::of(b"old"))),
        (StoreFailure::Unknown, ours()),
    ] {
        let store = Step::Act(Act::Store { place: 0, expected: Version::absent() });
        let mut seen = fresh.clone();
        let mut writes = 0;
        for second in 0.. {
            seen.note(later(second), &look, &Observation::Place(0, place(holds.clone())));
            assert_eq!(next(&progress, &seen), store, "{failure:?}");
            seen.note(later(second), &store, &Observation::Stored(0, Err(failure)));
            writes += 1;
            if failure == StoreFailure::Unknown {
                assert_eq!(next(&progress, &seen), look);
                seen.note(later(second), &look, &Observation::Place(0, place(holds.clone())));
            }
            let step = next(&progress, &seen);
            if step == Step::Stop(Stop::NotStored) {
                break;
            }
            assert_eq!(step, wait, "{failure:?}");
            seen.note(later(second + 1), &wait, &Observation::Waited);
        }
        // From the end of the first wait on.
        assert_eq!(writes, 62, "{failure:?}");
    }
}

/// The one that is waited for may never be back.
#[test]
fn a_place_that_fails_keeps_the_secret_from_no_other_that_failed_as_well() {
    let mut records = verified();
    let Record::Intent(begun) = &mut records[0] else { panic!("it begins with something else") };
    begun.intent.places.push(begun.intent.places[0].clone());
    begun.sending.held.push(begun.sending.held[0].clone());
    let (progress, _) = after(&records);
    let mut seen = Seen::new(now(), Mandate::LIVE, 2);
    seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    let store = |place| Step::Act(Act::Store { place, expected: Version::absent() });
    for _ in 0..2 {
        for index in [0, 1] {
            assert_eq!(next(&progress, &seen), Step::Look(Look::Place(index)));
            seen.places[index].seen = Some(place(Holds::Nothing(Version::absent())));
            assert_eq!(next(&progress, &seen), store(index));
            seen.note(now(), &store(index), &Observation::Stored(index, Err(StoreFailure::Busy)));
        }
        let wait = Step::Wait(Wait::Retry(Because::Place(0)));
        assert_eq!(next(&progress, &seen), wait);
        seen.note(now(), &wait, &Observation::Waited);
    }
}

/// A standby that lags is waited for, and only then is its word taken.
#[test]
fn what_was_just_written_is_not_disbelieved() {
    let (progress, mut seen) = with_escrow(&verified());
    let store = Step::Act(Act::Store { place: 0, expected: Version::absent() });
    seen.note(now(), &store, &Observation::Stored(0, Ok(Version::new("1"))));
    let before = |seen: &mut Seen, at| {
        let step = Step::Look(Look::Place(0));
        seen.note(at, &step, &Observation::Place(0, place(Holds::Nothing(Version::absent()))));
    };
    before(&mut seen, later(9));
    assert_eq!(next(&progress, &seen), Step::Wait(Wait::Retry(Because::Place(0))));
    before(&mut seen, later(10));
    assert_eq!(next(&progress, &seen), store);
}

/// What the place holds in a form that its consumers do not use is not stored yet.
#[test]
fn a_secret_in_another_form_is_not_there() {
    let (progress, mut seen) = with_escrow(&verified());
    let step = Step::Act(Act::Store { place: 0, expected: Version::absent() });
    seen.note(now(), &step, &Observation::Stored(0, Ok(Version::new("1"))));
    let holds = |fits| place(Holds::Ours { version: Version::new("1"), value: secret(), fits });
    seen.places[0].seen = Some(holds(true));
    assert!(matches!(next(&progress, &seen), Step::Record(Record::Stored { .. })));
    seen.places[0].seen = Some(holds(false));
    assert!(!matches!(next(&progress, &seen), Step::Record(Record::Stored { .. })));
}

/// Days may have passed since it settled: whoever closes it tries it once more, and is not held up where that can't be told.
#[test]
fn what_another_process_settled_is_tried_again() {
    let stored = Record::Stored { at: now(), place: 0, version: Version::new("1"), value: secret() };
    let records = [verified(), vec![stored, Record::Settled { at: now(), place: 0 }]].concat();
    let (progress, mut seen) = with_escrow(&records);
    assert_eq!(next(&progress, &seen), Step::Look(Look::Place(0)));
    let holds = place(Holds::Ours { version: Version::new("1"), value: secret(), fits: true });
    seen.note(now(), &Step::Look(Look::Place(0)), &Observation::Place(0, holds));
    // What RIXL refuses of a key that was deleted since says nothing.
    assert_eq!(next(&progress, &seen), Step::Look(Look::Key));
    seen.key = Some(KeySeen::Gone);
    assert_eq!(next(&progress, &seen), Step::Act(Act::Close(Ending::Rotated)));
    seen.key = Some(KeySeen::There);
    let probe = Step::Look(Look::Probe(Of::Place(0)));
    assert_eq!(next(&progress, &seen), probe);
    for liveness in [Liveness::Live(KeyFormat::Whole), Liveness::Unclear, Liveness::Dead] {
        seen.note(now(), &probe, &Observation::Probed(Of::Place(0), liveness));
        let is_over = matches!(next(&progress, &seen), Step::Act(Act::Close(Ending::Rotated)));
        assert_eq!(is_over, liveness != Liveness::Dead, "{liveness:?}");
    }
    assert!(matches!(next(&progress, &seen), Step::Record(Record::Lost { .. })));
    // It had settled before its key expired.
    seen.is_expired = true;
    assert_eq!(next(&progress, &seen), Step::Act(Act::Close(Ending::Rotated)));
}

/// Whoever has deleted it in the meantime wants no other.
#[test]
fn a_settled_key_that_was_ended_since_is_not_created_again() {
    let creation = intent(Subject::Create(rixl_credentials::NewApiKey::new("billing")));
    let mut records = vec![begun(creation)];
    records.extend(verified().into_iter().skip(1));
    records.push(Record::Stored { at: now(), place: 0, version: Version::new("1"), value: secret() });
    records.push(Record::Settled { at: now(), place: 0 });
    let (progress, mut seen) = with_escrow(&records);
    let holds = place(Holds::Ours { version: Version::new("1"), value: secret(), fits: true });
    seen.note(now(), &Step::Look(Look::Place(0)), &Observation::Place(0, holds));
    seen.places[0].liveness = Some(Liveness::Dead);
    assert_eq!(next(&progress, &seen), Step::Act(Act::Close(Ending::Created)));
}

/// A request that was recorded by a clock which is a day ahead holds recovery up for no longer than its window.
#[test]
fn a_clock_that_was_set_back_holds_nothing_up() {
    let ahead = Sending { at: later(86_400), ..sending(1) };
    let records =
        [Record::Intent(Box::new(Begun { intent: rotation(), sending: ahead })), Record::Unknown { at: now() }];
    let (progress, mut seen) = after(&records);
    seen.mandate = recovery();
    seen.escrow = Some(Escrow::Nothing);
    seen.places[0].seen = Some(place(Holds::Nothing(Version::absent())));
    assert_eq!(next(&progress, &seen), Step::Wait(Wait::Until(later(35), Because::Window)));
}

/// Nor is a request over because a clock was set ahead since.
#[test]
fn a_clock_that_was_set_ahead_ends_no_window() {
    let (progress, mut seen) = after(&[begun(rotation()), Record::Unknown { at: now() }]);
    (seen.now, seen.mandate, seen.escrow) = (later(3600), recovery(), Some(Escrow::Nothing));
    seen.places[0].seen = Some(place(Holds::Before(Version::absent(), Digest::of(b"old"))));
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    let is_waited_for = |seen: &Seen| matches!(next(&progress, seen), Step::Wait(Wait::Until(_, Because::Window)));
    assert!(!is_waited_for(&seen));
    seen.apart = SignedDuration::from_hours(-1);
    assert!(!is_waited_for(&seen), "RIXL is asked again first");
    seen.has_date = true;
    assert_eq!(next(&progress, &seen), Step::Wait(Wait::Until(later(3635), Because::Window)));
    seen.mandate.if_live = IfLive::Drop;
    assert!(is_waited_for(&seen));
    // It is asked once more before that counts again.
    let wait = Step::Wait(Wait::Until(later(3635), Because::Window));
    seen.note(later(3620), &wait, &Observation::Waited);
    assert!(!seen.has_date);
    (seen.now, seen.has_date) = (later(3635), true);
    assert!(!is_waited_for(&seen));
}

/// One that may be carried out after the request that came next was counted by the same clock.
#[test]
fn a_clock_that_was_set_ahead_ends_no_window_of_an_earlier_request() {
    let old = Digest::of(b"old");
    let lost = Record::Lost { at: now(), why: Why::OldIsDead, is_spent: true, unheard_until: Some(later(35)) };
    let mut records = vec![begun(rotation()), Record::Unknown { at: now() }, lost];
    let ahead = |seen: &mut Seen, at| {
        (seen.now, seen.apart, seen.has_date) = (at, SignedDuration::from_hours(-1), true);
    };
    let (progress, mut seen) = after(&records);
    ahead(&mut seen, later(3601));
    (seen.mandate, seen.escrow, seen.has_turn) = (recovery(), Some(Escrow::Nothing), true);
    (seen.key, seen.authorizer, seen.is_reserved) = (Some(KeySeen::There), Some(Authorizer::Fine), Some(true));
    seen.places[0].seen = Some(place(Holds::Before(Version::absent(), old)));
    (seen.places[0].is_prepared, seen.places[0].liveness) = (true, Some(Liveness::Dead));
    let Step::Record(Record::Sending(second)) = next(&progress, &seen) else { panic!() };
    assert_eq!((second.unheard_until, second.ahead_s), (Some(later(3635)), -3600));

    records.push(Record::Sending(Sending { unheard_until: Some(later(35)), ..sending(2) }));
    records.extend(verified().into_iter().skip(1));
    records.push(Record::Stored { at: now(), place: 0, version: Version::new("1"), value: secret() });
    let (progress, mut seen) = with_escrow(&records);
    ahead(&mut seen, later(3610));
    let holds = Holds::Ours { version: Version::new("1"), value: secret(), fits: true };
    seen.places[0].seen = Some(PlaceSeen { at: seen.now, ..place(holds) });
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    assert_eq!(next(&progress, &seen), Step::Wait(Wait::Until(later(3635), Because::Quiet)));
}

/// It is how far they are apart since then that counts: a machine whose clock is always wrong waits no longer than another.
#[test]
fn clocks_that_stay_apart_hold_nothing_up() {
    let hour = SignedDuration::from_hours(1);
    for (then, now_apart, waits) in [
        (SignedDuration::ZERO, SignedDuration::ZERO, false),
        (-hour, -hour, false),
        (hour, hour, false),
        (-hour, SignedDuration::ZERO, false),
        // Recorded by one that was set back, or read by one that was set ahead, or by another machine's.
        (hour, SignedDuration::ZERO, true),
        (SignedDuration::ZERO, -hour, true),
    ] {
        let sending = Sending { ahead_s: then.as_secs(), ..sending(1) };
        let begun = Record::Intent(Box::new(Begun { intent: rotation(), sending }));
        let (progress, mut seen) = after(&[begun, Record::Unknown { at: now() }]);
        (seen.now, seen.mandate, seen.escrow) = (later(36), recovery(), Some(Escrow::Nothing));
        (seen.apart, seen.has_date) = (now_apart, true);
        seen.places[0].seen = Some(place(Holds::Before(Version::absent(), Digest::of(b"old"))));
        seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
        let step = next(&progress, &seen);
        assert_eq!(
            matches!(step, Step::Wait(Wait::Until(_, Because::Window))),
            waits,
            "{then:?} {now_apart:?} {step:?}"
        );
    }
}

/// What came back when the request was about to be looked at: a login page, or the secret that was there before.
fn unusable(places_hold: Option<KeyFormat>) -> (Progress, Seen) {
    let mut rotation = rotation();
    rotation.places[0].before.live_as = places_hold;
    let (progress, mut seen) = after(&[begun(rotation)]);
    seen.may_send = true;
    seen.places[0].has_before = true;
    let sent = Observation::Sent(Sent::Bytes, Escrow::Unusable(Digest::of(b"page")));
    seen.note(now(), &Step::Act(Act::Send), &sent);
    (progress, seen)
}

/// It is kept, for people may find more in it, and says as little of the request as no response.
#[test]
fn a_response_without_a_new_secret_says_nothing_of_the_request() {
    for is_kept in [true, false] {
        let (mut progress, mut seen) = unusable(Some(KeyFormat::Whole));
        assert_eq!(next(&progress, &seen), Step::Act(Act::Keep));
        seen.note(now(), &Step::Act(Act::Keep), &Observation::Kept(is_kept));
        let unknown = Step::Record(Record::Unknown { at: now() });
        assert_eq!(next(&progress, &seen), unknown);
        progress.apply(&Record::Unknown { at: now() });
        seen.note(now(), &unknown, &Observation::Recorded(Ok(Duration::ZERO)));
        assert_eq!((progress.effect(), progress.requests.is_spent), (Effect::Unknown, false));
        // The old secret tells.
        let probe = Step::Look(Look::Probe(Of::Before(0)));
        assert_eq!(next(&progress, &seen), probe);
        seen.note(now(), &probe, &Observation::Probed(Of::Before(0), Liveness::Dead));
        let lost = Record::Lost { at: now(), why: Why::NoSecret, is_spent: true, unheard_until: None };
        assert_eq!(next(&progress, &seen), Step::Record(lost));
        seen.places[0].before = Some(Liveness::Live(KeyFormat::Whole));
        seen.tries.keep = 2;
        assert_eq!(next(&progress, &seen), Step::Stop(Stop::Unknown));
    }
    // Nor where there was none that could tell.
    let (mut progress, mut seen) = unusable(None);
    seen.is_kept = Some(true);
    progress.apply(&Record::Unknown { at: now() });
    seen.sent = None;
    assert_eq!(next(&progress, &seen), Step::Stop(Stop::Unknown));
}

/// Recovery does as where nothing arrived: it waits until the request is over, and asks again within the budget.
#[test]
fn a_recovery_takes_a_response_without_a_new_secret_for_none() {
    for recorded in [None, Some(Record::Unknown { at: now() })] {
        let records: Vec<Record> = [Some(begun(rotation())), recorded].into_iter().flatten().collect();
        let (mut progress, mut seen) = after(&records);
        (seen.mandate, seen.escrow) = (recovery(), Some(Escrow::Unusable(Digest::of(b"page"))));
        seen.places[0].seen = Some(place(Holds::Before(Version::absent(), Digest::of(b"old"))));
        seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
        assert_eq!(next(&progress, &seen), Step::Wait(Wait::Until(later(35), Because::Window)));
        seen.mandate.if_live = IfLive::Drop;
        seen.now = later(35);
        assert_eq!(next(&progress, &seen), Step::Record(Record::Ended { at: later(35), ending: Ending::Dropped }));
        // Nor does what is left in escrow say so once another request is recorded.
        let sending = Sending { stale: Some(Digest::of(b"page")), is_void: true, ..sending(2) };
        progress.apply(&Record::Sending(sending));
        assert_eq!((progress.effect(), progress.requests.is_spent), (Effect::Unknown, false));
    }
}

#[test]
fn what_was_recorded_and_then_cancelled_is_not_sent() {
    let (progress, mut seen) = after(&[begun(rotation())]);
    seen.may_send = true;
    assert_eq!(next(&progress, &seen), Step::Act(Act::Send));
    seen.is_cancelled = true;
    assert_eq!(next(&progress, &seen), Step::Record(Record::NotSent { at: now() }));
}

/// No request brings a key back that has expired; a secret that is live says that it has not.
#[test]
fn an_end_by_this_clock_is_not_believed_against_a_live_secret() {
    let old = Digest::of(b"old");
    let (progress, mut seen) = after(&[begun(rotation()), Record::Unknown { at: now() }]);
    (seen.now, seen.mandate, seen.escrow, seen.is_expired) = (later(60), recovery(), Some(Escrow::Nothing), true);
    seen.key = Some(KeySeen::Expired);
    seen.places[0].seen = Some(place(Holds::Before(Version::absent(), old)));
    seen.places[0].liveness = Some(Liveness::Dead);
    assert_eq!(next(&progress, &seen), Step::Record(Record::Ended { at: later(60), ending: Ending::Abandoned }));
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    let step = next(&progress, &seen);
    assert!(!matches!(step, Step::Record(Record::Ended { .. })), "{step:?}");
}

/// It is looked for directly before another request, and a request that is under way may move its end yet.
#[test]
fn a_key_is_looked_for_before_another_request() {
    let old = Digest::of(b"old");
    let lost = Record::Lost { at: now(), why: Why::OldIsDead, is_spent: true, unheard_until: Some(later(35)) };
    let (progress, mut seen) = after(&[begun(rotation()), Record::Unknown { at: now() }, lost]);
    (seen.mandate, seen.escrow, seen.is_expired) = (recovery(), Some(Escrow::Nothing), true);
    seen.places[0].seen = Some(place(Holds::Before(Version::absent(), old)));
    seen.places[0].liveness = Some(Liveness::Dead);
    assert_eq!(next(&progress, &seen), Step::Look(Look::Key));
    seen.key = Some(KeySeen::Expired);
    let wait = Step::Wait(Wait::Until(later(35), Because::Window));
    assert_eq!(next(&progress, &seen), wait);
    seen.note(later(35), &wait, &Observation::Waited);
    seen.escrow = Some(Escrow::Nothing);
    assert_eq!(next(&progress, &seen), Step::Look(Look::Key));
    let abandoned = Step::Record(Record::Ended { at: later(35), ending: Ending::Abandoned });
    seen.key = Some(KeySeen::Expired);
    assert_eq!(next(&progress, &seen), abandoned);
    // It is listed once where lists fail, and nobody waits for one.
    seen.key = Some(KeySeen::Unknown);
    assert_eq!(next(&progress, &seen), Step::Look(Look::Turn));
    seen.key = Some(KeySeen::Gone);
    assert_eq!(next(&progress, &seen), Step::Stop(Stop::KeyGone));
    seen.mandate.if_live = IfLive::Drop;
    assert_eq!(next(&progress, &seen), abandoned);
    seen.mandate = Mandate { again: true, ..recovery() };
    assert_eq!(next(&progress, &seen), Step::Look(Look::Turn));
}

/// Nobody can tell whether the old secret is live where nothing can be read back.
#[test]
fn a_lost_response_for_a_place_that_can_not_be_read_back_is_for_the_user() {
    let (progress, mut seen) = after(&[begun(rotation()), Record::Unknown { at: now() }]);
    seen.mandate = recovery();
    seen.escrow = Some(Escrow::Nothing);
    seen.places[0].seen = Some(place(Holds::WriteOnly));
    assert_eq!(next(&progress, &seen), Step::Stop(Stop::Undecidable));
}

/// A replacement whose old key is to be deleted next.
fn settled_replacement() -> Vec<Record> {
    let subject = Subject::Replace {
        key_id: "XyZ9aB8cD1".parse().unwrap(),
        new: rixl_credentials::NewApiKey::new("billing"),
        grace_ms: 0,
        expires: false,
    };
    vec![
        begun(intent(subject)),
        Record::Received { at: now(), request_id: None },
        Record::Verified { at: now(), secret: secret(), format: Some(KeyFormat::Whole) },
        Record::Stored { at: now(), place: 0, version: Version::new("1"), value: secret() },
        Record::Settled { at: now(), place: 0 },
    ]
}

/// A list may lack a key that is there: two in a row did in the exploration. What RIXL says that it deleted is gone as soon as
/// one lacks it.
#[test]
fn a_key_that_lists_lack_is_not_taken_for_deleted_at_once() {
    let (progress, mut seen) = with_escrow(&settled_replacement());
    let lacking =
        || Observation::Keys(Ok(KeysSeen { predecessor: None, end: None, is_less: false, orphans: Vec::new() }));
    let (look, wait) = (Step::Look(Look::Keys), Step::Wait(Wait::Retry(Because::Keys)));
    for _ in 0..2 {
        seen.note(now(), &look, &lacking());
        assert_eq!(next(&progress, &seen), wait);
        seen.note(now(), &wait, &Observation::Waited);
        seen.escrow = Some(Escrow::Secret { raw: Digest::of(b"raw"), secret: secret() });
    }
    let mut said = seen.clone();
    seen.note(now(), &look, &lacking());
    assert_eq!(next(&progress, &seen), Step::Record(Record::Retired { at: now() }));
    for (is_said, step) in [(true, Step::Record(Record::Retired { at: now() })), (false, wait)] {
        said.note(now(), &Step::Act(Act::Retire), &Observation::Retired(is_said));
        said.escrow = seen.escrow;
        said.note(now(), &look, &lacking());
        assert_eq!(next(&progress, &said), step, "{is_said}");
    }
}

/// Nobody who reads the journal would know of it.
#[test]
fn no_end_is_asked_for_that_is_not_recorded() {
    const HOUR: u64 = 3_600;
    let subject = Subject::Replace {
        key_id: "XyZ9aB8cD1".parse().unwrap(),
        new: rixl_credentials::NewApiKey::new("billing"),
        grace_ms: HOUR * 1_000,
        expires: true,
    };
    let mut records = settled_replacement();
    records[0] = begun(intent(subject));
    let end = later(HOUR);
    let ends =
        [Record::SettingEnd { at: now(), until: end }, Record::EndsAt { at: now(), until: end, last_used: None }];
    // The first one, and one that is later since the key was used.
    for (known, has_end, used) in [(&ends[..0], None, None), (&ends[..], Some(end), Some(later(HOUR / 2)))] {
        for is_written in [true, false] {
            let (mut progress, mut seen) = with_escrow(&[records.clone(), known.to_vec()].concat());
            seen.now = later(HOUR * 3 / 4);
            let keys = KeysSeen { predecessor: Some(used), end: has_end, is_less: false, orphans: Vec::new() };
            let fresh = |seen: &mut Seen| {
                seen.keys = Some(Ok(keys.clone()));
                seen.authorizer = Some(Authorizer::Fine);
                see_ours(seen);
                seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
            };
            fresh(&mut seen);
            let step = next(&progress, &seen);
            let Step::Record(record @ Record::SettingEnd { .. }) = &step else { panic!("{step:?}") };
            progress.apply(record);
            let result = if is_written { Ok(Duration::ZERO) } else { Err(()) };
            seen.note(seen.now, &step, &Observation::Recorded(result));
            fresh(&mut seen);
            let is_asked = matches!(next(&progress, &seen), Step::Act(Act::SetEnd(_)));
            assert_eq!(is_asked, is_written, "{has_end:?}");
        }
    }
}

/// The line that says that a key is about to be deleted takes time itself.
#[test]
fn what_was_seen_before_the_deletion_was_recorded_does_not_count() {
    let (mut progress, mut seen) = with_escrow(&settled_replacement());
    let fresh = |seen: &mut Seen| {
        seen.keys = Some(Ok(KeysSeen { predecessor: Some(None), end: None, is_less: false, orphans: Vec::new() }));
        seen.was_used = Some(None);
        seen.authorizer = Some(Authorizer::Fine);
        seen.places[0].seen = Some(place(Holds::Ours { version: Version::new("1"), value: secret(), fits: true }));
        seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    };
    fresh(&mut seen);
    let step = next(&progress, &seen);
    let retiring = Record::Retiring { at: now() };
    assert_eq!(step, Step::Record(retiring.clone()));
    progress.apply(&retiring);
    seen.note(now(), &step, &Observation::Recorded(Ok(Duration::ZERO)));
    assert_eq!(next(&progress, &seen), Step::Look(Look::Keys));
    fresh(&mut seen);
    assert_eq!(next(&progress, &seen), Step::Act(Act::Retire));
}

/// Who may neither list keys nor delete one is not held up for ever: the old key stays.
#[test]
fn a_key_that_can_not_be_deleted_is_kept_by_who_gives_it_up() {
    for (keys, was_retired) in [
        (Err(KeysFailure::Denied), None),
        (Ok(KeysSeen { predecessor: Some(None), end: None, is_less: false, orphans: Vec::new() }), Some(false)),
    ] {
        for (if_live, expected) in [(IfLive::Rotate, None), (IfLive::Drop, Some(Ending::Created))] {
            let (progress, mut seen) = with_escrow(&settled_replacement());
            seen.mandate.if_live = if_live;
            seen.patience_ends = Some(now());
            (seen.keys, seen.was_retired) = (Some(keys.clone()), was_retired);
            see_ours(&mut seen);
            seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
            match (next(&progress, &seen), expected) {
                (Step::Act(Act::Close(ending)), Some(expected)) => assert_eq!(ending, expected),
                (Step::Stop(Stop::NotRetired(_)), None) => {}
                (step, _) => panic!("{keys:?}, {if_live:?}: {step:?}"),
            }
        }
    }
}

/// A gateway that repeats requests may refuse the second, and no place tells.
#[test]
fn a_gateways_refusal_is_not_believed_where_nothing_tells() {
    for (is_rixls_own, mandate, expected) in [
        (true, Mandate::LIVE, Step::Record(Record::Ended { at: now(), ending: Ending::Refused })),
        (false, Mandate::LIVE, Step::Stop(Stop::Unknown)),
        (false, recovery(), Step::Look(Look::Place(0))),
    ] {
        let (progress, mut seen) =
            after(&[begun(rotation()), Record::Refused { at: now(), status: 403, is_rixls_own }]);
        seen.mandate = mandate;
        seen.escrow = Some(Escrow::Nothing);
        assert_eq!(next(&progress, &seen), expected);
    }
}

/// RIXL may accept a secret of which it says nothing now.
#[test]
fn a_secret_that_may_be_live_is_neither_taken_for_lost_nor_wiped() {
    let (progress, mut seen) = with_escrow(&received());
    seen.mandate.again = true;
    seen.tries.verify = 3;
    seen.places[0].seen = Some(place(Holds::Before(Version::new("1"), Digest::of(b"old"))));
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    for (liveness, is_lost) in [(Liveness::Unclear, false), (Liveness::Dead, true)] {
        seen.ours = Some(liveness);
        let step = next(&progress, &seen);
        assert_eq!(matches!(step, Step::Record(Record::Lost { .. })), is_lost, "{liveness:?}: {step:?}");
    }
    let lost = |why| Record::Lost { at: now(), why, is_spent: true, unheard_until: None };
    let records = [2, 3].map(|number| vec![lost(Why::NeverLive), Record::Sending(sending(number))]).concat();
    let (progress, mut seen) = with_escrow(&[received(), records, vec![lost(Why::NeverLive)]].concat());
    seen.mandate.if_live = IfLive::Drop;
    assert_eq!(next(&progress, &seen), Step::Look(Look::Probe(Of::Ours)));
    for (liveness, is_wiped) in
        [(Liveness::Unclear, false), (Liveness::Live(KeyFormat::Whole), false), (Liveness::Dead, true)]
    {
        seen.ours = Some(liveness);
        let step = next(&progress, &seen);
        assert_eq!(matches!(step, Step::Record(Record::Ended { .. })), is_wiped, "{liveness:?}: {step:?}");
    }
}

/// What configures the machine puts the old one back, and both are live: the new one is stored again, and its grace begins anew.
/// Where RIXL ends the old one by itself, where somebody has ended the new one, and of what is another's, a user is told.
#[test]
fn what_is_put_back_during_a_grace_is_stored_again() {
    let before = || Holds::Before(Version::new("2"), Digest::of(b"old"));
    let other = || Holds::Other(Version::new("2"), Digest::of(b"other"));
    let (live, dead) = (Liveness::Live(KeyFormat::Whole), Liveness::Dead);
    let key = |expires| {
        let new = rixl_credentials::NewApiKey::new("billing");
        Subject::Replace { key_id: "XyZ9aB8cD1".parse().unwrap(), new, grace_ms: 0, expires }
    };
    for (subject, holds, ours, is_stored) in [
        (credential(0), before(), live, true),
        (credential(0), Holds::Nothing(Version::new("2")), live, true),
        (credential(0), before(), dead, false),
        (credential(0), other(), live, false),
        (key(false), before(), live, true),
        (key(true), before(), live, false),
    ] {
        let mut records = settled_replacement();
        records[0] = begun(intent(subject));
        records.push(Record::Retiring { at: now() });
        let (progress, mut seen) = with_escrow(&records);
        seen.keys =
            Some(Ok(KeysSeen { predecessor: Some(None), end: Some(now()), is_less: false, orphans: Vec::new() }));
        seen.was_used = Some(None);
        seen.authorizer = Some(Authorizer::Fine);
        seen.places[0].seen = Some(place(holds.clone()));
        seen.places[0].liveness = Some(live);
        seen.ours = Some(ours);
        let step = match is_stored {
            true => Step::Record(Record::Missing { at: now(), place: 0, version: Version::new("2") }),
            false => Step::Stop(Stop::NotRetired(NotRetired::Place(0))),
        };
        assert_eq!(next(&progress, &seen), step, "{:?}: {holds:?}, {ours:?}", progress.intent.subject);
    }
}

/// Someone else's secret in the place says that ours, seen live before, may be dead by now.
#[test]
fn another_secret_makes_what_was_seen_of_ours_old() {
    let (_, mut seen) = with_escrow(&verified());
    seen.ours = Some(Liveness::Live(KeyFormat::Whole));
    let other = place(Holds::Other(Version::new("2"), Digest::of(b"other")));
    seen.note(now(), &Step::Look(Look::Place(0)), &Observation::Place(0, other));
    assert_eq!(seen.ours, None);
}

/// The response before counts again after a refusal, but not where a request since then may have been carried out.
#[test]
fn an_earlier_response_counts_again_only_where_nothing_was_sent_unheard_since() {
    let again = |number, unheard_until| {
        Record::Sending(Sending { stale: Some(Digest::of(b"raw")), unheard_until, ..sending(number) })
    };
    let refused = || Record::Refused { at: now(), status: 403, is_rixls_own: true };
    let mut records = received();
    records.push(again(2, None));
    let unheard = vec![Record::Unknown { at: now() }, again(3, Some(later(35)))];
    for (between, goes_back) in [(vec![], true), (unheard, false)] {
        let records = [records.clone(), between, vec![refused()]].concat();
        let (progress, mut seen) = after(&records);
        seen.escrow = Some(Escrow::Stale);
        let step = next(&progress, &seen);
        assert_eq!(matches!(step, Step::Record(Record::Back { .. })), goes_back, "{step:?}");
    }
}

/// A secret that was not confirmed to be live does not replace one that may be.
#[test]
fn an_unconfirmed_secret_does_not_replace_one_that_may_be_live() {
    let old = Digest::of(b"old");
    let (progress, mut seen) = with_escrow(&received());
    seen.ours = Some(Liveness::Dead);
    seen.tries.verify = 3;
    seen.places[0].seen = Some(place(Holds::Before(Version::new("1"), old)));
    assert_eq!(next(&progress, &seen), Step::Look(Look::Probe(Of::Place(0))));
    for (liveness, is_stored) in
        [(Liveness::Dead, true), (Liveness::Unclear, false), (Liveness::Live(KeyFormat::Whole), false)]
    {
        seen.places[0].liveness = Some(liveness);
        let step = next(&progress, &seen);
        assert_eq!(matches!(step, Step::Record(Record::Verified { .. })), is_stored, "{liveness:?}: {step:?}");
        assert!(is_stored || step == Step::Stop(Stop::Unconfirmed));
    }
}

/// That one place holds a live secret does not mean that the other does.
#[test]
fn an_unconfirmed_secret_is_dropped_as_live_only_where_every_place_is() {
    let intent = Intent { places: [rotation().places, rotation().places].concat(), ..rotation() };
    let (progress, one) = with_escrow(&[vec![begun(intent)], received().split_off(1)].concat());
    let mut seen = Seen { escrow: one.escrow, ..Seen::new(now(), Mandate::LIVE, 2) };
    seen.mandate.if_live = IfLive::Drop;
    seen.ours = Some(Liveness::Dead);
    seen.tries.verify = 3;
    for seat in &mut seen.places {
        seat.seen = Some(place(Holds::Before(Version::new("1"), Digest::of(b"old"))));
    }
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    assert_eq!(next(&progress, &seen), Step::Look(Look::Probe(Of::Place(1))));
    for (liveness, ending) in [(Liveness::Dead, Ending::Abandoned), (Liveness::Live(KeyFormat::Whole), Ending::Dropped)]
    {
        seen.places[1].liveness = Some(liveness);
        assert_eq!(next(&progress, &seen), Step::Record(Record::Ended { at: now(), ending }));
    }
}

/// The other place holds a secret that somebody has ended since: with the one that can't be read, none would be left.
#[test]
fn a_place_is_given_up_only_while_the_secret_is_live() {
    let places = [0, 1].map(|place| {
        let stored = Record::Stored { at: now(), place, version: Version::new("1"), value: secret() };
        vec![stored, Record::Settled { at: later(5), place }]
    });
    let intent = Intent { places: [rotation().places, rotation().places].concat(), ..rotation() };
    let (progress, one) = with_escrow(&[vec![begun(intent)], verified().split_off(1), places.concat()].concat());
    let mut seen = Seen { escrow: one.escrow, ..Seen::new(now(), Mandate::LIVE, 2) };
    seen.mandate.if_live = IfLive::Drop;
    seen.places[0].seen = Some(PlaceSeen { holds: Err(StoreFailure::Permanent), ..place(Holds::WriteOnly) });
    seen.places[1].seen = Some(place(Holds::Ours { version: Version::new("1"), value: secret(), fits: true }));
    assert_eq!(next(&progress, &seen), Step::Look(Look::Probe(Of::Ours)));
    for (liveness, is_given_up) in [(Liveness::Dead, false), (Liveness::Live(KeyFormat::Whole), true)] {
        seen.ours = Some(liveness);
        let step = next(&progress, &seen);
        assert_eq!(matches!(step, Step::Record(Record::GivenUp { place: 0, .. })), is_given_up, "{step:?}");
        assert_eq!(matches!(step, Step::Record(Record::Lost { .. })), !is_given_up, "{step:?}");
    }
}

/// A rotation that is over only once its step has run, a probe takes the secret, and its consumers do.
fn demanding() -> Intent {
    let step = Deploy { words: vec!["true".into()], folder: "/".into(), timeout_ms: 1, is_batched: false };
    Intent {
        deploy: Some(step),
        probes: vec![ProbeBy::Url { url: "https://example.com/".into() }],
        acks: Some(Acks { at: AcksAt::Folder("/acks".into()), names: vec!["api".into()], within_ms: 60_000 }),
        used_within_ms: Some(60_000),
        ..rotation()
    }
}

/// It is stored, and nothing else is done. The process has seen nothing.
fn stored(intent: Intent) -> (Progress, Seen) {
    let stored = Record::Stored { at: now(), place: 0, version: Version::new("1"), value: secret() };
    with_escrow(&[vec![begun(intent)], verified().split_off(1), vec![stored]].concat())
}

fn see_ours(seen: &mut Seen) {
    let holds = place(Holds::Ours { version: Version::new("1"), value: secret(), fits: true });
    seen.note(seen.now, &Step::Look(Look::Place(0)), &Observation::Place(0, holds));
}

/// Whoever died before may have left the place to somebody else.
#[test]
fn a_place_is_looked_at_before_it_is_deployed_and_before_it_is_proven() {
    let deployed = Record::Deployed { at: now() };
    for (records, act) in [(vec![], Act::Deploy), (vec![deployed], Act::Prove)] {
        let (mut progress, mut seen) = stored(demanding());
        records.iter().for_each(|record| progress.apply(record));
        assert_eq!(next(&progress, &seen), Step::Look(Look::Place(0)), "{act:?}");
        see_ours(&mut seen);
        assert_eq!(next(&progress, &seen), Step::Act(act.clone()));
        let nothing = place(Holds::Nothing(Version::absent()));
        seen.note(now(), &Step::Look(Look::Place(0)), &Observation::Place(0, nothing));
        seen.ours = Some(Liveness::Live(KeyFormat::Whole));
        let Step::Record(missing @ Record::Missing { .. }) = next(&progress, &seen) else { panic!("{act:?}") };
        let mut again = progress.clone();
        again.apply(&missing);
        assert!(matches!(next(&again, &seen), Step::Act(Act::Store { .. })), "{act:?}");
        assert!(again.is_to_deploy() && again.is_to_prove(), "{act:?}");
        // What was given up is.
        seen.mandate.if_live = IfLive::Drop;
        seen.places[0].seen.as_mut().unwrap().is_same = false;
        assert!(!matches!(next(&progress, &seen), Step::Act(_) | Step::Stop(_)), "{act:?}");
    }
}

/// The service that is asked may run with the old secret until it is deployed.
#[test]
fn what_was_not_deployed_is_not_proven() {
    let (progress, mut seen) = stored(demanding());
    seen.note(now(), &Step::Act(Act::Deploy), &Observation::Deployed(false));
    see_ours(&mut seen);
    seen.used = Some(false);
    let step = next(&progress, &seen);
    assert!(!matches!(step, Step::Act(Act::Prove)), "{step:?}");
}

#[test]
fn a_probe_that_refuses_is_run_a_few_times_and_one_that_says_nothing_as_long_as_there_is_patience() {
    for proof in [Proof::Refused, Proof::Unclear] {
        let (mut progress, mut seen) = stored(demanding());
        progress.apply(&Record::Deployed { at: now() });
        let mut runs = 0;
        loop {
            see_ours(&mut seen);
            assert_eq!(next(&progress, &seen), Step::Act(Act::Prove));
            seen.note(seen.now, &Step::Act(Act::Prove), &Observation::Proven(proof));
            runs += 1;
            let step = next(&progress, &seen);
            if !matches!(step, Step::Wait(Wait::Retry(Because::Proof))) {
                break;
            }
            let after = seen.now.checked_add(Duration::from_millis(500)).unwrap();
            seen.note(after, &step, &Observation::Waited);
        }
        let has_patience = seen.now < later(60);
        assert_eq!((runs == 3, has_patience), (proof == Proof::Refused, proof == Proof::Refused), "{proof:?}: {runs}");
        // A user may give it up.
        seen.mandate.if_live = IfLive::Drop;
        seen.used = Some(false);
        let step = next(&progress, &seen);
        assert!(!matches!(step, Step::Wait(Wait::Retry(Because::Proof)) | Step::Act(Act::Prove)), "{step:?}");
    }
}

/// The next probe of this run's own would hide it.
#[test]
fn another_use_is_looked_for_before_the_quiet_time_is_over() {
    let (mut progress, mut seen) = stored(demanding());
    [Record::Deployed { at: now() }, Record::Proven { at: now() }].iter().for_each(|record| progress.apply(record));
    assert_eq!(next(&progress, &seen), Step::Look(Look::Use));
    seen.used = Some(true);
    assert_eq!(next(&progress, &seen), Step::Record(Record::Used { at: now() }));
    seen.used = Some(false);
    assert_eq!(next(&progress, &seen), Step::Wait(Wait::Until(later(5), Because::Quiet)));
}

/// A slow disk, or a slow store of another place: the quiet time is over without having been waited for.
#[test]
fn what_was_seen_before_the_quiet_time_was_over_does_not_settle() {
    let (progress, mut seen) = stored(rotation());
    see_ours(&mut seen);
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    seen.now = later(9);
    let wait = Step::Wait(Wait::Until(later(5), Because::Quiet));
    assert_eq!(next(&progress, &seen), wait);
    seen.note(later(9), &wait, &Observation::Waited);
    assert_eq!(next(&progress, &seen), Step::Look(Look::Place(0)));
    see_ours(&mut seen);
    let place = seen.places[0].seen.as_mut().unwrap();
    place.at = later(9);
    seen.places[0].liveness = Some(Liveness::Live(KeyFormat::Whole));
    assert_eq!(next(&progress, &seen), Step::Record(Record::Settled { at: later(9), place: 0 }));
}

#[test]
fn consumers_are_waited_for_until_their_time_is_over() {
    let (mut progress, mut seen) = stored(demanding());
    let settled = Record::Settled { at: now(), place: 0 };
    [Record::Deployed { at: now() }, Record::Proven { at: now() }, settled]
        .iter()
        .for_each(|record| progress.apply(record));
    (seen.used, seen.acks) = (Some(false), None);
    assert_eq!(next(&progress, &seen), Step::Look(Look::Acks));
    seen.acks = Some(Acked::ByAll);
    assert_eq!(next(&progress, &seen), Step::Record(Record::Taken { at: now() }));
    seen.acks = Some(Acked::NotByAll);
    assert_eq!(next(&progress, &seen), Step::Wait(Wait::Retry(Because::Taken)));
    // To wait would not bring this process there.
    seen.acks = Some(Acked::OutOfReach);
    assert_eq!(next(&progress, &seen), Step::Stop(Stop::NotTaken));
    seen.acks = Some(Acked::NotByAll);
    seen.now = later(60);
    assert_eq!(next(&progress, &seen), Step::Stop(Stop::NotTaken));
    seen.mandate.if_live = IfLive::Drop;
    assert!(!matches!(next(&progress, &seen), Step::Wait(_) | Step::Stop(_)));
}

/// It was deployed and proven, and the next secret is not.
#[test]
fn what_is_stored_anew_is_deployed_and_proven_anew() {
    let (mut progress, mut seen) = stored(demanding());
    seen.note(now(), &Step::Act(Act::Deploy), &Observation::Deployed(true));
    seen.note(now(), &Step::Act(Act::Prove), &Observation::Proven(Proof::Taken));
    [Record::Deployed { at: now() }, Record::Proven { at: now() }].iter().for_each(|record| progress.apply(record));
    let store = Step::Act(Act::Store { place: 0, expected: Version::absent() });
    seen.note(now(), &store, &Observation::Stored(0, Ok(Version::new("2"))));
    let stored = Record::Stored { at: now(), place: 0, version: Version::new("2"), value: secret() };
    progress.apply(&stored);
    seen.note(now(), &Step::Record(stored), &Observation::Recorded(Ok(Duration::ZERO)));
    see_ours(&mut seen);
    assert_eq!(next(&progress, &seen), Step::Act(Act::Deploy));
}

/// Patience is for what is tried in vain. A place that was busy and then took the secret, or a step that took its time, leaves
/// the probes as much as there was.
#[test]
fn patience_begins_anew_once_something_is_done() {
    let stored_now = Record::Stored { at: later(50), place: 0, version: Version::new("1"), value: secret() };
    let done = [
        (Step::Record(stored_now), Observation::Recorded(Ok(Duration::ZERO))),
        (Step::Act(Act::Deploy), Observation::Deployed(true)),
    ];
    for (step, observation) in done {
        let (mut progress, mut seen) = stored(demanding());
        seen.note(now(), &Step::Wait(Wait::Retry(Because::Place(0))), &Observation::Waited);
        assert!(!Seen { now: later(60), ..seen.clone() }.has_patience());
        seen.note(later(50), &step, &observation);
        progress.apply(&Record::Deployed { at: later(50) });
        see_ours(&mut seen);
        seen.note(later(70), &Step::Act(Act::Prove), &Observation::Proven(Proof::Unclear));
        assert_eq!(next(&progress, &seen), Step::Wait(Wait::Retry(Because::Proof)), "{step:?}");
    }
}

/// An entry that was begun before consumers could have a field.
#[test]
fn where_consumers_acknowledge_is_recorded_whole() {
    let folder = Acks { at: AcksAt::Folder("/acks".into()), names: vec!["api".into()], within_ms: 1 };
    let text = r#"{"folder":"/acks","names":["api"],"within_ms":1}"#;
    assert_eq!(serde_json::to_string(&folder).unwrap(), text);
    assert_eq!(serde_json::from_str::<Acks>(text).unwrap(), folder);
    let (path, server) = ("vault:kv/acks".to_owned(), Some("https://vault.example (namespace team)".to_owned()));
    let entry = Acks { at: AcksAt::Entry { path, server }, ..folder };
    let text = serde_json::to_string(&entry).unwrap();
    assert!(text.contains("https://vault.example (namespace team)"), "{text}");
    assert_eq!(serde_json::from_str::<Acks>(&text).unwrap(), entry);
}
