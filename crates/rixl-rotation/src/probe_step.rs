//! What tries a new secret where it is used, as a step of the protocol.

#[cfg(unix)]
use std::time::Duration;

use rixl_credentials::transport;

#[cfg(unix)]
use crate::DeployStep;
use crate::{
    protocol::intent::ProbeBy,
    store::{StoreError, StoreErrorKind},
};

/// Proof that the new secret works where it is used: a program that takes it, or a page that opens with it.
///
/// It is asked once all places hold the secret, and after the [deploy step](crate::Rotator::with_deploy_step). It is recorded with
/// the run: until it has succeeded, the run stays open, [`recover`](crate::Rotator::recover) tries again, and a replaced key is
/// not deleted. So it is tried at least once, and several times where it fails at first: what was issued just now may
/// not be known everywhere yet.
///
/// What is told of it has nothing in common with the secrets.
///
/// ```
/// use rixl_rotation::ProbeStep;
///
/// let step = ProbeStep::url("https://api.rixl.com/images/v1?limit=1")?;
/// # Ok::<(), rixl_rotation::store::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct ProbeStep(By);

#[derive(Clone, Debug)]
enum By {
    #[cfg(unix)]
    Program(DeployStep),
    Url(String),
}

const LOCATION: &str = "the probe";

impl ProbeStep {
    /// This program with these arguments, for Unix: it gets the secret on its standard input, in the format in which the place
    /// holds it, and then the end of the input. Exit status 0 is proof. It runs once for each format, and otherwise as a
    /// [`DeployStep`] does: `RIXL_PLACES` and `RIXL_FINGERPRINT` are those of this format. It has 30 s.
    ///
    /// # Errors
    ///
    /// As of [`DeployStep::new`].
    #[cfg(unix)]
    pub fn program<A: Into<String>>(
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, StoreError> {
        DeployStep::of_step(LOCATION, program, args).map(Self::of)
    }

    /// The words of a text, taken apart like a shell does.
    ///
    /// # Errors
    ///
    /// As of [`DeployStep::from_text`].
    #[cfg(unix)]
    pub fn program_from_text(text: &str) -> Result<Self, StoreError> {
        DeployStep::of_text(LOCATION, text).map(Self::of)
    }

    #[cfg(unix)]
    fn of(step: DeployStep) -> Self {
        Self(By::Program(step.with_timeout(Duration::from_secs(30))))
    }

    /// How long the program may take. The default is 30 s. A page has the time of one attempt of the client.
    #[cfg(unix)]
    pub fn with_timeout(self, timeout: Duration) -> Self {
        match self.0 {
            By::Program(step) => Self(By::Program(step.with_timeout(timeout))),
            By::Url(_) => self,
        }
    }

    /// One `GET` of this page with the key string in the header `X-API-Key`: `https`, or `http` on loopback. A status of 200 to
    /// 299 is proof, 401 and 403 are a refusal, and all else is unclear. No redirect is followed. The URL is recorded, so it must
    /// hold no secret.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] for any other URL, and for one with a user name, password or fragment.
    pub fn url(url: impl Into<String>) -> Result<Self, StoreError> {
        let url = url.into();
        match transport::page_url(&url) {
            Ok(_) => Ok(Self(By::Url(url))),
            Err(why) => Err(StoreError::new(StoreErrorKind::Invalid, LOCATION, format!("its URL {why}"))),
        }
    }

    /// What is recorded of it.
    pub(crate) fn recorded(&self) -> Result<ProbeBy, StoreError> {
        match &self.0 {
            #[cfg(unix)]
            By::Program(step) => step.recorded().map(ProbeBy::Program),
            By::Url(url) => Ok(ProbeBy::Url { url: url.clone() }),
        }
    }
}
