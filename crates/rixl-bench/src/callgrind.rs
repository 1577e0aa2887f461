//! Instructions and allocations of a call, counted by Callgrind: the difference of two runs that differ only in their
//! number of calls.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use crate::{
    Failure,
    peer::{Load, Peer, succeed},
    server::Server,
};

/// The functions of the allocator.
const ALLOCATIONS: [&str; 6] = ["malloc", "calloc", "realloc", "posix_memalign", "aligned_alloc", "memalign"];

/// The cost of a program or a call. The kernel's instructions are not counted.
#[derive(Default)]
pub struct Cost {
    pub instructions: f64,
    pub allocations: f64,
    /// Instructions by the package whose lines they come from.
    pub by_package: BTreeMap<String, f64>,
}

/// The cost of one call. The peer must have been built with line information.
pub fn per_call(peer: Peer, binary: &Path, server: &Server, work: &str, calls: usize) -> Result<Cost, Failure> {
    let [few, many] = [0, calls].map(|calls| {
        whole(binary, |command| peer.set_up(command, server, Load { work, warm_up: 1, calls, at_once: 1 }))
    });
    let (few, mut cost) = (few?, many?);
    let calls = calls as f64;
    cost.instructions = (cost.instructions - few.instructions) / calls;
    cost.allocations = (cost.allocations - few.allocations) / calls;
    for (package, instructions) in &mut cost.by_package {
        *instructions = (*instructions - few.by_package.get(package).copied().unwrap_or_default()) / calls;
    }
    Ok(cost)
}

/// The cost of a whole program, from its start to its end.
pub fn whole(binary: &Path, set_up: impl FnOnce(&mut Command)) -> Result<Cost, Failure> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("out");
    let mut command = Command::new("valgrind");
    command.args(["--tool=callgrind", "--compress-strings=no", "--compress-pos=no"]);
    command.arg(format!("--callgrind-out-file={}", file.display())).arg(binary);
    set_up(&mut command);
    succeed(&mut command)?;
    read(&fs::read_to_string(file)?)
}

/// Reads Callgrind's own format: <https://valgrind.org/docs/manual/cl-format.html>.
fn read(text: &str) -> Result<Cost, Failure> {
    let mut cost = Cost::default();
    let (mut file, mut callee) = ("", "");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        match line.split_once('=') {
            // The file of a function, and of what was inlined into it.
            Some(("fl" | "fi" | "fe", name)) => file = name,
            Some(("cfn", name)) => callee = name,
            Some(("calls", rest)) => {
                if ALLOCATIONS.contains(&callee) {
                    cost.allocations += number(rest.split(' ').next())?;
                }
                // The cost of the callee, which has its own lines.
                lines.next();
            }
            Some(_) => {}
            None if line.starts_with(|first: char| first.is_ascii_digit()) => {
                let instructions = number(line.split(' ').nth(1))?;
                cost.instructions += instructions;
                *cost.by_package.entry(package(file)).or_default() += instructions;
            }
            None => {}
        }
    }
    if cost.instructions > 0.0 { Ok(cost) } else { Err("Callgrind counted nothing".into()) }
}

fn number(text: Option<&str>) -> Result<f64, Failure> {
    Ok(text.ok_or("Callgrind's file ends within a line")?.parse()?)
}

/// Whose lines a file holds.
fn package(file: &str) -> String {
    if let Some((_, path)) = file.split_once("/registry/src/") {
        let name = path.split('/').nth(1).unwrap_or_default();
        // Without the version.
        return name.rsplit_once('-').map_or(name, |(name, _)| name).to_owned();
    }
    if let Some((_, path)) = file.split_once("/crates/") {
        let name = path.split('/').next().unwrap_or_default();
        return if name == "rixl-bench" { "the benchmark".to_owned() } else { name.to_owned() };
    }
    let name = match file {
        _ if file.contains("/library/") => "Rust's standard library",
        _ if file.contains("malloc") => "the allocator",
        _ if file.contains("/mem") => "memcpy and the like",
        _ => "the rest of libc",
    };
    name.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
version: 1
creator: callgrind-3.19.0
events: Ir
summary: 47

fl=/root/.cargo/registry/src/index.crates.io-1949cf8c6b5b557f/http-body-1.0.1/src/lib.rs
fn=poll
5 7
fi=/rustc/5980/library/core/src/mem/mod.rs
9 3
fe=/work/crates/rixl-api/src/hooks.rs
12 20
cfi=./malloc/malloc.c
cfn=malloc
calls=2 33
12 17

fl=./malloc/./malloc/malloc.c
fn=malloc
33 17
";

    #[test]
    fn costs_go_to_the_lines_they_come_from_and_calls_of_the_allocator_are_counted() {
        let cost = read(FILE).unwrap();
        assert_eq!((cost.instructions, cost.allocations), (47.0, 2.0));
        let packages: Vec<_> = cost.by_package.iter().map(|(name, count)| (name.as_str(), *count)).collect();
        let expected =
            [("Rust's standard library", 3.0), ("http-body", 7.0), ("rixl-api", 20.0), ("the allocator", 17.0)];
        assert_eq!(packages, expected);
    }

    #[test]
    fn a_file_without_costs_is_an_error() {
        assert!(read("version: 1\n").is_err());
    }
}
