//! The budgets, for reproducible results: counts, never times.

use std::{fs, path::Path};

use crate::{
    Failure, callgrind,
    footprint::{packages, rixl},
    peer::{Builder, FACADE, FLOOR, folder},
    server::Server,
};

/// Prints each budget, and returns whether all are kept.
pub fn check(target_dir: &Path) -> Result<bool, Failure> {
    let root = folder().join("../..");
    let facade = packages(&root, &["-p", "rixl-credentials"])?;
    let without_tls = packages(&root, &["-p", "rixl-credentials", "--no-default-features"])?;
    // One set of features for both: like is compared with like, and what they depend on is built once.
    let builder = Builder { target_dir, tls: false, also: "facade,reqwest" };
    let server = Server::start(100)?;
    let costs = |peer| -> Result<_, Failure> {
        let binary = builder.build(peer)?.ok_or("it can't be built")?;
        let cost = |work, calls| callgrind::per_call(peer, &binary, &server, work, calls);
        Ok((cost("rotate", 200)?, cost("list-100", 50)?))
    };
    let (ours, our_list) = costs(FACADE)?;
    let (floor, floor_list) = costs(FLOOR)?;
    let size = fs::metadata(rixl()?)?.len();
    let rows = [
        ("packages of the facade", facade as f64, 112.0),
        ("packages of the facade without TLS", without_tls as f64, 98.0),
        ("instructions of a rotation, as multiples of reqwest's by hand", ours.instructions / floor.instructions, 1.12),
        ("instructions of a list of 100 keys, likewise", our_list.instructions / floor_list.instructions, 1.18),
        ("allocations of a rotation beyond reqwest's by hand", ours.allocations - floor.allocations, 30.0),
        ("megabytes of rixl, stripped", size as f64 / 1e6, 8.75),
    ];
    let mut kept = 0;
    for (what, value, max) in rows {
        let is_kept = value <= max;
        kept += usize::from(is_kept);
        println!("{what}: {value:.3}, at most {max}{}", if is_kept { "" } else { " EXCEEDED" });
    }
    println!("{kept} passed, {} failed", rows.len() - kept);
    Ok(kept == rows.len())
}
