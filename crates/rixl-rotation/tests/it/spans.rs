//! One span around everything of one rotation: its names are a contract, and it says how it ended, however that was.

use std::{
    collections::BTreeMap,
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
};

use rixl_rotation::{Effect as KeyEffect, EventKind, FailureKind, RecoverOptions, State, store::Stores};
use rixl_sandbox::{Effect, Fault};
use tracing::{
    Event, Metadata, Subscriber,
    field::{Field, Visit},
    span::{Attributes, Id, Record},
};

use crate::bench::Bench;

/// What has the target of this crate.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Kept>>);

#[derive(Default)]
struct Kept {
    /// Of every target, or parents would be taken for others.
    spans: Vec<Seen>,
    events: Vec<Seen>,
    entered: Vec<usize>,
}

#[derive(Clone, Debug)]
struct Seen {
    target: String,
    name: &'static str,
    /// The place of the span that it is in.
    parent: Option<usize>,
    declared: Vec<&'static str>,
    fields: BTreeMap<&'static str, String>,
}

struct Fields<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Seen {
    fn new(metadata: &Metadata<'static>, parent: Option<usize>) -> Self {
        let declared = metadata.fields().iter().map(|field| field.name()).collect();
        let target = metadata.target().to_owned();
        Self { target, name: metadata.name(), parent, declared, fields: BTreeMap::new() }
    }
}

impl Recorder {
    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The spans of rotations.
    fn rotations(&self) -> Vec<Seen> {
        self.kept().spans.iter().filter(|span| span.target == "rixl_rotation").cloned().collect()
    }

    /// The one span of a rotation, without what differs from run to run.
    fn only(&self) -> BTreeMap<&'static str, String> {
        let mut spans = self.rotations();
        assert_eq!(spans.len(), 1, "{spans:?}");
        let fields = spans.pop().unwrap().fields;
        assert_eq!(fields["rixl.run_id"].len(), 16);
        fields
    }
}

fn place(id: &Id) -> usize {
    usize::try_from(id.into_u64() - 1).unwrap()
}

impl Subscriber for Recorder {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut kept = self.kept();
        let parent = span.parent().map(place).or_else(|| kept.entered.last().copied());
        let mut seen = Seen::new(span.metadata(), parent);
        span.record(&mut Fields(&mut seen.fields));
        kept.spans.push(seen);
        Id::from_u64(kept.spans.len() as u64)
    }

    fn record(&self, id: &Id, values: &Record<'_>) {
        values.record(&mut Fields(&mut self.kept().spans[place(id)].fields));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut kept = self.kept();
        let parent = event.parent().map(place).or_else(|| kept.entered.last().copied());
        let mut seen = Seen::new(event.metadata(), parent);
        event.record(&mut Fields(&mut seen.fields));
        kept.events.push(seen);
    }

    fn enter(&self, id: &Id) {
        self.kept().entered.push(place(id));
    }

    fn exit(&self, id: &Id) {
        let mut kept = self.kept();
        let last = kept.entered.iter().rposition(|entered| *entered == place(id)).unwrap();
        kept.entered.remove(last);
    }
}

/// On one thread, which the recorder listens to.
fn recorded<T>(run: impl Future<Output = T>) -> (Recorder, T) {
    let recorder = Recorder::default();
    let _listening = rixl_testing::listen(recorder.clone());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let result = runtime.block_on(run);
    (recorder, result)
}

#[test]
fn the_names_are_a_contract() {
    let (recorder, _) = recorded(async { Bench::new().rotate().await.unwrap() });
    let span = recorder.rotations().pop().unwrap();
    let states = [
        State::Planned,
        State::Prepared,
        State::Intent,
        State::Received,
        State::Verified,
        State::Stored,
        State::Deployed,
        State::Proven,
        State::Settled,
        State::Taken,
        State::Used,
        State::Revoked,
        State::Done,
    ];
    let kinds = [EventKind::Waiting(std::time::Duration::ZERO), EventKind::Note];
    let failures = [
        FailureKind::Interrupted,
        FailureKind::Refused,
        FailureKind::Authentication,
        FailureKind::Locked,
        FailureKind::Unknown,
        FailureKind::NotDeployed,
        FailureKind::NotProven,
        FailureKind::NotTaken,
        FailureKind::NotStored,
        FailureKind::Lost,
    ];
    let endings = {
        use rixl_rotation::Ending::{Created, Dropped, Refused, Replaced, Rotated, Superseded};
        [Rotated, Created, Replaced, Superseded, Dropped, Refused]
    };
    for ending in endings {
        let line = serde_json::to_string(&ending).unwrap();
        assert_eq!(line, format!("{:?}", ending.as_str()), "the span and the audit line have one word");
    }
    let effects = [KeyEffect::Unchanged, KeyEffect::Unknown, KeyEffect::Changed];
    let names = [
        format!("span: {} {}", span.target, span.name),
        format!("fields: {}", span.declared.join(" ")),
        format!("rixl.state: {} {}", states.map(State::as_str).join(" "), kinds.map(EventKind::as_str).join(" ")),
        format!("rixl.effect: {}", effects.map(KeyEffect::as_str).join(" ")),
        format!("rixl.ending: {}", endings.map(rixl_rotation::Ending::as_str).join(" ")),
        format!("error.type: {}", failures.map(FailureKind::as_str).join(" ")),
    ];
    insta::assert_snapshot!(names.join("\n"), @r"
    span: rixl_rotation rixl.rotation
    fields: rixl.run_id rixl.key_id rixl.endpoint_id rixl.credential_id rixl.change rixl.effect rixl.ending rixl.rotations rixl.request_id error.type otel.status_code
    rixl.state: planned prepared intent received verified stored deployed proven settled taken used revoked done waits note
    rixl.effect: unchanged unknown changed
    rixl.ending: rotated created replaced superseded dropped refused
    error.type: interrupted refused authentication locked unknown not_deployed not_proven not_taken not_stored lost
    ");
}

/// The calls of RIXL's API are in it, and its events.
#[test]
fn one_span_is_around_everything_of_a_rotation() {
    let (recorder, (report, key_id)) = recorded(async {
        let bench = Bench::new();
        let report = bench.rotate().await.unwrap();
        (report, bench.key_id.to_string())
    });
    let fields = recorder.only();
    assert_eq!(fields["rixl.run_id"], report.run_id);
    assert_eq!(fields["rixl.key_id"], key_id);
    assert_eq!(fields["rixl.request_id"], report.request_id.unwrap());
    let said = ["rixl.change", "rixl.effect", "rixl.ending", "rixl.rotations"].map(|name| fields[name].as_str());
    assert_eq!(said, ["rotate", "changed", "rotated", "1"]);
    assert!(!fields.contains_key("error.type"));

    let kept = recorder.kept();
    let rotation = kept.spans.iter().position(|span| span.target == "rixl_rotation").unwrap();
    let is_in = |mut parent: Option<usize>| {
        while let Some(place) = parent {
            if place == rotation {
                return true;
            }
            parent = kept.spans[place].parent;
        }
        false
    };
    let ours = |seen: &&Seen| seen.target.starts_with("rixl");
    let outside: Vec<_> = kept.spans.iter().enumerate().filter(|(at, span)| *at != rotation && ours(span)).collect();
    assert!(outside.len() > 5, "{outside:?}");
    assert!(outside.iter().all(|(_, span)| is_in(span.parent)), "a call outside of the rotation: {outside:?}");
    let events: Vec<_> = kept.events.iter().filter(|event| event.target == "rixl_rotation").collect();
    assert_eq!(events.len(), 9);
    assert!(events.iter().all(|event| is_in(event.parent)), "an event outside of the rotation: {events:?}");
}

#[test]
fn a_failure_says_what_is_true_then() {
    let (recorder, id) = recorded(async {
        let bench = Bench::new();
        bench
            .sandbox
            .inject(Fault::new(Effect::Respond { status: 500, headers: vec![], body: vec![] }).on("rotateApiKey"))
            .unwrap();
        bench.rotate().await.unwrap_err();
        bench.request_id()
    });
    let fields = recorder.only();
    let said = ["rixl.effect", "error.type", "otel.status_code", "rixl.request_id"].map(|name| fields[name].as_str());
    assert_eq!(said, ["unknown", "unknown", "ERROR", id.as_str()]);
}

/// As by a time-out around it: at every await, and of each the span tells what is true.
#[test]
fn a_rotation_that_is_dropped_says_so() {
    let mut effects = Vec::new();
    for polls in 0.. {
        let (recorder, (is_over, sent, is_open)) = recorded(async {
            let bench = Bench::new();
            let is_over = poll_at_most(polls, bench.rotate()).await;
            (is_over, bench.sandbox.calls("rotateApiKey"), bench.is_open().await)
        });
        if is_over {
            break;
        }
        let fields = recorder.only();
        let effect = fields["rixl.effect"].clone();
        assert_eq!(fields["otel.status_code"], "ERROR");
        if effect == "unchanged" {
            assert_eq!((sent, is_open), (0, false), "after {polls} polls");
        } else {
            assert_eq!(effect, "unknown");
        }
        effects.push(effect);
    }
    assert!(effects.iter().any(|effect| effect == "unchanged") && effects.iter().any(|effect| effect == "unknown"));
}

/// Whether it ended within so many polls.
async fn poll_at_most<T>(polls: usize, future: impl Future<Output = T>) -> bool {
    let mut future = Box::pin(future);
    let mut left = polls;
    std::future::poll_fn(|context| {
        if future.as_mut().poll(context).is_ready() {
            return std::task::Poll::Ready(true);
        }
        if left == 0 {
            return std::task::Poll::Ready(false);
        }
        left -= 1;
        std::task::Poll::Pending
    })
    .await
}

/// Recovery's span has the id of the run that was interrupted, and the audit line the request that was carried out.
#[test]
fn recovery_goes_on_under_the_same_run_id() {
    let (recorder, (report, request_id)) = recorded(async {
        let bench = Bench::new();
        let token = rixl_rotation::CancellationToken::new();
        let (stop, rotator) = (token.clone(), bench.rotator().with_cancellation(token));
        // In the quiet time: the request was carried out, and its response is in escrow.
        let rotator = rotator.with_observer(move |event| {
            if matches!(event.kind, EventKind::Waiting(_)) {
                stop.cancel();
            }
        });
        rotator.rotate(&bench.key_id, bench.store()).await.unwrap_err();
        let request_id = bench.request_id();
        let recovered = bench.rotator().recover(&Stores::default(), RecoverOptions::default()).await.unwrap();
        let report = recovered[0].result.as_ref().unwrap().report().unwrap().clone();
        (report, request_id)
    });
    let spans = recorder.rotations();
    assert_eq!(spans.len(), 2);
    assert_eq!(spans[0].fields["rixl.run_id"], spans[1].fields["rixl.run_id"]);
    assert_eq!(report.run_id, spans[0].fields["rixl.run_id"]);
    assert_eq!(spans[0].fields["error.type"], "interrupted");
    assert_eq!(spans[1].fields["rixl.ending"], "rotated");
    assert_eq!(report.request_id, Some(request_id));
}
