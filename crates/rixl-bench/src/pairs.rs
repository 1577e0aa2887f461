//! Times, side by side: in each round every peer does the same once, and is compared with the floor of that round.

use std::path::PathBuf;

use crate::{
    Failure,
    peer::{FLOOR, Load, Peer, Run},
    server::Server,
};

/// The median over all rounds.
pub struct Timing {
    /// Times of the clock and of the processor, as multiples of the floor's.
    pub wall: f64,
    pub processor: f64,
    /// Requests per second, for one machine on one day.
    pub requests_per_second: f64,
}

/// One timing for each peer, in their order; `None` for one that is not here.
pub fn time(
    peers: &[(Peer, Option<PathBuf>)],
    server: &Server,
    load: Load<'_>,
    rounds: usize,
) -> Result<Vec<Option<Timing>>, Failure> {
    let mut seen: Vec<Vec<(Run, f64)>> = peers.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        // Another one begins each round: whoever runs after a slow one finds another machine.
        for index in (0..peers.len()).map(|index| (index + round) % peers.len()) {
            let ((peer, binary), runs) = (&peers[index], &mut seen[index]);
            let before = server.calls();
            if let Some(run) = peer.run(binary.as_deref(), server, load)? {
                // Pages are requests: of those that came, the share that the clock ran for.
                let share = load.calls as f64 / (load.warm_up + load.calls) as f64;
                runs.push((run, (server.calls() - before) as f64 * share));
            }
        }
    }
    let floor = peers.iter().position(|(peer, _)| *peer == FLOOR).ok_or("the floor is not among the peers")?;
    let floor: Vec<_> = seen.get(floor).ok_or("no floor")?.iter().map(|(run, _)| *run).collect();
    Ok(seen
        .iter()
        .map(|runs| {
            let of = |value: &dyn Fn(&(Run, f64), &Run) -> f64| {
                median(runs.iter().zip(&floor).map(|(run, floor)| value(run, floor)).collect())
            };
            Some(Timing {
                wall: of(&|(run, _), floor| run.wall / floor.wall)?,
                processor: of(&|(run, _), floor| run.processor / floor.processor)?,
                requests_per_second: of(&|(run, requests), _| requests / (run.wall / 1e9))?,
            })
        })
        .collect())
}

pub fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() % 2 {
        0 => Some((values.get(middle.checked_sub(1)?)? + values.get(middle)?) / 2.0),
        _ => values.get(middle).copied(),
    }
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median(vec![]), None);
        assert_eq!(median(vec![3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), Some(2.5));
    }
}
