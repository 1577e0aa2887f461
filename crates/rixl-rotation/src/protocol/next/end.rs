//! A grace that needs no living process: RIXL ends the old key by itself.

use std::time::Duration;

use jiff::SignedDuration;
use rixl_credentials::Timestamp;

use super::{Case, Known};
use crate::{
    Ending,
    protocol::{
        progress::{KnownEnd, Record},
        seen::{Act, EndAsked, IfLive, Look, NotRetired, Step, Stop},
    },
};

/// A shorter grace is waited for: a key that has its end is not looked at once more before it.
pub(crate) const LEAST_GRACE: Duration = Duration::from_secs(5 * 60);
/// How many grace periods longer a key that is still used lives at most, whether a few recoveries look at it or many.
const MAX_LONGER: u32 = 2;
/// RIXL may round what it is asked for, and how far its clock is ahead is known to about a minute.
pub(crate) const SLACK: SignedDuration = SignedDuration::from_mins(2);
/// How often a process asks for one end, where it is unclear what came of it.
const MAX_ASKED: u8 = 2;

/// By how much a key may live longer that was used since the last look: from that look on.
pub(crate) fn respite(grace: Duration) -> Duration {
    (grace / 2).max(LEAST_GRACE)
}

/// When the old key ends, however much it is used, or needed: its grace was over first at the time that is given.
pub(crate) fn latest(grace_ends: Timestamp, grace: Duration) -> Timestamp {
    grace_ends.saturating_add(grace * MAX_LONGER).unwrap_or(grace_ends)
}

impl Case<'_> {
    /// Has RIXL end the predecessor when its grace is over. `true`: its time is over, and nothing is waited for before it is
    /// deleted; `false`: it is waited for, as where RIXL does not do it.
    pub(super) fn ended_by_rixl(&self, grace: Duration, has_escrow: bool) -> Known<bool> {
        let Self { progress, seen, .. } = self;
        let old = progress.old_end;
        let is_refused = seen.end_asked == Some(EndAsked::Refused);
        match old.known {
            // Nobody watches it any more, and it ends all the same.
            Some(_) if seen.mandate.if_live == IfLive::Drop => {
                self.still_there(has_escrow)?;
                return Err(self.complete(Ending::Created));
            }
            // Whatever was found out about its end: a place that has lost the new secret is told before that.
            Some(_) if seen.is_end_known => {
                self.has_moved_on(has_escrow)?;
                return Err(Step::Stop(Stop::Waiting));
            }
            None if is_refused => return Ok(false),
            _ => {}
        }
        // RIXL's clock is known by its responses, so that this comes first.
        let Ok(keys) = seen.keys.as_ref().ok_or(Step::Look(Look::Keys))? else {
            return Err(self.not_retired(NotRetired::Keys, has_escrow)?);
        };
        let (Some(last_used), Some(grace_ends)) = (keys.predecessor, self.grace_ends(grace)) else { return Ok(true) };
        let Clocks { rixls, first, last } = self.clocks();
        if keys.end.is_some_and(|end| end <= first) {
            return Ok(true);
        }
        // It has passed by this clock and by RIXL's.
        let wanted = whole(self.at_rixl(grace_ends).max(grace_ends));
        // One that was asked for before a place had its secret would come too early.
        let asked = old.asked.filter(|_| !old.is_stale);
        let target = asked.unwrap_or(wanted);
        let may_ask = self.may_ask() && is_later(target, last, LEAST_GRACE);
        let is_ours =
            |end| old.is_ours || old.asked.is_some_and(|asked| !is_after(asked, end) && !is_after(end, asked));
        let ends_at = |until| Err(Step::Record(Record::EndsAt { at: rixls, until, last_used }));
        let set_end = |until| Err(Step::Record(Record::SettingEnd { at: seen.now, until }));
        match (keys.end, old.known) {
            // One that somebody else set is not moved to a later time, whatever the grace is.
            (Some(end), None) if !(is_after(end, target) || is_ours(end) && is_after(target, end)) => {
                return ends_at(end);
            }
            (Some(end), Some(_)) if asked.is_some() => {
                // The end that it had stays where RIXL does not move it.
                return match is_after(target, end) && may_ask {
                    true => Err(Step::Act(Act::SetEnd(target))),
                    false => ends_at(end),
                };
            }
            (Some(end), Some(KnownEnd { until, .. })) if end != until => return ends_at(end),
            // The secret was stored in another place since, or another secret was.
            (Some(end), Some(_)) if old.is_stale => {
                return match old.is_ours && is_after(wanted, end) && may_ask {
                    true => set_end(wanted),
                    false => ends_at(end),
                };
            }
            (Some(end), Some(known)) if last_used != known.last_used => {
                let later = self.limited(whole(last.saturating_add(respite(grace)).unwrap_or(last)), grace);
                // Frequent recoveries need not ask each time.
                let is_worth_it = is_after(later, end) && is_later(later, end, respite(grace) / 8);
                return match is_worth_it && old.is_ours && !is_refused {
                    true => set_end(later),
                    false => ends_at(end),
                };
            }
            (Some(_), Some(known)) => {
                if old.grace_ends.is_some_and(|over| over <= first) && is_later(first, known.at, grace / 4) {
                    return Ok(true);
                }
                self.has_moved_on(has_escrow)?;
                return Err(Step::Stop(Stop::Waiting));
            }
            (Some(_), None) | (None, _) => {}
        }
        if self.is_asked_unrecorded() {
            return Err(Step::Stop(Stop::NotRecorded));
        }
        if !may_ask {
            return Ok(false);
        }
        if keys.is_less {
            return Err(Step::Stop(Stop::NotRetired(NotRetired::Less)));
        }
        self.not_own_key()?;
        if asked.is_none() {
            return set_end(target);
        }
        // The record took its time: what ends here ends on looks after it.
        self.has_moved_on(has_escrow)?;
        Err(Step::Act(Act::SetEnd(target)))
    }

    /// An end that this run set is moved where places, the deploy step or a proof are to be done once more: consumers may still
    /// need the old key.
    pub(super) fn postponed(&self) -> Known<()> {
        let Self { progress, seen, rules } = self;
        let old = progress.old_end;
        let (Some(grace), Some(last)) = (rules.retires_after.filter(|_| rules.expires), old.last) else {
            return Ok(());
        };
        if !old.is_ours || seen.mandate.if_live == IfLive::Drop {
            return Ok(());
        }
        // RIXL's clock is known by its responses. What can't be listed now is no reason to say nothing else.
        let Ok(keys) = seen.keys.as_ref().ok_or(Step::Look(Look::Keys))? else { return Ok(()) };
        let clocks = self.clocks();
        let now = clocks.last;
        let is_near = !is_later(last, now, grace / 4 * 3);
        let is_refused = seen.end_asked == Some(EndAsked::Refused);
        if old.asked.is_none() && (!is_near || is_refused) {
            return Ok(());
        }
        let (Some(last_used), Some(end)) = (keys.predecessor, keys.end) else { return Ok(()) };
        if end <= clocks.first {
            return Ok(());
        }
        match old.asked {
            Some(asked) if is_after(asked, end) && self.may_ask() && is_later(asked, now, LEAST_GRACE) => {
                Err(Step::Act(Act::SetEnd(asked)))
            }
            Some(_) => Err(Step::Record(Record::EndsAt { at: clocks.rixls, until: end, last_used })),
            None if end != last => Err(Step::Record(Record::EndsAt { at: clocks.rixls, until: end, last_used })),
            None => {
                let until = self.limited(whole(now.saturating_add(grace).unwrap_or(now)), grace);
                match is_after(until, end) {
                    true => Err(Step::Record(Record::SettingEnd { at: seen.now, until })),
                    false => Ok(()),
                }
            }
        }
    }

    /// Whether RIXL is asked for an end: not for one that is not recorded, or nobody would know of it.
    fn may_ask(&self) -> bool {
        let is_refused = self.seen.end_asked == Some(EndAsked::Refused);
        !is_refused && self.seen.tries.end < MAX_ASKED && !self.is_asked_unrecorded()
    }

    fn is_asked_unrecorded(&self) -> bool {
        self.progress.old_end.asked.is_some() && self.seen.tries.is_unrecorded
    }

    fn limited(&self, until: Timestamp, grace: Duration) -> Timestamp {
        self.progress.old_end.grace_ends.map_or(until, |over| until.min(latest(over, grace)))
    }

    /// Nothing is over before both clocks say so, and nothing is asked for that is too early by one of them: either may be wrong,
    /// or what a gateway makes of RIXL's.
    fn clocks(&self) -> Clocks {
        let (own, rixls) = (self.seen.now, self.at_rixl(self.seen.now));
        match self.seen.ahead.abs() > SLACK {
            true => Clocks { rixls, first: rixls.min(own), last: rixls.max(own) },
            false => Clocks { rixls, first: rixls, last: rixls },
        }
    }

    /// By RIXL's clock.
    fn at_rixl(&self, at: Timestamp) -> Timestamp {
        at.checked_add(self.seen.ahead).unwrap_or(at)
    }
}

/// What time it is.
struct Clocks {
    rixls: Timestamp,
    /// By the clock that is behind.
    first: Timestamp,
    /// By the one that is ahead.
    last: Timestamp,
}

fn is_later(one: Timestamp, than: Timestamp, by: Duration) -> bool {
    Duration::try_from(one.duration_since(than)).is_ok_and(|time| time >= by)
}

fn is_after(one: Timestamp, other: Timestamp) -> bool {
    one.duration_since(other) > SLACK
}

/// In whole seconds, so that what RIXL has is what it was asked for.
fn whole(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second().saturating_add(1)).unwrap_or(at)
}
