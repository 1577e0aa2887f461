//! A service and its timer.

use std::{fmt::Write as _, path::Path};

use super::{CREDENTIALS, Facts, Place, TOKEN, Token, program, unfit, utf8};
use crate::{failure::Failure, text::quoted};

/// What `ProtectHome=` hides.
const HOMES: [&str; 3] = ["/home", "/root", "/run/user"];

pub(super) fn of(facts: &Facts<'_>) -> Result<String, Failure> {
    let mut words = vec![format!(":{}", program()?)];
    words.extend(facts.words.iter().cloned());
    let (mut settings, mut notes) = (Vec::new(), Vec::new());
    let mut credential = |name: &str, path: String| settings.push(format!("LoadCredential={name}:{path}"));
    if facts.only_variable()?.is_some() {
        credential("rixl-token", TOKEN.into());
        notes.push(format!("{TOKEN} has the token, with mode 0600"));
        words.extend(["--token-file".into(), "%d/rixl-token".into()]);
    }
    for name in facts.credentials() {
        // Blanks around it would be lost, and what `\` is before.
        let is_plain = name.trim() == name
            && name.chars().all(|letter| (' '..='~').contains(&letter) && !matches!(letter, ':' | '\\'));
        let name = is_plain.then(|| name.replace('%', "%%")).ok_or_else(|| unfit("LoadCredential=", name))?;
        credential(&name, format!("{CREDENTIALS}/{name}"));
        notes.push(format!("{CREDENTIALS}/{name} has the token, with mode 0600"));
    }
    if facts.has_vault() {
        credential("vault-token", "/etc/rixl/vault-token".into());
        notes.push("/etc/rixl/vault-token has a token of Vault".into());
    }
    match &facts.token {
        Token::File(path, true) => {
            settings.push(format!("Environment={}", word(&format!("RIXL_API_KEY_FILE={}", utf8(path)?))))
        }
        Token::File(path, false) => words.extend(["--token-file".into(), utf8(path)?.to_owned()]),
        Token::Variable(_) | Token::Declared(_) => {}
    }
    let vault = facts.vault()?;
    for (name, value, _) in &vault {
        settings.push(format!("Environment={}", word(&format!("{name}={value}"))));
    }
    if facts.has_vault() {
        settings.push("Environment=VAULT_TOKEN_PATH=%d/vault-token".into());
    }
    if let Place::Usual = facts.state {
        settings.push("StateDirectory=rixl\nStateDirectoryMode=0700".into());
        words.extend(["--state-dir".into(), "%S/rixl".into()]);
    }
    let own = ["%d/rixl-token", "%S/rixl"];
    let words: Vec<String> =
        words.iter().map(|part| if own.contains(&&**part) { part.clone() } else { word(part) }).collect();
    settings.push(format!("ExecStart={}", words.join(" ")));
    let (mut folders, mut all) = (Vec::new(), vec![program()?, facts.path.to_owned()]);
    for path in facts.paths() {
        all.push(utf8(path)?.to_owned());
    }
    all.extend(vault.into_iter().filter(|(.., is_file)| *is_file).map(|(_, path, _)| path));
    let stores = facts.places("command:").map(str::to_owned);
    all.extend(
        facts.config.programs.iter().cloned().chain(stores).flat_map(|text| shlex::split(&text).unwrap_or_default()),
    );
    all.extend(facts.token.declared(|token| token.command.as_ref()).into_iter().flatten().cloned());
    for path in facts.files().map(Path::new).chain(facts.config.heartbeat.as_deref()) {
        folders.push(utf8(&folder(path))?.to_owned());
    }
    if let Place::Folder(path) = &facts.state {
        folders.push(utf8(path)?.to_owned());
    }
    all.extend(folders.iter().cloned());
    folders.sort_unstable();
    folders.dedup();
    let has_programs = facts.config.on_failure.is_some()
        || !facts.token.declared(|token| token.command.as_deref()).is_empty()
        || facts.secrets.iter().any(|secret| secret.has_programs());
    if has_programs {
        notes.push("a program that rixl.toml names writes nowhere but in ReadWritePaths=, and gets no other rights: add what it needs".into());
    }
    for path in folders {
        settings.push(format!("ReadWritePaths={}", path_word(&path)?));
    }
    let is_at_home = |path: &String| HOMES.iter().any(|home| Path::new(path).starts_with(home));
    let home = if all.iter().any(is_at_home) { "read-only" } else { "yes" };
    // To see whether a container has a place mounted, which would keep its old secret.
    let look = if facts.files().next().is_some() { " CAP_SYS_PTRACE" } else { "" };
    // What a program brings may make code as it runs.
    let code = if has_programs { "no" } else { "yes" };
    let look_at = match &facts.state {
        Place::Usual => " --state-dir /var/lib/rixl".to_owned(),
        Place::Folder(path) => format!(" --state-dir {}", quoted(utf8(path)?)),
        Place::Vault(path) => format!(" --state-dir {}", quoted(&format!("vault:{path}"))),
    };
    let mut text = String::new();
    for note in notes {
        let _ = writeln!(text, "# {note}");
    }
    let _ = write!(
        text,
        "# /etc/systemd/system/rixl-apply.service
[Unit]
Description=Rotate RIXL API keys that are due
Wants=network-online.target
After=network-online.target

[Service]
Type=oneshot
{}
# It stops where it is safe, and what it has started may end.
KillMode=mixed
TimeoutStopSec=2min
UMask=0077
# Keys are locked there against other runs on this machine.
ReadWritePaths=-/tmp
# Files keep their owners, whoever they are.
CapabilityBoundingSet=CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER{look}
NoNewPrivileges=yes
LockPersonality=yes
MemoryDenyWriteExecute={code}
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHome={home}
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectSystem=strict
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM

# /etc/systemd/system/rixl-apply.timer
[Unit]
Description=Rotate RIXL API keys that are due

[Timer]
OnCalendar=*-*-* *:{}:00
AccuracySec=1s
# Not all machines at once, and each at the same distance.
RandomizedDelaySec={}s
FixedRandomDelay=yes
Persistent=yes

[Install]
WantedBy=timers.target

# Then: systemctl daemon-reload && systemctl enable --now rixl-apply.timer
# What it has left unfinished, and how its keys are: rixl status{look_at}
#   rixl check{look_at} --config {}
",
        settings.join("\n"),
        if facts.minutes < 60 { format!("00/{}", facts.minutes) } else { "00".into() },
        facts.minutes * 30,
        quoted(facts.path),
    );
    Ok(text)
}

/// The folder of a path, up to where a key's id or name stands in it.
fn folder(path: &Path) -> std::path::PathBuf {
    let is_fixed = |part: &std::path::Component<'_>| !part.as_os_str().to_string_lossy().contains('{');
    path.parent().unwrap_or(path).components().take_while(is_fixed).collect()
}

/// As a word of `ExecStart=:` or `Environment=`, in which `$` stands for itself.
fn word(text: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:@=,+".contains(letter);
    if !text.is_empty() && text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut word = String::from('"');
    for letter in text.chars() {
        match letter {
            '%' => word.push_str("%%"),
            '"' | '\\' => word.extend(['\\', letter]),
            letter if letter.is_control() => {
                let _ = write!(word, "\\u{:04x}", u32::from(letter));
            }
            letter => word.push(letter),
        }
    }
    word.push('"');
    word
}

/// As a word of `ReadWritePaths=`, in which there are no escapes. It may be missing.
fn path_word(path: &str) -> Result<String, Failure> {
    if path.contains(['"', '\\']) || path.contains(char::is_control) {
        return Err(unfit("ReadWritePaths=", path));
    }
    Ok(format!("\"-{}\"", path.replace('%', "%%")))
}
