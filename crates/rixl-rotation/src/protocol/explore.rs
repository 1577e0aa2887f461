//! Explores the rules: every way that a run and its recoveries can go while processes are killed, places change hands,
//! requests are lost, late, copied or carried out although they were refused, and what is looked at fails. What must hold is
//! in `World::check`. `RIXL_MODEL_FULL=1` makes it deeper, `RIXL_MODEL_FULL=all` deeper still.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    fmt::Write as _,
    hash::{DefaultHasher, Hash, Hasher},
    sync::Arc,
    time::Duration,
};

use rixl_credentials::{KeyId, NewApiKey, Timestamp};

use super::{
    intent::{Acks, AcksAt, Before, Deploy, Digest, Intent, Limits, Place, ProbeBy, Subject, VERSION},
    next::{end::latest, next},
    progress::{At, OldEnd, Progress, Record, Response},
    seen::{
        Acked, Act, Authorizer, Because, EndAsked, Escrow, Holds, IfLive, KeySeen, KeysFailure, KeysSeen, Look,
        Mandate, NotRetired, Observation, Of, Owner, PlaceSeen, Proof, Seen, Sent, Step, Stop, StoreFailure, Wait,
    },
};
use crate::{
    Effect, Ending,
    probe::{KeyFormat, Liveness},
    store::Version,
};

const WINDOW: i64 = 35;
const QUIET: i64 = 5;
const GRACE: i64 = 3_600;
const DAY: i64 = 86_400;
/// How far a standby lags behind.
const LAG: i64 = 8;
const BUDGET: u32 = 3;
/// How long consumers have to take the new secret.
const WITHIN: i64 = 60;

/// A secret by its number; 0 is the one that was there before.
type Secret = u8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Content {
    Nothing,
    /// In the form in which its consumers use it.
    Secret(Secret),
    /// In the other form.
    Misfit(Secret),
    Junk,
}

/// A response, as the escrow or a process has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Bytes {
    Secret(Secret),
    Unusable(u8),
}

/// How RIXL treats the secret that was there before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// A rotation ends it at once.
    AtOnce,
    /// It lives on for a grace time.
    Grace,
    /// Another key is created, and this one deleted.
    Replace,
    Create,
    /// The secret of a webhook endpoint lives on for a day, unless a further rotation ends it, and can't be probed.
    Endpoint,
}

/// What stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Given {
    kind: Kind,
    /// What makes a key string of the secret in a response.
    response: KeyFormat,
    /// What consumers make of the text in a place.
    consumers: KeyFormat,
    /// What is written can't be read back.
    is_write_only: bool,
    /// There is a deploy step.
    deploys: bool,
    /// RIXL ends the old key by itself.
    expires: bool,
    /// A probe is to take the new secret, then consumers are, and then the key is to be used.
    proves: bool,
    /// The journal writes what may wait with what comes next.
    waits: bool,
}

impl Given {
    fn new(kind: Kind) -> Self {
        Self {
            kind,
            response: KeyFormat::Whole,
            consumers: KeyFormat::Whole,
            is_write_only: false,
            deploys: false,
            expires: false,
            proves: false,
            waits: false,
        }
    }

    /// A text of this form, as consumers find it.
    fn content(self, form: KeyFormat, secret: Secret) -> Content {
        if form == self.consumers { Content::Secret(secret) } else { Content::Misfit(secret) }
    }
}

/// Takes what an effect may bring: its name, whether it is a fault, what is observed, what it changes.
type Add<'a> = dyn FnMut(&str, bool, Observation, &dyn Fn(&mut World)) + 'a;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    progress: Progress,
    seen: Seen,
    in_hand: Option<Bytes>,
    /// What it read last in each place, and what it read before the first request.
    read: Vec<Content>,
    old: Vec<Content>,
    /// By how much it takes its clock to be slow, so that no time comes twice.
    skipped: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Moves {
    crashes: u8,
    rivals: u8,
    faults: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct World {
    given: Given,
    now: Timestamp,
    /// By how much the machine's clock was set back, or, below zero, ahead.
    set_back: i64,
    start: Moves,
    moves: Moves,
    // RIXL.
    newest: Secret,
    /// Live secrets, and whether they are within a day.
    live: BTreeMap<Secret, bool>,
    /// When a late copy of a request arrives.
    copy: Option<Timestamp>,
    /// When the old key ends by itself, whether it has, and when it was used last.
    end: Option<Timestamp>,
    has_expired: bool,
    used: Option<Timestamp>,
    /// When a place was last recorded to have the new secret for good.
    settled: Option<Timestamp>,
    /// When a late request to end the old key arrives, and what it asks for.
    late_end: Option<(Timestamp, Timestamp)>,
    // The disk.
    disk: Option<Progress>,
    /// What is to be there with the next write, where something waits for that.
    soon: Option<Progress>,
    /// What a power failure leaves of what is there.
    synced: Option<Progress>,
    escrow: Option<Bytes>,
    places: Vec<Content>,
    /// What they held before they were written last, and until when a reader that lags has it.
    lagging: Vec<(Content, Timestamp)>,
    /// The name of the first place leads elsewhere.
    is_renamed: bool,
    process: Option<Process>,
    /// What the user allows next, after what the last process said.
    mandate: Mandate,
    // What the properties go by.
    /// How many requests of this entry were carried out.
    done: u8,
    /// How many left.
    left: u32,
    /// Others acted since a process looked at a place.
    is_moved: bool,
    /// Others acted since the last wait, or since what precedes a deletion was recorded.
    is_moved_since: bool,
    /// Somebody rotated and told nobody, or a copy came, while the old secret lives on: what can't be seen.
    is_unseen: bool,
    ending: Option<Ending>,
    /// A place held a secret that was live, so that a refused request which was carried out can be told.
    can_tell: bool,
    /// A close was cut short, after the escrow was wiped: the receipts tell how the run ended.
    closing: Option<Ending>,
    /// What the places held when the deploy step ended well last.
    deployed: Option<Vec<Content>>,
    /// What they held when the probe took it, consumers ran with it, and the key was used.
    handed: [Option<Vec<Content>>; 3],
    /// The deploy step failed, and the user gave it up.
    is_given_up: bool,
    /// Places that the user does without.
    left_out: Vec<usize>,
}

fn start() -> Timestamp {
    Timestamp::from_second(1_700_000_000).unwrap()
}

fn after(now: Timestamp, seconds: i64) -> Timestamp {
    now.checked_add(jiff::SignedDuration::from_secs(seconds)).unwrap()
}

fn digest(secret: Secret) -> Digest {
    Digest::of(&[secret])
}

fn value(content: Content) -> Option<Digest> {
    match content {
        Content::Nothing => None,
        Content::Secret(secret) => Some(digest(secret)),
        Content::Misfit(secret) => Some(Digest::of(&[secret, secret])),
        Content::Junk => Some(Digest::of(b"junk")),
    }
}

fn raw(bytes: Bytes) -> Digest {
    match bytes {
        Bytes::Secret(secret) => Digest::of(&[1, secret]),
        Bytes::Unusable(number) => Digest::of(&[2, number]),
    }
}

fn version(content: Content) -> Version {
    match content {
        Content::Nothing => Version::absent(),
        Content::Secret(secret) => Version::of(&[secret]),
        Content::Misfit(secret) => Version::of(&[secret, secret]),
        Content::Junk => Version::of(b"junk"),
    }
}

fn intent(Given { kind, deploys, expires, proves, .. }: Given, places: usize) -> Intent {
    let key_id = || "XyZ9aB8cD1".parse().unwrap();
    let subject = match kind {
        Kind::AtOnce | Kind::Grace => Subject::Rotate { key_id: key_id(), name: None, expiring_at: None },
        Kind::Create => Subject::Create(NewApiKey::new("billing")),
        Kind::Replace => Subject::Replace {
            key_id: key_id(),
            new: NewApiKey::new("billing"),
            grace_ms: u64::try_from(GRACE * 1000).unwrap(),
            expires,
        },
        Kind::Endpoint => {
            Subject::Endpoint { project_id: "Bq4y3QB38S".parse().unwrap(), endpoint_id: "E1ndp0intX".parse().unwrap() }
        }
    };
    let before = Before { version: Version::absent(), value: None, live_as: None };
    let place = |number: usize| Place {
        given: format!("file:{number}"),
        asked: None,
        server: None,
        name: format!("/{number}"),
        before: before.clone(),
    };
    Intent {
        v: VERSION,
        run: String::new(),
        began: start(),
        by: String::new(),
        base_url: String::new(),
        organization: None,
        places: (0..places).map(place).collect(),
        limits: Limits {
            window_ms: u64::try_from(WINDOW * 1000).unwrap(),
            quiet_ms: u64::try_from(QUIET * 1000).unwrap(),
            budget: BUDGET,
            is_probed: subject.rules().can_probe,
            overlap: None,
        },
        subject,
        deploy: deploys.then(|| Deploy { words: Vec::new(), folder: String::new(), timeout_ms: 0, is_batched: false }),
        probes: proves.then(|| ProbeBy::Url { url: String::new() }).into_iter().collect(),
        acks: proves.then(|| Acks {
            at: AcksAt::Folder(String::new()),
            names: Vec::new(),
            within_ms: u64::try_from(WITHIN * 1000).unwrap(),
        }),
        used_within_ms: proves.then(|| u64::try_from(WITHIN * 1000).unwrap()),
        known: Vec::new(),
    }
}

impl World {
    fn new(given: Given, places: usize, moves: Moves) -> Self {
        let progress = Progress::new(Arc::new(intent(given, places)));
        let seen = Seen::new(start(), Mandate::LIVE, places);
        let content = if given.kind == Kind::Create { Content::Nothing } else { Content::Secret(0) };
        Self {
            given,
            now: start(),
            set_back: 0,
            start: moves,
            moves,
            newest: 0,
            live: BTreeMap::from([(0, true)]),
            copy: None,
            end: None,
            has_expired: false,
            used: None,
            settled: None,
            late_end: None,
            disk: None,
            soon: None,
            synced: None,
            escrow: None,
            places: vec![content; places],
            lagging: vec![(content, start()); places],
            is_renamed: false,
            process: Some(Process {
                progress,
                seen,
                in_hand: None,
                read: vec![content; places],
                old: vec![content; places],
                skipped: 0,
            }),
            mandate: Mandate { stops_on_unknown: false, ..Mandate::LIVE },
            done: 0,
            left: 0,
            is_moved: false,
            is_moved_since: false,
            is_unseen: false,
            ending: None,
            can_tell: false,
            closing: None,
            deployed: None,
            handed: [None, None, None],
            is_given_up: false,
            left_out: Vec::new(),
        }
    }

    fn has_rival(&self) -> bool {
        self.moves.rivals < self.start.rivals
    }

    fn was_killed(&self) -> bool {
        self.moves.crashes < self.start.crashes
    }

    fn creates(&self) -> bool {
        matches!(self.given.kind, Kind::Create | Kind::Replace)
    }

    /// The old secret lives on after a rotation.
    fn outlives(&self) -> bool {
        matches!(self.given.kind, Kind::Grace | Kind::Endpoint)
    }

    fn is_live(&self, secret: Secret) -> bool {
        self.live.contains_key(&secret)
    }

    /// What a probe says, which tries both forms.
    fn liveness(&self, content: Content) -> Liveness {
        let consumers = self.given.consumers;
        match content {
            Content::Secret(secret) if self.is_live(secret) => Liveness::Live(consumers),
            Content::Misfit(secret) if self.is_live(secret) => Liveness::Live(match consumers {
                KeyFormat::Whole => KeyFormat::Prefixed,
                KeyFormat::Prefixed => KeyFormat::Whole,
            }),
            _ => Liveness::Dead,
        }
    }

    /// Whether its consumers are served.
    fn opens(&self, content: Content) -> bool {
        matches!(content, Content::Secret(secret) if self.is_live(secret))
    }

    /// What is to be stored of a secret: in the form in which the place had the old one, as far as that is known.
    fn wanted(&self, progress: &Progress, index: usize, secret: Secret) -> Content {
        let expected = progress.intent.places[index].before.live_as.unwrap_or(KeyFormat::Whole);
        let is_seen = progress.verified.is_some_and(|verified| verified.format.is_some());
        self.given.content(if is_seen { expected } else { self.given.response }, secret)
    }

    /// What the clock of the process says.
    fn clock(&self) -> Timestamp {
        let skipped = self.process.as_ref().map_or(0, |process| process.skipped);
        after(self.now, skipped - self.set_back)
    }

    /// When the clock of the process will say so.
    fn real(&self, at: Timestamp) -> Timestamp {
        after(at, self.now.duration_since(self.clock()).as_secs())
    }

    fn write(&mut self, index: usize, content: Content) {
        self.lagging[index] = (self.places[index], after(self.now, LAG));
        self.places[index] = content;
    }

    /// What waits is written.
    fn flush(&mut self) {
        if let Some(soon) = self.soon.take() {
            self.disk = Some(soon);
            self.synced.clone_from(&self.disk);
        }
    }

    /// RIXL carries out a request, of whomever.
    fn issue(&mut self) -> Secret {
        self.newest += 1;
        if !self.creates() {
            match self.given.kind {
                Kind::AtOnce => self.live.clear(),
                // What lived on after the one before ends now.
                Kind::Endpoint => self.live.retain(|_, stays| *stays),
                Kind::Grace | Kind::Replace | Kind::Create => {}
            }
            self.live.values_mut().for_each(|stays| *stays = false);
        }
        self.live.insert(self.newest, true);
        self.newest
    }

    fn pass(&mut self, to: Timestamp) {
        if let Some(at) = self.copy
            && at <= to
        {
            self.now = self.now.max(at);
            self.copy = None;
            self.issue();
            self.done += 1;
            self.is_moved = true;
            self.is_unseen |= self.outlives();
        }
        if let Some((at, until)) = self.late_end
            && at <= to
        {
            self.late_end = None;
            self.set_end(until);
        }
        self.now = self.now.max(to);
        if self.end.is_some_and(|end| end <= self.now) && self.live.remove(&0).is_some() {
            self.has_expired = true;
        }
    }

    /// The grace begins.
    fn settle(&mut self, step: &Step) {
        if let (true, Step::Record(Record::Settled { at, .. })) = (self.given.expires, step) {
            self.settled = Some(self.real(*at));
        }
    }

    /// RIXL carries out what it was asked for.
    fn set_end(&mut self, until: Timestamp) {
        if self.is_live(0) || self.has_expired {
            self.end = Some(until);
        }
    }

    /// The same world with its time at the start, so that states which differ in nothing else are one.
    fn rebased(&self) -> Self {
        let most = GRACE.saturating_sub(self.set_back.min(0)) + 1;
        let relative = |at: &mut Timestamp, now: Timestamp| {
            let away = at.duration_since(now).as_secs().clamp(-most, most);
            *at = after(start(), away);
        };
        let clock = self.clock();
        let move_back = |at: &mut Timestamp| relative(at, clock);
        let now = self.now;
        let progress = |progress: &mut Progress| {
            progress.requests.at.iter_mut().for_each(move_back);
            progress.requests.unheard_until.iter_mut().for_each(move_back);
            let old = &mut progress.old_end;
            old.asked.iter_mut().for_each(|at| relative(at, now));
            if let Some(known) = &mut old.known {
                relative(&mut known.until, now);
                relative(&mut known.at, now);
            }
            old.grace_ends.iter_mut().for_each(|at| relative(at, now));
            progress.handed_at.iter_mut().for_each(move_back);
            for place in &mut progress.places {
                match place {
                    At::Before(_) | At::GivenUp => {}
                    At::Stored { at, .. } | At::Settled { at, .. } => move_back(at),
                }
            }
        };
        let mut world = self.clone();
        world.copy.iter_mut().for_each(|at| relative(at, now));
        world.end.iter_mut().chain(&mut world.settled).for_each(|at| relative(at, now));
        if let Some((at, until)) = &mut world.late_end {
            relative(at, now);
            relative(until, now);
        }
        for (content, until) in &mut world.lagging {
            relative(until, self.now);
            if *until <= start() {
                (*content, *until) = (Content::Nothing, start());
            }
        }
        world.disk.iter_mut().chain(&mut world.soon).chain(&mut world.synced).for_each(progress);
        if let Some(process) = &mut world.process {
            progress(&mut process.progress);
            move_back(&mut process.seen.now);
            process.skipped = 0;
            process.seen.turn_at.iter_mut().for_each(move_back);
            process.seen.patience_ends.iter_mut().for_each(move_back);
            if let Some(Ok(keys)) = &mut process.seen.keys {
                keys.end.iter_mut().for_each(|at| relative(at, now));
            }
            if let Some(EndAsked::At(at)) = &mut process.seen.end_asked {
                relative(at, now);
            }
            for seat in &mut process.seen.places {
                if let Some((at, _)) = &mut seat.written {
                    move_back(at);
                }
            }
        }
        world.now = start();
        world.set_back = self.set_back.min(0);
        world
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.rebased().hash(&mut hasher);
        hasher.finish()
    }

    fn holds(&self, progress: &Progress, ours: Option<Secret>, index: usize, content: Content) -> Holds {
        if self.given.is_write_only {
            return Holds::WriteOnly;
        }
        let version = version(content);
        let Some(value) = value(content) else { return Holds::Nothing(version) };
        let is_recorded = matches!(&progress.places[index],
            At::Stored { value: stored, .. } | At::Settled { value: stored, .. } if *stored == value);
        let is_ours = matches!((content, ours), (Content::Secret(it) | Content::Misfit(it), Some(ours)) if it == ours);
        if is_ours || is_recorded {
            let fits = ours.is_none_or(|ours| self.wanted(progress, index, ours) == content);
            return Holds::Ours { version, value, fits };
        }
        let is_first = progress.response == Response::Unsent;
        if is_first || progress.earlier.contains(&value) {
            return Holds::Before(version, value);
        }
        Holds::Other(version, value)
    }

    /// Every world that one step of the process leads to.
    fn perform(&self, step: &Step) -> Vec<(String, Self, Observation)> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut all = Vec::new();
        let mut add = |name: &str, is_fault: bool, observation: Observation, change: &dyn Fn(&mut Self)| {
            if is_fault && self.moves.faults == 0 {
                return;
            }
            let mut world = self.clone();
            world.moves.faults -= u8::from(is_fault);
            change(&mut world);
            all.push((name.to_owned(), world, observation));
        };
        let secret_in_hand = || match process.in_hand.or(self.escrow) {
            Some(Bytes::Secret(secret)) => Some(secret),
            _ => None,
        };
        match step {
            Step::Record(record) => {
                let intent = &process.progress.intent;
                let has_gap = process.seen.tries.has_gap;
                let may_wait = !has_gap && record.may_wait(intent, |_| !self.given.is_write_only);
                if self.given.waits && may_wait {
                    add("", false, Observation::Recorded(Ok(Duration::ZERO)), &|world| {
                        world.settle(step);
                        let mut soon = world.soon.take().or_else(|| world.disk.clone());
                        soon.iter_mut().for_each(|soon| soon.apply(record));
                        world.soon = soon;
                    });
                    return all;
                }
                let write = |world: &mut Self| {
                    world.settle(step);
                    world.flush();
                    match &mut world.disk {
                        Some(disk) => {
                            disk.apply(record);
                        }
                        disk => {
                            let mut progress = process.progress.clone();
                            progress.apply(record);
                            *disk = Some(progress);
                        }
                    }
                    if !may_wait {
                        world.synced.clone_from(&world.disk);
                    }
                };
                add("", false, Observation::Recorded(Ok(Duration::ZERO)), &write);
                add("slow", true, Observation::Recorded(Ok(Duration::from_secs(9))), &|world| {
                    write(world);
                    world.pass(after(world.now, 9));
                });
                add("unwritten", true, Observation::Recorded(Err(())), &|world| {
                    // The place gets its secret all the same, and a kill after that takes away who knew of it.
                    world.is_given_up |= matches!(step, Step::Record(Record::Missing { .. }));
                });
                add("written, and said not to be", true, Observation::Recorded(Err(())), &write);
            }
            Step::Assume(_) => add("", false, Observation::Assumed, &|_| {}),
            Step::Look(Look::Escrow) => {
                let stale = process.progress.requests.stale;
                let escrow = match process.in_hand.or(self.escrow) {
                    None => Escrow::Nothing,
                    Some(bytes) if stale == Some(raw(bytes)) => Escrow::Stale,
                    // The secret that was there before is no new one.
                    Some(bytes @ (Bytes::Unusable(_) | Bytes::Secret(0))) => Escrow::Unusable(raw(bytes)),
                    Some(bytes @ Bytes::Secret(secret)) => Escrow::Secret { raw: raw(bytes), secret: digest(secret) },
                };
                add("", false, Observation::Escrow(escrow), &|_| {});
                if process.in_hand.is_none() {
                    add("unreadable", true, Observation::Escrow(Escrow::Unreadable), &|_| {});
                }
            }
            Step::Look(Look::Place(index)) | Step::Act(Act::Prepare(index)) => {
                let ours = secret_in_hand().filter(|_| process.progress.response == Response::Received);
                let is_same = !self.is_renamed || *index > 0;
                let seen = |holds| {
                    let place =
                        PlaceSeen { at: self.clock(), is_same, owner: Owner::ThisKey, is_elsewhere: false, holds };
                    match step {
                        Step::Act(_) => Observation::Prepared(*index, place),
                        _ => Observation::Place(*index, place),
                    }
                };
                let read = |world: &mut Self, content| {
                    if let Some(process) = &mut world.process {
                        process.read[*index] = content;
                        if process.progress.response == Response::Unsent {
                            process.old[*index] = content;
                        }
                    }
                };
                let (content, (earlier, until)) = (self.places[*index], self.lagging[*index]);
                let holds = |content| Ok(self.holds(&process.progress, ours, *index, content));
                add("", false, seen(holds(content)), &|world| {
                    // Others act on the first one.
                    world.is_moved &= *index > 0;
                    read(world, content);
                });
                if self.now < until && matches!(step, Step::Look(_)) {
                    add("lags", true, seen(holds(earlier)), &|world| {
                        // What others did just now is not to be seen.
                        world.is_moved = true;
                        world.is_moved_since = true;
                        read(world, earlier);
                    });
                }
                add("busy", true, seen(Err(StoreFailure::Busy)), &|_| {});
                add("unusable", true, seen(Err(StoreFailure::Permanent)), &|_| {});
            }
            Step::Look(Look::Probe(of)) => {
                assert_ne!(self.given.kind, Kind::Endpoint, "a secret that can't be probed is probed");
                let content = match of {
                    Of::Ours => secret_in_hand()
                        .map_or(Content::Nothing, |secret| self.given.content(self.given.response, secret)),
                    Of::Place(index) => process.read[*index],
                    Of::Before(index) => process.old[*index],
                };
                add("", false, Observation::Probed(*of, self.liveness(content)), &|_| {});
                add("unclear", true, Observation::Probed(*of, Liveness::Unclear), &|_| {});
            }
            Step::Look(Look::Keys) => {
                let is_there = self.is_live(0) || self.has_expired;
                let keys = |is_there: bool| KeysSeen {
                    predecessor: is_there.then_some(self.used),
                    end: self.end.filter(|_| is_there),
                    is_less: false,
                    orphans: (1..=self.newest)
                        .filter(|secret| self.creates() && self.is_live(*secret))
                        .map(|secret| (&format!("orphan{secret}000").parse::<KeyId>().unwrap()).into())
                        .collect(),
                };
                add("", false, Observation::Keys(Ok(keys(is_there))), &|_| {});
                add("unlisted", true, Observation::Keys(Err(KeysFailure::Passing)), &|_| {});
                if is_there {
                    add("a page is missing", true, Observation::Keys(Ok(keys(false))), &|_| {});
                }
            }
            Step::Look(Look::Key) => {
                add("", false, Observation::Key(KeySeen::There), &|_| {});
                add("unlisted", true, Observation::Key(KeySeen::Unknown), &|_| {});
                add("lists lack it", true, Observation::Key(KeySeen::Gone), &|_| {});
            }
            Step::Look(Look::Authorizer) => add("", false, Observation::Authorizer(Authorizer::Fine), &|_| {}),
            Step::Look(Look::Turn) => add("", false, Observation::Turn(None), &|_| {}),
            Step::Wait(wait) => {
                let end = match wait {
                    Wait::Until(at, _) => self.real(*at),
                    Wait::Retry(Because::Still) => after(self.now, GRACE / 4),
                    Wait::Retry(_) => after(self.now, 25),
                };
                add("", false, Observation::Waited, &|world| world.pass(end));
                add("the lock is lost", true, Observation::LockLost, &|_| {});
            }
            Step::Act(Act::Reserve) => {
                add("", false, Observation::Reserved(true), &|_| {});
                add("no room", true, Observation::Reserved(false), &|_| {});
            }
            Step::Act(Act::Send) => {
                self.send(&mut add);
                let is_live = |place: &Place| place.before.live_as.is_some();
                let can_tell = self.creates()
                    || self.given.kind == Kind::AtOnce && process.progress.intent.places.iter().any(is_live);
                for (_, world, _) in &mut all {
                    world.can_tell = can_tell;
                }
            }
            Step::Act(Act::Keep) => {
                let keep = |world: &mut Self| {
                    world.flush();
                    world.escrow = process.in_hand;
                };
                add("", false, Observation::Kept(true), &keep);
                add("fails", true, Observation::Kept(false), &|_| {});
            }
            Step::Act(Act::Store { place, expected }) => {
                let Some(ours) = secret_in_hand() else { return Vec::new() };
                let content = self.wanted(&process.progress, *place, ours);
                if !self.given.is_write_only && version(self.places[*place]) != *expected {
                    add("", false, Observation::Stored(*place, Err(StoreFailure::Conflict)), &|_| {});
                    return all;
                }
                let write = |world: &mut Self| world.write(*place, content);
                add("", false, Observation::Stored(*place, Ok(version(content))), &write);
                for (name, failure, is_written) in [
                    ("busy", StoreFailure::Busy, false),
                    ("unusable", StoreFailure::Permanent, false),
                    ("unknown", StoreFailure::Unknown, false),
                    ("unknown, and there", StoreFailure::Unknown, true),
                ] {
                    add(name, true, Observation::Stored(*place, Err(failure)), &|world| {
                        if is_written {
                            write(world);
                        }
                    });
                }
            }
            Step::Act(Act::Deploy) => {
                let deploy = |world: &mut Self| world.deployed = Some(world.places.clone());
                add("", false, Observation::Deployed(true), &deploy);
                add("fails", true, Observation::Deployed(false), &Self::may_give_up);
                add("takes long", true, Observation::Deployed(true), &|world| {
                    deploy(world);
                    world.pass(after(world.now, 2 * WINDOW));
                });
            }
            Step::Act(Act::Prove) => {
                add("", false, Observation::Proven(Proof::Taken), &|world| world.hand(0));
                add("refuses", true, Observation::Proven(Proof::Refused), &Self::may_give_up);
                add("is unclear", true, Observation::Proven(Proof::Unclear), &Self::may_give_up);
            }
            Step::Look(Look::Acks) => {
                add("", false, Observation::Acks(Acked::ByAll), &|world| world.hand(1));
                add("lag", true, Observation::Acks(Acked::NotByAll), &Self::may_give_up);
                add("are out of reach", true, Observation::Acks(Acked::OutOfReach), &Self::may_give_up);
                add("lag for long", true, Observation::Acks(Acked::NotByAll), &|world| {
                    world.may_give_up();
                    world.pass(after(world.now, WITHIN));
                });
            }
            Step::Look(Look::Use) => {
                add("", false, Observation::Used(true), &|world| world.hand(2));
                add("is not seen", true, Observation::Used(false), &Self::may_give_up);
            }
            Step::Act(Act::Retire) => {
                let delete = |world: &mut Self| {
                    world.live.remove(&0);
                    world.has_expired = false;
                };
                add("", false, Observation::Retired(true), &delete);
                add("not carried out", true, Observation::Retired(false), &|_| {});
                add("unheard", true, Observation::Retired(false), &delete);
            }
            Step::Act(Act::SetEnd(until)) => {
                let set = |world: &mut Self| world.set_end(*until);
                add("", false, Observation::EndAsked(EndAsked::At(*until)), &set);
                add("refused", true, Observation::EndAsked(EndAsked::Refused), &|_| {});
                add("not carried out", true, Observation::EndAsked(EndAsked::Unclear), &|_| {});
                add("unheard", true, Observation::EndAsked(EndAsked::Unclear), &set);
                add("late", true, Observation::EndAsked(EndAsked::Unclear), &|world| {
                    world.late_end = Some((after(world.now, WINDOW - 5), *until));
                });
            }
            Step::Act(Act::Close(ending)) => {
                let close = |world: &mut Self| {
                    world.may_give_up();
                    (world.disk, world.soon, world.synced) = (None, None, None);
                    world.escrow = None;
                    world.ending = Some(*ending);
                };
                add("", false, Observation::Closed(true), &close);
                add("fails", true, Observation::Closed(false), &|_| {});
            }
            Step::Stop(_) | Step::Done(_) => {}
        }
        all
    }

    /// What the places hold has come so far.
    fn hand(&mut self, step: usize) {
        self.handed[step] = Some(self.places.clone());
    }

    fn is_handed(&self) -> bool {
        !self.given.proves || self.handed.iter().all(|handed| handed.as_ref() == Some(&self.places))
    }

    fn may_give_up(&mut self) {
        let process = self.process.as_ref();
        self.is_given_up |= process.is_some_and(|process| process.seen.mandate.if_live == IfLive::Drop);
    }

    fn send(&self, add: &mut Add<'_>) {
        let bytes = Bytes::Secret(self.newest + 1);
        let escrow = Escrow::Secret { raw: raw(bytes), secret: digest(self.newest + 1) };
        let unusable = Bytes::Unusable(self.newest + 1);
        let hand = |world: &mut Self, bytes| {
            if let Some(process) = &mut world.process {
                process.in_hand = Some(bytes);
            }
        };
        let leave = |world: &mut Self| world.left += 1;
        let done = |world: &mut Self| {
            leave(world);
            world.issue();
            world.done += 1;
        };
        let late = |world: &mut Self, seconds| world.copy = Some(after(world.now, seconds));
        add("", false, Observation::Sent(Sent::Bytes, escrow), &|world| {
            done(world);
            hand(world, bytes);
        });
        add("copied", true, Observation::Sent(Sent::Bytes, escrow), &|world| {
            done(world);
            hand(world, bytes);
            late(world, QUIET - 1);
        });
        add("unusable", true, Observation::Sent(Sent::Bytes, Escrow::Unusable(raw(unusable))), &|world| {
            done(world);
            hand(world, unusable);
        });
        // A login page, or what a gateway has kept of an earlier one.
        for bytes in [unusable, Bytes::Secret(0)] {
            let page = Observation::Sent(Sent::Bytes, Escrow::Unusable(raw(bytes)));
            add("unusable, and not carried out", true, page, &|world| {
                leave(world);
                hand(world, bytes);
            });
        }
        // Of what can't be probed nobody could tell.
        if self.given.kind != Kind::Endpoint {
            add("never live", true, Observation::Sent(Sent::Bytes, escrow), &|world| {
                leave(world);
                world.newest += 1;
                world.done += 1;
                hand(world, bytes);
            });
        }
        add("not connected", true, Observation::Sent(Sent::NotSent, Escrow::Nothing), &|_| {});
        add("lost", true, Observation::Sent(Sent::Unknown, Escrow::Nothing), &|world| leave(world));
        add("response lost", true, Observation::Sent(Sent::Unknown, Escrow::Nothing), &|world| done(world));
        add("late", true, Observation::Sent(Sent::Unknown, Escrow::Nothing), &|world| {
            leave(world);
            late(world, WINDOW - 5);
        });
        for status in [403, 429] {
            let refused = Observation::Sent(Sent::Refused { status, is_rixls_own: true }, Escrow::Nothing);
            add("refused", true, refused.clone(), &|world| leave(world));
            add("refused, and done", true, refused, &|world| {
                done(world);
                // A refusal in RIXL's own words that was carried out can't be seen while the old secret lives on.
                world.is_unseen |= world.outlives();
            });
        }
    }

    /// What others do, between any two steps.
    fn rivals(&self) -> Vec<(&'static str, Self)> {
        let mut all = Vec::new();
        if self.moves.rivals == 0 || self.ending.is_some() {
            return all;
        }
        let mut add = |name: &'static str, change: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            world.moves.rivals -= 1;
            world.is_moved = true;
            world.is_moved_since = true;
            change(&mut world);
            all.push((name, world));
        };
        if !self.creates() {
            add("a rival rotates and stores", &|world| {
                let secret = world.issue();
                (0..world.places.len()).for_each(|index| world.write(index, Content::Secret(secret)));
            });
            if self.places.len() > 1 {
                add("a rival rotates and stores in one place", &|world| {
                    let secret = world.issue();
                    world.write(0, Content::Secret(secret));
                    // Nobody can fix what somebody left half done.
                });
            }
            add("somebody rotates and tells nobody", &|world| {
                world.issue();
                world.is_unseen = true;
            });
        }
        if self.given.kind != Kind::Create {
            add("the old value is written back", &|world| world.write(0, Content::Secret(0)));
        }
        add("the place is emptied", &|world| world.write(0, Content::Nothing));
        add("junk is written", &|world| world.write(0, Content::Junk));
        if self.given.expires && self.used.is_none() {
            add("a consumer uses the old key", &|world| world.used = Some(start()));
        }
        if self.disk.is_some() && !self.is_renamed {
            add("the name leads elsewhere", &|world| world.is_renamed = true);
        }
        if self.set_back == 0 {
            add("the clock is set back", &|world| {
                world.set_back = GRACE;
                // A run goes on from the time that it has.
                world.process.iter_mut().for_each(|process| process.skipped += GRACE);
            });
        }
        // The quiet time is counted by one clock. An end that RIXL is asked for is too early by neither, and so it is later by one.
        let is_quiet = |progress: &Progress| progress.places.iter().any(|place| matches!(place, At::Stored { .. }));
        if self.set_back == 0
            && !self.given.expires
            && self.process.is_none()
            && self.disk.as_ref().is_some_and(|disk| !is_quiet(disk))
        {
            add("the clock is set ahead", &|world| world.set_back = -GRACE);
        }
        all
    }

    /// The process takes in what a step brought.
    fn noted(mut self, step: &Step, observation: &Observation) -> Self {
        let now = self.clock();
        if let Some(process) = &mut self.process {
            if let Step::Record(record) | Step::Assume(record) = step {
                process.progress.apply(record);
                if matches!(record, Record::Sending(_)) {
                    process.in_hand = None;
                }
            }
            process.seen.note(now, step, observation);
            // One that is behind the other holds nothing up.
            process.seen.apart = jiff::SignedDuration::from_secs(self.set_back.min(0));
            process.seen.has_date |= matches!(
                step,
                Step::Look(Look::Probe(_) | Look::Keys | Look::Key)
                    | Step::Act(Act::Send | Act::Retire | Act::SetEnd(_))
            );
            if self.given.expires {
                process.seen.ahead = self.now.duration_since(now);
            }
        }
        if let Step::Record(Record::GivenUp { place, .. }) = step
            && !self.left_out.contains(place)
        {
            self.left_out.push(*place);
        }
        self.settle(step);
        // Whoever moved before that is to be seen.
        if matches!(step, Step::Wait(_) | Step::Record(Record::Retiring { .. } | Record::SettingEnd { .. })) {
            self.is_moved_since = false;
        }
        self
    }

    /// A process is killed before or after this step.
    fn killed(mut self, step: &Step) -> (Self, Option<String>) {
        let mut bad = None;
        if let Some(Process { in_hand: Some(Bytes::Secret(secret)), seen, .. }) = &self.process
            && self.live.get(secret) == Some(&true)
            && self.escrow != Some(Bytes::Secret(*secret))
            && !self.places.contains(&Content::Secret(*secret))
            && !matches!(step, Step::Act(Act::Send | Act::Keep))
            && seen.is_kept != Some(false)
            && self.disk.is_some()
            && !self.is_moved
            && !self.has_rival()
        {
            bad = Some(format!("killed at {step:?}, a secret is nowhere"));
        }
        self.moves.crashes -= 1;
        self.process = None;
        self.soon = None;
        (self, bad)
    }

    /// The power fails, and takes the lines along that were not synced; `None`: there are none.
    fn cut(&self) -> Option<Self> {
        let is_less = self.process.is_none() && self.synced != self.disk;
        is_less.then(|| Self { disk: self.synced.clone(), ..self.clone() })
    }

    /// A process begins recovery, or, where nothing was recorded, the run anew.
    fn recovered(&self) -> Self {
        let mut world = self.clone();
        let now = after(world.now, -world.set_back);
        let given_up = world.disk.iter().flat_map(|progress| progress.places.iter().enumerate());
        let given_up: Vec<usize> = given_up.filter(|(_, at)| **at == At::GivenUp).map(|(index, _)| index).collect();
        world.left_out.extend(given_up);
        world.left_out.sort_unstable();
        world.left_out.dedup();
        world.process = world.disk.clone().map(|mut progress| {
            // As recovery does, where the escrow is empty: the receipts were written before it was wiped.
            if let Some(ending) = world.closing.filter(|ending| ending.effect() == Effect::Changed)
                && world.escrow.is_none()
                && progress.ended.is_none()
            {
                progress.apply(&Record::Ended { at: now, ending });
            }
            let recorded = progress.places.iter().filter_map(|place| match place {
                At::Stored { at, .. } | At::Settled { at, .. } => Some(*at),
                At::Before(_) | At::GivenUp => None,
            });
            // As the driver does: what is recorded of times ahead counts as of now.
            let latest = recorded.max().max(progress.requests.at).max(progress.handed_at).unwrap_or(now);
            let skipped = latest.duration_since(now).as_secs().max(0);
            Process {
                seen: Seen::new(after(now, skipped), world.mandate, world.places.len()),
                progress,
                in_hand: None,
                read: world.places.clone(),
                old: world.places.clone(),
                skipped,
            }
        });
        world
    }

    /// What a user allows who reads this and does what it says next.
    fn heed(&mut self, stop: Stop) {
        match stop {
            Stop::Parked | Stop::Unconfirmed | Stop::KeyGone | Stop::NotRetired(NotRetired::Dead) => {
                self.mandate.again = true
            }
            Stop::Undecidable => self.mandate.if_live = IfLive::RotateUnread,
            Stop::NotRetired(NotRetired::Another) => self.mandate.if_live = IfLive::Drop,
            // It is named by what it is to be from now on.
            Stop::PlaceMoved(_) => self.is_renamed = false,
            Stop::PlaceTaken(_) | Stop::NotRetired(NotRetired::Place(_)) => self.mandate.take_over = true,
            _ => {}
        }
    }
}

#[derive(Default)]
struct Tally {
    states: usize,
    transitions: usize,
    endings: BTreeMap<String, usize>,
    violations: Vec<String>,
}

/// How a world came about: from which one, and by what. The worlds themselves would not fit into memory.
#[derive(Clone, Copy)]
struct Node {
    parent: u32,
    how: u32,
}

/// Texts by their numbers: there are few of them.
#[derive(Default)]
struct Texts {
    numbers: HashMap<Arc<str>, u32>,
    all: Vec<Arc<str>>,
}

impl Texts {
    fn number(&mut self, text: &str) -> u32 {
        if let Some(number) = self.numbers.get(text) {
            return *number;
        }
        let number = u32::try_from(self.all.len()).unwrap();
        let text: Arc<str> = text.into();
        self.all.push(Arc::clone(&text));
        self.numbers.insert(text, number);
        number
    }
}

fn explore(given: Given, places: usize, moves: Moves) -> Tally {
    let mut tally = Tally::default();
    let mut seen = HashSet::new();
    let mut texts = Texts::default();
    let mut nodes = Vec::new();
    let mut queue = VecDeque::new();
    let first = World::new(given, places, moves);
    seen.insert(first.fingerprint());
    nodes.push(Node { parent: 0, how: texts.number("begins") });
    queue.push_back((0, first));
    while let Some((at, world)) = queue.pop_front() {
        if tally.violations.len() >= 3 {
            break;
        }
        tally.states += 1;
        let mut found = Vec::new();
        let mut bad = Vec::new();
        after_each(&world, &mut found, &mut bad, &mut tally);
        for what in bad {
            if tally.violations.len() < 3 {
                let mut story = String::new();
                let mut node: u32 = at;
                let mut steps = Vec::new();
                loop {
                    let Node { parent, how } = nodes[node as usize];
                    steps.push(&texts.all[how as usize]);
                    if node == 0 {
                        break;
                    }
                    node = parent;
                }
                for step in steps.iter().rev() {
                    writeln!(story, "  {step}").unwrap();
                }
                tally.violations.push(format!("{what} ({given:?}, {places} places):\n{story}  {world:?}"));
            }
        }
        for (how, world) in found {
            tally.transitions += 1;
            if seen.insert(world.fingerprint()) {
                nodes.push(Node { parent: at, how: texts.number(&how) });
                queue.push_back((u32::try_from(nodes.len() - 1).unwrap(), world));
            }
        }
    }
    tally
}

/// All that can come next, and what is not as it must be.
fn after_each(world: &World, found: &mut Vec<(String, World)>, bad: &mut Vec<String>, tally: &mut Tally) {
    for (how, world) in world.rivals() {
        found.push((how.to_owned(), world));
    }
    if world.moves.faults > 0 && world.process.as_ref().is_some_and(|process| !process.seen.is_cancelled) {
        let mut cancelled = world.clone();
        cancelled.moves.faults -= 1;
        cancelled.process.iter_mut().for_each(|process| process.seen.is_cancelled = true);
        found.push(("cancelled".to_owned(), cancelled));
    }
    let Some(process) = &world.process else {
        if let Some(ending) = world.ending {
            *tally.endings.entry(format!("{ending:?}")).or_default() += 1;
            bad.extend(check_ending(world, ending));
        } else if world.disk.is_some() {
            bad.extend(check_end(world));
            if let Err(where_it_stays) = quiet_end(world) {
                bad.push(format!("left alone, it comes to no end: {where_it_stays}"));
            }
            if let Some(disk) = &world.disk
                && disk.response == Response::Received
                && disk.ended.is_none()
                && disk.places.iter().any(|place| matches!(place, At::Before(_)))
                && world.escrow.is_none()
                && world.closing.is_none_or(|ending| ending.effect() != Effect::Changed)
            {
                bad.push("a response is recorded, and the escrow is empty".into());
            }
            found.push(("recovery begins".into(), world.recovered()));
            if world.mandate.if_live == IfLive::Rotate {
                let mut dropped = world.clone();
                dropped.mandate.if_live = IfLive::Drop;
                found.push(("recovery begins, and may drop".into(), dropped.recovered()));
            }
            let has_end = world.disk.as_ref().is_some_and(|disk| disk.old_end != OldEnd::default());
            if has_end && world.now < after(start(), DAY) {
                for (how, later) in
                    [("recovery begins late in the grace", GRACE * 3 / 4), ("recovery begins after it", GRACE + WINDOW)]
                {
                    let mut world = world.clone();
                    world.pass(after(world.now, later));
                    found.push((how.into(), world.recovered()));
                }
            }
            if !has_end && world.now < after(start(), DAY) {
                let mut later = world.clone();
                later.pass(after(world.now, WINDOW + 10));
                found.push(("recovery begins later".into(), later.recovered()));
            }
        }
        return;
    };
    let step = next(&process.progress, &process.seen);
    bad.extend(check_step(world, process, &step));
    match step {
        Step::Stop(stop) => {
            *tally.endings.entry(format!("{stop:?}")).or_default() += 1;
            let mut ended = world.clone();
            ended.flush();
            ended.process = None;
            ended.heed(stop);
            if ended.disk.is_some() {
                found.push((format!("{stop:?}"), ended));
            }
        }
        Step::Done(ending) => {
            let mut ended = world.clone();
            ended.flush();
            ended.process = None;
            ended.ending = ended.disk.is_none().then_some(ending);
            found.push((format!("done: {ending:?}"), ended));
        }
        step => {
            if world.moves.crashes > 0 {
                let (killed, what) = world.clone().killed(&step);
                bad.extend(what);
                found.extend(killed.cut().map(|cut| (format!("a power failure before {step:?}"), cut)));
                found.push((format!("killed before {step:?}"), killed));
                // Where nothing was sent, what is left is an intent like any other.
                if let Step::Act(Act::Close(ending)) = step
                    && ending != Ending::Refused
                {
                    let mut closing = world.clone();
                    closing.flush();
                    let (mut killed, _) = closing.killed(&step);
                    killed.escrow = None;
                    killed.closing = Some(ending);
                    found.extend(killed.cut().map(|cut| (format!("a power failure within {step:?}"), cut)));
                    found.push((format!("killed within {step:?}"), killed));
                }
            }
            for (name, next, observation) in world.perform(&step) {
                if world.moves.crashes > 0 {
                    let (killed, what) = next.clone().killed(&step);
                    bad.extend(what);
                    found.extend(killed.cut().map(|cut| (format!("a power failure after {step:?} {name}"), cut)));
                    found.push((format!("killed after {step:?} {name}"), killed));
                }
                found.push((format!("{step:?} {name}"), next.noted(&step, &observation)));
            }
        }
    }
}

/// Recovers in a world where nothing fails, until it is over. `Err`: where it stays.
fn quiet_end(world: &World) -> Result<(), String> {
    let mut world = world.clone();
    world.moves = Moves { crashes: 0, rivals: 0, faults: 0 };
    let mut said = String::new();
    for _ in 0..6 {
        world = world.recovered();
        for _ in 0..100 {
            let Some(process) = &world.process else { break };
            let step = next(&process.progress, &process.seen);
            match step {
                Step::Done(_) => return Ok(()),
                Step::Stop(stop) => {
                    said = format!("{said} {stop:?}");
                    if stop == Stop::Waiting {
                        world.pass(after(world.now, GRACE));
                    }
                    world.heed(stop);
                    world.process = None;
                }
                step => {
                    let Some((_, next, observation)) = world.perform(&step).into_iter().next() else {
                        return Err(format!("{said}, nothing follows from {step:?}"));
                    };
                    world = next.noted(&step, &observation);
                }
            }
        }
        if let Some(process) = &world.process {
            return Err(format!("{said}, {:?} after 100 steps", next(&process.progress, &process.seen)));
        }
    }
    Err(said)
}

fn check_step(world: &World, process: &Process, step: &Step) -> Vec<String> {
    let mut bad = Vec::new();
    let may_come = world.done > 0 || world.copy.is_some();
    let is_new = |place: &Content| matches!(place, Content::Secret(1..)) && world.opens(*place);
    let are_new = world.places.iter().all(is_new) && !world.is_renamed;
    let is_deployed = !world.given.deploys || world.deployed.as_ref() == Some(&world.places) || world.is_given_up;
    match step {
        // What was set when the places had it may be moved on any evidence: the old key lives longer by that.
        Step::Act(Act::SetEnd(until)) => {
            let is_earlier = world.end.is_none_or(|end| *until < end);
            if is_earlier && !world.is_moved_since && !are_new {
                bad.push("the old key is given an end, and a place does not open the new one".into());
            }
            if is_earlier && !world.is_moved && !is_deployed {
                bad.push("the old key is given an end, and the new secret was not deployed".into());
            }
            if is_earlier && world.settled.is_none_or(|settled| *until < after(settled, GRACE)) {
                bad.push("the old key is given less time than the grace".into());
            }
            let longest = after(world.now, GRACE + 2);
            let over = process.progress.old_end.grace_ends;
            if *until > longest || over.is_some_and(|over| *until > latest(over, Duration::from_secs(3_600))) {
                bad.push("the old key is given more time than the grace".into());
            }
        }
        Step::Stop(Stop::Waiting) if world.end.is_none() && !world.has_expired && world.late_end.is_none() => {
            bad.push("it waits for RIXL to end the old key, and nothing does".into());
        }
        Step::Stop(stop) => {
            let effect = process.progress.effect();
            if effect == Effect::Unchanged && may_come && world.can_tell && !world.is_moved {
                bad.push(format!("{stop:?} says unchanged, and a request was carried out"));
            }
            if effect == Effect::Changed && world.newest == 0 {
                bad.push(format!("{stop:?} says changed, and no request was carried out"));
            }
            if world.disk.is_none() && may_come && world.moves.faults > 0 {
                bad.push(format!("{stop:?} leaves no entry"));
            }
        }
        Step::Act(Act::Retire) if !world.is_moved_since => {
            bad.extend((!are_new).then(|| "the old key is deleted, and a place does not open the new one".into()));
            if !is_deployed {
                bad.push("the old key is deleted, and the new secret was not deployed".into());
            }
            if !world.is_handed() && !world.is_given_up {
                bad.push("the old key is deleted, and the new secret was not proven, taken and used".into());
            }
        }
        Step::Act(Act::Store { place, .. }) if !world.is_moved && world.copy.is_none() => {
            let ours = match process.in_hand.or(world.escrow) {
                Some(Bytes::Secret(secret)) => world.wanted(&process.progress, *place, secret),
                _ => Content::Nothing,
            };
            if world.opens(world.places[*place]) && !world.opens(ours) && !world.given.is_write_only {
                bad.push("a dead secret replaces a live one".into());
            }
            if world.is_renamed && *place == 0 {
                bad.push("a secret is stored where the name does not lead".into());
            }
        }
        Step::Act(Act::Send) => {
            if let Some(Bytes::Secret(secret @ 1..)) = world.escrow
                && world.live.get(&secret) == Some(&true)
                && !world.has_rival()
                && world.copy.is_none()
                && world.done < 2
            {
                bad.push("a further request, and a live secret is in escrow".into());
            }
            if world.closing.is_some() {
                bad.push("a request leaves after its run was over".into());
            }
            if world.left >= BUDGET && !world.mandate.again {
                bad.push("beyond the budget".into());
            }
            if world.disk.as_ref().is_none_or(|disk| !matches!(disk.response, Response::Sending)) {
                bad.push("a request leaves that is not recorded".into());
            }
        }
        _ => {}
    }
    bad
}

/// Nobody comes back.
fn check_end(world: &World) -> Option<String> {
    let old = world.disk.as_ref()?.old_end;
    // Where it was about to be moved, it may have been.
    let until = old.known?.until.max(old.asked.unwrap_or(start()));
    let mut later = world.clone();
    later.pass(after(until, 1));
    later.is_live(0).then(|| "RIXL was to end the old key by itself, and it lives on".to_owned())
}

fn check_ending(world: &World, ending: Ending) -> Vec<String> {
    let mut bad = Vec::new();
    if ending == Ending::Refused {
        if world.done > 0 && world.can_tell && !world.is_moved && !(world.has_rival() && world.was_killed()) {
            bad.push("refused is said, and a request was carried out".into());
        }
        return bad;
    }
    if world.given.kind == Kind::Replace && ending == Ending::Replaced && world.is_live(0) {
        bad.push("replaced is said, and the old key is alive".into());
    }
    // Consumers were made to take what is there.
    let is_ours = matches!(ending, Ending::Rotated | Ending::Created | Ending::Replaced);
    let is_deployed = world.deployed.as_ref() == Some(&world.places);
    if world.given.deploys && is_ours && !world.is_moved && !is_deployed && !world.is_given_up {
        bad.push(format!("{ending:?}, and what is in the places was not deployed"));
    }
    if is_ours && !world.is_moved && !world.is_handed() && !world.is_given_up {
        bad.push(format!("{ending:?}, and what is in the places was not proven, taken and used"));
    }
    // A day later every place opens.
    let mut later = world.clone();
    later.pass(after(world.now, DAY));
    later.live.retain(|_, stays| *stays);
    let is_given_up = ending == Ending::Abandoned
        // The old secret was live, and may be so for a grace time only.
        || ending == Ending::Dropped && world.given.kind != Kind::AtOnce
        || world.given.kind == Kind::Create && ending != Ending::Created
        // Nobody can fix what somebody left half done.
        || ending == Ending::Dropped && world.has_rival() && later.places.iter().any(|place| later.opens(*place))
        // Nothing tells which of two is newer, and who gives up the place that has another's decides it.
        || matches!(world.given.kind, Kind::Endpoint | Kind::Grace) && !world.left_out.is_empty() && world.has_rival();
    for (index, place) in later.places.iter().enumerate().filter(|(index, _)| !world.left_out.contains(index)) {
        // Giving a run up stores nothing where nothing is.
        let is_empty = ending == Ending::Dropped && *place == Content::Nothing;
        if !later.opens(*place) && !is_empty && !world.is_moved && !world.is_unseen && !later.is_unseen && !is_given_up
        {
            bad.push(format!("{ending:?}, and a day later place {index} does not open"));
        }
    }
    bad
}

fn is_full() -> bool {
    std::env::var_os("RIXL_MODEL_FULL").is_some()
}

/// Hours, and ten gigabytes of memory.
fn is_all() -> bool {
    std::env::var_os("RIXL_MODEL_FULL").is_some_and(|value| value == "all")
}

fn check(kind: Kind) {
    let given = Given::new(kind);
    let moves = |crashes, rivals, faults| Moves { crashes, rivals, faults };
    let mut worlds = vec![
        (given, 1, moves(1, 1, 0)),
        (given, 1, moves(0, 1, 1)),
        (given, 1, moves(2, 0, 1)),
        (given, 2, moves(1, 0, 1)),
        (Given { deploys: true, ..given }, 1, moves(1, 0, 1)),
        (Given { proves: true, ..given }, 1, moves(1, 0, 1)),
        (Given { is_write_only: true, ..given }, 1, moves(1, 0, 1)),
    ];
    // The secret of an endpoint has one form.
    if kind != Kind::Endpoint {
        worlds.push((Given { response: KeyFormat::Prefixed, ..given }, 1, moves(1, 0, 1)));
    }
    // What is new has no consumers yet that could be used to another form.
    if !matches!(kind, Kind::Create | Kind::Endpoint) {
        worlds.push((Given { consumers: KeyFormat::Prefixed, ..given }, 1, moves(1, 0, 1)));
    }
    if is_full() {
        worlds.extend([
            (given, 1, moves(1, 1, 1)),
            (given, 1, moves(1, 0, 2)),
            (given, 2, moves(1, 1, 1)),
            (Given { deploys: true, ..given }, 1, moves(1, 1, 1)),
            (Given { deploys: true, ..given }, 2, moves(2, 0, 1)),
            (Given { deploys: true, proves: true, ..given }, 1, moves(1, 1, 1)),
            (Given { proves: true, ..given }, 2, moves(1, 0, 2)),
            (Given { is_write_only: true, ..given }, 1, moves(2, 0, 2)),
        ]);
        if kind != Kind::Endpoint {
            worlds.push((Given { response: KeyFormat::Prefixed, ..given }, 1, moves(1, 1, 1)));
        }
    }
    if is_all() {
        worlds.extend([(given, 1, moves(2, 1, 2)), (given, 1, moves(2, 2, 1))]);
    }
    check_all(worlds);
}

fn check_all(worlds: Vec<(Given, usize, Moves)>) {
    for (given, places, moves) in worlds {
        let tally = explore(given, places, moves);
        eprintln!(
            "{given:?}, {places} places, {moves:?}: {} states, {} transitions, {:?}",
            tally.states, tally.transitions, tally.endings
        );
        assert!(tally.violations.is_empty(), "{}", tally.violations.join("\n"));
    }
}

#[test]
fn a_rotation_that_ends_the_old_secret_at_once() {
    check(Kind::AtOnce);
}

#[test]
fn a_rotation_that_lets_the_old_secret_live_on() {
    check(Kind::Grace);
}

#[test]
fn a_replacement() {
    check(Kind::Replace);
}

#[test]
fn a_rotation_that_can_not_be_probed() {
    check(Kind::Endpoint);
}

#[test]
fn a_replacement_whose_old_key_rixl_ends() {
    let given = Given { expires: true, ..Given::new(Kind::Replace) };
    let moves = |crashes, rivals, faults| Moves { crashes, rivals, faults };
    let mut worlds = vec![
        (given, 1, moves(1, 1, 0)),
        (given, 1, moves(0, 1, 1)),
        (Given { deploys: true, ..given }, 1, moves(1, 0, 1)),
    ];
    if is_full() {
        worlds.extend([
            (given, 1, moves(2, 0, 1)),
            (given, 1, moves(1, 1, 1)),
            (given, 2, moves(1, 1, 1)),
            (Given { is_write_only: true, ..given }, 1, moves(1, 0, 1)),
            (Given { deploys: true, ..given }, 2, moves(2, 0, 1)),
        ]);
    }
    if is_all() {
        worlds.extend([(given, 1, moves(2, 1, 2)), (given, 1, moves(2, 2, 1))]);
    }
    check_all(worlds);
}

#[test]
fn a_creation() {
    check(Kind::Create);
}

/// A journal to which each change is a request writes what may wait with what comes next, and a kill takes it away.
#[test]
fn what_may_wait_is_lost_by_a_kill() {
    let moves = |crashes, rivals, faults| Moves { crashes, rivals, faults };
    for kind in [Kind::AtOnce, Kind::Grace, Kind::Replace, Kind::Endpoint, Kind::Create] {
        let given = Given { waits: true, ..Given::new(kind) };
        let mut worlds = vec![
            (given, 1, moves(1, 1, 0)),
            (given, 1, moves(1, 0, 1)),
            (Given { deploys: true, ..given }, 1, moves(1, 0, 1)),
        ];
        if kind == Kind::Replace {
            worlds.push((Given { expires: true, ..given }, 1, moves(1, 0, 1)));
        }
        if is_full() {
            worlds.extend([
                (given, 1, moves(2, 0, 1)),
                (given, 1, moves(1, 1, 1)),
                (given, 2, moves(1, 0, 1)),
                (Given { proves: true, ..given }, 1, moves(1, 0, 1)),
                (Given { is_write_only: true, ..given }, 1, moves(2, 0, 1)),
            ]);
        }
        check_all(worlds);
    }
}
