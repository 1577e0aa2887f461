//! What this process saw since it last acted or waited. After a crash it is empty, and that is all that tells recovery from a
//! live run.

use std::time::Duration;

use jiff::SignedDuration;
use rixl_credentials::Timestamp;

use super::{
    intent::{Digest, MadeId},
    progress::Record,
};
use crate::{Ending, probe::Liveness, store::Version};

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Step {
    /// Durably, before anything else.
    Record(Record),
    /// In memory alone: on the disk it would stand for a response that is not in escrow.
    Assume(Record),
    Look(Look),
    Wait(Wait),
    Act(Act),
    /// The entry stays open.
    Stop(Stop),
    Done(Ending),
}

/// Changes nothing: all that a dry run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Look {
    Escrow,
    Place(usize),
    Probe(Of),
    Keys,
    /// That a request is about.
    Key,
    Authorizer,
    /// The rate limit.
    Turn,
    /// What consumers say that they run with.
    Acks,
    /// When the key was used last.
    Use,
}

/// Whether consumers say that they run with the new secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Acked {
    ByAll,
    NotByAll,
    /// This process can't look where they say it, however long it waits.
    OutOfReach,
}

/// Whose secret is probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Of {
    Ours,
    /// What was last read there.
    Place(usize),
    /// What was there before the first request, as long as this process has it.
    Before(usize),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Act {
    /// Proves that the place can take a secret.
    Prepare(usize),
    /// Room for the response.
    Reserve,
    /// Once, on one connection.
    Send,
    /// Puts the response into escrow.
    Keep,
    Store {
        place: usize,
        expected: Version,
    },
    /// Runs the deploy step to its end.
    Deploy,
    /// Has the probes try the new secret.
    Prove,
    /// Deletes what was there before.
    Retire,
    /// Asks RIXL to end what was there before at this time of RIXL's.
    SetEnd(Timestamp),
    /// Writes the history, wipes the escrow, removes the entry.
    Close(Ending),
}

/// Time must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Wait {
    /// A late copy of a request could still end what is live now.
    Until(Timestamp, Because),
    /// By the retry policy, for what passes.
    Retry(Because),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Because {
    Turn,
    /// RIXL asked for it, or could not be reached.
    Request,
    Verify,
    /// A request may be under way.
    Window,
    Quiet,
    Grace,
    /// Whether the predecessor is still used.
    Still,
    Place(usize),
    /// RIXL is not clear about a secret.
    Unclear,
    Keys,
    /// A probe did not take the new secret.
    Proof,
    /// Consumers have yet to take it.
    Taken,
}

/// Why a run ends with its entry open. The effect is [`Progress::effect`](super::progress::Progress::effect).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stop {
    Cancelled,
    LockLost,
    NotRecorded,
    /// A new secret of the key would be dead from the start.
    Expired,
    /// No key has its id any more.
    KeyGone,
    /// The credential ends before the run may.
    TokenEnds,
    /// The credential is what is to be changed.
    OwnKey,
    /// The same, and the next run would be left with a dead one.
    NotHandedOver,
    NoRoom,
    PlaceFailed(usize),
    /// It does not name any more what it named.
    PlaceMoved(usize),
    /// Something else lives there.
    PlaceTaken(usize),
    /// Another place has the key's secret, and would keep a dead one.
    KeyElsewhere(usize),
    /// Somebody keeps writing there.
    Contested(usize),
    /// RIXL does not say whether a secret is live.
    Unclear,
    EscrowUnreadable,
    Refused,
    Unknown,
    /// Nobody but the user can tell what to do.
    Undecidable,
    /// The new secret was not confirmed to be live, and what is stored is needed.
    Unconfirmed,
    /// Stored in some places or in none.
    NotStored,
    NotSettled,
    /// Stored everywhere, and the deploy step failed.
    NotDeployed,
    /// Stored everywhere, and a probe does not take it.
    NotProven,
    /// Stored everywhere, and not taken by all consumers in time.
    NotTaken,
    /// The budget is used up.
    Parked,
    NotRetired(NotRetired),
    /// RIXL ends what was there before by itself. Nothing is to be done until then.
    Waiting,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum NotRetired {
    OwnKey,
    /// It does not hold the new secret any more.
    Place(usize),
    /// A place holds another secret, which is live.
    Another,
    /// What a place holds is the new secret, and dead.
    Dead,
    /// The successor may do less.
    Less,
    Keys,
    /// It was deleted, and is still there.
    StillThere,
}

/// What a step brought.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Observation {
    /// How long it took; `Err`: it is not known whether it is there.
    Recorded(Result<Duration, ()>),
    Assumed,
    Escrow(Escrow),
    Place(usize, PlaceSeen),
    Probed(Of, Liveness),
    Keys(Result<KeysSeen, KeysFailure>),
    Key(KeySeen),
    Authorizer(Authorizer),
    /// `None`: at once.
    Turn(Option<Timestamp>),
    Prepared(usize, PlaceSeen),
    Reserved(bool),
    Sent(Sent, Escrow),
    Kept(bool),
    Stored(usize, Result<Version, StoreFailure>),
    /// Whether it ended well.
    Deployed(bool),
    Proven(Proof),
    Acks(Acked),
    /// Whether another than this run has used the key.
    Used(bool),
    /// Whether RIXL said that it did.
    Retired(bool),
    EndAsked(EndAsked),
    Closed(bool),
    Waited,
    Cancelled,
    LockLost,
}

/// What the probes made of the new secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Proof {
    Taken,
    Refused,
    /// It was not tried, for all that is known.
    Unclear,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(clippy::enum_variant_names, reason = "not sent is what the protocol calls it")]
pub(crate) enum Sent {
    /// A response that is no refusal, whatever is in it.
    Bytes,
    Refused {
        status: u16,
        is_rixls_own: bool,
    },
    NotSent,
    Unknown,
}

/// What RIXL said to the end that it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum EndAsked {
    At(Timestamp),
    /// It certainly did not do it.
    Refused,
    Unclear,
}

/// What the escrow, or the memory of this process, has of the response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Escrow {
    Nothing,
    /// Of an earlier request.
    Stale,
    Unreadable,
    /// No new secret can be had from these bytes, which may be anyone's: they say as little of the request as none.
    Unusable(Digest),
    Secret {
        raw: Digest,
        secret: Digest,
    },
}

/// What a place holds, as far as it concerns this run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holds {
    /// It can't be read back, by its nature.
    WriteOnly,
    Nothing(Version),
    /// The secret of this run's response; it fits where it has the form in which it is to be stored.
    Ours {
        version: Version,
        value: Digest,
        fits: bool,
    },
    /// What it held before, or an earlier secret of this run.
    Before(Version, Digest),
    Other(Version, Digest),
}

/// Why a place can't be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum StoreFailure {
    /// It passes.
    Busy,
    /// Someone wrote it meanwhile.
    Conflict,
    /// It may be there.
    Unknown,
    Permanent,
}

/// To whom a place belongs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Owner {
    #[default]
    ThisKey,
    /// Another key, or what is no secret of RIXL's.
    Another,
    /// This program's own state.
    State,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PlaceSeen {
    /// When this look began.
    pub(crate) at: Timestamp,
    /// Whether the given text still names what was recorded.
    pub(crate) is_same: bool,
    pub(crate) owner: Owner,
    /// The key's secret is in another place.
    pub(crate) is_elsewhere: bool,
    pub(crate) holds: Result<Holds, StoreFailure>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KeysSeen {
    /// When the predecessor was last used; `None`: it was not in the list, which proves nothing by itself.
    pub(crate) predecessor: Option<Option<Timestamp>>,
    /// When the predecessor expires, by RIXL's clock.
    pub(crate) end: Option<Timestamp>,
    /// The successor may do less than its predecessor, or nothing.
    pub(crate) is_less: bool,
    /// What the lost requests of this run may have made.
    pub(crate) orphans: Vec<MadeId>,
}

/// What the list says of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeySeen {
    There,
    /// Its end has passed.
    Expired,
    /// Two lists in a row do not have it.
    Gone,
    /// It could not be listed.
    Unknown,
}

/// Why the keys could not be listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum KeysFailure {
    Passing,
    /// The credential may not.
    Denied,
}

/// The credential that the run is authorized with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Authorizer {
    Fine,
    /// It ends before the run may.
    Ends,
    /// It is the key that is changed or deleted.
    OwnKey,
    /// It is an API key, and nobody can tell which.
    MayBeOwnKey,
    /// It is or may be that key, and the next run would not find the new secret.
    NotHandedOver,
}

/// What the user allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Mandate {
    /// A live run stops where nothing was heard; recovery goes on.
    pub(crate) stops_on_unknown: bool,
    pub(crate) if_live: IfLive,
    pub(crate) take_over: bool,
    /// A dead secret in the place where the key's was.
    pub(crate) leave: bool,
    /// Beyond the budget.
    pub(crate) again: bool,
    pub(crate) own_key: bool,
    /// For what passes, from the first time on.
    pub(crate) patience: Duration,
}

impl Mandate {
    pub(crate) const LIVE: Self = Self {
        stops_on_unknown: true,
        if_live: IfLive::Rotate,
        take_over: false,
        leave: false,
        again: false,
        own_key: false,
        patience: Duration::from_secs(60),
    };
}

/// What to do where nothing was heard and nothing is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum IfLive {
    Rotate,
    RotateUnread,
    Drop,
}

/// What this process saw since it last acted or waited, and how often it tried.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Seen {
    pub(crate) now: Timestamp,
    pub(crate) mandate: Mandate,
    pub(crate) is_cancelled: bool,
    pub(crate) is_lock_lost: bool,
    /// The key has expired, by what this run knows of its end. It may have been moved since.
    pub(crate) is_expired: bool,
    /// How far RIXL's clock is ahead of `now`, as far as that is known.
    pub(crate) ahead: SignedDuration,
    /// How far RIXL's clock is ahead of this machine's, as far as that is known and more than it could seem to be.
    pub(crate) apart: SignedDuration,
    /// RIXL has said so since the last wait.
    pub(crate) has_date: bool,
    /// The request that was recorded last has not left this process, and still may.
    pub(crate) may_send: bool,
    /// What came of it, until that is recorded.
    pub(crate) sent: Option<Sent>,
    pub(crate) escrow: Option<Escrow>,
    /// Whether the response that this process has is in escrow too.
    pub(crate) is_kept: Option<bool>,
    pub(crate) ours: Option<Liveness>,
    pub(crate) places: Vec<Seat>,
    pub(crate) keys: Option<Result<KeysSeen, KeysFailure>>,
    pub(crate) key: Option<KeySeen>,
    pub(crate) authorizer: Option<Authorizer>,
    pub(crate) has_turn: bool,
    pub(crate) turn_at: Option<Timestamp>,
    pub(crate) is_reserved: Option<bool>,
    /// When the predecessor was last used, at the look before the last wait.
    pub(crate) was_used: Option<Option<Timestamp>>,
    /// A deletion was sent, and RIXL said that it carried it out.
    pub(crate) was_retired: Option<bool>,
    /// What RIXL said when it was last asked to end the predecessor by itself.
    pub(crate) end_asked: Option<EndAsked>,
    /// This process has recorded when RIXL ends it.
    pub(crate) is_end_known: bool,
    /// How the deploy step ended in this process, until that is recorded.
    pub(crate) deployed: Option<bool>,
    /// What came of the probes, likewise.
    pub(crate) proof: Option<Proof>,
    pub(crate) acks: Option<Acked>,
    /// Whether another used the key.
    pub(crate) used: Option<bool>,
    pub(crate) is_closed: Option<bool>,
    /// Until when this process tries again what passes.
    pub(crate) patience_ends: Option<Timestamp>,
    pub(crate) tries: Tries,
}

/// One place, as this process saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Seat {
    pub(crate) seen: Option<PlaceSeen>,
    pub(crate) liveness: Option<Liveness>,
    /// This process has what was there before the first request.
    pub(crate) has_before: bool,
    pub(crate) before: Option<Liveness>,
    pub(crate) is_prepared: bool,
    /// What this process saw there last, after its own last write, was ours, or can't be read.
    pub(crate) was_ours: bool,
    /// This process tried it since then, and it was not dead.
    pub(crate) was_tried: bool,
    /// This process wrote ours there, durably, and recorded nothing of it yet.
    pub(crate) written: Option<(Timestamp, Version)>,
    /// How often it took the secret of the response at hand.
    pub(crate) writes: u8,
    /// The last write failed for good.
    pub(crate) is_failed: bool,
    /// The last write is not known to be there, and nothing was waited for since then.
    pub(crate) failure: Option<StoreFailure>,
}

/// How often something was tried in vain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Tries {
    pub(crate) verify: u8,
    pub(crate) proof: u8,
    pub(crate) keep: u8,
    pub(crate) record: u8,
    pub(crate) is_repeat_due: bool,
    pub(crate) sent: u8,
    pub(crate) absent: u8,
    /// To have RIXL end the predecessor.
    pub(crate) end: u8,
    /// The last record is not known to be there.
    pub(crate) is_unrecorded: bool,
    /// Nor is one of those since the request, or one is in memory alone.
    pub(crate) has_gap: bool,
}

/// A line that took longer to write than this does not tell well enough when the request left.
const SLOW: Duration = Duration::from_millis(2500);

impl Seen {
    pub(crate) fn new(now: Timestamp, mandate: Mandate, places: usize) -> Self {
        Self {
            now,
            mandate,
            is_cancelled: false,
            is_expired: false,
            ahead: SignedDuration::ZERO,
            apart: SignedDuration::ZERO,
            has_date: false,
            is_lock_lost: false,
            may_send: false,
            sent: None,
            escrow: None,
            is_kept: None,
            ours: None,
            places: vec![Seat::default(); places],
            keys: None,
            key: None,
            authorizer: None,
            has_turn: false,
            turn_at: None,
            is_reserved: None,
            was_used: None,
            was_retired: None,
            end_asked: None,
            is_end_known: false,
            deployed: None,
            proof: None,
            acks: None,
            used: None,
            is_closed: None,
            patience_ends: None,
            tries: Tries::default(),
        }
    }

    pub(crate) fn has_patience(&self) -> bool {
        self.patience_ends.is_none_or(|end| self.now < end)
    }

    /// Takes in what a step brought, at this time. The only code that forgets: an effect forgets what it may have made
    /// untrue, a wait forgets all about RIXL and the places.
    pub(crate) fn note(&mut self, now: Timestamp, step: &Step, observation: &Observation) {
        self.now = now;
        match observation {
            Observation::Cancelled => self.is_cancelled = true,
            Observation::LockLost => self.is_lock_lost = true,
            Observation::Recorded(result) => self.recorded(step, *result),
            Observation::Assumed => {
                self.tries.has_gap = true;
                self.taken_in(step);
            }
            Observation::Escrow(escrow) => self.escrow = Some(*escrow),
            Observation::Place(place, seen) => self.place(*place, seen.clone()),
            Observation::Prepared(place, seen) => {
                self.place(*place, seen.clone());
                if let Some(seat) = self.places.get_mut(*place) {
                    seat.is_prepared = true;
                }
            }
            Observation::Probed(Of::Ours, liveness) => (self.ours, self.used) = (Some(*liveness), None),
            Observation::Probed(Of::Place(place), liveness) => {
                // It was used by this run.
                self.used = None;
                if let Some(seat) = self.places.get_mut(*place) {
                    (seat.liveness, seat.was_tried) = (Some(*liveness), *liveness != Liveness::Dead);
                }
            }
            Observation::Probed(Of::Before(place), liveness) => {
                if let Some(seat) = self.places.get_mut(*place) {
                    seat.before = Some(*liveness);
                }
            }
            Observation::Keys(keys) => {
                self.keys = Some(keys.clone());
                match keys {
                    Ok(keys) if keys.predecessor.is_none() => self.tries.absent = self.tries.absent.saturating_add(1),
                    Ok(_) => self.tries.absent = 0,
                    Err(_) => {}
                }
            }
            Observation::Key(key) => self.key = Some(*key),
            Observation::Authorizer(authorizer) => self.authorizer = Some(*authorizer),
            Observation::Turn(at) => {
                self.turn_at = *at;
                self.has_turn = true;
            }
            Observation::Reserved(is_reserved) => self.is_reserved = Some(*is_reserved),
            Observation::Sent(sent, escrow) => {
                // What was seen was seen before.
                self.forget_the_world();
                self.may_send = false;
                self.has_turn = false;
                self.is_kept = None;
                // What could not be sent at all, or was refused, is not tried for longer because of that.
                if matches!(sent, Sent::Bytes | Sent::Unknown) {
                    self.patience_ends = None;
                }
                self.tries = Tries { sent: self.tries.sent.saturating_add(1), ..Tries::default() };
                self.reset_places();
                self.sent = Some(*sent);
                self.escrow = (*sent == Sent::Bytes).then_some(*escrow);
            }
            Observation::Kept(is_kept) => {
                self.is_kept = Some(*is_kept);
                self.tries.keep = self.tries.keep.saturating_add(1);
            }
            Observation::Stored(place, result) => self.stored(*place, result.clone()),
            Observation::Deployed(is_deployed) => {
                // It took time, and consumers acted.
                self.forget_the_world();
                // What took time was no trying in vain.
                self.patience_ends = None;
                self.deployed = Some(*is_deployed);
            }
            Observation::Proven(proof) => {
                self.forget_the_world();
                self.proof = Some(*proof);
                self.tries.proof = self.tries.proof.saturating_add(1);
            }
            Observation::Acks(acked) => self.acks = Some(*acked),
            Observation::Used(is_used) => self.used = Some(*is_used),
            Observation::Retired(is_said) => {
                self.forget_the_world();
                self.was_retired = Some(*is_said);
                self.tries.absent = 0;
            }
            Observation::EndAsked(asked) => {
                self.end_asked = Some(*asked);
                self.tries.end = self.tries.end.saturating_add(1);
                match (asked, &mut self.keys) {
                    (EndAsked::At(end), Some(Ok(keys))) => keys.end = Some(*end),
                    _ => self.forget_the_world(),
                }
            }
            Observation::Closed(is_closed) => self.is_closed = Some(*is_closed),
            Observation::Waited => self.waited(step),
        }
    }

    fn place(&mut self, place: usize, seen: PlaceSeen) {
        let Some(seat) = self.places.get_mut(place) else { return };
        seat.liveness = None;
        seat.was_ours = matches!(seen.holds, Ok(Holds::Ours { .. } | Holds::WriteOnly));
        seat.was_tried &= seat.was_ours;
        // Only a look at what it holds tells what became of the write. Whatever that is, the next one is not made at once.
        if seat.failure.is_some() && seen.holds.as_ref().is_ok_and(|holds| *holds != Holds::WriteOnly) {
            seat.failure = Some(StoreFailure::Busy);
        }
        // Someone else acted since ours was probed.
        if matches!(seen.holds, Ok(Holds::Other(..))) {
            self.ours = None;
        }
        seat.seen = Some(seen);
    }

    fn recorded(&mut self, step: &Step, result: Result<Duration, ()>) {
        self.tries.is_unrecorded = result.is_err();
        self.tries.has_gap |= result.is_err();
        if let (Step::Record(Record::Intent(_) | Record::Sending(_)), took) = (step, result) {
            self.tries.record = self.tries.record.saturating_add(1);
            self.may_send = took.is_ok_and(|took| took <= SLOW);
        }
        self.taken_in(step);
    }

    /// What a record says needs no memory of its own any more.
    fn taken_in(&mut self, step: &Step) {
        let (Step::Record(record) | Step::Assume(record)) = step else { return };
        match record {
            Record::Intent(_) => {
                self.escrow = None;
                for seat in &mut self.places {
                    seat.has_before = seat.seen.is_some();
                }
            }
            // What is there is stale from now on.
            Record::Sending(_) => self.escrow = None,
            Record::NotSent { .. } | Record::Refused { .. } | Record::Unknown { .. } | Record::Received { .. } => {
                self.sent = None;
            }
            Record::Stored { place, .. } => {
                self.patience_ends = None;
                if let Some(seat) = self.places.get_mut(*place) {
                    seat.written = None;
                }
            }
            Record::Verified { .. } | Record::Lost { .. } | Record::Back { .. } => {
                // What a place holds is called by what is to be stored.
                self.reset_places();
                self.tries.verify = 0;
                if matches!(record, Record::Back { .. }) {
                    self.escrow = None;
                }
            }
            // That took as long as consumers like: a place may have been changed since the secret was settled there.
            Record::Taken { .. } | Record::Used { .. } => {
                self.places.iter_mut().for_each(|seat| (seat.was_ours, seat.was_tried) = (false, false));
            }
            // Its own writing took time: what is deleted next is deleted on looks after it.
            Record::Retiring { .. } => self.forget_the_world(),
            Record::SettingEnd { .. } => {
                self.forget_the_world();
                self.tries.end = 0;
            }
            Record::EndsAt { .. } => self.is_end_known = true,
            _ => {}
        }
    }

    fn stored(&mut self, place: usize, result: Result<Version, StoreFailure>) {
        let now = self.now;
        let Some(seat) = self.places.get_mut(place) else { return };
        // What was deployed and proven then is older.
        self.deployed = None;
        self.proof = None;
        self.tries.proof = 0;
        seat.seen = None;
        seat.liveness = None;
        (seat.was_ours, seat.was_tried) = (false, false);
        match result {
            Ok(version) => {
                seat.writes = seat.writes.saturating_add(1);
                seat.written = Some((now, version));
            }
            Err(failure) => {
                seat.written = None;
                // What only this process has is tried for longer.
                seat.is_failed = failure == StoreFailure::Permanent && self.is_kept != Some(false);
                seat.failure = Some(failure);
            }
        }
    }

    fn waited(&mut self, step: &Step) {
        let Step::Wait(wait) = step else { return };
        let (Wait::Until(_, because) | Wait::Retry(because)) = wait;
        match because {
            Because::Verify => self.tries.verify = self.tries.verify.saturating_add(1),
            Because::Request => self.tries.is_repeat_due = true,
            Because::Turn => self.turn_at = None,
            Because::Proof => self.proof = None,
            Because::Still => {
                self.was_used = match &self.keys {
                    Some(Ok(keys)) => keys.predecessor,
                    _ => None,
                }
            }
            _ => {}
        }
        if matches!(
            wait,
            Wait::Retry(Because::Place(_) | Because::Unclear | Because::Keys | Because::Request | Because::Proof)
        ) && self.patience_ends.is_none()
        {
            self.patience_ends = self.now.checked_add(self.mandate.patience).ok();
        }
        if matches!(wait, Wait::Until(..)) {
            self.patience_ends = None;
        }
        self.has_date = false;
        self.tries.keep = self.tries.keep.min(1);
        // One that fails for long keeps the secret from no other.
        self.places.iter_mut().for_each(|seat| seat.failure = None);
        self.forget_the_world();
    }

    fn forget_the_world(&mut self) {
        self.escrow = self.escrow.filter(|escrow| *escrow != Escrow::Unreadable);
        self.ours = None;
        self.keys = None;
        self.key = None;
        self.authorizer = None;
        self.is_reserved = None;
        self.acks = None;
        self.used = None;
        for seat in &mut self.places {
            seat.seen = None;
            seat.liveness = None;
            seat.before = None;
            seat.is_prepared = false;
        }
    }

    fn reset_places(&mut self) {
        for seat in &mut self.places {
            let Seat { has_before, was_ours, was_tried, .. } = *seat;
            *seat = Seat { has_before, was_ours, was_tried, ..Seat::default() };
        }
    }
}
