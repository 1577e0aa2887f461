//! A declared fleet over months, in minutes: the clocks of the sandbox and of the program are set ahead, two machines run
//! `rixl apply` at each opening of its windows, over both changes of summer time, and some of their runs are killed. The machines
//! share nothing but an OpenBao server. `RIXL_YEAR=500` makes it a year of so many keys, with printed figures.

use std::{
    collections::{BTreeMap, BTreeSet},
    env,
    fmt::Write as _,
    path::PathBuf,
    thread,
    time::Duration,
};

use jiff::{Span, Timestamp, ToSpan as _, civil::date, tz::TimeZone};
use rixl_sandbox::{Sandbox, SeedKey};
use rixl_testing::{Running, folder, openbao, skip};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    bench::json,
    clock::clock,
    program::{Program, Run, block_on, write},
};

const ROTATE: &str = "rotateOrganizationApiKey";
const CREATE: &str = "createOrganizationApiKey";

/// Longer than the time-out of a request, and waited for after each kill.
const LEASE: Duration = Duration::from_secs(5);

/// A window as the clocks of a zone show it, and its keys.
struct Group {
    name: &'static str,
    zone: &'static str,
    /// From Monday.
    days: [bool; 7],
    /// When it opens.
    from: (i8, i8),
    hours: i64,
    /// As they are written.
    window: &'static str,
    max_age_days: i64,
    jitter_days: i64,
    /// From an opening to the next, at most.
    gap_days: i64,
    is_replaced: bool,
}

/// The ages are those of the short form.
const GROUPS: [Group; 4] = [
    Group {
        name: "berlin",
        zone: "Europe/Berlin",
        days: [true, true, true, true, false, false, false],
        from: (2, 0),
        hours: 3,
        window: r#"{ days = "mon-thu", hours = "02:00-05:00", zone = "Europe/Berlin" }"#,
        max_age_days: 12,
        jitter_days: 2,
        gap_days: 4,
        is_replaced: false,
    },
    Group {
        name: "york",
        zone: "America/New_York",
        days: [false, false, false, false, false, true, false],
        from: (22, 0),
        hours: 4,
        window: r#"{ days = "sat", hours = "22:00-02:00", zone = "America/New_York" }"#,
        max_age_days: 16,
        jitter_days: 1,
        gap_days: 7,
        is_replaced: false,
    },
    Group {
        name: "london",
        zone: "Europe/London",
        days: [true; 7],
        from: (1, 30),
        hours: 2,
        window: r#"{ hours = "01:30-03:30", zone = "Europe/London" }"#,
        max_age_days: 8,
        jitter_days: 1,
        gap_days: 1,
        is_replaced: false,
    },
    Group {
        name: "kolkata",
        zone: "Asia/Kolkata",
        days: [true, false, false, false, true, false, false],
        from: (12, 0),
        hours: 1,
        window: r#"{ days = ["mon", "fri"], hours = "12:00-13:00", zone = "Asia/Kolkata" }"#,
        max_age_days: 20,
        jitter_days: 3,
        gap_days: 4,
        is_replaced: true,
    },
];

impl Group {
    /// When it opens between two times, by the calendar of its zone: not as the program finds it.
    fn openings(&self, from: Timestamp, until: Timestamp) -> Vec<Timestamp> {
        let zone = TimeZone::get(self.zone).unwrap();
        let day = Span::new().days(1);
        let mut date = zone.to_datetime(from).date();
        let mut openings = Vec::new();
        loop {
            let at = zone.to_timestamp(date.at(self.from.0, self.from.1, 0, 0)).unwrap();
            if at >= until {
                return openings;
            }
            if at >= from && self.days[usize::try_from(date.weekday().to_monday_zero_offset()).unwrap()] {
                openings.push(at);
            }
            date = date.checked_add(day).unwrap();
        }
    }
}

/// The same numbers each time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }
}

struct World {
    sandbox: Sandbox,
    server: &'static openbao::Server,
    mount: String,
    clock: PathBuf,
    config: PathBuf,
    ahead: i64,
    random: Random,
    kills: u32,
    /// Each takes as long as a lease.
    most_kills: u32,
    runs: u32,
}

impl World {
    fn now(&self) -> Timestamp {
        Timestamp::now() + self.ahead.seconds()
    }

    fn goes_on_to(&mut self, at: Timestamp) {
        let by = at.as_second() - self.now().as_second();
        assert!(by >= 0, "{at} is over");
        self.sandbox.advance(Duration::from_secs(by.unsigned_abs()));
        self.ahead += by;
    }

    fn rixl(&self, words: &str) -> Program {
        let config = self.config.to_str().unwrap();
        let words = words
            .split_whitespace()
            .map(str::to_owned)
            .chain(["--timeout", "4s", "--config", config].map(str::to_owned));
        Program::new(words)
            .at(&self.sandbox)
            .env("RIXL_ORG_ID", self.sandbox.organization_id())
            .env("RIXL_STATE_DIR", format!("vault:{}/rixl/journal", self.mount))
            .env("RIXL_LEASE", format!("{}s", LEASE.as_secs()))
            .env("BAO_ADDR", &self.server.url)
            .env("BAO_TOKEN", &self.server.root)
            .env("LD_PRELOAD", &self.clock)
            .env("RIXL_TEST_AHEAD", self.ahead.to_string())
            .env("USER", "ops")
    }

    fn stored(&self, name: &str) -> String {
        let response = block_on(self.server.must("GET", &format!("{}/data/{name}", self.mount), None));
        response["data"]["data"]["key"].as_str().unwrap().to_owned()
    }

    /// What the operator does whom a run tells of keys that nobody may know the secret of. Whether there were any.
    fn deletes_orphans(&self, run: &Run) -> bool {
        let rows = json(run)["keys"].as_array().cloned().unwrap_or_default();
        let told = rows.iter().flat_map(|row| row["orphans"].as_array().cloned().unwrap_or_default());
        let told = told.map(|id| format!("rixl keys delete {}", id.as_str().unwrap()));
        let next = rows.iter().filter_map(|row| row["error"]["next"].as_str().map(str::to_owned));
        let all = told.chain(next).filter(|next| next.starts_with("rixl keys delete "));
        let all: BTreeSet<String> = all.filter_map(|next| next.split(' ').next_back().map(str::to_owned)).collect();
        for id in &all {
            let run = self.rixl(&format!("keys delete {id} --yes")).run();
            assert_eq!(run.code, 0, "{id}: {}", run.stderr);
        }
        !all.is_empty()
    }

    /// Both machines at once. One may be killed while it changes a key.
    fn apply(&mut self) -> (bool, String) {
        let before = self.sandbox.calls(ROTATE) + self.sandbox.calls(CREATE);
        let mut machines: Vec<Running> = (0..2).map(|_| self.rixl("apply --yes --output json").spawn()).collect();
        self.runs += 2;
        let mut is_killed = [false; 2];
        let mut is_seen = false;
        while machines.iter_mut().any(|machine| machine.try_wait().unwrap().is_none()) {
            thread::sleep(Duration::from_millis(1));
            let sent = self.sandbox.calls(ROTATE) + self.sandbox.calls(CREATE);
            if sent > before && !is_seen {
                is_seen = true;
                // Until one has been killed each is to be, at once: it may be done before it is.
                let delay = if self.kills == 0 {
                    0
                } else if self.kills < self.most_kills && self.random.below(4) == 0 {
                    self.random.below(20_000)
                } else {
                    continue;
                };
                thread::sleep(Duration::from_micros(delay));
                // Of the two, the other one has left the key alone.
                for (machine, is_killed) in machines.iter_mut().zip(&mut is_killed) {
                    if machine.try_wait().unwrap().is_none() {
                        machine.send(Signal::KILL);
                        *is_killed = true;
                    }
                }
            }
        }
        let mut said = String::new();
        for (machine, is_killed) in machines.into_iter().zip(is_killed) {
            let run = Run::of(machine);
            writeln!(said, "{}: {}{}", run.code, run.stdout, run.stderr).unwrap();
            let is_advised = !is_killed && self.deletes_orphans(&run);
            // On a machine that does much else the server may take longer than it has: what is due is left to the next run.
            let is_out = run.stderr.contains("nothing was sent") && run.stderr.contains("the server did not respond");
            // 5: the other machine has the key.
            let is_fine =
                is_killed && run.code == -1 || [0, 5].contains(&run.code) || run.code == 3 && (is_advised || is_out);
            assert!(is_fine, "at {}: {} {}{}", self.now(), run.code, run.stdout, run.stderr);
        }
        let is_killed = is_killed.contains(&true);
        if is_killed {
            self.kills += 1;
            // Nothing renews its leases.
            thread::sleep(LEASE + Duration::from_secs(2));
        }
        (is_killed, said)
    }
}

fn declared(mount: &str, scale: i64) -> String {
    GROUPS.iter().fold(String::new(), |mut text, group| {
        let Group { name, window, max_age_days, jitter_days, .. } = group;
        let how = if group.is_replaced { "how = \"replace\"\ngrace = \"24h\"\n" } else { "" };
        writeln!(
            text,
            "[[secret]]\nname = \"{name}-*\"\nmax-age = \"{}d\"\njitter = \"{}d\"\nwindow = {window}\nsettle = \"0s\"\n\
             concurrency = 8\n{how}to = \"vault:{mount}/{{key_name}}#key\"\n",
            max_age_days * scale,
            jitter_days * scale,
        )
        .unwrap();
        text
    })
}

#[test]
fn months_go_by_and_every_key_is_changed_in_its_window_and_once() {
    let long: Option<usize> = env::var("RIXL_YEAR").ok().map(|keys| keys.parse().unwrap());
    // Both changes of summer time are in a year; those of Europe and America in March, two weeks apart, are in the short form.
    let (keys, scale, days) = long.map_or((8, 1, 20), |keys| (keys, 6, 366));
    let start = TimeZone::UTC.to_timestamp(date(2040, 3, 9).at(0, 0, 0, 0)).unwrap();
    let end = start + (days * 24).hours();
    let place = folder();
    let Some(clock) = clock(place.path()) else { return skip("no C compiler, so the program's clock can't be set") };
    let Some((server, mount)) = block_on(async {
        let server = openbao::shared().await?;
        Some((server, server.mount("2").await))
    }) else {
        return;
    };
    let config = place.path().join("rixl.toml");
    write(&config, &declared(&mount, scale), 0o600);
    let sandbox = Sandbox::builder().dated(true).start().unwrap();
    let random = Random(0x9e37_79b9_7f4a_7c15);
    let most_kills = if long.is_some() { u32::MAX } else { 2 };
    let mut world = World { sandbox, server, mount, clock, config, ahead: 0, random, kills: 0, most_kills, runs: 0 };
    world.goes_on_to(start);

    // Of all ages.
    let mut names = Vec::new();
    for number in 0..keys {
        let group = &GROUPS[number % GROUPS.len()];
        let name = format!("{}-{number:03}", group.name);
        let seconds = group.max_age_days * scale * 86_400;
        let aged = Duration::from_secs(world.random.below(seconds.unsigned_abs() * 9 / 10));
        let key = world.sandbox.create_key(SeedKey::new(&name).with_id(format!("{number:010}")).aged(aged));
        let body = json!({"data": {"key": key.secret}});
        block_on(server.must("POST", &format!("{}/data/{name}", world.mount), Some(body)));
        names.push(name);
    }

    // Two runs of each machine in each opening; by the second one, what was killed is repaired.
    let openings: BTreeMap<&str, Vec<Timestamp>> =
        GROUPS.iter().map(|group| (group.name, group.openings(start, end))).collect();
    let mut times: Vec<Timestamp> = Vec::new();
    for opening in openings.values().flatten() {
        let first = world.random.below(20 * 60);
        let second = first + 60 + world.random.below(20 * 60);
        times.extend([first, second].map(|after| *opening + i64::try_from(after).unwrap().seconds()));
    }
    times.sort();
    for at in times {
        if at > world.now() {
            world.goes_on_to(at);
        }
        let (is_killed, said) = world.apply();
        if !is_killed {
            for name in &names {
                let stored = world.stored(name);
                assert!(world.sandbox.is_live(&stored), "{name} is dead in its place at {}: {said}", world.now());
            }
        }
    }

    let history = world.rixl("history --output json").run();
    assert_eq!(history.code, 0, "{}", history.stderr);
    let lines = json(&history)["history"].as_array().unwrap().clone();
    let time = |line: &Value, name: &str| line[name].as_str().map(|text| text.parse::<Timestamp>().unwrap());
    let (mut changes, mut recovered, mut oldest) = (0, 0, BTreeMap::<&str, f64>::new());
    for name in &names {
        let group = GROUPS.iter().find(|group| name.starts_with(group.name)).unwrap();
        let of_key = lines.iter().filter(|line| line["name"] == name.as_str());
        let mut issued: Vec<Timestamp> = of_key.clone().filter_map(|line| time(line, "issued_at")).collect();
        recovered += of_key.filter(|line| line["is_recovered"] == true).count();
        issued.sort();
        issued.dedup();
        changes += issued.len();
        assert!(!issued.is_empty(), "{name} was never changed");
        for at in &issued {
            let is_in = |from: &Timestamp| *from <= *at && *at < *from + group.hours.hours();
            assert!(openings[group.name].iter().any(is_in), "{name} was changed at {at}, outside its window");
        }
        for pair in issued.windows(2) {
            let hours = pair[1].duration_since(pair[0]).as_secs_f64() / 3600.0;
            let limit = |days: i64| (days * 24) as f64;
            // It begins by the deadline, and is the last one that does.
            let (most, least) = (
                limit(group.max_age_days * scale) + group.hours as f64,
                limit((group.max_age_days - group.jitter_days) * scale - group.gap_days) - group.hours as f64,
            );
            assert!(hours <= most, "{name} was {hours:.1} h old at {}, of {most} at most", pair[1]);
            assert!(hours >= least, "{name} was changed twice, {hours:.1} h apart, at {}", pair[1]);
            let of_group = oldest.entry(group.name).or_default();
            *of_group = of_group.max(hours / 24.0);
        }
    }
    // A response that a kill lost is repaired by one more.
    let rotations: u64 = (0..keys).map(|number| world.sandbox.rotations(&format!("{number:010}"))).sum();
    let created = world.sandbox.calls(CREATE);
    let status = world.rixl("status --output json").run();
    // What waits for the end of an old key has no line in the history yet.
    let open = json(&status)["open"].as_array().map(Vec::len).unwrap_or_else(|| panic!("{status:?}")) as u64;
    let (sent, least) = (rotations + created, changes as u64 + open);
    let killed = u64::from(world.kills);
    assert!((least..=least + killed).contains(&sent), "{sent} requests for {least} changes, {killed} killed");
    println!(
        "{keys} keys, {days} days, {} openings, {} runs of two machines, {} killed: {changes} changes in their windows, \
         {recovered} of them ended by a recovery; oldest secrets in days: {oldest:.1?}",
        openings.values().map(Vec::len).sum::<usize>(),
        world.runs,
        world.kills,
    );
    assert!(world.kills > 0, "none was killed while it changed a key");
}
