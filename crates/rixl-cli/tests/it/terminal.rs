//! On a terminal: questions, colours.

use std::{
    fs::File,
    io::{ErrorKind, Read as _, Write as _},
    process::{Command, Stdio},
    time::Duration,
};

use rixl_sandbox::{Effect, Sandbox, SeedKey};
use rixl_testing::Running;
use rustix::{
    fs::{Mode, OFlags},
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
};

use crate::{
    bench::{Bench, ROTATE, wait_for_calls},
    program::{Program, Run, create, rixl, write},
};

/// The program with a terminal for stdin and stderr, as seen from the other side of it.
struct Terminal {
    child: Running,
    other_side: File,
    shown: String,
}

impl Terminal {
    fn start(program: Program) -> Self {
        Self::start_with(program, |_, command| {
            command.stdout(Stdio::piped());
        })
    }

    /// The same, with stdout on the terminal too.
    fn with_stdout(program: Program) -> Self {
        Self::start_with(program, |terminal, command| {
            command.stdout(terminal);
        })
    }

    fn start_with(mut program: Program, set_stdout: impl FnOnce(File, &mut Command)) -> Self {
        let other_side = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&other_side).unwrap();
        unlockpt(&other_side).unwrap();
        let name = ptsname(&other_side, Vec::new()).unwrap();
        let terminal = File::from(rustix::fs::open(name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap());
        set_stdout(terminal.try_clone().unwrap(), &mut program.command);
        program.command.stdin(terminal.try_clone().unwrap()).stderr(terminal);
        let child = program.spawn();
        Self { child, other_side: other_side.into(), shown: String::new() }
    }

    /// Reads on until this stands there (the end of the program at the latest, which is bounded), or, for `None`, until the program has closed the terminal.
    fn read_until(&mut self, text: Option<&str>) {
        while text.is_none_or(|text| !self.shown.contains(text)) {
            let mut bytes = [0; 1024];
            match self.other_side.read(&mut bytes) {
                // What Linux says when nobody has the terminal open any more.
                Err(error) if error.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Ok(0) => break,
                result => self.shown.push_str(&String::from_utf8_lossy(&bytes[..result.unwrap()])),
            }
        }
        assert!(text.is_none_or(|text| self.shown.contains(text)), "{}", self.shown);
    }

    fn type_in(&mut self, text: &str) {
        self.other_side.write_all(text.as_bytes()).unwrap();
    }

    /// The exit code, and all that was shown.
    fn end(mut self) -> (i32, String) {
        self.read_until(None);
        let code = Run::of(self.child).code;
        (code, self.shown.replace("\r\n", "\n"))
    }
}

fn delete(sandbox: &Sandbox, id: &str) -> Terminal {
    // The terminal side that the command holds must be closed with the child, so nothing here may keep it.
    Terminal::start(rixl(&format!("keys delete {id}")).at(sandbox).env("NO_COLOR", "1"))
}

fn deletions(sandbox: &Sandbox) -> usize {
    sandbox.requests().iter().filter(|request| request.method == "DELETE").count()
}

#[test]
fn the_name_confirms() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing api").key.id;
    let mut terminal = delete(&sandbox, id.as_str());
    terminal.read_until(Some("to go on: "));
    assert_eq!(deletions(&sandbox), 0);
    terminal.type_in("billing api\n");
    let (code, shown) = terminal.end();
    assert_eq!((code, deletions(&sandbox)), (0, 1));
    insta::assert_snapshot!(shown.replace(id.as_str(), "[id]"), @r"
    This deletes the key [id] (billing api) for good, and its consumers lose access at once. It is not known whether it is in use.
    Type billing api to go on: billing api
    ");
}

/// Who is asked needs no alarm of what they see.
#[test]
fn a_refusal_sounds_no_alarm() {
    let bench = Bench::new();
    let key = SeedKey::new("fleet-a").with_id("fleeta0001").aged(Duration::from_secs(120 * 86_400));
    write(&bench.path("fleeta0001"), &bench.sandbox.create_key(key).secret, 0o600);
    let secret = "[[secret]]\nname = \"fleet-a\"\nmax-age = \"90d\"\nto = \"file:{key_id}\"\n";
    write(&bench.path("rixl.toml"), &format!("on-failure = \"touch alarm\"\n{secret}"), 0o644);
    let mut terminal = Terminal::start(bench.rixl("apply"));
    terminal.read_until(Some("to go on: "));
    terminal.type_in("no\n");
    assert_eq!(terminal.end().0, 3);
    assert!(!bench.path("alarm").exists());
    // With --yes nobody is.
    bench.sandbox.inject(rixl_sandbox::Fault::new(Effect::Close).on(ROTATE).always()).unwrap();
    assert_eq!(Terminal::start(bench.rixl("apply --yes --timeout 2s")).end().0, 6);
    assert!(bench.path("alarm").exists());
}

#[test]
fn anything_else_does_not() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    for response in ["y\n", "yes\n", "\n", "billin\n", &format!("{id}\n"), "\u{4}"] {
        let mut terminal = delete(&sandbox, id.as_str());
        terminal.read_until(Some("to go on: "));
        terminal.type_in(response);
        let (code, shown) = terminal.end();
        assert_eq!((code, deletions(&sandbox)), (3, 0), "{response:?}");
        assert!(shown.ends_with("error: not confirmed; RIXL was not changed\n"), "{shown}");
    }
}

#[test]
fn a_name_that_cannot_be_typed_is_not_asked_for() {
    let sandbox = Sandbox::start().unwrap();
    // What steers a terminal, what not every keyboard has, and what nobody sees: two spaces, one at the end.
    for (name, shown) in [
        ("pay\u{202e}gnillib", "(pay\\u{202e}gnillib)"),
        ("Zürich", "(Zürich)"),
        ("課金", "(課金)"),
        ("two  spaces", "(two  spaces)"),
        ("billing ", "(billing )"),
    ] {
        let id = sandbox.create_key(SeedKey::new(name)).id;
        let before = deletions(&sandbox);
        let mut terminal = delete(&sandbox, &id);
        terminal.read_until(Some(&format!("Type {id} to go on: ")));
        assert!(terminal.shown.contains(shown), "{}", terminal.shown);
        terminal.type_in(&format!("{id}\n"));
        assert_eq!((terminal.end().0, deletions(&sandbox)), (0, before + 1));
    }
}

/// The first ten, and how many more there are.
#[test]
fn a_question_about_several_keys_names_them_and_their_places() {
    for (count, more) in [(10, None), (12, Some("  and 2 more"))] {
        let bench = fleet(count);
        let words = "keys rotate --name fleet-* --to file:{key_id} --settle 0s";
        let mut terminal = Terminal::start(bench.rixl(words).env("NO_COLOR", "1"));
        terminal.read_until(Some(&format!("Type {count} keys to go on: ")));
        let lines: Vec<_> = terminal.shown.lines().map(str::trim_end).filter(|line| line.starts_with("  ")).collect();
        assert_eq!(lines.len(), 10 + usize::from(more.is_some()), "{}", terminal.shown);
        for line in &lines[..10] {
            let (key, place) = line.trim().split_once(")  file:").unwrap();
            let (id, name) = key.split_once(" (fleet-").unwrap();
            assert!(place.ends_with(id) && name.parse::<usize>().unwrap() < count, "{line}");
        }
        assert_eq!(lines.get(10).copied(), more);
        terminal.type_in("no\n");
        assert_eq!((terminal.end().0, bench.sent()), (3, 0));
    }
}

#[test]
fn an_interrupt_is_a_no() {
    let sandbox = Sandbox::start().unwrap();
    let id = create(&sandbox, "billing").key.id;
    let mut terminal = delete(&sandbox, id.as_str());
    terminal.read_until(Some("to go on: "));
    kill_process(Pid::from_child(&terminal.child), Signal::INT).unwrap();
    let (code, shown) = terminal.end();
    assert_eq!((code, deletions(&sandbox)), (130, 0));
    assert!(shown.ends_with("to go on: \nerror: interrupted; RIXL was not changed\n"), "{shown}");
}

#[test]
fn colours_only_for_terminals_that_want_them() {
    let colour = "\u{1b}[";
    let run = |program| Terminal::start(program).end();
    let (code, shown) = run(rixl("keys list").env("TERM", "xterm"));
    assert_eq!(code, 4);
    assert!(shown.contains(colour), "{shown}");
    assert!(run(rixl("keys").env("TERM", "xterm")).1.contains(colour));
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        for words in ["keys list", "keys nothing", "keys"] {
            let shown = run(rixl(words).env("TERM", "xterm").env(name, value)).1;
            assert!(!shown.contains(colour), "{name}: {shown}");
        }
    }
    assert!(!rixl("keys list").env("TERM", "xterm").run().stderr.contains(colour));
}

#[test]
fn a_token_is_not_typed_on_the_screen() {
    let (code, shown) = Terminal::start(rixl("keys list --token-stdin").env("NO_COLOR", "1")).end();
    assert_eq!(code, 2, "{shown}");
}

#[test]
fn a_rotation_asks_for_the_name() {
    let bench = Bench::new();
    let start = || {
        let words = "keys rotate billing001 --to file:secret --settle 0s";
        let mut terminal = Terminal::start(bench.rixl(words).env("NO_COLOR", "1"));
        terminal.read_until(Some("to go on: "));
        terminal
    };
    for response in ["y\n", "billing001\n", "\n", "\u{4}"] {
        let mut terminal = start();
        terminal.type_in(response);
        let (code, shown) = terminal.end();
        assert_eq!(code, 3, "{shown}");
        bench.assert_untouched();
    }
    let mut terminal = start();
    terminal.type_in("billing\n");
    let (code, shown) = terminal.end();
    assert_eq!((code, bench.sent()), (0, 1), "{shown}");
    insta::assert_snapshot!("rotate_question", bench.scrubbed(&shown));
    bench.assert_well();
}

fn fleet(count: usize) -> Bench {
    let bench = Bench::new();
    for number in 0..count {
        let key = bench.sandbox.create_key(SeedKey::new(format!("fleet-{number}")));
        write(&bench.path(&key.id), &key.secret, 0o600);
    }
    bench
}

#[test]
fn a_fleet_asks_for_the_number_and_shows_a_bar() {
    let bench = fleet(30);
    let words = "keys rotate --name fleet-* --to file:{key_id} --settle 0s";
    let mut terminal = Terminal::start(bench.rixl(words).env("TERM", "xterm"));
    terminal.read_until(Some("Type 30 keys to go on: "));
    assert_eq!(bench.sent(), 0);
    terminal.type_in("30 keys\n");
    let (code, shown) = terminal.end();
    assert_eq!((code, bench.sent()), (0, 30), "{shown}");
    assert!(shown.contains("/30"), "no bar: {shown:?}");
    assert!(!shown.contains("rxl_"), "{shown:?}");
    // No line for each key beside the bar.
    assert!(!shown.contains("  rotated"), "{shown:?}");
}

/// What waits, and for how long; what has failed; and at the end what fits a screen.
#[test]
fn a_bar_tells_steps_waits_and_failures() {
    let bench = Bench::new();
    let old = |name: String| SeedKey::new(name).aged(Duration::from_secs(100 * 86_400));
    for number in 0..24 {
        let key = bench.sandbox.create_key(old(format!("fleet-{number}")));
        write(&bench.path(&key.id), &key.secret, 0o600);
    }
    let broken = bench.sandbox.create_key(old("fleet-broken".to_owned()).with_id("broken0001"));
    std::fs::create_dir(bench.path(&broken.id)).unwrap();
    let text = "[[secret]]\nname = \"fleet-*\"\nmax-age = \"90d\"\nsettle = \"2s\"\nto = \"file:{key_id}\"\n";
    write(&bench.path("rixl.toml"), text, 0o644);
    let terminal = Terminal::with_stdout(bench.rixl("apply --yes").env("TERM", "xterm"));
    let (code, shown) = terminal.end();
    assert_eq!((code, bench.sent()), (3, 24), "{shown}");
    for part in ["/25  ", " prepared", " waiting (up to ", "1 failed", "s left"] {
        assert!(shown.contains(part), "{part}: {shown:?}");
    }
    assert!(shown.contains("\nbroken0001  "), "{shown}");
    assert!(shown.contains("25 keys: 1 unchanged, 24 rotated (`rixl history` lists them)\n"), "{shown}");
    // Not a line for each.
    assert!(shown.lines().filter(|line| line.contains("  rotated  ")).count() == 0, "{shown}");
}

#[test]
fn no_bar_where_the_cursor_cannot_move() {
    let words = "keys rotate --name fleet-* --to file:{key_id} --settle 0s --yes";
    for (name, value, has_bar) in [("TERM", "dumb", false), ("NO_COLOR", "1", true)] {
        let bench = fleet(5);
        let (code, shown) = Terminal::start(bench.rixl(words).env("TERM", "xterm").env(name, value)).end();
        assert_eq!((code, bench.sent()), (0, 5), "{shown}");
        assert_eq!(shown.contains("/5"), has_bar, "{shown:?}");
        assert_eq!(shown.contains("\u{1b}"), has_bar, "{shown:?}");
        assert!(!shown.contains("\u{1b}[3") && !shown.contains("\u{1b}[1"), "{shown:?}");
    }
}

#[test]
fn a_secret_is_shown_on_a_terminal_only_if_it_is_wanted() {
    let bench = Bench::new();
    let words = "keys rotate billing001 --to stdout --yes --settle 0s";
    let (code, shown) = Terminal::with_stdout(bench.rixl(words).env("NO_COLOR", "1")).end();
    assert_eq!(code, 2, "{shown}");
    insta::assert_snapshot!("stdout_is_a_terminal", shown);
    bench.assert_untouched();
    let (code, shown) = Terminal::with_stdout(bench.rixl(&format!("{words} --reveal"))).end();
    assert_eq!(code, 0, "{shown}");
    let secret = shown.lines().find(|line| line.starts_with("rxl_")).unwrap();
    assert!(bench.sandbox.opens("billing001", secret));
}

#[test]
fn an_interrupt_waits_until_the_secret_is_stored() {
    let bench = Bench::new();
    bench.inject(Effect::DelayHead(Duration::from_secs(1)));
    let words = "keys rotate billing001 --to file:secret --yes --settle 2s";
    let mut terminal = Terminal::start(bench.rixl(words).env("NO_COLOR", "1"));
    wait_for_calls(&bench.sandbox, ROTATE, 1);
    kill_process(Pid::from_child(&terminal.child), Signal::INT).unwrap();
    terminal.read_until(Some("stopping where it is safe; a second signal stops at once"));
    let (code, shown) = terminal.end();
    assert_eq!(code, 130, "{shown}");
    assert!(shown.contains("holds the new secret") && shown.contains("next: rixl recover"), "{shown}");
    assert!(bench.is_stored_live());
    assert_eq!(bench.rixl("keys recover --settle 0s").run().code, 0);
    assert_eq!(bench.sent(), 1);
    bench.assert_well();
}
