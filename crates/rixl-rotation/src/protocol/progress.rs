//! How far a run has come: a fold of its records. A crash does not change it.

use std::{sync::Arc, time::Duration};

use jiff::SignedDuration;
use rixl_credentials::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    intent::{Digest, Intent, MadeId, Place, VERSION},
    next::end::SLACK,
};
use crate::{Effect, Ending, Situation, probe::KeyFormat, store::Version};

/// One line of an entry. Never a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first request is about to be sent, and what it is for. From here on RIXL may have a secret that nobody holds.
    Intent(Box<Begun>),
    /// A further request is about to be sent.
    Sending(Sending),
    /// It never left.
    NotSent { at: Timestamp },
    /// It was refused, for all that the response says.
    Refused { at: Timestamp, status: u16, is_rixls_own: bool },
    /// The run lived on and does not know whether it was carried out: no response arrived, or one without a new secret.
    Unknown { at: Timestamp },
    /// The raw response is in escrow.
    Received {
        at: Timestamp,
        /// RIXL's id of the request.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        request_id: Option<String>,
    },
    /// The request was refused, so the response before it, which is in escrow still, counts again.
    Back { at: Timestamp },
    /// No secret can be had from what was sent so far.
    Lost {
        at: Timestamp,
        why: Why,
        /// A request was certainly carried out.
        is_spent: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        unheard_until: Option<Timestamp>,
    },
    /// The secret that is to be stored, and the form in which it was seen live; `None`: it was not seen.
    Verified { at: Timestamp, secret: Digest, format: Option<KeyFormat> },
    /// The place holds it, durably.
    Stored { at: Timestamp, place: usize, version: Version, value: Digest },
    /// It was live there after the quiet time.
    Settled { at: Timestamp, place: usize },
    /// It was taken away from there, and is stored again.
    Missing { at: Timestamp, place: usize, version: Version },
    /// The user does without this place.
    GivenUp { at: Timestamp, place: usize },
    /// The user sent the secret elsewhere.
    Redirected { at: Timestamp, place: usize, to: Box<Place> },
    /// The deploy step ended well.
    Deployed { at: Timestamp },
    /// Every probe took the new secret.
    Proven { at: Timestamp },
    /// All consumers that are named run with it.
    Taken { at: Timestamp },
    /// The key was used by another than this run.
    Used { at: Timestamp },
    /// What was there before is about to be deleted.
    Retiring { at: Timestamp },
    /// It is gone.
    Retired { at: Timestamp },
    /// RIXL is about to be asked to end it at this time of RIXL's.
    SettingEnd { at: Timestamp, until: Timestamp },
    /// RIXL ends it then; all times are RIXL's.
    EndsAt {
        at: Timestamp,
        until: Timestamp,
        /// As the list had it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last_used: Option<Timestamp>,
    },
    /// It is over: what is left is to wipe the escrow and to remove the entry.
    Ended { at: Timestamp, ending: Ending },
}

impl Record {
    /// Whether it only spares a recovery a look, so that it need not be durable before what comes next. A place that can't be
    /// looked at, or that held nothing before, does not tell as much.
    pub(crate) fn may_wait(&self, intent: &Intent, is_readable: impl Fn(usize) -> bool) -> bool {
        match self {
            Self::Received { .. } | Self::Verified { .. } | Self::Settled { .. } => true,
            Self::Stored { place, .. } => {
                is_readable(*place) && intent.places.get(*place).is_some_and(|place| place.before.value.is_some())
            }
            _ => false,
        }
    }
}

/// The first record: the intent and the first request stand in one line, so that they take one sync.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Begun {
    #[serde(flatten)]
    pub(crate) intent: Intent,
    pub(crate) sending: Sending,
}

/// A request that is about to be sent.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Sending {
    pub(crate) at: Timestamp,
    /// Which one of the entry, from 1.
    pub(crate) number: u32,
    /// What each place held: not another rotator's any more, for the response to this request is newer.
    pub(crate) held: Vec<Held>,
    /// The response that is in escrow and belongs to an earlier request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stale: Option<Digest>,
    /// It has no new secret, and does not say that its request was carried out.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_void: bool,
    /// By how many seconds RIXL's clock was ahead of that of this line, where they were apart.
    #[serde(default, skip_serializing_if = "is_nothing")]
    pub(crate) ahead_s: i64,
    /// Until when an earlier request, of which nothing was heard, may still be carried out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) unheard_until: Option<Timestamp>,
    /// What of the same name came into being meanwhile: their secret may be one that was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) orphans: Vec<MadeId>,
}

fn is_nothing(seconds: &i64) -> bool {
    *seconds == 0
}

/// What a place held directly before a request.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Held {
    pub(crate) version: Version,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Digest>,
}

/// Why no secret can be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Why {
    /// The response holds none.
    NoSecret,
    /// The escrow does not hold the response any more.
    NoEscrow,
    /// It was refused, and yet the old secret is dead.
    RefusedButDone,
    /// Nothing was heard, and the old secret is dead.
    OldIsDead,
    /// It was live, and is dead after the quiet time.
    Died,
    /// It was never live.
    NeverLive,
}

/// How far a run has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Progress {
    pub(crate) intent: Arc<Intent>,
    pub(crate) requests: Requests,
    pub(crate) response: Response,
    pub(crate) verified: Option<Verified>,
    pub(crate) places: Vec<At>,
    /// The deploy step ended well after the places were last written.
    pub(crate) is_deployed: bool,
    /// The probes took what the places hold since then.
    pub(crate) is_proven: bool,
    /// Its consumers run with that.
    pub(crate) is_taken: bool,
    pub(crate) is_used: bool,
    /// When consumers were made to take it, or the probes took it, where their time is counted from then.
    pub(crate) handed_at: Option<Timestamp>,
    /// Places that another one stands in for, and the secret of this run that they have had.
    pub(crate) left: Vec<(Place, Digest)>,
    /// What places held before a request of this run, or hold of an earlier one: not another rotator's.
    pub(crate) earlier: Vec<Digest>,
    pub(crate) retire: Retire,
    pub(crate) old_end: OldEnd,
    pub(crate) ended: Option<Ending>,
    /// RIXL's id of the request whose response was received.
    pub(crate) request_id: Option<String>,
    /// When that request was about to be sent.
    pub(crate) issued_at: Option<Timestamp>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Requests {
    /// How many were recorded.
    pub(crate) number: u32,
    /// How many of them may have left. They count against the budget.
    pub(crate) left: u32,
    /// How many of those were refused.
    pub(crate) refused: u32,
    pub(crate) at: Option<Timestamp>,
    pub(crate) unheard_until: Option<Timestamp>,
    /// One was certainly carried out.
    pub(crate) is_spent: bool,
    pub(crate) stale: Option<Digest>,
    pub(crate) is_void: bool,
    /// How far RIXL's clock was ahead of the one by which the last one was recorded.
    pub(crate) ahead: SignedDuration,
    /// The response that is in escrow was not lost when this request was sent.
    pub(crate) may_go_back: bool,
    pub(crate) orphans: Vec<MadeId>,
    /// What places held directly before the requests since the response that is in escrow, and had not held before.
    pub(crate) held: Vec<Digest>,
    /// One of those requests may have been carried out.
    pub(crate) is_unheard_since: bool,
}

/// What is recorded of the response to the last request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Response {
    /// None was recorded.
    Unsent,
    /// It may have been sent.
    Sending,
    NotSent,
    Refused {
        status: u16,
        is_rixls_own: bool,
    },
    Unknown,
    Received,
    Lost(Why),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Verified {
    pub(crate) secret: Digest,
    pub(crate) format: Option<KeyFormat>,
}

/// How far one place has come.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum At {
    Before(Version),
    Stored {
        version: Version,
        value: Digest,
        at: Timestamp,
    },
    Settled {
        value: Digest,
        at: Timestamp,
    },
    /// It could not be written, and the user does without it.
    GivenUp,
}

/// How far what was there before is on its way out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) enum Retire {
    #[default]
    NotYet,
    Retiring,
    Retired,
}

/// When RIXL ends what was there before by itself. All times are RIXL's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct OldEnd {
    /// Asked for, and not known to be set.
    pub(crate) asked: Option<Timestamp>,
    pub(crate) known: Option<KnownEnd>,
    /// What was known of it last. RIXL keeps that, whatever becomes of this run.
    pub(crate) last: Option<Timestamp>,
    /// This run set it.
    pub(crate) is_ours: bool,
    /// When the grace is over, as far as this run asked for that.
    pub(crate) grace_ends: Option<Timestamp>,
    /// A place had its secret after that was known, or asked for.
    pub(crate) is_stale: bool,
}

/// An end that RIXL has, and what was known of the use of the key when it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct KnownEnd {
    pub(crate) until: Timestamp,
    pub(crate) at: Timestamp,
    pub(crate) last_used: Option<Timestamp>,
}

/// Why an entry can't be gone on from. Nobody may say of it that nothing was sent.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    #[error("its records have version {0}, and this release reads version {VERSION}")]
    Version(u64),
    #[error("a record can't be read")]
    Record(#[from] serde_json::Error),
    #[error("its records are not in order")]
    Order,
}

impl Progress {
    /// A run that has decided, and recorded nothing.
    pub(crate) fn new(intent: Arc<Intent>) -> Self {
        let places = intent.places.iter().map(|place| At::Before(place.before.version.clone())).collect();
        Self {
            intent,
            requests: Requests::default(),
            response: Response::Unsent,
            verified: None,
            places,
            is_deployed: false,
            is_proven: false,
            is_taken: false,
            is_used: false,
            handed_at: None,
            left: Vec::new(),
            earlier: Vec::new(),
            retire: Retire::NotYet,
            old_end: OldEnd::default(),
            ended: None,
            request_id: None,
            issued_at: None,
        }
    }

    /// From the lines of an entry. `None`: nothing was about to be sent.
    pub(crate) fn read(lines: &[String]) -> Result<Option<Self>, ReadError> {
        let Some((first, rest)) = lines.split_first() else { return Ok(None) };
        // Before anything else: what another release wrote may look like ours and mean something else.
        match serde_json::from_str::<serde_json::Value>(first)?.get("v").and_then(serde_json::Value::as_u64) {
            Some(v) if v == u64::from(VERSION) => {}
            Some(v) => return Err(ReadError::Version(v)),
            // No release begins with such a line: another program has removed the first one.
            None => return Err(ReadError::Order),
        }
        let Record::Intent(begun) = serde_json::from_str(first)? else { return Err(ReadError::Order) };
        let mut progress = Self::new(Arc::new(begun.intent.clone()));
        progress.apply(&Record::Intent(begun));
        for line in rest {
            let record = serde_json::from_str(line)?;
            if !progress.fits(&record) {
                return Err(ReadError::Order);
            }
            progress.apply(&record);
        }
        Ok(Some(progress))
    }

    fn fits(&self, record: &Record) -> bool {
        match record {
            Record::Intent(_) => self.requests.number == 1 && self.response == Response::Sending,
            Record::Sending(sending) => {
                sending.number >= self.requests.number && sending.held.len() == self.places.len()
            }
            Record::Stored { place, .. }
            | Record::Settled { place, .. }
            | Record::Missing { place, .. }
            | Record::GivenUp { place, .. }
            | Record::Redirected { place, .. } => *place < self.places.len(),
            _ => true,
        }
    }

    pub(crate) fn apply(&mut self, record: &Record) {
        match record {
            Record::Intent(begun) => {
                self.intent = Arc::new(begun.intent.clone());
                self.send(&begun.sending);
            }
            Record::Sending(sending) => {
                if sending.stale.is_some() && !sending.is_void && sending.stale != self.requests.stale {
                    // A response came in between, whether there is a line of it or not.
                    self.requests.is_spent = true;
                    self.requests.may_go_back |= self.response == Response::Sending;
                }
                self.send(sending);
            }
            Record::NotSent { .. } => {
                self.requests.left = self.requests.left.saturating_sub(1);
                self.response = Response::NotSent;
            }
            Record::Refused { status, is_rixls_own, .. } => {
                self.requests.refused = self.requests.refused.saturating_add(1);
                self.response = Response::Refused { status: *status, is_rixls_own: *is_rixls_own };
            }
            Record::Unknown { .. } => self.response = Response::Unknown,
            Record::Received { request_id, .. } => {
                self.response = Response::Received;
                self.request_id.clone_from(request_id);
                self.issued_at = self.requests.at;
                self.requests.is_spent = true;
                self.requests.held.clear();
                self.requests.is_unheard_since = false;
            }
            Record::Back { .. } => {
                // The response before is older than what was in the places by then.
                let held = std::mem::take(&mut self.requests.held);
                self.earlier.retain(|value| !held.contains(value));
                self.response = Response::Received;
                self.requests.stale = None;
            }
            Record::Lost { why, is_spent, unheard_until, .. } => {
                self.forget_the_secret();
                self.requests.refused = self.requests.refused.saturating_sub(u32::from(*why == Why::RefusedButDone));
                self.response = Response::Lost(*why);
                self.requests.is_spent |= is_spent;
                self.requests.is_unheard_since |= *unheard_until > self.requests.unheard_until;
                self.requests.unheard_until = self.requests.unheard_until.max(*unheard_until);
            }
            Record::Verified { secret, format, .. } => {
                // Where it turns out to be live in another form, it is stored again.
                self.places_before();
                self.verified = Some(Verified { secret: *secret, format: *format });
            }
            Record::Stored { place, version, value, at, .. } => {
                if let Some(state) = self.places.get_mut(*place) {
                    *state = At::Stored { version: version.clone(), value: *value, at: *at };
                }
                self.not_handed();
            }
            Record::Settled { place, at } => {
                if let Some(state) = self.places.get_mut(*place)
                    && let At::Stored { value, .. } = state
                {
                    *state = At::Settled { value: *value, at: *at };
                }
                self.old_end.is_stale = self.old_end.known.is_some() || self.old_end.asked.is_some();
            }
            Record::Missing { place, version, .. } => {
                if let Some(state) = self.places.get_mut(*place) {
                    *state = At::Before(version.clone());
                }
                self.not_handed();
            }
            Record::GivenUp { place, .. } => {
                if let Some(state) = self.places.get_mut(*place) {
                    *state = At::GivenUp;
                }
            }
            Record::Redirected { place, to, .. } => {
                let intent = Arc::make_mut(&mut self.intent);
                if let Some(old) = intent.places.get_mut(*place) {
                    if let Some(At::Stored { value, .. } | At::Settled { value, .. }) = self.places.get(*place) {
                        self.left.push((old.clone(), *value));
                    }
                    old.clone_from(to);
                }
                if let Some(state) = self.places.get_mut(*place) {
                    *state = At::Before(to.before.version.clone());
                }
            }
            Record::Deployed { at } => {
                self.is_deployed = true;
                self.handed(*at);
            }
            Record::Proven { at } => {
                self.is_proven = true;
                self.handed(*at);
            }
            Record::Taken { .. } => self.is_taken = true,
            Record::Used { .. } => self.is_used = true,
            Record::Retiring { .. } => self.retire = Retire::Retiring,
            Record::Retired { .. } => self.retire = Retire::Retired,
            Record::SettingEnd { until, .. } => {
                let old = &mut self.old_end;
                if old.known.is_none() || old.is_stale {
                    old.grace_ends = Some(*until);
                }
                (old.asked, old.is_stale) = (Some(*until), false);
            }
            Record::EndsAt { at, until, last_used } => {
                let old = &mut self.old_end;
                // What somebody else has set since is theirs.
                let is_same = |last: Timestamp| last.duration_since(*until).abs() <= SLACK;
                old.is_ours = old.asked.take().is_some() || old.is_ours && old.last.is_some_and(is_same);
                old.is_stale = false;
                old.known = Some(KnownEnd { until: *until, at: *at, last_used: *last_used });
                old.last = Some(*until);
            }
            Record::Ended { ending, .. } => self.ended = Some(*ending),
        }
    }

    fn send(&mut self, sending: &Sending) {
        // Written again because the writing took long: the same request.
        let is_again = self.requests.number == sending.number && self.response == Response::Sending;
        self.requests.left += u32::from(!is_again);
        self.requests.number = sending.number;
        self.requests.at = Some(sending.at);
        self.requests.stale = sending.stale;
        self.requests.is_void = sending.is_void;
        self.requests.ahead = SignedDuration::from_secs(sending.ahead_s);
        match self.response {
            Response::Received => self.requests.may_go_back = true,
            Response::Lost(Why::NoSecret | Why::NoEscrow | Why::Died | Why::NeverLive) => {
                self.requests.may_go_back = false;
            }
            _ => {}
        }
        self.requests.is_unheard_since |= sending.unheard_until > self.requests.unheard_until;
        self.requests.unheard_until = self.requests.unheard_until.max(sending.unheard_until);
        self.requests.orphans.clone_from(&sending.orphans);
        self.forget_the_secret();
        self.response = Response::Sending;
        self.retire = Retire::NotYet;
        // Where this run set one, it is moved once the next secret is in its places.
        (self.old_end.asked, self.old_end.known, self.old_end.grace_ends) = (None, None, None);
        for (state, held) in self.places.iter_mut().zip(&sending.held).filter(|(state, _)| **state != At::GivenUp) {
            *state = At::Before(held.version.clone());
            if let Some(value) = held.value
                && !self.earlier.contains(&value)
            {
                self.earlier.push(value);
                self.requests.held.push(value);
            }
        }
    }

    fn forget_the_secret(&mut self) {
        self.places_before();
        if let Some(verified) = self.verified.take()
            && !self.earlier.contains(&verified.secret)
        {
            self.earlier.push(verified.secret);
        }
    }

    fn handed(&mut self, at: Timestamp) {
        if self.intent.acks.is_some() || self.intent.used_within_ms.is_some() {
            self.handed_at = self.handed_at.max(Some(at));
        }
    }

    /// What consumers have is older than what the places are to hold.
    fn not_handed(&mut self) {
        self.is_deployed = false;
        self.is_proven = false;
        self.is_taken = false;
        self.is_used = false;
        self.handed_at = None;
    }

    /// Every place has yet to be written. What it holds of ours is no stranger's.
    fn places_before(&mut self) {
        self.not_handed();
        for state in &mut self.places {
            let (At::Stored { value, .. } | At::Settled { value, .. }) = state else { continue };
            if !self.earlier.contains(value) {
                self.earlier.push(*value);
            }
            let version = match state {
                At::Stored { version, .. } => version.clone(),
                _ => Version::untracked(),
            };
            *state = At::Before(version);
        }
    }

    /// Whether it needs a request beyond its budget, for all that is recorded.
    pub(crate) fn is_parked(&self) -> bool {
        let is_to_be_repeated = matches!(self.response, Response::Unknown | Response::Lost(_));
        is_to_be_repeated && self.ended.is_none() && self.requests.left >= self.intent.limits.budget
    }

    /// What is true of the key, wherever a failure arises.
    pub(crate) fn effect(&self) -> Effect {
        if self.requests.is_spent {
            return Effect::Changed;
        }
        match self.response {
            Response::Unsent => Effect::Unchanged,
            _ if self.ended == Some(Ending::Refused) => Effect::Unchanged,
            Response::NotSent if self.requests.unheard_until.is_none() => Effect::Unchanged,
            // A gateway may say so of what was carried out: it is so when that was looked at, and the end recorded.
            Response::NotSent | Response::Refused { .. } | Response::Sending | Response::Unknown => Effect::Unknown,
            Response::Received => Effect::Changed,
            // The old secret was dead before, or is now: somebody changed it.
            Response::Lost(_) => Effect::Unknown,
        }
    }

    /// Where the secret of the key is.
    pub(crate) fn situation(&self) -> Situation {
        let is_stored = self.places.iter().all(|place| !matches!(place, At::Before(_)));
        match (self.effect(), self.response) {
            (Effect::Unchanged, _) => Situation::Unchanged,
            (_, Response::Received) if is_stored => Situation::Stored,
            (_, Response::Received) => Situation::InEscrow,
            (_, Response::Lost(_)) | (Effect::Changed, _) => Situation::Lost,
            (Effect::Unknown, _) => Situation::Unknown,
        }
    }

    /// The places that have the secret, or are to get it.
    pub(crate) fn kept(&self) -> impl Iterator<Item = (usize, &Place)> {
        let places = self.places.iter().zip(&self.intent.places).enumerate();
        places.filter(|(_, (at, _))| **at != At::GivenUp).map(|(index, (_, place))| (index, place))
    }

    /// When RIXL ends what was there before, where nothing else is left to do.
    pub(crate) fn waits_until(&self) -> Option<Timestamp> {
        let is_settled = self.places.iter().all(|place| matches!(place, At::Settled { .. }));
        let is_waiting = is_settled && !self.is_not_taken_up() && self.ended.is_none() && self.retire == Retire::NotYet;
        // Where it was about to be moved, nobody knows whether it was.
        self.old_end.known.filter(|_| is_waiting && self.old_end.asked.is_none()).map(|known| known.until)
    }

    /// Whether its deploy step is still to end well.
    pub(crate) fn is_to_deploy(&self) -> bool {
        self.intent.deploy.is_some() && !self.is_deployed
    }

    /// Whether a probe is still to take the new secret.
    pub(crate) fn is_to_prove(&self) -> bool {
        !self.intent.probes.is_empty() && !self.is_proven
    }

    /// Whether a consumer is still to take it.
    pub(crate) fn is_to_be_taken(&self) -> bool {
        self.intent.acks.is_some() && !self.is_taken
    }

    /// Whether the key is still to be used by another.
    pub(crate) fn is_to_be_used(&self) -> bool {
        self.intent.used_within_ms.is_some() && !self.is_used
    }

    /// Whether who uses the old secret may not have taken the new one, for all that was asked for.
    pub(crate) fn is_not_taken_up(&self) -> bool {
        self.is_to_deploy() || self.is_to_prove() || self.is_to_be_taken() || self.is_to_be_used()
    }

    /// The fingerprint of what the first place holds, once all hold the secret.
    pub(crate) fn stored_fingerprint(&self) -> Option<String> {
        let kept = self.places.iter().filter(|place| **place != At::GivenUp);
        let stored = kept.map(|place| match place {
            At::Stored { value, .. } | At::Settled { value, .. } => Some(*value),
            At::Before(_) | At::GivenUp => None,
        });
        let stored: Option<Vec<Digest>> = stored.collect();
        Some(stored?.first()?.fingerprint())
    }

    /// From when on consumers could have taken it: this run has not used the key since.
    pub(crate) fn ready_at(&self) -> Option<Timestamp> {
        let kept = self.places.iter().filter(|place| **place != At::GivenUp);
        let settled = kept.map(|place| match place {
            At::Settled { at, .. } => Some(*at),
            At::Before(_) | At::Stored { .. } | At::GivenUp => None,
        });
        let settled: Option<Vec<_>> = settled.collect();
        settled?.into_iter().max().max(self.handed_at)
    }

    /// Until when it is waited for them.
    pub(crate) fn take_ends(&self) -> Option<Timestamp> {
        let acks = self.intent.acks.as_ref().filter(|_| self.is_to_be_taken()).map(|acks| acks.within_ms);
        let used = self.intent.used_within_ms.filter(|_| self.is_to_be_used());
        let within = acks.into_iter().chain(used).min()?;
        Some(self.ready_at()?.checked_add(Duration::from_millis(within)).unwrap_or(Timestamp::MAX))
    }

    /// When the last request, and those before it of which nothing was heard, can't be carried out any more.
    pub(crate) fn window_ends(&self) -> Option<Timestamp> {
        let window = self.requests.at.and_then(|at| at.checked_add(self.intent.limits.window()).ok());
        window.max(self.requests.unheard_until)
    }
}
