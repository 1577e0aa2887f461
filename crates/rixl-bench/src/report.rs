//! The report: what is measured, and in which tables it is shown.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use crate::{
    Failure,
    callgrind::{self, Cost},
    footprint::{self, Footprint},
    pairs::{self, Timing},
    peer::{self, Builder, FACADE, FLOOR, Load, PEERS, PUBLISHED, Peer, succeed},
    server::Server,
    start,
    table::{count, or_dash, table, times},
};

/// What is asked for: how often at least for a time that can be compared, and how often under Callgrind.
const WORKS: [(&str, usize, usize); 5] = [
    ("rotate", 1_536, 200),
    ("exchange", 1_536, 200),
    ("list-1", 1_536, 200),
    ("list-100", 1_536, 50),
    ("list-10000", 3, 1),
];
const AT_ONCE: [usize; 3] = [1, 16, 256];

type Built = Vec<(Peer, Option<PathBuf>)>;

/// Prints the tables as they are done, and returns all of them.
pub fn print(target_dir: &Path, rounds: usize) -> Result<String, Failure> {
    let mut report = String::new();
    let mut add = |text: String| {
        println!("{text}");
        report += &text;
        report.push('\n');
    };
    add(machine()?);
    let builder = Builder { target_dir, tls: true, also: "" };
    let built = PEERS.into_iter().map(|peer| Ok((peer, builder.build(peer)?))).collect::<Result<Built, Failure>>()?;
    add(format!("### Calls\n\n{}", calls(&built, rounds)?));
    add(format!("### Memory\n\n{}", memory(&built)?));
    add(format!("### Where the instructions of a rotation go\n\n{}", breakdown(&built)?));
    add(format!("### Start\n\n{}", starts(rounds)?));
    add(format!("### Build\n\n{}", footprints()?));
    Ok(report)
}

fn machine() -> Result<String, Failure> {
    let cpu = fs::read_to_string("/proc/cpuinfo")?;
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = thread::available_parallelism()?;
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let [rustc, valgrind] = [("rustc", "--version"), ("valgrind", "--version")]
        .map(|(program, argument)| succeed(Command::new(program).arg(argument)));
    let lock = fs::read_to_string(peer::folder().join("Cargo.lock"))?;
    let versions = ["reqwest", "hyper", "hyper-util", "tokio", "progenitor-client", "rixl"].map(|name| {
        let entry =
            lock.split("[[package]]").find_map(|entry| entry.trim().strip_prefix(&format!("name = \"{name}\"")));
        let version = entry.and_then(|entry| entry.split('"').nth(1)).unwrap_or("?");
        format!("{name} {version}")
    });
    Ok(format!(
        "{}, {cores} cores; Linux {}; {}; {}; {}.\n",
        model.trim_start_matches([' ', '\t', ':']),
        kernel.trim(),
        rustc?.trim(),
        valgrind?.trim(),
        versions.join(", ")
    ))
}

fn calls(built: &Built, rounds: usize) -> Result<String, Failure> {
    let mut rows = Vec::new();
    for (work, least, counted) in WORKS {
        let keys = work.strip_prefix("list-").map_or(Ok(2), str::parse)?;
        let server = Server::start(keys)?;
        let costs = built
            .iter()
            .map(|(peer, binary)| {
                let Some(binary) = binary else { return Ok(None) };
                eprintln!("counting {work} by {}", peer.name);
                callgrind::per_call(*peer, binary, &server, work, counted).map(Some)
            })
            .collect::<Result<Vec<_>, Failure>>()?;
        let mut timings = Vec::new();
        for at_once in AT_ONCE {
            eprintln!("timing {work}, {at_once} at once");
            // A list of ten thousand is long enough, and warm after its first page.
            let warm_up = if keys > 100 { 0 } else { at_once };
            // Ratios are of one at a time; the rates say how it goes on from there.
            let rounds = match at_once {
                1 => rounds,
                _ if keys > 100 => 1,
                _ => rounds.min(3),
            };
            let calls = least.max(at_once);
            timings.push(pairs::time(built, &server, Load { work, warm_up, calls, at_once }, rounds)?);
        }
        let floor = built.iter().position(|(peer, _)| *peer == FLOOR).and_then(|floor| costs[floor].as_ref());
        let floor = floor.ok_or("the floor was not counted")?;
        for (index, (peer, _)) in built.iter().enumerate() {
            let of_cost = |show: &dyn Fn(&Cost) -> String| or_dash(costs[index].as_ref().map(show));
            let of_time =
                |at_once: usize, show: &dyn Fn(&Timing) -> String| or_dash(timings[at_once][index].as_ref().map(show));
            let rate = |at_once: usize| of_time(at_once, &|timing| count(timing.requests_per_second));
            rows.push([
                if index == 0 { work.to_owned() } else { String::new() },
                peer.name.to_owned(),
                of_cost(&|cost| count(cost.instructions)),
                of_cost(&|cost| times(cost.instructions / floor.instructions)),
                of_cost(&|cost| count(cost.allocations)),
                of_cost(&|cost| count(cost.allocations - floor.allocations)),
                of_time(0, &|timing| times(timing.wall)),
                of_time(0, &|timing| times(timing.processor)),
                rate(0),
                rate(1),
                rate(2),
            ]);
        }
    }
    let head = [
        "work",
        "client",
        "instructions",
        "×",
        "allocations",
        "+",
        "time ×",
        "processor ×",
        "requests/s, 1 at once",
        "16",
        "256",
    ];
    Ok(table(head, 2, rows))
}

fn memory(built: &Built) -> Result<String, Failure> {
    let mut peaks: Vec<Vec<Option<u64>>> = built.iter().map(|_| Vec::new()).collect();
    for keys in [10_000, 1_000_000] {
        let server = Server::start(keys)?;
        for ((peer, binary), peaks) in built.iter().zip(&mut peaks) {
            eprintln!("listing {keys} keys by {}", peer.name);
            let load = Load { work: &format!("list-{keys}"), warm_up: 0, calls: 1, at_once: 1 };
            peaks.push(peer.run(binary.as_deref(), &server, load)?.map(|run| run.peak_kib));
        }
    }
    let rows = built.iter().zip(&peaks).map(|((peer, _), peaks)| {
        let peak = |place: usize| {
            or_dash(peaks.get(place).copied().flatten().map(|kib| format!("{:.1}", kib as f64 / 1024.0)))
        };
        [peer.name.to_owned(), peak(0), peak(1)]
    });
    Ok(table(["peak memory in MiB, keys listed one by one", "10,000 keys", "1,000,000 keys"], 1, rows))
}

/// The packages of the facade's costs, side by side with the floor's.
fn breakdown(built: &Built) -> Result<String, Failure> {
    let server = Server::start(2)?;
    let [ours, floor] = [FACADE, FLOOR].map(|peer| {
        let (_, binary) = built.iter().find(|(other, _)| *other == peer).ok_or("it was not built")?;
        callgrind::per_call(peer, binary.as_ref().ok_or("it was not built")?, &server, "rotate", 200)
    });
    let (ours, floor) = (ours?, floor?);
    let of = |cost: &Cost, package: &str| cost.by_package.get(package).copied().unwrap_or_default();
    let packages: BTreeSet<_> = ours.by_package.keys().chain(floor.by_package.keys()).collect();
    let mut rows: Vec<_> = packages
        .into_iter()
        .map(|package| (package.as_str(), of(&ours, package), of(&floor, package)))
        .filter(|(_, ours, floor)| ours.max(*floor) >= 100.0)
        .collect();
    rows.sort_by(|(_, a, _), (_, b, _)| b.total_cmp(a));
    let rows = rows.into_iter().chain([("all", ours.instructions, floor.instructions)]);
    let rows = rows.map(|(package, ours, floor)| [package.to_owned(), count(ours), count(floor), count(ours - floor)]);
    Ok(table(["lines of", FACADE.name, FLOOR.name, "more"], 1, rows))
}

fn starts(rounds: usize) -> Result<String, Failure> {
    let rows = start::measure(&footprint::rixl()?, 4 * rounds)?.into_iter().map(|start| {
        let of_python = or_dash(start.of_python.map(times));
        [start.command.to_owned(), count(start.instructions / 1e3), times(start.of_true), of_python]
    });
    Ok(table(
        ["command", "thousand instructions", "time, × that of `true`", "× that of Python importing httpx"],
        1,
        rows,
    ))
}

fn footprints() -> Result<String, Failure> {
    let measured = [FACADE, FLOOR, PUBLISHED].map(|peer| Ok((peer, footprint::measure(peer)?)));
    let measured = measured.into_iter().collect::<Result<Vec<_>, Failure>>()?;
    let (_, published) = measured.last().ok_or("nothing was built")?;
    let rows = measured.iter().map(|(peer, footprint)| {
        let Footprint { packages, debug, release, size } = footprint;
        [
            peer.name.to_owned(),
            packages.to_string(),
            times(debug.wall / published.debug.wall),
            times(debug.processor / published.debug.processor),
            times(release.wall / published.release.wall),
            times(release.processor / published.release.processor),
            format!("{:.1}", *size as f64 / 1e6),
        ]
    });
    let mut rixl = [const { String::new() }; 7];
    rixl[0] = "`rixl`, the program".to_owned();
    rixl[6] = format!("{:.1}", fs::metadata(footprint::rixl()?)?.len() as f64 / 1e6);
    let rows = rows.chain([rixl]);
    let head = [
        "a program with",
        "packages",
        "`cargo build`: time ×",
        "processor ×",
        "`--release`: time ×",
        "processor ×",
        "MB, stripped",
    ];
    Ok(table(head, 1, rows))
}
