//! A model check of the real code: rotator, recovery and journal against the sandbox, through every crash and failure,
//! what a network may do, and rivals. What must hold is in `world`.
//!
//! `RIXL_MODEL_CASES=20000` makes the random walk longer, `RIXL_MODEL_FULL=1` the exhaustive one.

mod explore;
mod ground;
mod process;
mod random;
mod world;

use std::{sync::Arc, time::Duration};

use rixl_sandbox::KeyForm;

use self::{
    explore::{Reach, Seen, Tally, explore},
    process::Blow,
    world::{Case, Layout, NETS, Net, Rival, Rules, Server, Task},
};

const AT_ONCE: Duration = Duration::ZERO;
const GRACE: Duration = Duration::from_secs(3600);

fn server(grace: Duration) -> Arc<Server> {
    Server::start(grace, Duration::ZERO, KeyForm::Whole)
}

fn is_full() -> bool {
    std::env::var_os("RIXL_MODEL_FULL").is_some()
}

/// One rotator, struck again and again until no new state comes of it. The short form strikes a state of a kind that it has
/// seen before in some places only, and still comes to every kind that striking everywhere comes to: the snapshots are of
/// both.
async fn one_rotator(name: &str, grace: Duration) {
    let (server, mut tally, mut seen) = (server(grace), Tally::default(), Seen::default());
    let (sample, max_processes) = if is_full() { (1, 9) } else { (4, 2) };
    let reach = Reach { sample, max_processes, ..Reach::WHOLE };
    for net in NETS {
        tally
            .add(explore(&server, Rules::WHOLE, &[net], Reach { fails: net == Net::Intact, ..reach }, &mut seen).await);
    }
    eprintln!("one rotator, grace {grace:?}, one fault of the network: {tally}");
    insta::assert_snapshot!(name, seen.kinds().join("\n"));
    if is_full() {
        let mut seen = Seen::default();
        for first in NETS {
            tally.add(explore(&server, Rules::WHOLE, &[first], Reach::WHOLE, &mut seen).await);
        }
        for first in NETS {
            for second in NETS {
                let reach = Reach { fails: false, ..Reach::WHOLE };
                tally.add(explore(&server, Rules::WHOLE, &[first, second], reach, &mut seen).await);
            }
        }
    }
    eprintln!("one rotator, grace {grace:?}: {tally}");
    tally.assert_none();
}

#[tokio::test]
async fn one_rotator_where_old_secrets_die_at_once() {
    one_rotator("kinds_at_once", AT_ONCE).await;
}

#[tokio::test]
async fn one_rotator_where_old_secrets_live_on() {
    one_rotator("kinds_grace", GRACE).await;
}

#[tokio::test]
async fn one_rotator_with_the_journal_of_earnest() {
    let max_processes = if is_full() { 9 } else { 1 };
    let layout = Layout { in_folder: true, ..Layout::ONE };
    let reach = Reach { fails: is_full(), layout, max_processes, ..Reach::WHOLE };
    let tally = explore(&server(AT_ONCE), Rules::WHOLE, &[], reach, &mut Seen::default()).await;
    eprintln!("folder and file: {tally}");
    tally.assert_none();
}

/// One rotator of a key with two places: killed and failed between any two of them, and before and after the step that follows
/// once both have the secret; where that is asked for, so is its recovery.
async fn two_places(name: &str, grace: Duration, deploys: bool, max_processes: usize) {
    let (server, mut tally, mut seen) = (server(grace), Tally::default(), Seen::default());
    let (sample, max_processes) = if is_full() { (1, 9) } else { (6, max_processes) };
    let layout = Layout { deploys, ..Layout::TWO };
    // What comes late depends on how fast the machine is.
    for net in [Net::Intact, Net::Lost] {
        let reach = Reach { fails: net == Net::Intact, layout, max_processes, sample };
        tally.add(explore(&server, Rules::WHOLE, &[net], reach, &mut seen).await);
    }
    eprintln!("two places, grace {grace:?}, deployed: {deploys}: {tally}");
    // Some that need several strikes are come to by the long form alone.
    if !is_full() {
        insta::assert_snapshot!(name, seen.kinds().join("\n"));
    }
    tally.assert_none();
}

#[tokio::test]
async fn one_rotator_with_two_places_where_old_secrets_die_at_once() {
    two_places("kinds_two_places", AT_ONCE, false, 2).await;
}

#[tokio::test]
async fn one_rotator_with_two_places_where_old_secrets_live_on() {
    two_places("kinds_two_places_grace", GRACE, false, 1).await;
}

#[tokio::test]
async fn one_rotator_with_two_places_and_a_deploy_step() {
    two_places("kinds_two_places_deployed", AT_ONCE, true, 1).await;
}

#[tokio::test]
async fn one_rotator_with_two_places_and_a_bad_network() {
    let (server, mut tally) = (server(AT_ONCE), Tally::default());
    let (sample, max_processes) = if is_full() { (1, 9) } else { (6, 1) };
    let reach = Reach { fails: is_full(), layout: Layout::TWO, max_processes, sample };
    for net in NETS {
        tally.add(explore(&server, Rules::WHOLE, &[net], reach, &mut Seen::default()).await);
    }
    eprintln!("two places, one fault of the network: {tally}");
    tally.assert_none();
}

/// As they are in earnest: with the locks and the torn lines of a folder.
#[tokio::test]
async fn one_rotator_with_two_places_in_a_folder() {
    let layout = Layout { in_folder: true, deploys: true, ..Layout::TWO };
    let reach = Reach { fails: is_full(), layout, max_processes: 1, ..Reach::WHOLE };
    let tally = explore(&server(AT_ONCE), Rules::WHOLE, &[], reach, &mut Seen::default()).await;
    eprintln!("folder and two files: {tally}");
    tally.assert_none();
}

const RIVALS: [Rival; 5] = [Rival::Rotator, Rival::Recovery, Rival::Stranger, Rival::Human, Rival::SilentHuman];

/// A rival who acts between any two operations of a run, or of the recovery after a lost response.
async fn rivals(rules: Rules, layout: Layout, graces: &[Duration], rivals: &[Rival], nets: &[Net]) -> Tally {
    let mut tally = Tally::default();
    for grace in graces {
        let server = server(*grace);
        for rival in rivals {
            for net in nets {
                // Until it comes after the end.
                for in_recovery in [false, true] {
                    for at in 0.. {
                        let case = Case::new(&server, rules, &[*net], layout);
                        case.begin().await;
                        let blow = [(at, Blow::Rival(*rival))];
                        let process = if in_recovery {
                            case.run(Task::Rotate, 0, &[]).await;
                            case.run(Task::Recover, 0, &blow).await
                        } else {
                            case.run(Task::Rotate, 0, &blow).await
                        };
                        let is_over = process.trace().len() <= at;
                        tally.end(&case, (grace, net, in_recovery, at, rival)).await;
                        if is_over {
                            break;
                        }
                        tally.points += 1;
                    }
                }
            }
        }
    }
    tally
}

#[tokio::test]
async fn rivals_between_any_two_operations() {
    let nets: &[Net] = if is_full() { &NETS } else { &[Net::Intact, Net::Lost, Net::Late] };
    let tally = rivals(Rules::WHOLE, Layout::ONE, &[AT_ONCE, GRACE], &RIVALS, nets).await;
    eprintln!("rivals: {tally}");
    tally.assert_none();
}

#[tokio::test]
async fn rivals_between_any_two_operations_on_two_places() {
    let nets: &[Net] = if is_full() { &NETS } else { &[Net::Intact, Net::Lost] };
    let tally = rivals(Rules::WHOLE, Layout::TWO, &[AT_ONCE], &RIVALS, nets).await;
    eprintln!("rivals at two places: {tally}");
    tally.assert_none();
}

const DEPLOYED: Layout = Layout { deploys: true, ..Layout::TWO };

/// It puts the old secret back before the step that has consumers take the new one, and after it.
#[tokio::test]
async fn a_place_is_put_back_between_any_two_operations() {
    let nets: &[Net] = if is_full() { &NETS } else { &[Net::Intact, Net::Lost] };
    let tally = rivals(Rules::WHOLE, DEPLOYED, &[AT_ONCE], &[Rival::Configuration], nets).await;
    eprintln!("a place is put back: {tally}");
    tally.assert_none();
}

// What follows takes a part of the protocol away, and the same judge must notice.

#[tokio::test]
async fn without_settling_a_copy_of_the_request_kills_the_stored_secret() {
    let rules = Rules { has_settling: false, ..Rules::WHOLE };
    let reach = Reach { fails: false, max_processes: 0, ..Reach::WHOLE };
    let tally = explore(&server(AT_ONCE), rules, &[Net::Copied], reach, &mut Seen::default()).await;
    tally.assert_some("a day later the store does not open the key");
}

#[tokio::test]
async fn without_check_and_set_a_dead_secret_replaces_a_live_one() {
    let rules = Rules { is_checked: false, ..Rules::WHOLE };
    let tally = rivals(rules, Layout::ONE, &[AT_ONCE], &[Rival::Human], &[Net::Intact]).await;
    tally.assert_some("a live secret is replaced by a dead one");
}

#[tokio::test]
async fn without_the_lock_two_send_at_the_same_time() {
    let rules = Rules { is_locking: false, ..Rules::WHOLE };
    let tally = rivals(rules, Layout::ONE, &[AT_ONCE], &[Rival::Recovery], &[Net::Intact]).await;
    tally.assert_some("two rotators of one journal send at the same time");
}

#[tokio::test]
async fn without_the_escrow_a_secret_is_lost_outside_of_the_window() {
    let rules = Rules { has_escrow: false, ..Rules::WHOLE };
    let reach = Reach { fails: false, max_processes: 1, ..Reach::WHOLE };
    let tally = explore(&server(AT_ONCE), rules, &[], reach, &mut Seen::default()).await;
    tally.assert_some("a secret is nowhere, outside of the window");
}
