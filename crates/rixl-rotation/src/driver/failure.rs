//! What people are told: why a run stopped, what is true then, what is to be done.

use rixl_credentials::{ErrorKind, KeyId};

use super::{Driver, New};
use crate::{
    Effect, Failure, FailureKind, Liveness, Next, RecoveryAction, RecoveryPlan, Situation,
    journal::in_escrow,
    ledger::Spot,
    protocol::{
        intent::{Place, Subject},
        progress::{At, Record, Response, Why},
        seen::{
            Acked, Act, Authorizer, Because, Escrow, Holds, IfLive, KeysFailure, NotRetired, Owner, Step, Stop,
            StoreFailure, Wait,
        },
    },
    rotator::OwnKey,
    store::{Content, StoreError, StoreErrorKind},
};

const NOT_CLEAR: &str = "RIXL does not say clearly whether the stored secret is live";

/// Why no secret can be had.
pub(super) fn why(why: Why) -> &'static str {
    match why {
        Why::NoSecret => "the response holds no new secret",
        Why::NoEscrow => "the escrow no longer holds a secret",
        Why::RefusedButDone => "the request was refused, but carried out all the same",
        Why::OldIsDead => "no new secret arrived, and the old one is dead",
        Why::Died => {
            "the stored secret is dead after the quiet time: a delayed copy of the request, or another rotator"
        }
        Why::NeverLive => "the new secret is not live, and neither is the stored one",
    }
}

impl Driver {
    /// The request was undone or never left: nothing changed, and the entry is over.
    pub(super) fn refused(&mut self) -> Failure {
        let is_passing = |kind| matches!(kind, ErrorKind::RateLimited | ErrorKind::Connect);
        let was_sent = self.seen.tries.sent > 0;
        let failure = match self.send_error.take() {
            Some(error) if !self.seen.is_cancelled || !is_passing(error.kind()) => {
                Failure::from_call("the request was not carried out", error)
            }
            _ if self.seen.is_cancelled => Failure::interrupted(),
            _ => match self.journal_error.take() {
                Some(error) => error.into(),
                None => Failure::refused("the journal is too slow to tell when a request was sent; nothing was sent"),
            },
        };
        let failure = if was_sent { failure.instead_of_not_sent("nothing was changed") } else { failure };
        match self.seen.is_closed {
            Some(false) => self.left_open(failure),
            _ => failure,
        }
    }

    /// It is over, and its entry is left.
    pub(super) fn not_closed(&mut self) -> Failure {
        let sentence = match self.progress.situation() {
            Situation::Stored => format!("the new secret of {} is stored, but its run could not be closed", self.label),
            _ => format!("the run on {} is over, but could not be closed", self.label),
        };
        let escrow = self.entry.escrow_location();
        let sentence = format!("{sentence}, so the escrow at {escrow} may still hold the secret");
        let failure = self.with_journal_error(Failure::new(FailureKind::Unknown, sentence));
        self.left_open(failure)
    }

    /// Its secret is lost with it, and the entry is over.
    pub(super) fn expired(&self) -> Failure {
        let sentence = format!(
            "the key {} expired during its rotation, so its secrets no longer work, and neither would a new one; nothing more was sent",
            self.label
        );
        let failure = Failure::new(FailureKind::Lost, sentence);
        match (self.seen.is_closed, self.key_id()) {
            (Some(false), _) => self.left_open(failure),
            (_, Some(key_id)) => failure.with_next(Next::Replace(key_id.clone())),
            (_, None) => failure,
        }
    }

    pub(super) fn failure(&mut self, stop: Stop) -> Failure {
        let is_own_key = stop == Stop::OwnKey;
        let failure = self.stopped(stop);
        if self.entry.lines().is_empty() {
            return failure;
        }
        let failure = if is_own_key { failure.with_next(Next::AllowOwnKey) } else { failure };
        // What was refused is another request.
        let is_refused = matches!(failure.kind(), FailureKind::Refused | FailureKind::Authentication);
        let is_lost = self.progress.requests.is_spent && is_refused;
        let failure = if is_lost { self.lost_for_good(failure) } else { failure };
        self.left_open(match self.old_key_ends() {
            Some(ends) => failure.and(&ends),
            None => failure,
        })
    }

    fn left_open(&self, failure: Failure) -> Failure {
        let situation = match self.progress.situation() {
            // It was in this process alone, and whoever has the lock by now may have another one.
            Situation::InEscrow if self.seen.is_kept == Some(false) => Situation::Unknown,
            Situation::Stored if failure.kind() == FailureKind::NotStored => Situation::InEscrow,
            situation => situation,
        };
        let was_sent = self.seen.tries.sent > 0;
        let failure = if was_sent { failure.instead_of_not_sent("no further request was sent") } else { failure };
        failure.left_open(self.progress.effect()).with_situation(situation, self.is_old_dead)
    }

    fn stopped(&mut self, stop: Stop) -> Failure {
        let label = self.label.clone();
        match stop {
            Stop::Cancelled => self.cancelled(),
            Stop::LockLost if self.entry.lines().is_empty() => {
                let message = format!("the lock of {label} is lost; nothing was sent");
                self.with_journal_error(Failure::new(FailureKind::Locked, message))
            }
            Stop::LockLost => {
                let message = format!("the lock of {label} is lost, so the run ends here");
                self.with_journal_error(Failure::new(FailureKind::Unknown, message))
            }
            Stop::NotRecorded if self.progress.old_end.asked.is_some() => {
                let message = format!(
                    "the new secret of {label} is stored, but the end of the old key can't be recorded, so RIXL was not \
                     asked for it"
                );
                self.with_journal_error(Failure::new(FailureKind::Unknown, message))
            }
            Stop::NotRecorded => {
                let message = format!("how the run on {label} ended can't be recorded");
                self.with_journal_error(Failure::new(FailureKind::Unknown, message))
            }
            Stop::Expired => {
                let sentence =
                    format!("the key {label} has expired, and a new secret would not work either; nothing was sent");
                let failure = Failure::refused(sentence);
                self.key_id().cloned().map(Next::Replace).into_iter().fold(failure, Failure::with_next)
            }
            Stop::TokenEnds => self.rotator.check_token().err().unwrap_or_else(|| {
                Failure::new(FailureKind::Authentication, "the bearer token expires too soon; nothing was sent")
            }),
            Stop::OwnKey => {
                let (noun, id) = (self.subject().noun(), self.subject().old_id().unwrap_or_default());
                let bought = match self.seen.authorizer {
                    Some(Authorizer::MayBeOwnKey) => "may have been obtained",
                    _ => "was obtained",
                };
                let bought = format!("{bought} with the {noun} {id} itself,");
                Failure::refused(format!(
                    "the bearer token {bought} and may stop working with its secret; nothing was sent; use another credential"
                ))
            }
            Stop::NotHandedOver => self.not_handed_over(),
            Stop::NoRoom => {
                self.with_journal_error(Failure::refused("the journal has no room for a response; nothing was sent"))
            }
            Stop::PlaceFailed(place) => match (self.progress.response, self.place_error(place)) {
                (Response::Unsent, Some(error)) => error.into(),
                (_, error) => self.unreadable(error),
            },
            Stop::PlaceMoved(place)
                if let Some(moved) = self.places.get(place).and_then(|place| place.moved.clone()) =>
            {
                let led = self.intent().places.get(place).map(Place::path).unwrap_or_default();
                let sentence = format!("{moved}, and led to {led} when the run began");
                match (self.progress.response, self.old_server(place)) {
                    // Its next run reads the text anew.
                    (Response::Unsent, _) => {
                        Failure::refused(format!("{sentence}; nothing was sent; run it again")).with_next(Next::Retry)
                    }
                    (_, Some(server)) => self.stuck(&sentence).with_next(Next::NameServer(server)),
                    (_, None) if self.places.len() > 1 => self.stuck(&sentence).with_next(self.elsewhere()),
                    (_, None) => self.stuck(&sentence).with_next(Next::NamePlace(label)),
                }
            }
            Stop::PlaceMoved(place) if !self.is_recovered => {
                let why = "its folder is another one than when the run began, as if its file system were not mounted";
                match self.progress.response {
                    Response::Unsent => {
                        let sentence = format!("{}: {why}; nothing was sent; run it again", self.location(place));
                        Failure::refused(sentence).with_next(Next::Retry)
                    }
                    _ => self.stuck(why),
                }
            }
            Stop::PlaceMoved(_) => self
                .stuck("it held a secret before and holds none now, as if its file system were not mounted")
                .with_next(self.decision()),
            Stop::PlaceTaken(place) => self.taken(place),
            Stop::KeyElsewhere(_) => {
                let paths: Vec<String> = self.homes.iter().map(Spot::path).collect();
                let has = match paths.as_slice() {
                    [one] => format!("{one} holds the secret of {label}, and would be left with a dead one"),
                    several => {
                        format!(
                            "{} hold the secret of {label}, and would be left with dead ones",
                            several.join(" and ")
                        )
                    }
                };
                let places = &self.intent().places;
                let renamed =
                    |home: &Spot| places.iter().find_map(|place| home.other_server(place).zip(place.server.clone()));
                match self.homes.iter().find_map(renamed) {
                    Some((server, now)) => {
                        let sentence = format!("{has}: the settings of this run name {now}; nothing was sent");
                        Failure::refused(sentence).with_next(Next::NameServer(server))
                    }
                    None => Failure::refused(format!("{has}; nothing was sent")).with_next(Next::AllowLeave),
                }
            }
            Stop::Contested(_) => self.not_stored("someone else keeps removing the new secret"),
            Stop::KeyGone if !self.subject().rules().can_probe => self
                .stuck(&format!(
                    "there is no webhook endpoint {label} any more; it was deleted, or is another project's"
                ))
                .with_next(Next::Decide),
            Stop::KeyGone => self
                .stuck(&format!(
                    "no key has the id {} any more; it was deleted, or the credential belongs to another organization",
                    self.key_id().map(KeyId::as_str).unwrap_or_default()
                ))
                .with_next(Next::Decide),
            Stop::Unclear if self.progress.response == Response::Unsent => Failure::refused(format!(
                "{NOT_CLEAR}, and would be no clearer about the new one; nothing was changed; try later, or switch verification off"
            )),
            Stop::Unclear => self.stuck("it is unclear whether RIXL accepts a secret that the store holds"),
            Stop::EscrowUnreadable => {
                let failure = self.stuck("the escrow can't be read").with_next(Next::Correct);
                self.with_journal_error(failure)
            }
            Stop::Refused => self.not_again(),
            Stop::Unknown => self.unknown(),
            Stop::Undecidable => {
                let error = (0..self.places.len()).find_map(|place| self.place_error(place));
                with_source(self.unknown(), error).with_next(Next::Decide)
            }
            Stop::Unconfirmed => self.unconfirmed(),
            Stop::NotStored => {
                let error = (0..self.places.len()).find_map(|place| self.place_error(place));
                let why = match error {
                    Some(_) => "the store failed",
                    None => "the store does not hold what was written to it",
                };
                let failure = with_source(self.not_stored(why), error);
                let left = self.progress.places.iter().zip(&self.seen.places);
                let mut left = left
                    .filter(|(at, _)| matches!(at, At::Before(_)))
                    .map(|(_, seat)| seat.is_failed || seat.failure.is_some() || seat.writes > 0);
                // Whoever has tried again already is not told to do no more than that.
                match (left.next(), left.next()) {
                    (Some(true), None) if self.is_recovered => failure.with_next(Next::AnotherPlace(label)),
                    (Some(_), Some(_)) if self.is_recovered => failure.with_next(Next::NameReplacedPlace(label)),
                    _ => failure,
                }
            }
            Stop::NotSettled => {
                let error = (0..self.places.len()).find_map(|place| self.place_error(place));
                match error {
                    // To read it once more tells no more.
                    Some(error) if error.kind() == StoreErrorKind::Foreign => {
                        with_source(self.stuck("the store can't be read"), Some(error)).with_next(self.decision())
                    }
                    Some(_) => self.unreadable(error),
                    None => Failure::new(
                        FailureKind::Unknown,
                        format!("the new secret of {label} is stored, but RIXL does not say clearly that it is live"),
                    ),
                }
            }
            Stop::NotDeployed => {
                let (why, said) = self.not_deployed.take().unwrap_or_default();
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                let sentence = format!("the new secret of {label} is stored, but the deploy step failed: {why}{said}");
                Failure::new(FailureKind::NotDeployed, sentence)
            }
            Stop::NotProven => {
                let (why, said) = self.not_proven.take().unwrap_or_default();
                let said = said.map(|said| format!(" ({said})")).unwrap_or_default();
                let sentence = format!(
                    "the new secret of {label} is stored, but not proven to work where it is used: {why}{said}"
                );
                Failure::new(FailureKind::NotProven, sentence)
            }
            Stop::NotTaken => {
                let out_of_reach = self.acks_server();
                let known = if self.seen.acks == Some(Acked::OutOfReach) {
                    "nobody can tell here whether it was taken"
                } else {
                    "was not taken in time"
                };
                let sentence = format!("the new secret of {label} is stored, but {known}: {}", self.who_lags());
                let mut failure = Failure::new(FailureKind::NotTaken, sentence);
                if let Some(server) = out_of_reach {
                    failure = failure.with_next(Next::NameServer(server));
                }
                match self.look_error.take() {
                    Some(error) => failure.with_source(error),
                    None => failure,
                }
            }
            Stop::Parked => {
                let used_up = format!("the budget of requests ({}) is used up", self.intent().limits.budget);
                let used_up = match self.without_secret().filter(|_| !self.progress.requests.is_spent) {
                    Some(without) => format!("{without}, and {used_up}"),
                    None => used_up,
                };
                match self.progress.requests.is_spent {
                    true => self.lost(&format!("it brought no usable secret, and {used_up}")),
                    false => self.unknown_because(&used_up),
                }
                .with_next(Next::Decide)
            }
            Stop::NotRetired(why) => self.not_retired(why),
            Stop::Waiting => Failure::new(FailureKind::Unknown, self.until_when()),
        }
    }

    fn cancelled(&self) -> Failure {
        let Self { label, progress, .. } = self;
        let is_stored = progress.places.iter().all(|place| !matches!(place, At::Before(_)));
        let sentence = match progress.response {
            Response::Received if is_stored && progress.take_ends().is_some() => {
                format!(
                    "interrupted; the new secret of {label} is stored and live, but not known to be taken yet: {}",
                    self.who_lags()
                )
            }
            Response::Received if is_stored && progress.intent.subject.rules().retires_after.is_some() => {
                let (old, noun, retired) = (self.old(), self.subject().noun(), self.subject().retired());
                format!("interrupted; the secret of the new {noun} is stored, and the {old} is not {retired} yet")
            }
            Response::Received if !is_stored => return self.not_stored("interrupted"),
            Response::Received => {
                format!("interrupted; the new secret of {label} is stored, but was not checked after the quiet time")
            }
            Response::Unsent => return Failure::interrupted(),
            _ if progress.requests.is_spent => {
                let message = format!(
                    "the secret of {label} is lost, and it could not be rotated again: interrupted; no further request \
                     was sent"
                );
                return Failure::new(FailureKind::Lost, message);
            }
            _ => "interrupted".to_owned(),
        };
        Failure::new(FailureKind::Interrupted, sentence)
    }

    fn taken(&mut self, place: usize) -> Failure {
        let location = self.location(place);
        let owner = self.seen.places.get(place).and_then(|seat| Some(seat.seen.as_ref()?.owner));
        let taken = self.places.get(place).and_then(|target| target.taken.clone());
        if let Some(taken) = taken.as_ref().filter(|_| self.progress.response != Response::Unsent) {
            let why = format!("{location} {taken}");
            let failure = match self.progress.response {
                Response::Received => self.not_stored(&why),
                _ => self.stuck(&why),
            };
            return failure.with_next(Next::AnotherPlace(self.label.clone()));
        }
        if self.progress.response != Response::Unsent {
            let failure = self.stuck("the store holds what someone else put there meanwhile");
            return failure.with_next(self.decision());
        }
        if owner == Some(Owner::State) {
            return Failure::refused(format!(
                "{location} is inside the state itself, {}; nothing was sent; name a place outside of it",
                self.rotator.journal.location()
            ));
        }
        if let Some(Content::NoSuchName { near }) = self.places.get(place).map(|target| &target.content) {
            let near = near.as_ref().map(|near| format!(", but {near} is there")).unwrap_or_default();
            let sentence = format!("{location}: nothing there has that name{near}; nothing was sent");
            return Failure::refused(sentence).with_next(Next::AllowNewPlace);
        }
        if let Some(taken) = taken {
            let sentence = format!("{location} {taken}; nothing was sent");
            return Failure::refused(sentence).with_next(Next::AllowTakeOver);
        }
        // Neither overwritten nor shown to RIXL as a key: it may be another program's password.
        let whose = self.subject.kind.whose();
        let sentence = format!("{location} holds something that does not look like {whose} secret; nothing was sent");
        Failure::refused(sentence).with_next(Next::AllowTakeOver)
    }

    /// A request after the first one was refused.
    fn not_again(&mut self) -> Failure {
        let failure = match self.send_error.take() {
            Some(error) => Failure::from_call("the request was not carried out", error),
            None => Failure::interrupted(),
        };
        let failure = failure.instead_of_not_sent("no further request was sent");
        if !self.progress.requests.is_spent {
            // The old secret may be as it was.
            return self.unknown().with_source(failure);
        }
        self.lost_for_good(failure)
    }

    /// No request follows the one that was carried out, for this reason.
    fn lost_for_good(&self, why: Failure) -> Failure {
        let said = why.message().trim_end_matches("; nothing was changed");
        let sentence = format!("the secret of {} is lost, and it could not be rotated again: {said}", self.label);
        let next = why.next().clone();
        let failure = Failure::new(FailureKind::Lost, sentence).with_source(why);
        if next == Next::AllowOwnKey { failure.with_next(next) } else { failure }
    }

    fn not_handed_over(&self) -> Failure {
        let key_id = self.key_id().map(KeyId::as_str).unwrap_or_default();
        let reads = match &self.rotator.own_key {
            OwnKey::HandedOver(Some(store)) => {
                format!("the next run would read its API key from {}, which is none of the places", store.location())
            }
            _ => "none of the places holds the API key of this run, so the next run would have a dead one".to_owned(),
        };
        let sentence =
            format!("this run is or may be authorized by the key {key_id} itself, and {reads}; nothing was sent");
        Failure::refused(sentence).with_next(Next::HandOver)
    }

    fn unconfirmed(&self) -> Failure {
        let end = self.issued.as_ref().and_then(New::expiring_at);
        let new = match self.seen.ours {
            _ if end.is_some_and(|end| self.is_past(end)) => "the new key has expired",
            Some(Liveness::Dead) => "RIXL refuses the new secret",
            _ => "RIXL does not confirm the new secret",
        };
        let old = match self.seen.places.iter().find_map(|seat| seat.liveness) {
            Some(Liveness::Live(_)) => "the stored one is still live",
            Some(_) => "is not clear about the stored one",
            None => "the store holds another",
        };
        self.not_stored(&format!("{new}, and {old}"))
    }

    fn not_retired(&mut self, why: NotRetired) -> Failure {
        let (old, noun, retired) = (self.old(), self.subject().noun(), self.subject().retired());
        let is_credential = matches!(self.subject(), Subject::Credential { .. });
        let next = match why {
            NotRetired::OwnKey => Some(Next::OtherCredential),
            NotRetired::Dead => Some(Next::Decide),
            NotRetired::Another => Some(Next::Drop(self.entry_name.clone())),
            // Who is denied it now is so the next time.
            NotRetired::Keys if self.seen.keys == Some(Err(KeysFailure::Denied)) => {
                Some(Next::Drop(self.entry_name.clone()))
            }
            NotRetired::StillThere if self.look_error.is_some() => Some(Next::Drop(self.entry_name.clone())),
            NotRetired::Place(_) | NotRetired::Less | NotRetired::Keys | NotRetired::StillThere => None,
        };
        let (why, error) = match why {
            NotRetired::OwnKey if self.seen.authorizer == Some(Authorizer::MayBeOwnKey) => {
                ("the bearer token may have been obtained with it", None)
            }
            NotRetired::OwnKey => ("the bearer token was obtained with it", None),
            NotRetired::Place(place) => {
                let (has_escrow, escrow) = (self.has_escrow(), self.entry.escrow_location());
                let escrow = if has_escrow { format!("; it is in escrow at {escrow}") } else { String::new() };
                let sentence = format!(
                    "the store no longer holds the new secret, so the {old} was not {retired}: {}{escrow}",
                    self.location(place)
                );
                return match self.place_error(place) {
                    Some(error) if has_escrow && error.is_gone() => self.gone(sentence, error),
                    error => with_source(Failure::new(FailureKind::Unknown, sentence), error).with_next(Next::Decide),
                };
            }
            NotRetired::Another if is_credential => ("the store holds another live secret", None),
            NotRetired::Another => {
                ("the store holds another live secret, as if somebody had rotated the new key", None)
            }
            NotRetired::Dead if is_credential => {
                ("RIXL refuses the new secret, as if somebody had revoked the new client credential", None)
            }
            NotRetired::Dead => {
                ("RIXL refuses the new secret, as if somebody had rotated or deleted the new key", None)
            }
            NotRetired::Less if is_credential => ("the new one is revoked", None),
            NotRetired::Less => ("the new key lacks a policy or a permission that the old one has", None),
            NotRetired::Keys if self.look_error.is_none() => {
                ("the list lacks it or the new one, or does not tell when it was last used", None)
            }
            NotRetired::Keys => ("the list could not be read", self.look_error.take()),
            NotRetired::StillThere if self.look_error.is_some() => ("the call failed", self.look_error.take()),
            NotRetired::StillThere if is_credential => ("it was revoked, but is still listed as active", None),
            NotRetired::StillThere => ("it was deleted, but is still listed", None),
        };
        let sentence = format!("the secret of the new {noun} was stored, but the {old} could not be {retired}: {why}");
        let failure = Failure::new(FailureKind::Unknown, sentence);
        let failure = next.into_iter().fold(failure, Failure::with_next);
        match error {
            Some(error) => failure.with_source(error),
            None => failure,
        }
    }

    /// What only a person can decide. One who gives it up is not told to do so again: the secret may be the only one that is
    /// live.
    fn decision(&self) -> Next {
        let is_kept = self.progress.response == Response::Received && self.seen.mandate.if_live == IfLive::Drop;
        if is_kept { self.elsewhere() } else { Next::Decide }
    }

    /// The secret that is in hand goes to another place.
    fn elsewhere(&self) -> Next {
        match self.places.len() {
            0 | 1 => Next::AnotherPlace(self.label.clone()),
            _ => Next::NameReplacedPlace(self.label.clone()),
        }
    }

    /// Nothing but the escrow has it, as far as can be told here.
    fn gone(&self, sentence: String, error: StoreError) -> Failure {
        let next = Next::BringBack(Box::new(self.elsewhere()));
        Failure::new(FailureKind::NotStored, sentence).with_source(error).with_next(next)
    }

    fn has_escrow(&self) -> bool {
        self.seen.is_kept != Some(false) && matches!(self.seen.escrow, Some(Escrow::Secret { .. }))
    }

    fn unreadable(&self, error: Option<StoreError>) -> Failure {
        let is_stored = self.progress.places.iter().all(|place| !matches!(place, At::Before(_)));
        match error {
            Some(error) if is_stored && self.has_escrow() && error.is_gone() => {
                let (label, escrow) = (&self.label, self.entry.escrow_location());
                let sentence =
                    format!("the new secret of {label} was stored, and its place is gone; it is in escrow at {escrow}");
                self.gone(sentence, error)
            }
            error => with_source(self.stuck("the store can't be read"), error),
        }
    }

    /// What is true when nothing can be read at this stage.
    fn stuck(&self, why: &str) -> Failure {
        let is_stored = self.progress.places.iter().all(|place| !matches!(place, At::Before(_)));
        match self.progress.response {
            Response::Received if !is_stored => self.not_stored(why),
            Response::Received => {
                let message = format!("the new secret of {} is stored, but was not checked again: {why}", self.label);
                Failure::new(FailureKind::Unknown, message)
            }
            _ if self.progress.requests.is_spent => self.lost(why),
            _ => self.unknown_because(why),
        }
    }

    fn unknown(&mut self) -> Failure {
        let failure = match self.without_secret() {
            Some(without) => self.unknown_because(&without),
            None => Failure::new(FailureKind::Unknown, self.unknown_change()),
        };
        match self.send_error.take() {
            Some(error) => failure.with_source(error),
            None => failure,
        }
    }

    /// What is known of a response that has no new secret.
    fn without_secret(&self) -> Option<String> {
        let is_unusable = matches!(self.seen.escrow, Some(Escrow::Unusable(_)));
        let response = self.response.as_ref().filter(|_| is_unusable)?;
        let (noun, is_new) = (self.subject().noun(), self.subject().rules().creates);
        let what = match self.parsed(response) {
            Ok(_) if is_new => format!("the response names a {noun} or a secret that was there before"),
            Ok(_) => "the response holds the secret that was there before".to_owned(),
            Err(_) => "the response holds no secret".to_owned(),
        };
        let is_live = |live: &Option<Liveness>| matches!(live, Some(Liveness::Live(_)));
        let is_live = self.seen.places.iter().any(|seat| [seat.before, seat.liveness].iter().any(is_live));
        Some(if is_live { format!("{what}, and the old one is live") } else { what })
    }

    fn unknown_because(&self, why: &str) -> Failure {
        Failure::new(FailureKind::Unknown, format!("{}: {why}", self.unknown_change()))
    }

    fn unknown_change(&self) -> String {
        let change = match self.subject().name().filter(|_| self.subject().rules().creates) {
            None => format!("{} was changed", self.label),
            Some(name) => format!("a {} {name:?} was created", self.subject().noun()),
        };
        format!("it is not known whether {change}")
    }

    fn not_stored(&self, why: &str) -> Failure {
        if self.seen.is_kept == Some(false) {
            return self.lost("neither the store nor the escrow took it");
        }
        let mut left = self.progress.places.iter().zip(&self.seen.places).enumerate();
        let (index, seat) = left
            .find_map(|(index, (at, seat))| matches!(at, At::Before(_)).then_some((index, Some(seat))))
            .or_else(|| {
                let seats = self.seen.places.iter().enumerate();
                seats.filter(|(_, seat)| seat.is_failed || seat.writes > 0).map(|(index, _)| (index, None)).next()
            })
            .unwrap_or((0, None));
        let location = self.location(index);
        let store = match seat {
            Some(seat) if seat.written.is_some() => format!("and the store {location} took it, but {why}"),
            Some(seat) if seat.failure == Some(StoreFailure::Unknown) => {
                format!("and it is not known whether the store {location} was: {why}")
            }
            _ => format!("and the store {location} was not: {why}"),
        };
        let others = |is_left: bool| {
            let others =
                self.progress.places.iter().enumerate().filter(|(other, at)| {
                    *other != index && **at != At::GivenUp && matches!(at, At::Before(_)) == is_left
                });
            others.map(|(other, _)| self.location(other)).collect::<Vec<_>>().join(" and ")
        };
        let besides = match (others(true), others(false)) {
            (left, has) if left.is_empty() && has.is_empty() => String::new(),
            (left, has) if left.is_empty() => format!("; stored in {has}"),
            (left, has) if has.is_empty() => format!("; nor in {left}"),
            (left, has) => format!("; nor in {left}; stored in {has}"),
        };
        let (is, unless) = in_escrow(self.seen.escrow != Some(Escrow::Unreadable));
        let sentence = format!(
            "{} was changed, {store}{besides}; the new secret {is} in escrow at {}{unless}",
            self.label,
            self.entry.escrow_location()
        );
        Failure::new(FailureKind::NotStored, sentence)
    }

    fn lost(&self, why: &str) -> Failure {
        let sentence = format!("{} was changed, and its secret is lost: {why}", self.label);
        Failure::new(FailureKind::Lost, sentence)
    }

    fn with_journal_error(&mut self, failure: Failure) -> Failure {
        match self.journal_error.take() {
            Some(error) => failure.with_source(error),
            None => failure,
        }
    }

    /// The server that a place was on, where the settings name another one by now.
    fn old_server(&self, place: usize) -> Option<String> {
        let now = self.places.get(place)?.store.server()?;
        self.intent().places.get(place)?.server.clone().filter(|server| *server != now)
    }

    fn place_error(&mut self, place: usize) -> Option<StoreError> {
        self.places.get_mut(place)?.error.take()
    }

    /// What recovery is about to do, where this step decides it.
    pub(super) fn plan(&self, step: &Step) -> Option<RecoveryPlan> {
        let is_stored = self.progress.places.iter().all(|place| !matches!(place, At::Before(_)));
        let is_settled = self.progress.places.iter().all(|place| matches!(place, At::Settled { .. } | At::GivenUp));
        let (action, reason) = match step {
            Step::Record(Record::Ended { ending, .. }) | Step::Act(Act::Close(ending)) | Step::Done(ending) => {
                match ending {
                    crate::Ending::Refused => {
                        (RecoveryAction::Remove, "it was refused, so nothing changed; the entry is removed")
                    }
                    crate::Ending::Superseded => {
                        (RecoveryAction::Adopt, "the store holds another live secret by now, which stays")
                    }
                    crate::Ending::Dropped | crate::Ending::Abandoned => (RecoveryAction::GiveUp, self.situation()),
                    _ => (RecoveryAction::Continue, "the secret is stored and live; the rest is done"),
                }
            }
            Step::Record(Record::Sending(_)) => {
                let action = match self.subject().rules().creates {
                    true => RecoveryAction::CreateAgain,
                    false => RecoveryAction::RotateAgain,
                };
                (action, self.situation())
            }
            Step::Record(Record::GivenUp { place, .. }) => {
                let reason = format!("another place has the secret; {} is given up", self.location(*place));
                return Some(RecoveryPlan { action: RecoveryAction::Continue, reason, wait: None });
            }
            Step::Act(Act::Prove) => (RecoveryAction::Continue, "the secret is stored; it is tried where it is used"),
            Step::Wait(Wait::Retry(Because::Taken)) => {
                (RecoveryAction::Continue, "the secret is stored and live; its consumers are waited for")
            }
            Step::Record(Record::Missing { .. }) => {
                (RecoveryAction::Continue, "the store no longer holds the new secret; it is stored again")
            }
            Step::Record(Record::Settled { .. }) => {
                (RecoveryAction::Continue, "the secret is stored; it is checked once more")
            }
            Step::Record(
                Record::Verified { .. } | Record::Stored { .. } | Record::Retiring { .. } | Record::SettingEnd { .. },
            )
            | Step::Act(Act::Store { .. } | Act::Deploy | Act::Retire | Act::SetEnd(_)) => (
                RecoveryAction::Continue,
                match () {
                    () if matches!(step, Step::Record(Record::SettingEnd { .. }) | Step::Act(Act::SetEnd(_))) => {
                        "the secret is stored and live; RIXL is asked to end the old key after its grace"
                    }
                    () if matches!(step, Step::Act(Act::Deploy)) => "the secret is stored; the deploy step is run",
                    () if is_settled => "the secret is stored and live; the rest is done",
                    () if is_stored => "the secret is stored; it is checked once more",
                    () => "the response is in escrow; its secret is verified and stored",
                },
            ),
            _ => return None,
        };
        Some(RecoveryPlan { action, reason: format!("{reason}{}", self.given_up(step)), wait: None })
    }

    /// What a recovery that gives up makes of a step that fails.
    fn given_up(&self, step: &Step) -> &'static str {
        match step {
            _ if self.seen.mandate.if_live != IfLive::Drop => "",
            Step::Act(Act::Deploy | Act::Prove) => "; if that fails, it is given up",
            Step::Act(Act::Close(ending)) if ending.effect() == Effect::Changed && self.progress.is_not_taken_up() => {
                "; what has not taken it up is given up"
            }
            _ => "",
        }
    }

    /// Why another request is sent, or the last one given up.
    fn situation(&self) -> &'static str {
        if let Response::Lost(why) = self.progress.response {
            return match why {
                Why::OldIsDead | Why::RefusedButDone => "the stored secret is dead, so it is rotated again at once",
                _ => "its secret is lost, so it is rotated again",
            };
        }
        if let Subject::Credential { .. } = self.subject() {
            return "a client credential may have been created whose secret nobody holds";
        }
        if self.subject().rules().creates {
            return "a key may have been created whose secret nobody holds";
        }
        if self.subject().rules().outlives.is_some() {
            return "the endpoint may have a new secret that nobody holds; RIXL signs with the stored one for 24 hours from \
                    the first request, and a further rotation may end that at once";
        }
        let seat = self.seen.places.first();
        match seat.and_then(|seat| Some((seat.seen.as_ref()?, seat.liveness))) {
            Some((_, Some(Liveness::Live(_)))) => "the stored secret is live",
            Some((_, Some(Liveness::Dead))) => "the stored secret is dead, so it is rotated again at once",
            Some((seen, _)) if matches!(seen.holds, Ok(Holds::Nothing(_))) => "the store holds no secret",
            _ => "the store can't be read",
        }
    }
}

fn with_source(failure: Failure, error: Option<StoreError>) -> Failure {
    match error {
        Some(error) => failure.with_source(error),
        None => failure,
    }
}
