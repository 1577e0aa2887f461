//! A CronJob.

use std::{fmt::Write as _, path::Path};

use super::{Facts, Place, Token, command_line, unfit, utf8, yaml};
use crate::failure::Failure;

const CREDENTIALS: &str = "/run/secrets/rixl";
const STATE: &str = "/var/lib/rixl/state";

/// What the pod has, as YAML.
#[derive(Default)]
struct Pod {
    env: String,
    mounts: String,
    keys: Vec<String>,
    volumes: String,
}

impl Pod {
    fn variable(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        let _ = write!(
            self.env,
            "
            - name: {}
              value: {}",
            yaml(name)?,
            yaml(&escaped(value))?
        );
        Ok(())
    }

    /// A token, which is in the Secret under this key.
    fn secret_variable(&mut self, name: &str) -> Result<(), Failure> {
        let _ = write!(
            self.env,
            "
            - name: {name}
              valueFrom:
                secretKeyRef:
                  name: rixl
                  key: {name}",
            name = yaml(name)?
        );
        self.key(name)
    }

    /// A key of the Secret.
    fn key(&mut self, key: &str) -> Result<(), Failure> {
        if !key.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(letter)) {
            return Err(unfit("a Secret", key));
        }
        self.keys.push(key.to_owned());
        Ok(())
    }

    /// A file of a volume, at the path that it has here.
    fn mount(&mut self, volume: &str, key: &str, path: &str) -> Result<(), Failure> {
        if path.contains(':') {
            return Err(unfit("mountPath", path));
        }
        let _ = write!(
            self.mounts,
            "
            - name: {volume}
              mountPath: {}
              subPath: {}
              readOnly: true",
            yaml(path)?,
            yaml(key)?
        );
        Ok(())
    }

    fn file(&mut self, key: &str, path: &str) -> Result<(), Failure> {
        self.key(key)?;
        self.mount("secrets", key, path)
    }
}

pub(super) fn of(facts: &Facts<'_>) -> Result<String, Failure> {
    let mut pod = Pod::default();
    let mut words = facts.words.clone();
    words.extend(["--log-format".into(), "json".into()]);
    pod.mount("config", "rixl.toml", facts.path)?;
    match &facts.token {
        Token::File(path, true) => {
            pod.file("api-key", utf8(path)?)?;
            pod.variable("RIXL_API_KEY_FILE", utf8(path)?)?;
        }
        Token::File(path, false) => {
            pod.file("token", utf8(path)?)?;
            words.extend(["--token-file".into(), utf8(path)?.to_owned()]);
        }
        Token::Variable(_) | Token::Declared(_) => {}
    }
    for name in facts.variables() {
        pod.secret_variable(name)?;
    }
    for (number, path) in facts.token_files().into_iter().enumerate() {
        pod.file(&format!("token-{number}"), utf8(path)?)?;
    }
    for name in facts.credentials() {
        pod.file(name, &format!("{CREDENTIALS}/{name}"))?;
    }
    if !facts.credentials().is_empty() {
        pod.variable("CREDENTIALS_DIRECTORY", CREDENTIALS)?;
    }
    for (name, value, is_file) in facts.vault()? {
        if is_file {
            pod.file(&name.to_ascii_lowercase().replace('_', "-"), &value)?;
        }
        pod.variable(name, &value)?;
    }
    if facts.has_vault() {
        pod.secret_variable("VAULT_TOKEN")?;
    }
    let mut claim = String::new();
    if !matches!(facts.state, Place::Vault(_)) {
        let state = match &facts.state {
            Place::Folder(folder) => folder,
            _ => {
                words.extend(["--state-dir".into(), STATE.into()]);
                Path::new(STATE)
            }
        };
        // The volume is a group's, and the state must be a user's alone: it is a folder in there.
        let folder = utf8(state.parent().unwrap_or(state))?;
        if folder.contains(':') || folder == "/" {
            return Err(unfit("mountPath", folder));
        }
        let _ = write!(
            pod.mounts,
            "
            - name: state
              mountPath: {}",
            yaml(folder)?
        );
        pod.volumes.push_str(
            "
          - name: state
            persistentVolumeClaim:
              claimName: rixl-state",
        );
        claim.push_str(
            "---
# What is unfinished must outlive each pod: with vault:MOUNT/PATH as the state there is no volume.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: rixl-state
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 64Mi
",
        );
    }
    if pod.mounts.contains("name: secrets") {
        pod.volumes.push_str(
            "
          - name: secrets
            secret:
              secretName: rixl
              defaultMode: 0400",
        );
    }
    let mut args = String::new();
    for word in &words {
        let _ = write!(
            args,
            "
            - {}",
            yaml(&escaped(word))?
        );
    }
    let from = format!("--from-file=rixl.toml={}", facts.path);
    let mut notes = format!("# kubectl create configmap rixl {}\n", one_line(&command_line([&*from])));
    if !pod.keys.is_empty() {
        let keys = pod.keys.iter().map(|key| format!("--from-file={key}=FILE"));
        let keys: Vec<String> = keys.collect();
        let _ = writeln!(
            notes,
            "# kubectl create secret generic rixl {}",
            one_line(&command_line(keys.iter().map(String::as_str)))
        );
    }
    for path in facts.files().map(Path::new).chain(facts.config.heartbeat.as_deref()).chain(facts.acks()) {
        let _ = writeln!(notes, "# {} is on no volume yet", one_line(utf8(path)?));
    }
    let env = if pod.env.is_empty() {
        String::new()
    } else {
        format!(
            "
            env:{}",
            pod.env
        )
    };
    Ok(format!(
        "{notes}{claim}---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: rixl-apply
spec:
  schedule: {schedule}
  timeZone: Etc/UTC
  # One at a time: what a run leaves is finished by the next one.
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      backoffLimit: 0
      template:
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          terminationGracePeriodSeconds: 120
          securityContext:
            runAsNonRoot: true
            runAsUser: 65532
            runAsGroup: 65532
            fsGroup: 65532
            # Or the state would be made writable to the group, and refused.
            fsGroupChangePolicy: OnRootMismatch
            seccompProfile:
              type: RuntimeDefault
          containers:
          - name: rixl
            # None is published: one with rixl, tzdata, and the programs that rixl.toml names.
            image: rixl:{version}
            command: [rixl]
            args:{args}{env}
            securityContext:
              allowPrivilegeEscalation: false
              readOnlyRootFilesystem: true
              capabilities:
                drop: [ALL]
            volumeMounts:{mounts}
          volumes:
          - name: config
            configMap:
              name: rixl{volumes}
",
        schedule = yaml(&facts.schedule(1))?,
        version = env!("CARGO_PKG_VERSION"),
        mounts = pod.mounts,
        volumes = pod.volumes
    ))
}

/// Of an argument or a variable, in which `$(NAME)` is one, and `$$` a `$`.
fn escaped(text: &str) -> String {
    text.replace('$', "$$")
}

/// For a comment.
fn one_line(text: &str) -> String {
    crate::text::shown(text).into_owned()
}
