//! A program that makes consumers take the new secret, as a step of the protocol.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use zeroize::Zeroizing;

use crate::{
    batch::{Ran, Ready, Unsuccessful},
    program::{self, Run, Runner, Said, is_runnable, name, problem},
    protocol::intent::Deploy,
    store::{StoreError, StoreErrorKind},
};

/// The words that stand for the key.
const KEY_ID: &str = "{key_id}";
const KEY_NAME: &str = "{key_name}";

/// A program that runs once all places hold the new secret: a reload, a deployment. For Unix.
///
/// It is recorded with the run: where it fails, or the process dies, the run stays open, and
/// [`recover`](crate::Rotator::recover) runs it again until it ends with exit status 0. So it runs at least once, and must do
/// with running twice, even at once. A replaced key is not deleted before. The journal keeps it
/// with the places of the key: see [`Rotator::last_run`](crate::Rotator::last_run). So its arguments must hold no secret.
///
/// It never gets the secret: it has `RIXL_KEY_ID`, `RIXL_KEY_NAME`, `RIXL_PLACES` (a line each) and `RIXL_FINGERPRINT` in its
/// environment, for a client credential `RIXL_CLIENT_ID` as well, and nothing on its standard input; `RIXL_BEARER_TOKEN`, `RIXL_API_KEY`, `VAULT_TOKEN` and `BAO_TOKEN` are taken
/// out. An argument that is `{key_id}` or `{key_name}` stands for the key. It runs in the folder in which the run was
/// prepared. No shell is involved. What it prints is told, the first 2,048 bytes of each of its outputs, without what it has in
/// common with the secrets; nothing of it is told if it has parts of one in pieces, in hexadecimal, in Base64 or as numbers. Programs that it
/// starts may outlive a run that is killed, and go on beside the next one, unless a
/// [launcher](crate::Rotator::with_launcher) ends them.
///
/// ```
/// use rixl_rotation::DeployStep;
///
/// let step = DeployStep::new("systemctl", ["reload", "billing"])?;
/// # Ok::<(), rixl_rotation::store::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct DeployStep {
    words: Vec<String>,
    folder: PathBuf,
    timeout: Duration,
    is_batched: bool,
    /// What errors call it.
    step: &'static str,
}

impl DeployStep {
    /// This program with these arguments. It is looked up on `PATH` if it has no slash; one that has is taken from the current
    /// folder, now.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Invalid`] when the program's name is empty, a word has a NUL in it or `{key_id}` or `{key_name}`
    /// beside other text, or the current folder can't be found.
    pub fn new<A: Into<String>>(
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, StoreError> {
        Self::of_step(LOCATION, program, args)
    }

    /// A program of this step.
    pub(crate) fn of_step<A: Into<String>>(
        step: &'static str,
        program: impl Into<String>,
        args: impl IntoIterator<Item = A>,
    ) -> Result<Self, StoreError> {
        let invalid = |reason| invalid(step, reason);
        let words = program::words(program, args).map_err(invalid)?;
        let is_part = |word: &String| {
            let rest = word.replace(KEY_ID, "").replace(KEY_NAME, "");
            rest.len() < word.len() && word != KEY_ID && word != KEY_NAME
        };
        if words.iter().any(is_part) || words.first().is_some_and(|program| program.contains("{key_")) {
            return Err(invalid("{key_id} and {key_name} must be an argument of their own"));
        }
        let folder =
            env::current_dir().map_err(|cause| invalid("the current folder can't be found").with_source(cause))?;
        Ok(Self { words, folder, timeout: Duration::from_secs(300), is_batched: false, step })
    }

    /// The words of a text, taken apart like a shell does.
    ///
    /// # Errors
    ///
    /// As of [`new`](Self::new), and when a quote is not closed.
    pub fn from_text(text: &str) -> Result<Self, StoreError> {
        Self::of_text(LOCATION, text)
    }

    pub(crate) fn of_text(step: &'static str, text: &str) -> Result<Self, StoreError> {
        let words = shlex::split(text).ok_or_else(|| invalid(step, "a quote in it is not closed"))?;
        let Some((program, args)) = words.split_first() else { return Err(invalid(step, "it names no program")) };
        Self::of_step(step, program, args)
    }

    /// How long it may take. The default is 5 minutes.
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// One run serves all keys of a [`Fleet`](crate::Fleet), or of a recovery, that are stored by then: one reload for forty
    /// keys. The first key of a fleet, which goes alone, has a run of its own. A key whose secret is stored waits for 30 s at
    /// most for others that are under way; those that come later have a further run.
    ///
    /// It has `RIXL_KEY_IDS` and `RIXL_PLACES` in its environment, a line each, of as many keys as fit into 64 KiB in one run, for client credentials `RIXL_CLIENT_IDS` as well, and no other variable or argument stands for a
    /// key.
    pub fn batched(mut self) -> Self {
        self.is_batched = true;
        self
    }

    fn runnable(&self) -> Result<(), StoreError> {
        let program = name(&self.words);
        if is_runnable(program) {
            return Ok(());
        }
        let why = format!("there is no program `{program}` that may be run");
        Err(StoreError::new(StoreErrorKind::Unusable, self.step, why))
    }

    /// What is recorded of it, for a key with this name.
    pub(crate) fn recorded(&self, key_name: Option<&str>) -> Result<Deploy, StoreError> {
        let has = |part: &str| self.words.iter().any(|word| word == part);
        if self.is_batched && (has(KEY_ID) || has(KEY_NAME)) {
            return Err(invalid(self.step, "one run for several keys has no argument that stands for a key"));
        }
        if has(KEY_NAME) {
            match key_name {
                None | Some("") => return Err(invalid(self.step, "the key has no name: use {key_id}")),
                Some(name) if name.contains('\0') => {
                    return Err(invalid(self.step, "the key's name has a NUL, which no argument has: use {key_id}"));
                }
                Some(name) if name.starts_with('-') => {
                    return Err(invalid(self.step, "the key's name begins with `-`, as an option does: use {key_id}"));
                }
                Some(_) => {}
            }
        }
        self.runnable()?;
        let folder =
            self.folder.to_str().ok_or_else(|| invalid(self.step, "the path of the current folder is not UTF-8"))?;
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        let (words, folder) = (self.words.clone(), folder.to_owned());
        Ok(Deploy { words, folder, timeout_ms, is_batched: self.is_batched })
    }
}

/// As it was recorded.
impl From<Deploy> for DeployStep {
    fn from(Deploy { words, folder, timeout_ms, is_batched }: Deploy) -> Self {
        let (folder, timeout) = (folder.into(), Duration::from_millis(timeout_ms));
        Self { words, folder, timeout, is_batched, step: LOCATION }
    }
}

/// Its words, as [`from_text`](DeployStep::from_text) takes them.
impl fmt::Display for DeployStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // No word has a NUL in it.
        f.write_str(&shlex::try_join(self.words.iter().map(String::as_str)).unwrap_or_default())
    }
}

/// A program that is told how something ended that nobody watches: a mail, a page, a ticket. For Unix.
///
/// It is run as a [`DeployStep`] is, with what its variables say, and without a secret: nothing on its standard input, and
/// without the variables that a run is authorized with. Nothing is told of what it prints. It has a minute.
///
/// ```
/// use rixl_rotation::Alarm;
///
/// let alarm = Alarm::from_text("logger -p user.err 'keys are not rotated'")?;
/// # Ok::<(), rixl_rotation::store::StoreError>(())
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Alarm(DeployStep);

impl Alarm {
    /// The words of a text, taken apart like a shell does.
    ///
    /// # Errors
    ///
    /// As of [`DeployStep::from_text`].
    pub fn from_text(text: &str) -> Result<Self, StoreError> {
        DeployStep::of_text(ALARM, text).map(|step| Self(step.with_timeout(Duration::from_secs(60))))
    }

    /// How long it may take. The default is a minute.
    pub fn with_timeout(self, timeout: Duration) -> Self {
        Self(self.0.with_timeout(timeout))
    }

    /// Whether there is its program, before it is needed.
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unusable`] when there is none that may be run.
    pub fn check(&self) -> Result<(), StoreError> {
        self.0.runnable()
    }

    /// Runs it, with these variables, after these words, if there are any: see
    /// [`with_launcher`](crate::Rotator::with_launcher).
    ///
    /// # Errors
    ///
    /// [`StoreErrorKind::Unusable`] when it did not exit with status 0.
    pub async fn run(&self, launcher: &[String], variables: &[(&'static str, String)]) -> Result<(), StoreError> {
        let DeployStep { words, folder, timeout, step, .. } = &self.0;
        let runner = Runner { launcher, timeout: *timeout, folder: Some(folder), variables };
        let why = match runner.run(words, Run::Only).await {
            Ok(ended) => problem(ended.status).map(|problem| format!("`{}` {problem}", name(words))),
            Err(failed) => Some(failed.reason(name(words), *timeout)),
        };
        why.map_or(Ok(()), |why| Err(StoreError::new(StoreErrorKind::Unusable, *step, why)))
    }
}

const LOCATION: &str = "the deploy step";
/// No program can be started with a longer variable than 128 KiB, nor with much more in all of them.
const MAX_VARIABLES: usize = 64 * 1024;
const ALARM: &str = "the alarm";

fn invalid(step: &'static str, reason: &'static str) -> StoreError {
    StoreError::new(StoreErrorKind::Invalid, step, reason)
}

impl Deploy {
    /// Runs it for one key, with this on its standard input. `Err`: it did not end well, and this is why.
    pub(crate) async fn run(&self, launcher: &[String], ready: &Ready, input: Option<&[u8]>) -> Ran {
        let word = |word: &String| match word.as_str() {
            KEY_ID => ready.key_id.clone(),
            KEY_NAME => ready.key_name.clone(),
            word => word.to_owned(),
        };
        let mut variables = vec![
            ("RIXL_KEY_ID", ready.key_id.clone()),
            ("RIXL_KEY_NAME", ready.key_name.clone()),
            ("RIXL_PLACES", ready.places.join("\n")),
            ("RIXL_FINGERPRINT", ready.fingerprint.clone()),
        ];
        variables.extend(ready.client_id.clone().map(|id| ("RIXL_CLIENT_ID", id)));
        let words: Vec<String> = self.words.iter().map(word).collect();
        self.start(launcher, &words, &variables, std::slice::from_ref(ready), input).await
    }

    /// Runs it once for several keys; for more than fit into its variables, as often as that takes.
    pub(crate) async fn run_for(&self, launcher: &[String], all: &[Ready]) -> Ran {
        let (mut rest, mut said) = (all, None);
        while !rest.is_empty() {
            let mut length = 0;
            let fits = |ready: &&Ready| {
                let client_id = ready.client_id.as_ref().map_or(0, String::len);
                length += ready.places.iter().map(|place| place.len() + 1).sum::<usize>()
                    + ready.key_id.len()
                    + client_id
                    + 2;
                length <= MAX_VARIABLES
            };
            let (part, after) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            said = self.run_together(launcher, part).await?;
            rest = after;
        }
        Ok(said)
    }

    async fn run_together(&self, launcher: &[String], all: &[Ready]) -> Ran {
        let key_ids: Vec<&str> = all.iter().map(|ready| ready.key_id.as_str()).collect();
        let places: Vec<String> = all.iter().map(|ready| ready.places.join("\n")).collect();
        let client_ids: Vec<&str> = all.iter().filter_map(|ready| ready.client_id.as_deref()).collect();
        let mut variables = vec![("RIXL_KEY_IDS", key_ids.join("\n")), ("RIXL_PLACES", places.join("\n"))];
        if client_ids.len() == all.len() {
            variables.push(("RIXL_CLIENT_IDS", client_ids.join("\n")));
        }
        self.start(launcher, &self.words, &variables, all, None).await
    }

    async fn start(
        &self,
        launcher: &[String],
        words: &[String],
        variables: &[(&'static str, String)],
        all: &[Ready],
        input: Option<&[u8]>,
    ) -> Ran {
        let (program, timeout) = (name(words), Duration::from_millis(self.timeout_ms));
        let runner = Runner { launcher, timeout, folder: Some(Path::new(&self.folder)), variables };
        let ended = match runner.run(words, input.map_or(Run::Only, Run::Try)).await {
            Ok(ended) => ended,
            Err(failed) => {
                return Err(Unsuccessful { why: failed.reason(program, timeout), said: None, is_said: false });
            }
        };
        let output = Zeroizing::new([ended.output.as_slice(), b" ", ended.said.as_slice()].concat());
        let secrets: Vec<&[u8]> = all.iter().flat_map(|ready| &ready.secrets).map(|secret| secret.as_slice()).collect();
        // Without anything to compare it with, nothing of it is told.
        let said = Said::new(&output, &secrets).filter(|_| !secrets.is_empty()).map(|said| said.to_string());
        match problem(ended.status) {
            None => Ok(said),
            Some(problem) => Err(Unsuccessful {
                why: format!("`{program}` {problem}"),
                said,
                is_said: ended.status.code().is_some(),
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// No program can be started with more.
    #[tokio::test]
    async fn what_its_variables_do_not_hold_is_for_another_run() {
        let folder = rixl_testing::folder();
        let words =
            ["/bin/sh", "-c", "echo \"$RIXL_KEY_IDS\" >> ids; echo \"$RIXL_PLACES\" >> places; echo run >> runs"];
        let deploy = Deploy {
            words: words.map(str::to_owned).to_vec(),
            folder: folder.path().to_str().unwrap().to_owned(),
            timeout_ms: 100_000,
            is_batched: true,
        };
        let ready = |number: usize, length: usize| Ready {
            key_id: format!("key{number:07}"),
            key_name: String::new(),
            client_id: None,
            places: vec![format!("file:/{}", "d".repeat(length))],
            fingerprint: String::new(),
            secrets: Vec::new(),
        };
        let ran = async |all: &[Ready]| {
            assert!(deploy.run_for(&[], all).await.is_ok());
            let lines = ["ids", "places", "runs"].map(|name| {
                let text = std::fs::read_to_string(folder.path().join(name)).unwrap();
                std::fs::remove_file(folder.path().join(name)).unwrap();
                text.lines().map(str::to_owned).collect::<Vec<_>>()
            });
            let ids: Vec<String> = all.iter().map(|ready| ready.key_id.clone()).collect();
            assert_eq!((&lines[0], lines[1].len()), (&ids, all.len()));
            lines[2].len()
        };
        let all: Vec<Ready> = (0..40).map(|number| ready(number, 4_000)).collect();
        assert_eq!(ran(&all).await, 3);
        assert_eq!(ran(&all[..10]).await, 1);
        // One that is too long for that is tried with all that there is.
        assert_eq!(ran(&[ready(0, 100_000), ready(1, 10)]).await, 2);
    }
}
