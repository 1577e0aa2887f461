//! What is to be done next: the rules, each question answered in one place.

pub(crate) mod end;

use std::time::Duration;

use rixl_credentials::Timestamp;

use self::end::SLACK;
use super::{
    intent::{Before, Digest, Place, Rules},
    progress::{At, Begun, Held, Progress, Record, Response, Retire, Sending, Verified, Why},
    seen::{
        Acked, Act, Authorizer, Because, Escrow, Holds, IfLive, KeySeen, KeysFailure, KeysSeen, Look, Mandate,
        NotRetired, Of, Owner, PlaceSeen, Proof, Seat, Seen, Sent, Step, Stop, StoreFailure, Wait,
    },
};
use crate::{
    Ending,
    probe::{KeyFormat, Liveness},
    store::Version,
};

/// How often a new secret is tried before it counts as not live.
const MAX_VERIFICATIONS: u8 = 3;
/// How often a line is written whose writing takes long.
const MAX_RECORDS: u8 = 3;
/// How often one place is written for one response, and put back where someone takes it away.
const MAX_WRITES: u8 = 4;
/// How often a probe may refuse the new secret before that counts.
const MAX_PROOFS: u8 = 3;
/// A standby may lag behind what was written.
const LAG: Duration = Duration::from_secs(10);
/// A key that so many lists in a row do not have is gone, though RIXL did not say that it deleted it.
const MIN_ABSENT: u8 = 3;

/// Why a further request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Again {
    /// A request was carried out, and its secret is lost.
    Lost,
    /// Nothing was heard of the one before.
    Unheard,
    /// Two secrets are live, and nobody can tell which one is newer. A third one is.
    Ambiguous,
    /// The one before was certainly not carried out.
    Repeat,
}

/// From what is recorded and what was seen to what is to be done.
pub(crate) fn next(progress: &Progress, seen: &Seen) -> Step {
    let step = Case { progress, seen, rules: progress.intent.subject.rules() }.next();
    let step = match step {
        // Without the lock nothing is begun. What is in hand is not let go for that: check-and-set makes it safe.
        step if seen.is_lock_lost && !saves(progress, &step) => Step::Stop(Stop::LockLost),
        Step::Wait(wait) if seen.is_cancelled && may_stop(progress, wait) => Step::Stop(Stop::Cancelled),
        step => step,
    };
    // It is in memory alone, which ends with a stop, and may end in any wait.
    let is_due = match step {
        Step::Stop(_) => true,
        // Consumers may be without a live secret.
        Step::Wait(wait) => is_in_hand(progress) && wait != Wait::Retry(Because::Verify),
        _ => false,
    };
    match is_due && seen.is_kept == Some(false) && seen.tries.keep < 2 {
        true => Step::Act(Act::Keep),
        false => step,
    }
}

/// Whether nothing is lost by ending here: not from the request until every place has the secret.
pub(crate) fn is_cancellable(progress: &Progress) -> bool {
    progress.response != Response::Received || progress.places.iter().all(|place| !matches!(place, At::Before(_)))
}

/// Nor while nothing but the next request is waited for.
pub(crate) fn may_stop(progress: &Progress, wait: Wait) -> bool {
    is_cancellable(progress) || matches!(wait, Wait::Until(_, Because::Turn | Because::Window))
}

fn saves(progress: &Progress, step: &Step) -> bool {
    is_in_hand(progress)
        && match step {
            Step::Act(Act::Keep | Act::Store { .. }) | Step::Look(_) | Step::Assume(_) => true,
            Step::Record(record) => {
                matches!(record, Record::Received { .. } | Record::Verified { .. } | Record::Stored { .. })
            }
            Step::Wait(Wait::Retry(Because::Verify | Because::Place(_))) => true,
            _ => false,
        }
}

fn is_in_hand(progress: &Progress) -> bool {
    matches!(progress.response, Response::Sending | Response::Received) && !is_done(progress)
}

fn is_done(progress: &Progress) -> bool {
    progress.places.iter().all(|place| !matches!(place, At::Before(_)))
}

struct Case<'a> {
    progress: &'a Progress,
    seen: &'a Seen,
    rules: Rules,
}

/// `Err`: this comes first.
type Known<T> = Result<T, Step>;

impl Case<'_> {
    fn next(&self) -> Step {
        let Self { progress, seen, .. } = self;
        if let Some(ending) = progress.ended {
            // Where nothing changed, nothing is lost by removing an entry that does not say so; nor where the places have it:
            // their receipts tell how it ended before the escrow is wiped.
            let is_needed = matches!(ending, Ending::Superseded | Ending::Dropped | Ending::Abandoned);
            return match seen.tries.is_unrecorded && is_needed {
                true => Step::Stop(Stop::NotRecorded),
                false => self.close(ending),
            };
        }
        let step = match progress.response {
            Response::Unsent => self.prepare(),
            Response::Sending => self.sending(),
            Response::Refused { .. } | Response::NotSent => self.refused(),
            Response::Unknown => self.unknown(),
            Response::Received => self.received(),
            Response::Lost(_) => self.again(Again::Lost),
        };
        step.unwrap_or_else(|step| step)
    }

    fn close(&self, ending: Ending) -> Step {
        match self.seen.is_closed {
            None => Step::Act(Act::Close(ending)),
            Some(_) => Step::Done(ending),
        }
    }

    /// Before the first request.
    fn prepare(&self) -> Known<Step> {
        let Self { progress, seen, rules } = self;
        if seen.is_cancelled {
            return Err(Step::Stop(Stop::Cancelled));
        }
        self.turn()?;
        if seen.is_expired && self.key()? == KeySeen::Expired {
            return Err(Step::Stop(Stop::Expired));
        }
        let mut intent = (*progress.intent).clone();
        intent.began = seen.now;
        for (index, (place, seat)) in intent.places.iter_mut().zip(&seen.places).enumerate() {
            let holds = self.prepared(index, seat)?;
            let (version, value) = parts(holds);
            let mut before = Before { version, value, live_as: None };
            if value.is_some() && intent.limits.is_probed && intent.subject.old_id().is_some() {
                before.live_as = match self.liveness(Of::Place(index))? {
                    Liveness::Live(format) => Some(format),
                    Liveness::Dead | Liveness::Unclear => None,
                };
            }
            place.before = before;
        }
        if rules.creates {
            match seen.keys.as_ref().ok_or(Step::Look(Look::Keys))? {
                Ok(keys) => intent.known.clone_from(&keys.orphans),
                Err(KeysFailure::Passing) => return Err(self.retry(Because::Keys, Stop::Unclear)),
                // Who may not list them can't tell afterwards either.
                Err(KeysFailure::Denied) => {}
            }
        }
        // What the places hold tells whether the credential is one of them.
        self.authorized(true)?;
        self.reserved()?;
        // What an earlier run left there is no response to this one.
        let stale = match self.escrow()? {
            Escrow::Secret { raw, .. } | Escrow::Unusable(raw) => Some(raw),
            Escrow::Nothing | Escrow::Stale | Escrow::Unreadable => None,
        };
        let held = |place: &Place| Held { version: place.before.version.clone(), value: place.before.value };
        let held = intent.places.iter().map(held).collect();
        let sending = Sending {
            at: seen.now,
            number: 1,
            held,
            stale,
            is_void: false,
            ahead_s: seen.apart.as_secs(),
            unheard_until: None,
            orphans: Vec::new(),
        };
        Ok(Step::Record(Record::Intent(Box::new(Begun { intent, sending }))))
    }

    fn turn(&self) -> Known<()> {
        match (self.seen.has_turn, self.seen.turn_at) {
            (false, _) => Err(Step::Look(Look::Turn)),
            (true, Some(at)) if self.seen.now < at => Err(Step::Wait(Wait::Until(at, Because::Turn))),
            _ => Ok(()),
        }
    }

    fn authorized(&self, is_first: bool) -> Known<()> {
        match self.seen.authorizer.ok_or(Step::Look(Look::Authorizer))? {
            Authorizer::Fine => Ok(()),
            // Its own tokens would be uses of the key that tell nothing.
            Authorizer::OwnKey | Authorizer::MayBeOwnKey | Authorizer::NotHandedOver
                if is_first && self.is_use_of_own() =>
            {
                Err(Step::Stop(Stop::OwnKey))
            }
            Authorizer::NotHandedOver => Err(Step::Stop(Stop::NotHandedOver)),
            Authorizer::OwnKey if self.seen.mandate.own_key => Ok(()),
            // What was begun is not given up for that.
            Authorizer::MayBeOwnKey if self.seen.mandate.own_key || !is_first => Ok(()),
            Authorizer::OwnKey | Authorizer::MayBeOwnKey => Err(Step::Stop(Stop::OwnKey)),
            Authorizer::Ends => Err(Step::Stop(Stop::TokenEnds)),
        }
    }

    fn is_use_of_own(&self) -> bool {
        self.progress.intent.used_within_ms.is_some() && !self.rules.creates
    }

    fn reserved(&self) -> Known<()> {
        match self.seen.is_reserved {
            None => Err(Step::Act(Act::Reserve)),
            Some(false) => Err(Step::Stop(Stop::NoRoom)),
            Some(true) => Ok(()),
        }
    }

    /// The place has just proven that it can take a secret, and is this key's.
    fn prepared<'s>(&self, index: usize, seat: &'s Seat) -> Known<&'s Holds> {
        let seen = seat.seen.as_ref().filter(|_| seat.is_prepared).ok_or(Step::Act(Act::Prepare(index)))?;
        match seen.owner {
            Owner::State => return Err(Step::Stop(Stop::PlaceTaken(index))),
            Owner::Another if !self.seen.mandate.take_over => return Err(Step::Stop(Stop::PlaceTaken(index))),
            Owner::Another | Owner::ThisKey => {}
        }
        if seen.is_elsewhere && self.rules.ends_the_old && !self.seen.mandate.leave {
            return Err(Step::Stop(Stop::KeyElsewhere(index)));
        }
        self.holds(index, seen, Stop::PlaceFailed(index))
    }

    fn holds<'s>(&self, index: usize, seen: &'s PlaceSeen, stop: Stop) -> Known<&'s Holds> {
        if !seen.is_same {
            return Err(Step::Stop(Stop::PlaceMoved(index)));
        }
        match &seen.holds {
            Ok(holds) => Ok(holds),
            // What only this process has would be lost with it: a token may be renewed, or a disk emptied.
            Err(StoreFailure::Permanent) if self.seen.is_kept != Some(false) || is_done(self.progress) => {
                Err(Step::Stop(stop))
            }
            Err(_) => Err(self.retry(Because::Place(index), stop)),
        }
    }

    /// The places that have the secret, or are to get it.
    fn seats(&self) -> impl Iterator<Item = (usize, &Seat)> {
        let places = self.progress.places.iter().zip(&self.seen.places).enumerate();
        places.filter(|(_, (at, _))| **at != At::GivenUp).map(|(index, (_, seat))| (index, seat))
    }

    fn look(&self, index: usize) -> Known<&PlaceSeen> {
        let seat = self.seen.places.get(index);
        seat.and_then(|seat| seat.seen.as_ref()).ok_or(Step::Look(Look::Place(index)))
    }

    fn key(&self) -> Known<KeySeen> {
        self.seen.key.ok_or(Step::Look(Look::Key))
    }

    /// Whether it is live or dead; `Unclear` where nobody may say more than that.
    fn liveness(&self, of: Of) -> Known<Liveness> {
        let known = match of {
            Of::Ours => self.seen.ours,
            Of::Place(index) => self.seen.places.get(index).and_then(|seat| seat.liveness),
            Of::Before(index) => self.seen.places.get(index).and_then(|seat| seat.before),
        };
        match known {
            None => Err(Step::Look(Look::Probe(of))),
            Some(Liveness::Unclear) => Err(self.retry(Because::Unclear, Stop::Unclear)),
            Some(liveness) => Ok(liveness),
        }
    }

    fn retry(&self, because: Because, stop: Stop) -> Step {
        if self.seen.has_patience() { Step::Wait(Wait::Retry(because)) } else { Step::Stop(stop) }
    }

    /// The request is recorded.
    fn sending(&self) -> Known<Step> {
        let Self { progress, seen, .. } = self;
        let at = seen.now;
        match seen.sent {
            Some(Sent::Bytes) => Ok(match seen.is_kept {
                None => Step::Act(Act::Keep),
                // A login page, say. It is kept for people, who may find more in it.
                Some(_) if matches!(seen.escrow, Some(Escrow::Unusable(_))) => Step::Record(Record::Unknown { at }),
                Some(true) => Step::Record(Record::Received { at, request_id: None }),
                Some(false) => Step::Assume(Record::Received { at, request_id: None }),
            }),
            Some(Sent::Refused { status, is_rixls_own }) => {
                Ok(Step::Record(Record::Refused { at, status, is_rixls_own }))
            }
            Some(Sent::NotSent) => Ok(Step::Record(Record::NotSent { at })),
            Some(Sent::Unknown) => Ok(Step::Record(Record::Unknown { at })),
            None if seen.may_send && !seen.is_cancelled => Ok(Step::Act(Act::Send)),
            None if seen.may_send => Ok(Step::Record(Record::NotSent { at })),
            // This process recorded it, and has not sent it.
            None if seen.tries.record > 0 && seen.tries.is_unrecorded => Ok(Step::Assume(Record::NotSent { at })),
            None if seen.tries.record > 0 && seen.tries.record < MAX_RECORDS => Ok(Step::Record(self.resending())),
            None if seen.tries.record > 0 => Ok(Step::Record(Record::NotSent { at })),
            None => {
                debug_assert_eq!(progress.response, Response::Sending);
                self.unknown()
            }
        }
    }

    /// The same request, with the time at which it leaves: recovery takes it for over a while after that.
    fn resending(&self) -> Record {
        let requests = &self.progress.requests;
        Record::Sending(Sending {
            at: self.seen.now,
            number: requests.number,
            held: self
                .progress
                .places
                .iter()
                .map(|place| match place {
                    At::Before(version) | At::Stored { version, .. } => version.clone(),
                    At::Settled { .. } | At::GivenUp => Version::untracked(),
                })
                // The values are known from the first time that it was recorded.
                .map(|version| Held { version, value: None })
                .collect(),
            stale: requests.stale,
            is_void: requests.is_void,
            ahead_s: self.seen.apart.as_secs(),
            unheard_until: requests.unheard_until,
            orphans: requests.orphans.clone(),
        })
    }

    /// It was refused, or never left, for all that is known. A gateway that repeats requests may say so of one that was
    /// carried out.
    fn refused(&self) -> Known<Step> {
        let Self { progress, seen, rules } = self;
        let requests = &progress.requests;
        if let Response::Refused { is_rixls_own, .. } = progress.response {
            if !requests.is_spent && self.was_done()? {
                return Ok(self.lost(Why::RefusedButDone, true, None));
            }
            if !is_rixls_own && rules.ends_the_old && progress.intent.limits.overlap == Some(true) {
                return self.unheard();
            }
        }
        let is_passing = matches!(progress.response, Response::NotSent | Response::Refused { status: 429, .. });
        let may_repeat =
            requests.left < progress.intent.limits.budget && !seen.is_cancelled && !seen.tries.is_unrecorded;
        // Only the process that sent it knows that it asked politely enough.
        if is_passing && may_repeat && seen.tries.sent > 0 && seen.has_patience() {
            return match seen.tries.is_repeat_due {
                true => self.again(Again::Repeat),
                false => Ok(Step::Wait(Wait::Retry(Because::Request))),
            };
        }
        // Where a request since then may have been carried out, the response before may be the older one of two.
        let may_go_back = !requests.is_unheard_since || progress.intent.limits.overlap == Some(false);
        if requests.may_go_back && may_go_back && self.escrow()? == Escrow::Stale {
            return Ok(Step::Record(Record::Back { at: seen.now }));
        }
        let is_ours = seen.tries.sent > 0 || seen.tries.record > 0;
        match (requests.is_spent, requests.unheard_until) {
            // Not what RIXL says, and nothing tells.
            (false, None)
                if matches!(progress.response, Response::Refused { is_rixls_own: false, .. }) && !self.tells() =>
            {
                self.unknown()
            }
            (false, None) => Ok(self.ended(Ending::Refused)),
            _ if is_ours && seen.tries.is_unrecorded => Err(Step::Stop(Stop::NotRecorded)),
            _ if is_ours && seen.is_cancelled => Err(Step::Stop(Stop::Cancelled)),
            _ if is_ours => Err(Step::Stop(Stop::Refused)),
            (true, _) => self.again(Again::Lost),
            (false, Some(_)) => self.unknown(),
        }
    }

    /// Whether there is something that shows whether a request was carried out.
    fn tells(&self) -> bool {
        let Self { progress, rules, .. } = self;
        let is_live_before = || progress.kept().any(|(_, place)| place.before.live_as.is_some());
        progress.intent.limits.is_probed && (rules.creates || rules.ends_the_old && is_live_before())
    }

    /// Whether the request was carried out although the response does not say so.
    fn was_done(&self) -> Known<bool> {
        let Self { progress, seen, rules } = self;
        if !progress.intent.limits.is_probed {
            return Ok(false);
        }
        if rules.creates {
            let keys = seen.keys.as_ref().ok_or(Step::Look(Look::Keys))?;
            return match keys {
                Ok(keys) => Ok(keys.orphans.iter().any(|orphan| {
                    !progress.requests.orphans.contains(orphan) && !progress.intent.known.contains(orphan)
                })),
                Err(KeysFailure::Passing) => Err(self.retry(Because::Keys, Stop::Unclear)),
                // Who may not list may not create either.
                Err(KeysFailure::Denied) => Ok(false),
            };
        }
        for (index, place) in progress.kept() {
            if place.before.live_as.is_none() || !rules.ends_the_old {
                continue;
            }
            let of = if seen.places.get(index).is_some_and(|seat| seat.has_before) {
                Of::Before(index)
            } else {
                match &self.look(index)?.holds {
                    Ok(Holds::Before(..)) => Of::Place(index),
                    Err(StoreFailure::Busy) => return Err(self.retry(Because::Place(index), Stop::PlaceFailed(index))),
                    // The secret that would tell is in a place that can't be read: a person decides.
                    Err(StoreFailure::Permanent) => {
                        return match seen.mandate.if_live {
                            IfLive::Rotate => Err(Step::Stop(Stop::Undecidable)),
                            IfLive::RotateUnread => Ok(true),
                            IfLive::Drop => Err(self.ended(Ending::Abandoned)),
                        };
                    }
                    // What was rewritten meanwhile says nothing about the request.
                    _ => continue,
                }
            };
            if self.liveness(of)? == Liveness::Dead {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn escrow(&self) -> Known<Escrow> {
        match self.seen.escrow {
            None => Err(Step::Look(Look::Escrow)),
            Some(Escrow::Unreadable) => Err(self.retry(Because::Unclear, Stop::EscrowUnreadable)),
            Some(escrow) => Ok(escrow),
        }
    }

    /// Nothing was heard, as far as the records say, or nothing that tells whether the request was carried out.
    fn unknown(&self) -> Known<Step> {
        match self.escrow()? {
            // The process may have died between the escrow and the line that tells of it.
            Escrow::Secret { .. } => {
                return Ok(Step::Record(Record::Received { at: self.seen.now, request_id: None }));
            }
            // Where it was, consumers may be without a live secret: they do not wait for a recovery, which looks at that anyway.
            Escrow::Unusable(_) if self.seen.mandate.stops_on_unknown && self.was_done()? => {
                return Ok(self.lost(Why::NoSecret, true, None));
            }
            Escrow::Unusable(_) | Escrow::Nothing | Escrow::Stale | Escrow::Unreadable => {}
        }
        if self.seen.mandate.stops_on_unknown {
            return Err(Step::Stop(Stop::Unknown));
        }
        self.unheard()
    }

    fn unheard(&self) -> Known<Step> {
        let Self { progress, seen, rules } = self;
        let requests = &progress.requests;
        let window_ends = self.window_ends();
        let mut is_live = false;
        // Without a key that was changed nobody is without a live secret, nor while the one before is known to live on.
        if !rules.creates && rules.outlives.is_none() {
            match self.stored()? {
                Stored::Dead { was_live } => {
                    let until = requests.at.and_then(|at| at.checked_add(progress.intent.limits.window()).ok());
                    return match was_live && !requests.is_spent {
                        true => Ok(self.lost(Why::OldIsDead, true, until)),
                        false => self.again(Again::Unheard),
                    };
                }
                Stored::Live => is_live = true,
                Stored::Nothing => {}
                Stored::Unreadable if seen.mandate.if_live == IfLive::Rotate => {
                    return Err(Step::Stop(Stop::Undecidable));
                }
                Stored::Unreadable => {}
            }
        }
        // Whatever is live now, the request may end it yet.
        if let Some(end) = window_ends
            && seen.now < end
        {
            return Err(Step::Wait(Wait::Until(self.clamped(end), Because::Window)));
        }
        if seen.mandate.if_live == IfLive::Drop {
            return Ok(self.ended(if is_live || rules.creates { Ending::Dropped } else { Ending::Abandoned }));
        }
        self.again(Again::Unheard)
    }

    /// What the places hold while ours is not in hand.
    fn stored(&self) -> Known<Stored> {
        let Self { progress, .. } = self;
        let mut stored = Stored::Nothing;
        for (index, place) in progress.kept() {
            let seen = self.look(index)?;
            if !seen.is_same && self.seen.mandate.if_live == IfLive::Rotate {
                return Err(Step::Stop(Stop::PlaceMoved(index)));
            }
            if !seen.is_same || !progress.intent.limits.is_probed {
                stored = Stored::Unreadable;
                continue;
            }
            match &seen.holds {
                Ok(Holds::Nothing(_)) => {}
                Ok(Holds::WriteOnly) | Err(StoreFailure::Permanent) => stored = Stored::Unreadable,
                Err(_) if self.seen.has_patience() => return Err(Step::Wait(Wait::Retry(Because::Place(index)))),
                Err(_) => stored = Stored::Unreadable,
                Ok(Holds::Before(..) | Holds::Ours { .. }) => match self.liveness(Of::Place(index))? {
                    Liveness::Dead => return Ok(Stored::Dead { was_live: place.before.live_as.is_some() }),
                    _ if stored == Stored::Nothing => stored = Stored::Live,
                    _ => {}
                },
                Ok(Holds::Other(_, value)) => {
                    self.may_overwrite(index, *value)?;
                    return Ok(Stored::Dead { was_live: false });
                }
            }
        }
        Ok(stored)
    }

    /// A response is in hand, or was.
    fn received(&self) -> Known<Step> {
        let Self { progress, seen, .. } = self;
        let Some(verified) = progress.verified else { return self.verify() };
        let has_escrow = match self.escrow()? {
            Escrow::Secret { .. } => true,
            _ if is_done(progress) => false,
            Escrow::Unusable(_) => return Ok(self.lost(Why::NoSecret, true, None)),
            _ => return Ok(self.lost(Why::NoEscrow, true, None)),
        };
        // A place that fails, or is busy, keeps the secret from no other.
        let (mut failed, mut busy) = (None, None);
        let mut given_up = None;
        for (index, (at, seat)) in progress.places.iter().zip(&seen.places).enumerate() {
            if let At::Before(_) = at {
                match self.commit(index, seat, verified) {
                    Err(Step::Stop(stop)) => {
                        failed = failed.or(Some(stop));
                        // That it was interrupted is no reason to do without the place.
                        given_up = given_up.or(Some(index).filter(|_| stop != Stop::Cancelled));
                    }
                    Err(Step::Wait(Wait::Retry(Because::Place(place)))) => busy = busy.or(Some(place)),
                    other => return other,
                }
            }
        }
        if let Some(place) = busy {
            return Err(Step::Wait(Wait::Retry(Because::Place(place))));
        }
        if failed.is_none() {
            // Before the quiet time: consumers may be without a live secret until then.
            failed = self.deploy(has_escrow)?;
        }
        if failed.is_none() {
            failed = self.prove(has_escrow)?;
        }
        if failed.is_none() {
            self.watch()?;
        }
        for (index, (at, seat)) in progress.places.iter().zip(&seen.places).enumerate() {
            if let At::Stored { at, value, .. } = at {
                return self.settle(index, seat, *at, *value, verified, has_escrow);
            }
        }
        // The user may do without it where another place has the secret.
        if let Some(place) = given_up
            && seen.mandate.if_live == IfLive::Drop
            && progress.places.iter().any(|at| matches!(at, At::Settled { .. }))
        {
            return Ok(Step::Record(Record::GivenUp { at: seen.now, place }));
        }
        if let Some(stop) = failed {
            self.postponed()?;
            return Err(Step::Stop(stop));
        }
        self.finish(has_escrow)
    }

    /// Tries the new secret.
    fn verify(&self) -> Known<Step> {
        let Self { progress, seen, rules } = self;
        let secret = match self.escrow()? {
            Escrow::Secret { secret, .. } => secret,
            Escrow::Unusable(_) => return Ok(self.lost(Why::NoSecret, true, None)),
            Escrow::Nothing | Escrow::Stale | Escrow::Unreadable => {
                return Ok(self.lost(Why::NoEscrow, true, None));
            }
        };
        if !progress.intent.limits.is_probed {
            return Ok(self.verified(secret, None));
        }
        match seen.ours.ok_or(Step::Look(Look::Probe(Of::Ours)))? {
            Liveness::Live(format) => return Ok(self.verified(secret, Some(format))),
            _ if seen.tries.verify < MAX_VERIFICATIONS && !seen.is_cancelled => {
                return Err(Step::Wait(Wait::Retry(Because::Verify)));
            }
            Liveness::Dead | Liveness::Unclear => {}
        }
        // It is stored unseen only where that can't make things worse.
        for (index, _) in self.seats() {
            match self.holds(index, self.look(index)?, Stop::Unconfirmed)? {
                Holds::WriteOnly | Holds::Nothing(_) | Holds::Ours { .. } => {}
                Holds::Before(..) if rules.creates => return Err(self.unconfirmed()?),
                Holds::Before(..) => {
                    let known = seen.places.get(index).and_then(|seat| seat.liveness);
                    match known.ok_or(Step::Look(Look::Probe(Of::Place(index))))? {
                        Liveness::Dead => {}
                        // Nobody may give up the only secret there is for one that nobody knows to be live.
                        Liveness::Unclear if seen.mandate.if_live == IfLive::Drop => {
                            return Err(Step::Stop(Stop::Unconfirmed));
                        }
                        Liveness::Live(_) | Liveness::Unclear => return Err(self.unconfirmed()?),
                    }
                }
                Holds::Other(_, value) => self.may_overwrite(index, *value)?,
            }
        }
        Ok(self.verified(secret, None))
    }

    /// What is stored is needed. A user may give the new secret up, or ask for another one.
    fn unconfirmed(&self) -> Known<Step> {
        match self.seen.mandate {
            Mandate { if_live: IfLive::Drop, .. } if self.rules.creates => Ok(self.ended(Ending::Dropped)),
            // What one place holds says nothing of the others.
            Mandate { if_live: IfLive::Drop, .. } => {
                for (index, _) in self.seats() {
                    let is_dead = match &self.look(index)?.holds {
                        Ok(Holds::Before(..)) => {
                            let known = self.seen.places.get(index).and_then(|seat| seat.liveness);
                            let liveness = known.ok_or(Step::Look(Look::Probe(Of::Place(index))))?;
                            !matches!(liveness, Liveness::Live(_))
                        }
                        Ok(_) => false,
                        Err(_) => true,
                    };
                    if is_dead {
                        return Ok(self.ended(Ending::Abandoned));
                    }
                }
                Ok(self.ended(Ending::Dropped))
            }
            // Where RIXL says nothing of it, it may well be live.
            Mandate { again: true, .. } if self.seen.ours == Some(Liveness::Dead) => {
                Ok(self.lost(Why::NeverLive, true, None))
            }
            _ => Ok(Step::Stop(Stop::Unconfirmed)),
        }
    }

    fn verified(&self, secret: Digest, format: Option<KeyFormat>) -> Step {
        Step::Record(Record::Verified { at: self.seen.now, secret, format })
    }

    /// The place gets the secret.
    fn commit(&self, index: usize, seat: &Seat, verified: Verified) -> Known<Step> {
        if seat.is_failed {
            return Err(Step::Stop(Stop::NotStored));
        }
        if seat.failure.is_some_and(|failure| failure != StoreFailure::Unknown) {
            return Err(self.retry(Because::Place(index), Stop::NotStored));
        }
        let holds = self.holds(index, self.look(index)?, Stop::NotStored)?;
        // Nobody can tell what became of it, and to write it once more does no harm.
        if seat.failure.is_some() {
            return Err(self.retry(Because::Place(index), Stop::NotStored));
        }
        let stored = |version: &Version, value| {
            Ok(Step::Record(Record::Stored { at: self.seen.now, place: index, version: version.clone(), value }))
        };
        match (holds, &seat.written) {
            (Holds::Ours { version, value, fits: true }, Some(_)) => return stored(version, *value),
            (Holds::WriteOnly, Some((_, version))) => return stored(version, verified.secret),
            (Holds::Other(_, value), _) => self.may_overwrite(index, *value)?,
            // What is read is not what was written: it may be a standby that lags.
            (_, Some((at, _))) if self.since(*at) < LAG => {
                return Err(Step::Wait(Wait::Retry(Because::Place(index))));
            }
            _ => {}
        }
        // Ours, by whoever wrote it, may not be durable: to write it once more makes it so.
        if seat.writes >= MAX_WRITES {
            return Err(Step::Stop(Stop::NotStored));
        }
        Ok(Step::Act(Act::Store { place: index, expected: parts(holds).0 }))
    }

    /// Whether what another put there is in nobody's way.
    fn may_overwrite(&self, index: usize, value: Digest) -> Known<()> {
        let Self { progress, seen, rules } = self;
        self.not_anothers(index)?;
        // Ours may be the older one of the two, and nothing tells.
        if rules.outlives.is_some() && seen.mandate.take_over {
            return Err(self.again(Again::Ambiguous)?);
        }
        if !progress.intent.limits.is_probed || rules.creates {
            return if seen.mandate.take_over { Ok(()) } else { Err(Step::Stop(Stop::PlaceTaken(index))) };
        }
        if self.liveness(Of::Place(index))? == Liveness::Dead {
            return Ok(());
        }
        // Another rotator's secret is live. It stays only if it is surely the newest, in every place.
        for (other, _) in self.seats() {
            match &self.look(other)?.holds {
                Ok(Holds::Other(_, other)) if *other == value => {}
                _ => return Err(self.again(Again::Ambiguous)?),
            }
        }
        let is_ours_dead = match self.escrow()? {
            // One that was never seen live may come alive yet.
            Escrow::Secret { .. } => {
                self.liveness(Of::Ours)? == Liveness::Dead
                    && progress.verified.is_some_and(|verified| verified.format.is_some())
            }
            _ => progress.intent.limits.overlap == Some(false),
        };
        if !is_ours_dead && seen.mandate.if_live == IfLive::Drop {
            // Every place opens. What is under way may end that yet.
            return match self.window_ends() {
                Some(end) if seen.now < end => Err(Step::Wait(Wait::Until(self.clamped(end), Because::Window))),
                _ => Err(self.ended(Ending::Dropped)),
            };
        }
        if !is_ours_dead {
            return Err(self.again(Again::Ambiguous)?);
        }
        let quiet_ends = progress.requests.at.and_then(|at| at.checked_add(progress.intent.limits.quiet()).ok());
        let end = match progress.response {
            Response::Received => quiet_ends.max(progress.requests.unheard_until).map(|end| self.by_both(end)),
            _ => self.window_ends(),
        };
        if let Some(end) = end
            && seen.now < end
        {
            return Err(Step::Wait(Wait::Until(self.clamped(end), Because::Window)));
        }
        Err(self.ended(Ending::Superseded))
    }

    /// The secret of another key, which may be nowhere else, is no rival of this one's.
    fn not_anothers(&self, index: usize) -> Known<()> {
        match self.look(index)?.owner {
            Owner::Another if !self.seen.mandate.take_over => Err(Step::Stop(Stop::PlaceTaken(index))),
            Owner::Another | Owner::ThisKey | Owner::State => Ok(()),
        }
    }

    /// After the quiet time it is looked at once more: a late copy of the request could have ended it.
    fn settle(
        &self,
        index: usize,
        seat: &Seat,
        stored_at: Timestamp,
        value: Digest,
        verified: Verified,
        has_escrow: bool,
    ) -> Known<Step> {
        let Self { progress, seen, .. } = self;
        let limits = &progress.intent.limits;
        let settled = Ok(Step::Record(Record::Settled { at: seen.now, place: index }));
        if !limits.is_probed {
            return settled;
        }
        let unheard_until = progress.requests.unheard_until.map(|end| self.by_both(end));
        let end = stored_at.checked_add(limits.quiet()).ok().max(unheard_until);
        // What was seen before the time was over, for something took long, is no look after it.
        let is_early = |end| end > stored_at && seat.seen.as_ref().is_some_and(|seen| seen.at < end);
        if let Some(end) = end
            && (seen.now < end || is_early(end))
            && seat.written.is_none()
        {
            return Err(Step::Wait(Wait::Until(self.clamped(end), Because::Quiet)));
        }
        let holds = self.holds(index, self.look(index)?, Stop::NotSettled)?;
        let of = match holds {
            Holds::WriteOnly if !has_escrow => return settled,
            Holds::WriteOnly => Of::Ours,
            // Put back by this process: its quiet time begins anew.
            Holds::Ours { version, value, fits: true } if seat.written.is_some() => {
                let (version, value) = (version.clone(), *value);
                return Ok(Step::Record(Record::Stored { at: seen.now, place: index, version, value }));
            }
            Holds::Ours { .. } => Of::Place(index),
            Holds::Nothing(_) | Holds::Before(..) => return self.restore(index, seat, holds, has_escrow),
            Holds::Other(_, value) => {
                self.may_overwrite(index, *value)?;
                return self.restore(index, seat, holds, has_escrow);
            }
        };
        debug_assert!(matches!(progress.places.get(index), Some(At::Stored { value: stored, .. }) if *stored == value));
        let known = match of {
            Of::Ours => seen.ours,
            Of::Place(_) | Of::Before(_) => seat.liveness,
        };
        match known.ok_or(Step::Look(Look::Probe(of)))? {
            Liveness::Unclear => Err(self.retry(Because::Unclear, Stop::NotSettled)),
            Liveness::Dead => Ok(self.lost(Why::Died, true, None)),
            Liveness::Live(found) if has_escrow && Some(found) != verified.format && found != self.expected(index) => {
                // It was stored unseen, and turns out to be live in another form than its consumers use.
                Ok(self.verified(verified.secret, Some(found)))
            }
            Liveness::Live(_) => settled,
        }
    }

    /// The form in which consumers had the secret.
    fn expected(&self, index: usize) -> KeyFormat {
        let place = self.progress.intent.places.get(index);
        place.and_then(|place| place.before.live_as).unwrap_or(KeyFormat::Whole)
    }

    /// All places hold the secret: now consumers are to take it. `Some`: they were not made to.
    fn deploy(&self, has_escrow: bool) -> Known<Option<Stop>> {
        let Self { progress, seen, .. } = self;
        if !progress.is_to_deploy() {
            return Ok(None);
        }
        match seen.deployed {
            Some(true) => Err(Step::Record(Record::Deployed { at: seen.now })),
            Some(false) if seen.mandate.if_live == IfLive::Drop => Ok(None),
            Some(false) => Ok(Some(Stop::NotDeployed)),
            None if self.is_in_place(has_escrow)? => Err(Step::Act(Act::Deploy)),
            None => Ok(None),
        }
    }

    /// Whether there is something to deploy or to prove. If not, it is given up.
    fn is_in_place(&self, has_escrow: bool) -> Known<bool> {
        for (index, seat) in self.seats().filter(|_| has_escrow) {
            match self.holds_ours(index, seat, false) {
                Err(Step::Stop(Stop::PlaceMoved(_) | Stop::PlaceTaken(_) | Stop::NotSettled))
                    if self.seen.mandate.if_live == IfLive::Drop =>
                {
                    return Ok(false);
                }
                known => known?,
            }
        }
        Ok(true)
    }

    /// Consumers were made to take it: now it is tried where they use it. `Some`: it does not work there.
    fn prove(&self, has_escrow: bool) -> Known<Option<Stop>> {
        let Self { progress, seen, .. } = self;
        if !progress.is_to_prove() {
            return Ok(None);
        }
        match seen.proof {
            Some(Proof::Taken) => Err(Step::Record(Record::Proven { at: seen.now })),
            Some(_) if seen.mandate.if_live == IfLive::Drop => Ok(None),
            // What was issued just now may not be known there yet.
            Some(proof) if seen.has_patience() && (proof == Proof::Unclear || seen.tries.proof < MAX_PROOFS) => {
                Err(Step::Wait(Wait::Retry(Because::Proof)))
            }
            Some(Proof::Refused | Proof::Unclear) => Ok(Some(Stop::NotProven)),
            None if self.is_in_place(has_escrow)? => Err(Step::Act(Act::Prove)),
            None => Ok(None),
        }
    }

    /// Whether another has used the key: the next probe of this run's own would hide that.
    fn watch(&self) -> Known<()> {
        if !self.progress.is_to_be_used() {
            return Ok(());
        }
        match self.seen.used.ok_or(Step::Look(Look::Use))? {
            true => Err(Step::Record(Record::Used { at: self.seen.now })),
            false => Ok(()),
        }
    }

    /// Waits until its consumers run with it, as far as that was asked for.
    fn taken(&self) -> Known<()> {
        let Self { progress, seen, .. } = self;
        let acked = match progress.is_to_be_taken() {
            true => Some(seen.acks.ok_or(Step::Look(Look::Acks))?),
            false => None,
        };
        if acked == Some(Acked::ByAll) {
            return Err(Step::Record(Record::Taken { at: seen.now }));
        }
        match progress.take_ends() {
            None => Ok(()),
            Some(_) if seen.mandate.if_live == IfLive::Drop => Ok(()),
            Some(end) if seen.now < end && acked != Some(Acked::OutOfReach) => {
                Err(Step::Wait(Wait::Retry(Because::Taken)))
            }
            Some(_) => Err(Step::Stop(Stop::NotTaken)),
        }
    }

    /// Someone took the stored secret away, or put back what was there before: the place gets it as it did at first. What is
    /// recorded of it is taken back before that, or a kill in between would leave a place that looks as if consumers had been
    /// made to take its secret, or as if a write of unknown end were durable.
    fn restore(&self, index: usize, seat: &Seat, holds: &Holds, has_escrow: bool) -> Known<Step> {
        if !has_escrow {
            return Ok(self.lost(Why::NoEscrow, true, None));
        }
        // To put a dead one back helps nobody.
        if self.progress.intent.limits.is_probed && self.liveness(Of::Ours)? == Liveness::Dead {
            return Ok(self.lost(Why::Died, true, None));
        }
        match &seat.written {
            Some((at, _)) if self.since(*at) < LAG => Err(Step::Wait(Wait::Retry(Because::Place(index)))),
            _ if seat.is_failed || seat.writes >= MAX_WRITES => Err(Step::Stop(Stop::Contested(index))),
            _ => Ok(Step::Record(Record::Missing { at: self.seen.now, place: index, version: parts(holds).0 })),
        }
    }

    /// One request more.
    fn again(&self, why: Again) -> Known<Step> {
        let Self { progress, seen, rules } = self;
        let requests = &progress.requests;
        if seen.is_cancelled {
            return Err(Step::Stop(Stop::Cancelled));
        }
        let unheard = match why {
            Again::Unheard => self.window_ends(),
            // The last request may be one of which nothing was heard.
            Again::Ambiguous if progress.response != Response::Received => self.window_ends(),
            Again::Lost | Again::Ambiguous | Again::Repeat => None,
        };
        let unheard = unheard.max(requests.unheard_until.map(|end| self.by_both(end)));
        // What is lost of a key that has expired, or is gone, is nothing that another request could bring back. A secret of it
        // that RIXL has just taken shows that this clock is ahead, or the list behind. Where a process has just used the key,
        // nobody waits for a list.
        let is_live = seen.places.iter().any(|seat| matches!(seat.liveness, Some(Liveness::Live(_))));
        let is_doubtful = seen.is_expired || !seen.mandate.stops_on_unknown;
        if is_doubtful && rules.ends_the_old && !is_live && matches!(why, Again::Lost | Again::Unheard) {
            match self.key()? {
                // A request that is under way may move its end yet.
                KeySeen::Expired if let Some(end) = unheard.filter(|end| seen.now < *end) => {
                    return Err(Step::Wait(Wait::Until(self.clamped(end), Because::Window)));
                }
                KeySeen::Expired => return Ok(self.ended(Ending::Abandoned)),
                KeySeen::Gone if seen.mandate.if_live == IfLive::Drop => return Ok(self.ended(Ending::Abandoned)),
                KeySeen::Gone if !seen.mandate.again => return Err(Step::Stop(Stop::KeyGone)),
                KeySeen::Gone | KeySeen::There | KeySeen::Unknown => {}
            }
        }
        // Whoever goes beyond it has as many again, and no storm.
        let spent = if seen.mandate.again { u32::from(seen.tries.sent) } else { requests.left };
        if spent >= progress.intent.limits.budget {
            return match seen.mandate.if_live {
                // What the escrow has was taken for lost, and may have come alive since: it is wiped only if it has not.
                IfLive::Drop if self.may_be_live()? => Err(Step::Stop(Stop::Unconfirmed)),
                // Nobody may say that a secret is live which was not looked at.
                IfLive::Drop => Ok(self.ended(if rules.creates { Ending::Dropped } else { Ending::Abandoned })),
                IfLive::Rotate | IfLive::RotateUnread => Err(Step::Stop(Stop::Parked)),
            };
        }
        let (stale, is_void) = match self.escrow()? {
            Escrow::Secret { raw, .. } => (Some(raw), false),
            Escrow::Unusable(raw) => (Some(raw), true),
            Escrow::Stale => (requests.stale, requests.is_void),
            Escrow::Nothing | Escrow::Unreadable => (None, false),
        };
        self.turn()?;
        let mut held = Vec::new();
        for (index, seat) in seen.places.iter().enumerate() {
            if progress.places.get(index) == Some(&At::GivenUp) {
                held.push(Held { version: Version::untracked(), value: None });
                continue;
            }
            let place = seat.seen.as_ref().filter(|_| seat.is_prepared).ok_or(Step::Act(Act::Prepare(index)))?;
            let holds = self.holds(index, place, Stop::PlaceFailed(index))?;
            match holds {
                Holds::Other(..) if why == Again::Ambiguous => self.not_anothers(index)?,
                Holds::Other(_, value) => self.may_overwrite(index, *value)?,
                _ => {}
            }
            let (version, value) = parts(holds);
            held.push(Held { version, value });
        }
        self.authorized(false)?;
        let mut orphans = requests.orphans.clone();
        if rules.creates {
            let keys = seen.keys.as_ref().ok_or(Step::Look(Look::Keys))?;
            for id in keys.iter().flat_map(|keys: &KeysSeen| &keys.orphans) {
                if !orphans.contains(id) && !progress.intent.known.contains(id) {
                    orphans.push(id.clone());
                }
            }
        }
        self.reserved()?;
        Ok(Step::Record(Record::Sending(Sending {
            at: seen.now,
            number: requests.number.saturating_add(1),
            held,
            stale,
            is_void,
            ahead_s: seen.apart.as_secs(),
            unheard_until: unheard,
            orphans,
        })))
    }

    /// Whether the escrow has a secret that RIXL may accept.
    fn may_be_live(&self) -> Known<bool> {
        if !self.progress.intent.limits.is_probed || !matches!(self.escrow()?, Escrow::Secret { .. }) {
            return Ok(false);
        }
        Ok(self.seen.ours.ok_or(Step::Look(Look::Probe(Of::Ours)))? != Liveness::Dead)
    }

    /// Every place has it.
    fn finish(&self, has_escrow: bool) -> Known<Step> {
        let Self { progress, rules, .. } = self;
        if progress.take_ends().is_some() {
            self.postponed()?;
        }
        self.taken()?;
        let Some(grace) = rules.retires_after else {
            self.still_there(has_escrow)?;
            return Ok(self.complete(if rules.creates { Ending::Created } else { Ending::Rotated }));
        };
        // Given up: who uses the old key may not have taken the new secret.
        if progress.is_not_taken_up() || progress.places.contains(&At::GivenUp) {
            self.still_there(has_escrow)?;
            return Ok(self.complete(Ending::Created));
        }
        if progress.retire != Retire::Retired {
            self.may_retire(has_escrow)?;
            let is_over = rules.expires && self.ended_by_rixl(grace, has_escrow)?;
            return self.retire(grace, has_escrow, is_over);
        }
        self.still_there(has_escrow)?;
        Ok(self.complete(Ending::Replaced))
    }

    /// What can't be deleted for what the places hold, and is given up, is not waited for.
    fn may_retire(&self, has_escrow: bool) -> Known<()> {
        if self.seen.mandate.if_live != IfLive::Drop {
            return Ok(());
        }
        match self.has_moved_on(has_escrow) {
            Err(Step::Stop(Stop::NotRetired(_))) => {
                self.still_there(has_escrow)?;
                Err(self.complete(Ending::Created))
            }
            // It is for what comes next to say so.
            Ok(()) | Err(Step::Stop(_)) => Ok(()),
            first => first,
        }
    }

    /// A process that goes on where another one ended has seen nothing of it, and the close wipes the escrow. Where that is
    /// gone, the close had begun. That nobody can tell for now whether it is live holds nothing up: it was, when it settled.
    fn still_there(&self, has_escrow: bool) -> Known<()> {
        // A new key that is dead by now was ended by somebody: another one is not what they want. One that has expired since
        // was rotated all the same.
        let is_tried = self.progress.intent.limits.is_probed && !self.rules.creates && !self.seen.is_expired;
        for (index, seat) in self.seats().filter(|_| has_escrow) {
            if seat.was_ours && seat.written.is_none() && (seat.was_tried || !is_tried) {
                continue;
            }
            let (is_drop, creates) = (self.seen.mandate.if_live == IfLive::Drop, self.rules.creates);
            let given_up = if creates { Ending::Dropped } else { Ending::Abandoned };
            match self.holds_ours(index, seat, is_tried) {
                Err(Step::Stop(Stop::PlaceTaken(_))) if creates && self.is_newer_at(index)? => {}
                // Who gives it up wants no other key.
                Err(Step::Record(Record::Lost { .. })) if is_drop && creates => return Err(self.ended(given_up)),
                Err(Step::Stop(stop @ (Stop::PlaceMoved(_) | Stop::PlaceTaken(_) | Stop::NotSettled))) if is_drop => {
                    if self.is_in_another(index)? {
                        // Of a secret that is dead by now, no place is given up: what the other ones hold helps nobody.
                        let is_probed = self.progress.intent.limits.is_probed && !creates;
                        return Err(match self.seen.ours {
                            None if is_probed => Step::Look(Look::Probe(Of::Ours)),
                            Some(Liveness::Dead) if is_probed => self.lost(Why::Died, true, None),
                            _ => Step::Record(Record::GivenUp { at: self.seen.now, place: index }),
                        });
                    }
                    // The secret is in no place that can be seen. It is not wiped where it may be the only one that is live.
                    let is_only = self.progress.old_end.last.is_some() || self.progress.retire != Retire::NotYet;
                    let is_served = matches!(stop, Stop::PlaceTaken(_)) && creates && self.is_live_at(index)?;
                    return Err(if is_only && !is_served { Step::Stop(stop) } else { self.ended(given_up) });
                }
                known => known?,
            }
        }
        Ok(())
    }

    fn holds_ours(&self, index: usize, seat: &Seat, is_tried: bool) -> Known<()> {
        let holds = self.holds(index, self.look(index)?, Stop::NotSettled)?;
        match holds {
            // Put back by this process: its quiet time begins anew.
            Holds::Ours { version, value, .. } if seat.written.is_some() => {
                let (version, value) = (version.clone(), *value);
                return Err(Step::Record(Record::Stored { at: self.seen.now, place: index, version, value }));
            }
            // Somebody has deleted the key since, and no request tells more.
            Holds::Ours { .. } if is_tried && self.key()? == KeySeen::Gone => return Ok(()),
            Holds::Ours { .. } if is_tried => {
                return match seat.liveness.ok_or(Step::Look(Look::Probe(Of::Place(index))))? {
                    Liveness::Dead => Err(self.lost(Why::Died, true, None)),
                    _ => Ok(()),
                };
            }
            Holds::Ours { .. } | Holds::WriteOnly => return Ok(()),
            Holds::Nothing(_) | Holds::Before(..) => {}
            Holds::Other(_, value) => self.may_overwrite(index, *value)?,
        }
        Err(self.restore(index, seat, holds, true)?)
    }

    fn complete(&self, ending: Ending) -> Step {
        // A close that is cut short has wiped the escrow: what is left must not say that a secret is still to be stored.
        let is_told = !self.seen.tries.has_gap && self.seen.is_kept != Some(false);
        if is_told { self.close(ending) } else { self.ended(ending) }
    }

    /// When the grace of what was there before is over: so long after the last place had the new secret.
    fn grace_ends(&self, grace: Duration) -> Option<Timestamp> {
        let settled = self.progress.places.iter().filter_map(|place| match place {
            At::Settled { at, .. } => Some(*at),
            _ => None,
        });
        settled.max().and_then(|at| at.checked_add(grace).ok()).map(|end| self.clamped(self.by_both(end)))
    }

    /// Deletes the predecessor, on fresh evidence. Where its time is over, nothing is waited for.
    fn retire(&self, grace: Duration, has_escrow: bool, is_over: bool) -> Known<Step> {
        let Self { progress, seen, .. } = self;
        let stop = |why| Err(Step::Stop(Stop::NotRetired(why)));
        if let Some(end) = self.grace_ends(grace).filter(|_| !is_over)
            && seen.now < end
        {
            return Err(Step::Wait(Wait::Until(end, Because::Grace)));
        }
        let Ok(keys) = seen.keys.as_ref().ok_or(Step::Look(Look::Keys))? else {
            return Err(self.not_retired(NotRetired::Keys, has_escrow)?);
        };
        let Some(last_used) = keys.predecessor else {
            // Not being in a list proves little, and nothing is deleted for that.
            let is_gone = seen.was_retired == Some(true) || seen.tries.absent >= MIN_ABSENT;
            return match is_gone {
                true => Ok(Step::Record(Record::Retired { at: seen.now })),
                false => Err(Step::Wait(Wait::Retry(Because::Keys))),
            };
        };
        if seen.was_retired.is_some() {
            // A list may lag behind.
            return Err(self.not_retired(NotRetired::StillThere, has_escrow)?);
        }
        if keys.is_less {
            return stop(NotRetired::Less);
        }
        if !is_over && seen.was_used != Some(last_used) {
            return Err(Step::Wait(Wait::Retry(Because::Still)));
        }
        self.not_own_key()?;
        if progress.retire == Retire::NotYet {
            return Ok(Step::Record(Record::Retiring { at: seen.now }));
        }
        self.has_moved_on(has_escrow)?;
        Ok(Step::Act(Act::Retire))
    }

    /// What RIXL does not do may pass. Who gives it up keeps the old key.
    pub(super) fn not_retired(&self, why: NotRetired, has_escrow: bool) -> Known<Step> {
        let is_retired = self.seen.was_retired == Some(true);
        if self.seen.mandate.if_live == IfLive::Drop && !self.seen.has_patience() && !is_retired {
            self.still_there(has_escrow)?;
            return Ok(self.complete(Ending::Created));
        }
        Ok(self.retry(Because::Keys, Stop::NotRetired(why)))
    }

    /// What this run is authorized with is not ended by it.
    fn not_own_key(&self) -> Known<()> {
        match self.seen.authorizer.ok_or(Step::Look(Look::Authorizer))? {
            Authorizer::Fine | Authorizer::Ends => Ok(()),
            Authorizer::OwnKey | Authorizer::MayBeOwnKey | Authorizer::NotHandedOver => {
                Err(Step::Stop(Stop::NotRetired(NotRetired::OwnKey)))
            }
        }
    }

    /// Every place holds the new secret, live: what was there before may end.
    fn has_moved_on(&self, has_escrow: bool) -> Known<()> {
        let Self { progress, seen, .. } = self;
        let limits = &progress.intent.limits;
        let stop = |index| Err(Step::Stop(Stop::NotRetired(NotRetired::Place(index))));
        for (index, seat) in self.seats() {
            let holds = self.holds(index, self.look(index)?, Stop::NotRetired(NotRetired::Place(index)))?;
            let of = match holds {
                Holds::WriteOnly if !has_escrow => return stop(index),
                Holds::WriteOnly => Of::Ours,
                Holds::Ours { version, value, .. } if seat.written.is_some() => {
                    let (version, value) = (version.clone(), *value);
                    return Err(Step::Record(Record::Stored { at: seen.now, place: index, version, value }));
                }
                Holds::Ours { .. } => Of::Place(index),
                Holds::Other(..) if has_escrow && self.is_newer_at(index)? => {
                    return Err(Step::Stop(Stop::NotRetired(NotRetired::Another)));
                }
                // Who put something else there may do so again: it takes a user to decide.
                Holds::Nothing(_) | Holds::Before(..) | Holds::Other(..) if seen.mandate.take_over => {
                    return Err(self.restore(index, seat, holds, has_escrow)?);
                }
                // What configures the machine put it back, say: the new one is stored again, and its grace begins anew. Where RIXL
                // ends the old one meanwhile, or somebody has ended the new one, a user is told first.
                Holds::Nothing(_) | Holds::Before(..)
                    if has_escrow && !self.rules.expires && !(limits.is_probed && self.is_ours_dead()?) =>
                {
                    return Err(self.restore(index, seat, holds, has_escrow)?);
                }
                Holds::Nothing(_) | Holds::Before(..) | Holds::Other(..) => return stop(index),
            };
            // It was live: somebody has ended it, or has rotated the new key. Another key is made only for who asks for it.
            if limits.is_probed && self.liveness(of)? == Liveness::Dead {
                return Err(match seen.mandate.again {
                    true => self.lost(Why::Died, true, None),
                    false => Step::Stop(Stop::NotRetired(NotRetired::Dead)),
                });
            }
        }
        Ok(())
    }

    /// Whether it has what whoever rotated the new key since stored there: it is live, and ours is dead.
    fn is_newer_at(&self, index: usize) -> Known<bool> {
        Ok(self.is_live_at(index)? && self.is_ours_dead()?)
    }

    fn is_ours_dead(&self) -> Known<bool> {
        Ok(self.liveness(Of::Ours)? == Liveness::Dead)
    }

    fn is_in_another(&self, index: usize) -> Known<bool> {
        for (other, _) in self.seats().filter(|(other, _)| *other != index) {
            if matches!(self.look(other)?.holds, Ok(Holds::Ours { .. } | Holds::WriteOnly)) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn is_live_at(&self, index: usize) -> Known<bool> {
        let is_probed = self.progress.intent.limits.is_probed;
        Ok(is_probed && matches!(self.liveness(Of::Place(index))?, Liveness::Live(_)))
    }

    fn lost(&self, why: Why, is_spent: bool, unheard_until: Option<Timestamp>) -> Step {
        Step::Record(Record::Lost { at: self.seen.now, why, is_spent, unheard_until })
    }

    fn ended(&self, ending: Ending) -> Step {
        Step::Record(Record::Ended { at: self.seen.now, ending })
    }

    fn since(&self, at: Timestamp) -> Duration {
        Duration::try_from(self.seen.now.duration_since(at)).unwrap_or_default()
    }

    /// When the last request can't be carried out any more.
    fn window_ends(&self) -> Option<Timestamp> {
        self.progress.window_ends().map(|end| self.by_both(end))
    }

    /// When this time has passed by RIXL's clock, too: the one by which the request was recorded may have been set ahead since,
    /// or be another machine's. That both are as far apart as they were holds nothing up, nor does what RIXL's was before a wait:
    /// it is seen again before anything comes of that.
    fn by_both(&self, end: Timestamp) -> Timestamp {
        let moved = self.progress.requests.ahead.saturating_sub(self.seen.apart);
        match self.seen.has_date && moved > SLACK {
            true => end.checked_add(moved).unwrap_or(Timestamp::MAX),
            false => end,
        }
    }

    /// A clock that was set back holds nothing up for longer than was meant.
    fn clamped(&self, end: Timestamp) -> Timestamp {
        let limits = &self.progress.intent.limits;
        let longest = limits.window().max(limits.quiet()).max(self.rules.retires_after.unwrap_or_default());
        self.seen.now.checked_add(longest).map_or(end, |limit| end.min(limit))
    }
}

/// What the places hold while ours is not in hand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stored {
    Nothing,
    Live,
    Dead { was_live: bool },
    Unreadable,
}

/// The version that the place has, and what it holds.
fn parts(holds: &Holds) -> (Version, Option<Digest>) {
    match holds {
        Holds::WriteOnly => (Version::untracked(), None),
        Holds::Nothing(version) => (version.clone(), None),
        Holds::Ours { version, value, .. } | Holds::Before(version, value) | Holds::Other(version, value) => {
            (version.clone(), Some(*value))
        }
    }
}
