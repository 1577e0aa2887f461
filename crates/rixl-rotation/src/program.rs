//! Programs that are run: one that takes a secret, one that prints it, one that deploys it, one that tries it.

use std::{
    env, io,
    os::fd::OwnedFd,
    path::Path,
    pin::pin,
    process::{ExitStatus, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD_NO_PAD};
use futures_util::future;
use rustix::{
    fs::Access,
    io::ioctl_fionread,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _},
    process::{Child, ChildStdin, Command},
};
use zeroize::Zeroizing;

use crate::store::MAX_SECRET;

/// What the rotation itself is authorized with. A program that stores a secret has no use for it.
const WITHHELD: [&str; 4] = ["RIXL_BEARER_TOKEN", "RIXL_API_KEY", "VAULT_TOKEN", "BAO_TOKEN"];
/// How much of what a program says is told.
const MAX_SAID: usize = 2048;
/// So many characters in a row that are a secret's are not told.
const SHARED: usize = 8;
/// How long the output of a program that has ended is read on.
const MOMENT: Duration = Duration::from_millis(500);
/// How often it is looked whether a program was stopped.
const STOPPED_PAUSE: Duration = Duration::from_millis(100);

/// How programs are run.
pub(crate) struct Runner<'a> {
    /// Words before those of the program, which it must become, or run in its own process group.
    pub(crate) launcher: &'a [String],
    pub(crate) timeout: Duration,
    /// Where, if not here.
    pub(crate) folder: Option<&'a Path>,
    pub(crate) variables: &'a [(&'static str, String)],
}

/// What a program is run for.
#[derive(Clone, Copy)]
pub(crate) enum Run<'a> {
    /// It takes this on its standard input; its output is thrown away.
    Write(&'a [u8]),
    /// It prints a secret.
    Read,
    /// What it says is told.
    Only,
    /// It takes this on its standard input, and what it says is told.
    Try(&'a [u8]),
}

impl<'a> Run<'a> {
    fn input(self) -> Option<&'a [u8]> {
        match self {
            Self::Write(secret) | Self::Try(secret) => Some(secret),
            Self::Read | Self::Only => None,
        }
    }

    fn is_told(self) -> bool {
        matches!(self, Self::Only | Self::Try(_))
    }
}

impl Runner<'_> {
    pub(crate) async fn run(&self, words: &[String], what: Run<'_>) -> Result<Completed, Failed> {
        let input = what.input();
        let all: Vec<_> = self.launcher.iter().chain(words).collect();
        let mut command = Command::new(all.first().map_or("", |program| program));
        command.args(all.iter().skip(1)).kill_on_drop(true);
        let piped = |is_piped| if is_piped { Stdio::piped() } else { Stdio::null() };
        command.stdout(piped(!matches!(what, Run::Write(_))));
        command.stderr(Stdio::piped());
        if self.launcher.is_empty() {
            // A group of its own: Ctrl-C at the terminal does not end it half-way, and a time-out ends all of it.
            command.process_group(0);
        }
        for name in WITHHELD {
            command.env_remove(name);
        }
        // A name of a key may have a NUL, and no variable has one.
        command.envs(self.variables.iter().map(|(name, value)| (name, value.replace('\0', ""))));
        if let Some(folder) = self.folder {
            command.current_dir(folder);
        }
        // The other end of its input is kept, to see afterwards what of it nobody took.
        let (reader, writer) = io::pipe().map_err(Failed::Start)?;
        match input {
            Some(_) => command.stdin(reader.try_clone().map_err(Failed::Start)?),
            None => command.stdin(Stdio::null()),
        };
        let mut program = Program(command.spawn().map_err(Failed::Start)?);
        // It has a copy of what the program is given.
        drop(command);
        let mut stdin = ChildStdin::from_std(OwnedFd::from(writer).into()).map_err(Failed::Lost)?;
        let (stdout, stderr) = (program.0.stdout.take(), program.0.stderr.take());
        let feed = async move {
            let is_written = stdin.write_all(input.unwrap_or_default()).await.is_ok();
            // The program waits for the end of its input.
            drop(stdin);
            is_written
        };
        // Room for all of it at once, so that no part of the secret stays behind when the buffer moves.
        let room = MAX_SECRET + 3;
        let mut output = Zeroizing::new(Vec::with_capacity(room));
        let mut said = Zeroizing::new(Vec::with_capacity(MAX_SAID + 1));
        let max_output = if what.is_told() { MAX_SAID } else { room };
        let mut is_input_taken = None;
        let id = program.id();
        let work = async {
            let mut feed = pin!(feed);
            let mut collect = pin!(future::try_join(
                read(stdout, &mut output, max_output, what),
                read(stderr, &mut said, MAX_SAID, Run::Only)
            ));
            let mut is_collected = false;
            let status = {
                let mut wait = pin!(program.0.wait());
                let mut stopped = pin!(stopped(id));
                loop {
                    tokio::select! {
                        status = &mut wait => break status.map_err(Failed::Lost)?,
                        signal = &mut stopped => return Err(Failed::Stopped(signal)),
                        is_written = &mut feed, if is_input_taken.is_none() => is_input_taken = Some(is_written),
                        read = &mut collect, if !is_collected => {
                            read.map_err(Failed::Lost)?;
                            is_collected = true;
                        }
                    }
                }
            };
            if !is_collected {
                // What it started may hold its output for ever, and is no business of ours.
                let _ = tokio::time::timeout(MOMENT, collect).await;
            }
            Ok(status)
        };
        let status = tokio::time::timeout(self.timeout, work).await.map_err(|_| Failed::Timeout)??;
        let is_left = input.is_some() && ioctl_fionread(&reader).is_ok_and(|bytes| bytes > 0);
        let is_input_taken = is_input_taken.unwrap_or(input.is_none()) && !is_left;
        // What a program that was killed has started could store this secret after a later run has stored another.
        if matches!(what, Run::Write(_)) && !(status.success() && is_input_taken) {
            end_group(id);
        }
        Ok(Completed { status, output, said, is_input_taken })
    }
}

/// Reads so many bytes at most. Of what is only told the rest is passed over: who says more must not wait for a reader.
async fn read(from: Option<impl AsyncRead + Unpin>, to: &mut Vec<u8>, max: usize, what: Run<'_>) -> io::Result<()> {
    let Some(mut from) = from else { return Ok(()) };
    (&mut from).take(max as u64).read_to_end(to).await?;
    if what.is_told() {
        tokio::io::copy(&mut from, &mut tokio::io::sink()).await?;
    }
    Ok(())
}

/// Waits until a program is stopped, and tells by which signal: one that wants to ask something at a terminal that it has
/// not, would be waited for in vain.
async fn stopped(id: Option<Pid>) -> i32 {
    let options = WaitIdOptions::STOPPED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
    loop {
        tokio::time::sleep(STOPPED_PAUSE).await;
        let found = id.and_then(|id| waitid(WaitId::Pid(id), options).ok().flatten());
        if let Some(signal) = found.and_then(|status| status.stopping_signal()) {
            return signal;
        }
    }
}

/// What a program said on standard error, without what it must not have said.
#[derive(Debug, thiserror::Error)]
#[error("it said: {0}")]
pub(crate) struct Said(String);

impl Said {
    /// Whatever has eight characters in a row with a secret in common is left out: a part of it is too much as well.
    pub(crate) fn new(said: &[u8], secrets: &[&[u8]]) -> Option<Self> {
        let mut shown = said.to_vec();
        for part in secrets.iter().flat_map(|secret| secret.windows(SHARED.min(secret.len()).max(1))) {
            for at in (0..said.len()).filter(|at| said.get(*at..).is_some_and(|rest| rest.starts_with(part))) {
                if let Some(shown) = shown.get_mut(at..at + part.len()) {
                    shown.fill(0);
                }
            }
        }
        let text = String::from_utf8_lossy(&shown);
        let mut line = String::new();
        for word in text.split_whitespace() {
            if !line.is_empty() {
                line.push(' ');
            }
            // In Base64, quoted or escaped, a secret has nothing in common with itself.
            line.push_str(&without_keys(word));
        }
        if secrets.iter().any(|secret| is_disguised(line.as_bytes(), secret)) {
            "[...]".clone_into(&mut line);
        }
        (!line.is_empty()).then_some(Self(line))
    }
}

/// Whether a part of the secret is there in pieces, in hexadecimal, in Base64 or as numbers.
fn is_disguised(whole: &[u8], secret: &[u8]) -> bool {
    let dense = |bytes: &[u8]| -> Zeroizing<Vec<u8>> {
        let letters = bytes.iter().filter(|byte| byte.is_ascii_alphanumeric());
        Zeroizing::new(letters.map(u8::to_ascii_lowercase).collect())
    };
    let said = dense(whole);
    let is_there = |text: &[u8], size: usize, step: usize| {
        let text = dense(text);
        text.windows(size).step_by(step).any(|part| said.windows(size).any(|there| there == part))
    };
    let hex = Zeroizing::new(secret.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let base64 = |from: usize| Zeroizing::new(STANDARD_NO_PAD.encode(secret.get(from..).unwrap_or_default()));
    is_there(secret, SHARED, 1)
        || is_there(hex.as_bytes(), 2 * SHARED, 2)
        || (0..3).any(|from| {
            let text = base64(from);
            // The last letters are of what follows it, too.
            is_there(text.as_bytes().get(..text.len().saturating_sub(2)).unwrap_or_default(), SHARED, 1)
        })
        || BASES.iter().any(|(base, signs)| {
            [false, true].into_iter().any(|is_big| {
                let numbers = numbers(whole, *base, signs, is_big);
                let has = |part: &[u8]| numbers.windows(SHARED).any(|there| there.eq_ignore_ascii_case(part));
                // In short rows an address stands between any two parts.
                let has_in_rows = |part: &[u8]| {
                    let mut there = numbers.iter();
                    part.iter().all(|byte| there.any(|there| there.eq_ignore_ascii_case(byte)))
                };
                secret.windows(SHARED).any(has) || secret.windows(2 * SHARED).any(has_in_rows)
            })
        })
}

/// How the numbers of characters are written, and what may stand before one: `114`, `\x72`, `\u{72}`, `0o162`.
const BASES: [(u32, &[u8]); 4] = [(10, b""), (16, b"xXuU"), (8, b"oO"), (2, b"bB")];

/// The words as such numbers, of one character or several, in this order; one that is none as 0: a list of bytes, the escapes
/// of a string, or a dump.
fn numbers(said: &[u8], base: u32, signs: &[u8], is_big: bool) -> Zeroizing<Vec<u8>> {
    let after_sign = |word: &[u8]| -> Option<usize> { signs.contains(word.first()?).then_some(1) };
    let words = said.split(|byte| !byte.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    // No number has more bytes than letters, but for a single 0.
    let mut all = Zeroizing::new(Vec::with_capacity(said.len()));
    for word in words {
        let is_prefixed = word.strip_prefix(b"0").and_then(after_sign).is_some();
        let start = if is_prefixed { 2 } else { after_sign(word).unwrap_or_default() };
        let digits = std::str::from_utf8(word.get(start..).unwrap_or_default()).unwrap_or_default();
        let number = u64::from_str_radix(digits, base).unwrap_or_default();
        match number {
            // After a sign alone the digits stand in a bracket.
            _ if digits.is_empty() => {}
            0 => all.push(0),
            _ => {
                let bytes = if is_big { number.to_be_bytes() } else { number.to_le_bytes() };
                all.extend(bytes.into_iter().filter(|byte| *byte != 0));
            }
        }
    }
    all
}

/// The word, without what is as long and as dense as a key, and without what stands next to a NUL, which is left of a secret.
fn without_keys(word: &str) -> String {
    let is_dense = |letter: char| letter.is_ascii_alphanumeric() || "+/=_-%\0".contains(letter);
    let mut shown = String::new();
    let mut rest = word;
    while !rest.is_empty() {
        let end = rest.find(|letter| !is_dense(letter)).unwrap_or(rest.len());
        let (run, after) = rest.split_at(end);
        // Words of people and paths have letters alone between their signs.
        let is_key = run.contains('\0') || run.len() >= LEAST_KEY && run.chars().any(|letter| letter.is_ascii_digit());
        shown.push_str(if is_key { "[...]" } else { run });
        let next = after.chars().next().map_or(0, char::len_utf8);
        let (sign, after) = after.split_at(next);
        shown.push_str(sign);
        rest = after;
    }
    shown
}

/// What is shorter is no secret, nor a telling part of one.
const LEAST_KEY: usize = 16;

/// How a program ended.
pub(crate) struct Completed {
    pub(crate) status: ExitStatus,
    pub(crate) output: Zeroizing<Vec<u8>>,
    pub(crate) said: Zeroizing<Vec<u8>>,
    pub(crate) is_input_taken: bool,
}

/// Why nobody knows how a program ended.
pub(crate) enum Failed {
    Start(io::Error),
    /// By this signal.
    Stopped(i32),
    Timeout,
    Lost(io::Error),
}

impl Failed {
    pub(crate) fn reason(&self, program: &str, timeout: Duration) -> String {
        match self {
            Self::Start(_) => format!("`{program}` can't be started"),
            Self::Timeout => format!("`{program}` did not end within {} s, and was killed", timeout.as_secs_f64()),
            Self::Stopped(signal) => {
                let is_tty = [Signal::TTIN, Signal::TTOU].iter().any(|tty| tty.as_raw() == *signal);
                let why = match is_tty {
                    true => ": it wants to ask something at a terminal, which it can't do here",
                    false => "",
                };
                format!("`{program}` was stopped by signal {signal}, and was killed{why}")
            }
            Self::Lost(_) => format!("how `{program}` ended is not known"),
        }
    }
}

/// A program and those that it started, killed on drop: a script's children would live on.
struct Program(Child);

impl Program {
    /// `None` once it was waited for: the number may be another process's by now.
    fn id(&self) -> Option<Pid> {
        self.0.id().and_then(|id| Pid::from_raw(id.cast_signed()))
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(leader) = self.id() {
            end_group(Some(leader));
            let _ = self.0.start_kill();
        }
    }
}

/// Kills what is left of the group of a program that has not ended, or has just ended: while there is something left, no other
/// process gets the number. It has none before its launcher made one.
fn end_group(leader: Option<Pid>) {
    let _ = leader.map(|leader| kill_process_group(leader, Signal::KILL));
}

/// What is wrong with how it ended.
pub(crate) fn problem(status: ExitStatus) -> Option<String> {
    use std::os::unix::process::ExitStatusExt as _;

    match (status.code(), status.signal()) {
        (Some(0), _) => None,
        (Some(code), _) => Some(format!("exited with status {code}")),
        (None, signal) => Some(format!("was killed by signal {}", signal.unwrap_or_default())),
    }
}

pub(crate) fn name(words: &[String]) -> &str {
    words.first().map_or("", |program| program)
}

/// The words of a command, the program among them in a form that means the same in every folder.
pub(crate) fn words<A: Into<String>>(
    program: impl Into<String>,
    args: impl IntoIterator<Item = A>,
) -> Result<Vec<String>, &'static str> {
    let mut words = vec![program.into()];
    words.extend(args.into_iter().map(Into::into));
    if words.iter().any(|word| word.contains('\0')) {
        return Err("a word of it has a NUL");
    }
    if name(&words).is_empty() {
        return Err("it names no program");
    }
    if let Some(program) = words.first_mut().filter(|program| program.contains('/')) {
        match std::path::absolute(&*program).map(|path| path.into_os_string().into_string()) {
            Ok(Ok(path)) => *program = path,
            _ => return Err("the current folder can't be found, or its path is not UTF-8"),
        }
    }
    Ok(words)
}

/// Whether there is such a program.
pub(crate) fn is_runnable(program: &str) -> bool {
    let may_run = |path: &Path| path.is_file() && rustix::fs::access(path, Access::EXEC_OK).is_ok();
    if program.contains('/') {
        return may_run(Path::new(program));
    }
    let path = env::var_os("PATH").unwrap_or_else(|| "/bin:/usr/bin".into());
    env::split_paths(&path).any(|folder| may_run(&folder.join(program)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn nothing_is_left_of_a_word_that_has_much_in_common_with_a_secret() {
        let secret = "rxl_aBCDEFGH12345678xyzwv";
        let upper = secret.to_uppercase();
        for word in [secret, upper.as_str(), &secret[4..14], &format!("{upper}FJ")] {
            let said = Said::new(format!("told {word} at once").as_bytes(), &[secret.as_bytes()]).unwrap();
            assert_eq!(said.0, "told [...] at once", "{word}");
        }
    }

    /// How languages and tools print bytes and escape strings.
    const FORMS: [fn(u8) -> String; 14] = [
        |byte| byte.to_string(),
        |byte| format!("{byte:02x}"),
        |byte| format!("{byte:#04X}"),
        |byte| format!("\\x{byte:02x}"),
        |byte| format!("\\x{{{byte:x}}}"),
        |byte| format!("\\u{byte:04x}"),
        |byte| format!("\\U{byte:08x}"),
        |byte| format!("\\u{{{byte:x}}}"),
        |byte| format!("U+{byte:04X}"),
        |byte| format!("\\{byte:03o}"),
        |byte| format!("{byte:#o}"),
        |byte| format!("{byte:#010b}"),
        |byte| format!("&#{byte};"),
        |byte| format!("&#x{byte:x};"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn no_form_of_a_secret_is_told(
            secret in "rxl_[0-9A-Za-z]{20,40}",
            form in 0..FORMS.len(),
            between in prop::sample::select(vec![" ", ", ", ",\n", "; ", " : "]),
            (before, after) in ("[a-z]{0,8} ?[(\\[\"]", "[)\\]\"] [a-z]{0,8}"),
        ) {
            let units: Vec<_> = secret.bytes().map(FORMS[form]).collect();
            // Escapes need nothing between them.
            let between = if units[0].starts_with(['\\', '&']) && between == " " { "" } else { between };
            let text = format!("{before}{}{after}", units.join(between));
            let said = Said::new(text.as_bytes(), &[secret.as_bytes()]).unwrap();
            prop_assert_eq!(said.0, "[...]", "{}", text);
        }
    }

    /// The words of this many bytes that a dump has, as `od` and `hexdump` print them.
    fn dumped(bytes: &[u8], size: usize, is_big: bool, show: fn(u64) -> String) -> Vec<String> {
        let word = |chunk: &[u8]| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            if is_big {
                word[..size].reverse();
            }
            show(u64::from_le_bytes(word))
        };
        bytes.chunks(size).map(word).collect()
    }

    const WORDS: [fn(u64) -> String; 5] = [
        |word| word.to_string(),
        |word| format!("{word:05}"),
        |word| format!("{word:04x}"),
        |word| format!("{word:#x}"),
        |word| format!("{word:06o}"),
    ];

    proptest! {
        #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

        #[test]
        fn no_dump_of_a_secret_is_told(
            before in "[a-z=]{0,9}",
            secret in "rxl_[0-9A-Za-z]{20,40}",
            show in 0..WORDS.len(),
            size in prop::sample::select(vec![1_usize, 2, 4, 8]),
            is_big: bool,
            row in prop::sample::select(vec![1_usize, 2, 16]),
            has_address: bool,
        ) {
            let words = dumped(format!("{before}{secret}\n").as_bytes(), size, is_big, WORDS[show]);
            let address = |row: usize| if has_address { format!("{:07x} ", row * 16) } else { String::new() };
            let rows = words.chunks(row).enumerate().map(|(at, words)| format!("{} {}\n", address(at), words.join(" ")));
            let text: String = rows.collect();
            let said = Said::new(text.as_bytes(), &[secret.as_bytes()]).unwrap();
            let left = said.0.split(' ').filter(|word| *word != "[...]");
            let shown = dumped(secret.as_bytes(), size, is_big, WORDS[show]);
            // Words of eight bytes are as long as a key, but for those of what is left at the end.
            prop_assert!(said.0 == "[...]" || size == 8 && left.filter(|word| shown.iter().any(|there| there == word)).count() == 0,
                "{} {}", text, said.0);
        }
    }

    #[test]
    fn numbers_of_something_else_are_told() {
        let secret = b"rxl_aBCDEFGH12345678xyzwv";
        let text = "exited with 1 after 120 s: 10 20 30 40 50 60 70 80 90 100 110, 0x72";
        assert_eq!(Said::new(text.as_bytes(), &[secret]).unwrap().0, text);
        // Words of what is not the secret.
        let text =
            "0000000 060554 062157 071040 072541 071562 0000014 at 10.0.0.12:8200, 2026-11-29 09:36:12 (5041, 0x7278)";
        assert_eq!(Said::new(text.as_bytes(), &[secret]).unwrap().0, text);
    }
}
