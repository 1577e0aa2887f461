//! The programs that read dotenv files, as judges of what `DotenvStore` writes: bash, python-dotenv, Node's own parser, the
//! npm package dotenv. A store that edits a file for its consumers has to know what they read, not what a grammar says.
//!
//! Not asked: docker compose, whose reader is a Go library that can't be had without a Go toolchain.

use std::{
    collections::BTreeMap,
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rixl_rotation::store::{Commit, DotenvStore, Prepare, Store as _};

use crate::stores_file::{NEW, OLD, wait};

const NAME: &str = "RIXL_API_KEY";
const FILES: usize = 600;

/// What one reader sees in each of the files; no variables where it gave up.
type Seen = Vec<BTreeMap<String, String>>;

struct Reader {
    name: &'static str,
    program: &'static str,
    args: &'static [&'static str],
}

macro_rules! node {
    () => {
        "for (const path of process.argv.slice(1)) {
            for (const [name, value] of Object.entries(parse(require('fs').readFileSync(path, 'utf8'))))
                process.stdout.write(`${name}=${value}\\0`);
            process.stdout.write('\\0');
        }"
    };
}

/// Each prints, for every file that it is given, `NAME=value` with a NUL after it, and one more NUL at its end.
const READERS: [Reader; 4] = [
    Reader {
        name: "bash",
        program: "bash",
        args: &[
            "--norc",
            "-c",
            r#"for f; do (PATH=; set -a; . "$f" >/dev/null 2>&1 </dev/null; /usr/bin/env -0); printf '\0'; done"#,
            "bash",
        ],
    },
    Reader {
        name: "python-dotenv",
        program: "python3",
        args: &[
            "-c",
            r"
import logging, sys
from dotenv import dotenv_values
logging.disable(logging.CRITICAL)
for path in sys.argv[1:]:
    for name, value in dotenv_values(path).items():
        if value is not None:
            sys.stdout.buffer.write(f'{name}={value}\0'.encode())
    sys.stdout.buffer.write(b'\0')
",
        ],
    },
    Reader {
        name: "node",
        program: "node",
        args: &["-e", concat!("const parse = require('util').parseEnv;", node!())],
    },
    Reader {
        name: "npm dotenv",
        program: "node",
        args: &["-e", concat!("const parse = require('dotenv').parse;", node!())],
    },
];

impl Reader {
    /// `None`, loudly, where it is not installed.
    fn read(&self, folder: &Path, files: &[PathBuf]) -> Option<Seen> {
        let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/../../.ci/node_modules");
        let mut command = Command::new(self.program);
        // Of bash's own variables, none is to look like one of a file.
        if self.name == "bash" {
            command.env_clear();
        }
        let output = command
            .args(self.args)
            .args(files)
            .env("NODE_PATH", modules)
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output();
        let Some(output) = output.ok().filter(|output| output.status.success()) else {
            rixl_testing::skip(format_args!("no {} here", self.name));
            return None;
        };
        let own = ["NODE_PATH", "OLDPWD", "PATH", "PWD", "SHLVL", "_"];
        let mut seen = vec![BTreeMap::new()];
        for part in String::from_utf8_lossy(&output.stdout).split('\0') {
            match part.split_once('=') {
                None => seen.push(BTreeMap::new()),
                Some((name, _)) if own.contains(&name) => {}
                Some((name, value)) => {
                    seen.last_mut().unwrap().insert(name.to_owned(), value.to_owned());
                }
            }
        }
        seen.truncate(files.len());
        assert_eq!(seen.len(), files.len(), "{}", self.name);
        Some(seen)
    }
}

/// Numbers that are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        // Xorshift.
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

/// Lines beside ours; `@` is a name that no other line has.
const OTHERS: [&str; 58] = [
    "",
    "   ",
    "# a comment, it's",
    "# @=no",
    "  # indented",
    "\t# indented=",
    "  # indented = 'x",
    "@=1",
    "@=",
    "@=  ",
    "@= # c",
    "@=#c",
    "@=a#b",
    "@=x # it's",
    "@=x\t# c",
    "@='x y' # it's",
    "@=\"x\"\t# \"c",
    "@='#'",
    "@='x\ny'",
    "@=\"x\n# y\"",
    "@='\nRIXL_API_KEY=no\n'",
    "@=\"\nexport RIXL_API_KEY=no\n\"",
    "@=\"x\\ny\"",
    "@=\"x\\\"y\"",
    "@=\"C:\\\\x\"",
    "@='C:\\x'",
    "@=a'b c'd",
    "@=a\"b c\"d",
    "@='it''s'",
    "@=it's",
    "@=`x y`",
    "@=`x\ny`",
    "@=x y",
    "@=x; export @",
    "@=x && A=1",
    "@=x RIXL_API_KEY=no",
    "@=x;RIXL_API_KEY=no",
    "export @=1 RIXL_API_KEY=no",
    "@={\"a\": \"b\"}",
    "@=(x)",
    "@=(x",
    "@=$RIXL_API_KEY",
    "@=${RIXL_API_KEY}x",
    "@=$(x)",
    "@=~",
    "@=x\\",
    "@=x=y",
    "@ = 1",
    "@= 1",
    "  @=1",
    "export @=1",
    "export\t@=1",
    "export @",
    "@",
    "@: 1",
    "set @=1",
    "A.B-@=1",
    "1@=x",
];

/// Ours; `#` where the secret stands. Whether every reader reads it there, but for a shell.
const OURS: [(&str, bool); 34] = [
    ("RIXL_API_KEY=#", true),
    ("RIXL_API_KEY=#", true),
    ("RIXL_API_KEY=#", true),
    ("export RIXL_API_KEY=#", true),
    ("RIXL_API_KEY='#'", true),
    ("RIXL_API_KEY=\"#\"", true),
    ("RIXL_API_KEY=# # c", true),
    ("RIXL_API_KEY='#' # it's", true),
    ("RIXL_API_KEY= #", true),
    ("RIXL_API_KEY=#  ", true),
    ("RIXL_API_KEY = '#'", true),
    ("RIXL_API_KEY=#\t# c", false),
    ("  RIXL_API_KEY=#", false),
    ("\texport RIXL_API_KEY=#", false),
    ("export\tRIXL_API_KEY=#", false),
    ("export  RIXL_API_KEY=#", false),
    // python-dotenv takes the second line for a variable without a value.
    ("RIXL_API_KEY=#\nexport RIXL_API_KEY", false),
    ("export RIXL_API_KEY\nRIXL_API_KEY=#", true),
    ("RIXL_API_KEY\nRIXL_API_KEY=#", true),
    ("RIXL_API_KEY=#\nRIXL_API_KEY=#", true),
    ("export RIXL_API_KEY=# DB_PASSWORD=hunter2", true),
    ("RIXL_API_KEY=# DB=1", true),
    ("RIXL_API_KEY=#; export RIXL_API_KEY", true),
    ("RIXL_API_KEY=#;DB=1", true),
    ("RIXL_API_KEY=# && DB=1", true),
    ("RIXL_API_KEY=#&&DB=1", true),
    ("RIXL_API_KEY=# || true", true),
    ("RIXL_API_KEY=#|cat", true),
    ("RIXL_API_KEY=#>x", true),
    ("RIXL_API_KEY='#' DB=1", true),
    ("RIXL_API_KEY=\"#\"; export RIXL_API_KEY", true),
    ("RIXL_API_KEY='#'# c", true),
    ("RIXL_API_KEY=~#", true),
    ("RIXL_API_KEY=# extra 'words'", true),
];

struct Sample {
    text: String,
    /// Whether our variable is there already.
    has_ours: bool,
    is_for_all: bool,
}

fn sample(dice: &mut Dice) -> Sample {
    let mut count = 0;
    let mut others = |dice: &mut Dice, max| -> Vec<String> {
        let lines = 0..dice.roll(max);
        let name = |line: &str, count: &mut usize| {
            *count += 1;
            line.replace('@', &format!("V{count}"))
        };
        // Half of the files have nothing odd, so that not all of them are refused.
        let odd = if dice.roll(2) == 0 { OTHERS.len() } else { 24 };
        lines.map(|_| name(OTHERS[dice.roll(odd)], &mut count)).collect()
    };
    let mut lines = others(dice, 4);
    let has_ours = dice.roll(4) > 0;
    let (ours, mut is_for_all) = OURS[dice.roll(OURS.len())];
    if has_ours {
        lines.push(ours.replacen('#', OLD, 1));
    } else {
        is_for_all = true;
    }
    lines.extend(others(dice, 3));
    let is_crlf = dice.roll(8) == 0;
    let mut text = lines.join("\n") + ["", "\n", "\n", "\n\n"][dice.roll(4)];
    if is_crlf {
        text = text.replace('\n', "\r\n");
    }
    if dice.roll(8) == 0 {
        text.insert(0, '\u{feff}');
    }
    Sample { text, has_ours, is_for_all }
}

#[test]
fn the_programs_that_read_dotenv_files_read_what_was_meant() {
    let folder = rixl_testing::folder();
    let mut dice = Dice(0x5eed_0d07_e4f1_01e5);
    let (mut samples, mut before, mut after) = (Vec::new(), Vec::new(), Vec::new());
    let mut refused = 0;
    while samples.len() + refused < FILES {
        let sample = sample(&mut dice);
        let path = |kind: &str| folder.path().join(format!("{kind}{}", samples.len()));
        let (old, new) = (path("old"), path("new"));
        for path in [&old, &new] {
            fs::write(path, &sample.text).unwrap();
            fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
        }
        let store = DotenvStore::new(&new, NAME).unwrap();
        let put = wait(async {
            let held = store.prepare(Prepare::new(100)).await?;
            store.commit(Commit::new(&NEW.into(), &held.version)).await.map(|_| held.secret)
        });
        match put {
            Ok(held) if sample.has_ours => assert_eq!(held.unwrap().expose_secret(), OLD, "{:?}", sample.text),
            Ok(held) => assert!(held.is_none(), "{:?}", sample.text),
            Err(_) => {
                refused += 1;
                assert_eq!(fs::read_to_string(&new).unwrap(), sample.text);
                continue;
            }
        }
        samples.push(sample);
        before.push(old);
        after.push(new);
    }
    assert!(samples.len() > FILES / 4, "only {} files were taken: nothing is tested", samples.len());

    let mut wrong = Vec::new();
    let mut seen_by_any = vec![false; samples.len()];
    let mut asked = Vec::new();
    for reader in &READERS {
        let (Some(old), Some(new)) = (reader.read(folder.path(), &before), reader.read(folder.path(), &after)) else {
            continue;
        };
        asked.push(reader.name);
        for (index, sample) in samples.iter().enumerate() {
            let (mut old, mut new) = (old[index].clone(), new[index].clone());
            // What its value was used for elsewhere changes with it.
            old.values_mut().for_each(|value| *value = value.replace(OLD, NEW));
            let (was, is) = (old.remove(NAME), new.remove(NAME));
            let had_it = was.is_some_and(|was| was.trim_end() == NEW);
            let has_it = is.is_some_and(|is| is.trim_end() == NEW);
            seen_by_any[index] |= had_it || !sample.has_ours;
            let must_have = if reader.name == "bash" { had_it } else { had_it || sample.is_for_all };
            let text = &sample.text;
            if must_have && !has_it {
                wrong.push(format!("{} does not read the new secret: {text:?}", reader.name));
            }
            // What a reader takes for a name and nobody else does is no variable of any program.
            let is_name =
                |name: &String, _: &mut String| name.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
            old.retain(is_name);
            new.retain(is_name);
            // A shell may have lost an unset variable's value where it has one now.
            if old != new && (sample.has_ours || reader.name != "bash") {
                wrong.push(format!("{} reads other variables otherwise: {text:?}: {old:?}, {new:?}", reader.name));
            }
        }
    }
    let unseen = samples.iter().zip(&seen_by_any).filter(|(_, is_seen)| !**is_seen && !asked.is_empty());
    wrong.extend(unseen.map(|(sample, _)| format!("no reader had the old secret: {:?}", sample.text)));
    let (taken, asked) = (samples.len(), asked.join(", "));
    println!(
        "| a dotenv file of generated lines, read by {asked} | {FILES} | {} | {refused} were refused, {taken} were written |",
        FILES - wrong.len()
    );
    assert!(wrong.is_empty(), "{} of {taken}:\n{}", wrong.len(), wrong.join("\n"));
}
