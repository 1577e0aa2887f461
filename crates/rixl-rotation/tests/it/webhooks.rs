//! The signing secret of a webhook endpoint, through the same protocol: it can't be tried, and the one before signs for a day.

use std::{
    fs,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use rixl_credentials::{EndpointId, NewWebhookEndpoint, OrganizationId, ProjectId, Timestamp};
use rixl_rotation::{
    Account, Effect as Done, Ending, Failure, FailureKind, OnLiveSecret, ProbeStep, RecoverOptions, Recovery,
    RecoveryAction, Report, Rotator, fingerprint, open_runs,
    store::{DotenvStore, FileStore, Places, Store, Stores},
};
use rixl_sandbox::{Effect, Fault};
use serde_json::Value;

use crate::bench::{Bench, Spoiled, set_private};

const ROTATE: &str = "rotateWebhookSecret";

/// An endpoint, and a file with its secret.
struct World {
    bench: Bench,
    organization: OrganizationId,
    project: ProjectId,
    id: EndpointId,
    first: String,
}

impl World {
    async fn new() -> Self {
        let bench = Bench::new();
        let organization = bench.sandbox.organization_id().parse().unwrap();
        let project = bench.sandbox.project_id().parse().unwrap();
        let (id, first) = endpoint(&bench, &organization, &project).await;
        write(&bench.folder.path().join("hook"), &first);
        Self { bench, organization, project, id, first }
    }

    fn rotator(&self) -> Rotator {
        let events = Arc::clone(&self.bench.events);
        let account = Account::new(self.bench.client(), self.organization.clone());
        Rotator::new(account, self.bench.journal())
            .with_observer(move |event| events.lock().unwrap().push(event.clone()))
    }

    fn path(&self) -> PathBuf {
        self.bench.folder.path().join("hook")
    }

    fn store(&self) -> FileStore {
        FileStore::new(self.path()).unwrap()
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    async fn rotate(&self) -> Result<Report, Failure> {
        self.rotator().rotate_webhook(&self.project, &self.id, self.store()).await
    }

    async fn recover(&self, options: RecoverOptions) -> Result<Recovery, Failure> {
        let mut recovered = self.rotator().recover(&Stores::default(), options).await.unwrap();
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        let recovered = recovered.pop().unwrap();
        assert_eq!(recovered.entry, self.entry());
        recovered.result
    }

    fn entry(&self) -> String {
        format!("webhook-{}-{}", self.project, self.id)
    }

    fn signs_with(&self, secret: &str) -> bool {
        self.bench.sandbox.signs_with(self.id.as_str(), secret)
    }

    fn sent(&self) -> u64 {
        self.bench.sandbox.calls(ROTATE)
    }

    fn inject(&self, fault: Fault) {
        self.bench.sandbox.inject(fault.on(ROTATE)).unwrap();
    }

    fn told(&self) -> String {
        self.bench.story()
    }

    /// No secret of an endpoint was shown to RIXL as an API key.
    fn assert_not_probed(&self) {
        let calls = ["exchangeApiKey", "exchangeApiKeyV1"].map(|operation| self.bench.sandbox.calls(operation));
        assert_eq!(calls, [0, 0]);
    }
}

async fn endpoint(bench: &Bench, organization: &OrganizationId, project: &ProjectId) -> (EndpointId, String) {
    let webhooks = bench.client().organization(organization).webhooks(project);
    let new = NewWebhookEndpoint::new("https://example.com/hook", ["image.ready"]);
    let issued = webhooks.create(new).await.unwrap();
    (issued.endpoint.id, issued.secret.expose_secret().to_owned())
}

fn write(path: &std::path::Path, text: &str) {
    fs::write(path, text).unwrap();
    set_private(path);
}

fn hours(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64() / 3600.0
}

#[tokio::test]
async fn the_new_secret_is_stored_and_both_sign_for_a_day() {
    let world = World::new().await;
    let before = Timestamp::now();
    let report = world.rotate().await.unwrap();
    assert_eq!((report.ending, report.rotations, report.outage), (Ending::Rotated, 1, None));
    assert_eq!((report.key_id, report.endpoint_id), (None, Some(world.id.clone())));
    assert_eq!(report.warnings, []);
    assert_eq!(report.fingerprint, Some(fingerprint(&world.stored())));
    let until = report.signed_with_both_until.unwrap();
    assert!((23.9..24.1).contains(&hours(before, until)), "{until}");
    assert!(world.stored() != world.first && world.signs_with(&world.stored()) && world.signs_with(&world.first));
    world.bench.sandbox.advance(Duration::from_secs(24 * 3600));
    assert!(world.signs_with(&world.stored()) && !world.signs_with(&world.first));
    world.bench.assert_clean();
    world.assert_not_probed();

    let [audit] = &world.bench.history().await[..] else { panic!() };
    assert_eq!((audit.change.as_str(), &audit.key_id), ("webhook", &None));
    assert_eq!(audit.endpoint_id.as_deref(), Some(world.id.as_str()));
    assert_eq!(audit.project_id.as_deref(), Some(world.project.as_str()));
    assert_eq!(audit.signed_with_both_until, Some(until));
    assert_eq!(audit.old_fingerprint, Some(fingerprint(&world.first)));
    assert_eq!(audit.new_fingerprint, Some(fingerprint(&world.stored())));
}

#[tokio::test]
async fn a_second_rotation_within_a_day_is_warned_of_before_it_is_sent() {
    let world = World::new().await;
    world.rotate().await.unwrap();
    let second = world.stored();
    let prepared = world.rotator().prepare_webhook(&world.project, &world.id, world.store()).await.unwrap();
    assert!(world.told().contains("the last rotation is less than 24 hours old"), "{}", world.told());
    assert_eq!(world.sent(), 1);
    let report = prepared.rotate().await.unwrap();
    assert_eq!(report.warnings.len(), 1, "{:?}", report.warnings);
    // The sandbox reads it so that the first one ends.
    assert!(world.signs_with(&world.stored()) && world.signs_with(&second) && !world.signs_with(&world.first));
}

#[tokio::test]
async fn after_a_lost_response_it_is_rotated_again_once_that_is_said() {
    for fault in [Fault::new(Effect::Close), Fault::new(Effect::Close).before_commit()] {
        let world = World::new().await;
        world.inject(fault);
        let failure = world.rotate().await.unwrap_err();
        assert_eq!((failure.kind(), failure.effect()), (FailureKind::Unknown, Done::Unknown));
        assert!(world.stored() == world.first && world.signs_with(&world.first));
        let [open] = &open_runs(&world.bench.journal()).await.unwrap()[..] else { panic!() };
        assert_eq!((open.entry.as_str(), &open.endpoint_id), (world.entry().as_str(), &Some(world.id.clone())));
        // Nothing else begins before that is ended.
        let again = world.rotate().await.unwrap_err();
        assert!(again.to_string().contains("unfinished; nothing was sent"), "{again}");

        let Ok(Recovery::Would(plan)) = world.recover(RecoverOptions::default().with_dry_run()).await else { panic!() };
        assert_eq!(plan.action, RecoveryAction::RotateAgain);
        assert!(plan.reason.contains("a further rotation may end that at once"), "{}", plan.reason);
        assert!(plan.wait.is_some_and(|wait| wait > Duration::ZERO));
        assert_eq!(world.sent(), 1);

        world.bench.events.lock().unwrap().clear();
        let Ok(Recovery::Done(report)) = world.recover(RecoverOptions::default()).await else { panic!() };
        assert_eq!((report.ending, report.rotations, world.sent()), (Ending::Rotated, 2, 2));
        assert_eq!(report.signed_with_both_until, None);
        let said = "the endpoint is rotated again";
        assert!(report.warnings.iter().any(|warning| warning.message.starts_with(said)), "{:?}", report.warnings);
        let told = world.told();
        assert!(told.find(said) < told.find("recorded durably; the request is sent now"), "{told}");
        assert!(told.contains("for the first request to be over"), "{told}");
        assert!(world.signs_with(&world.stored()));
        world.bench.assert_clean();
        world.assert_not_probed();
    }
}

#[tokio::test]
async fn a_lost_response_can_be_given_up() {
    let world = World::new().await;
    world.inject(Fault::new(Effect::Close));
    world.rotate().await.unwrap_err();
    let options = RecoverOptions::default().with_on_live(OnLiveSecret::Drop);
    let Ok(Recovery::Done(report)) = world.recover(options).await else { panic!() };
    // Nobody says that the old one stays valid.
    assert_eq!((report.ending, world.sent()), (Ending::Abandoned, 1));
    world.bench.assert_clean();
}

#[tokio::test]
async fn a_response_without_a_secret_is_no_response() {
    let world = World::new().await;
    world.inject(Fault::new(Effect::edit_json(|json| *json = Value::Null)));
    // Nothing tells whether it was carried out, and another rotation may end what consumers have.
    let failure = world.rotate().await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect(), world.sent()), (FailureKind::Unknown, Done::Unknown, 1));
    assert!(failure.to_string().contains("the response holds no secret"), "{failure}");
    let Ok(Recovery::Done(report)) = world.recover(RecoverOptions::default()).await else { panic!() };
    assert_eq!((report.ending, report.rotations, report.signed_with_both_until), (Ending::Rotated, 2, None));
    assert!(world.signs_with(&world.stored()));
    assert!(world.told().contains("the endpoint is rotated again"), "{}", world.told());
    world.bench.assert_clean();
}

#[tokio::test]
async fn what_is_refused_changes_nothing() {
    let world = World::new().await;
    let refusal = Effect::Respond { status: 400, headers: Vec::new(), body: br#"{"code":400,"error":"no"}"#.to_vec() };
    world.inject(Fault::new(refusal).before_commit());
    let failure = world.rotate().await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Refused, Done::Unchanged));
    world.bench.assert_clean();

    let nowhere: EndpointId = "nowhere001".parse().unwrap();
    let failure = world.rotator().rotate_webhook(&world.project, &nowhere, world.store()).await.unwrap_err();
    assert!(failure.to_string().contains("has no webhook endpoint nowhere001; nothing was sent"), "{failure}");
    let rotator = Rotator::new(Account::first_generation(world.bench.client()), world.bench.journal());
    let failure = rotator.rotate_webhook(&world.project, &world.id, world.store()).await.unwrap_err();
    assert!(failure.to_string().contains("nothing was sent; name it"), "{failure}");
    // No page takes a signing secret as a key, and no list tells of its use.
    let probe = ProbeStep::url("https://example.com/").unwrap();
    for rotator in [world.rotator().with_probe_step(probe), world.rotator().with_use_within(Duration::from_secs(1))] {
        let failure = rotator.rotate_webhook(&world.project, &world.id, world.store()).await.unwrap_err();
        assert!(failure.to_string().contains("can't be tried at a URL"), "{failure}");
    }
    assert_eq!(world.sent(), 1);
    assert_eq!(world.stored(), world.first);
}

#[tokio::test]
async fn an_endpoint_that_was_deleted_meanwhile_is_not_rotated_for_ever() {
    let world = World::new().await;
    world.inject(Fault::new(Effect::Close));
    world.rotate().await.unwrap_err();
    world.bench.client().organization(&world.organization).webhooks(&world.project).delete(&world.id).await.unwrap();
    let failure = world.recover(RecoverOptions::default()).await.unwrap_err();
    assert!(failure.to_string().contains("there is no webhook endpoint"), "{failure}");
    assert_eq!(world.sent(), 1);
    let options = RecoverOptions::default().with_on_live(OnLiveSecret::Drop);
    let Ok(Recovery::Done(report)) = world.recover(options).await else { panic!() };
    assert_eq!(report.ending, Ending::Abandoned);
}

#[tokio::test]
async fn the_places_of_keys_and_endpoints_are_kept_apart() {
    let world = World::new().await;
    let Bench { key_id, folder, .. } = &world.bench;
    // A key's secret is no endpoint's, and the other way round, whatever the journal knows.
    let key_file = || FileStore::new(folder.path().join("secret")).unwrap();
    let failure = world.rotator().rotate_webhook(&world.project, &world.id, key_file()).await.unwrap_err();
    assert!(
        failure.to_string().contains("does not look like a webhook endpoint's secret; nothing was sent"),
        "{failure}"
    );
    let failure = world.rotator().rotate(key_id, world.store()).await.unwrap_err();
    assert!(failure.to_string().contains("does not look like an API key's secret; nothing was sent"), "{failure}");
    assert_eq!(world.sent(), 0);

    // Of two endpoints the journal knows.
    world.rotate().await.unwrap();
    let (other, _) = endpoint(&world.bench, &world.organization, &world.project).await;
    let failure = world.rotator().rotate_webhook(&world.project, &other, world.store()).await.unwrap_err();
    let owner = format!("has had the secret of a webhook endpoint, {}, since", world.entry());
    assert!(failure.to_string().contains(&owner), "{failure}");
    // Its secret is in another place.
    let elsewhere = || FileStore::new(folder.path().join("elsewhere")).unwrap();
    let failure = world.rotator().rotate_webhook(&world.project, &world.id, elsewhere()).await.unwrap_err();
    assert!(failure.to_string().contains("would be left with a dead one; nothing was sent"), "{failure}");
    world.rotator().with_leave(true).rotate_webhook(&world.project, &world.id, elsewhere()).await.unwrap();
    assert_eq!(world.sent(), 2);
}

#[tokio::test]
async fn every_place_gets_the_secret() {
    let world = World::new().await;
    let dotenv = world.bench.folder.path().join(".env");
    write(&dotenv, &format!("NAME=billing\nHOOK={}\n", world.first));
    let stores: [Arc<dyn Store>; 2] = [Arc::new(world.store()), Arc::new(DotenvStore::new(&dotenv, "HOOK").unwrap())];
    let places: Places = stores.into_iter().collect();
    let report = world.rotator().rotate_webhook(&world.project, &world.id, places).await.unwrap();
    assert_eq!(report.stores.len(), 2);
    assert_eq!(fs::read_to_string(&dotenv).unwrap(), format!("NAME=billing\nHOOK={}\n", world.stored()));
    assert!(world.signs_with(&world.stored()));
}

/// A run whose process dies in the first commit: before it is written, or after.
async fn die_in_commit(world: &World, is_written: bool) {
    let is_there = Arc::new(AtomicBool::new(false));
    let dies = Arc::clone(&is_there);
    let store = Spoiled::new(Arc::new(world.store()), move |store, request| {
        let dies = Arc::clone(&dies);
        Box::pin(async move {
            if is_written {
                store.commit(request).await?;
            }
            dies.store(true, Ordering::SeqCst);
            std::future::pending().await
        })
    });
    let rotator = world.rotator();
    let died = rixl_testing::wait_for_async("the commit", async || match is_there.load(Ordering::SeqCst) {
        true => Ok(()),
        false => Err("not yet"),
    });
    tokio::select! {
        _ = rotator.rotate_webhook(&world.project, &world.id, store) => panic!("the run ended"),
        () = died => {}
    }
}

#[tokio::test]
async fn a_run_that_dies_with_the_response_in_escrow_is_finished_without_another_request() {
    for is_written in [false, true] {
        let world = World::new().await;
        die_in_commit(&world, is_written).await;
        assert_eq!(world.stored() != world.first, is_written);
        let Ok(Recovery::Done(report)) = world.recover(RecoverOptions::default()).await else { panic!() };
        assert_eq!((report.ending, report.rotations, world.sent()), (Ending::Rotated, 1, 1));
        assert!(report.signed_with_both_until.is_some());
        assert!(world.stored() != world.first && world.signs_with(&world.stored()));
        world.bench.assert_clean();
        world.assert_not_probed();
    }
}

/// What another rotator put there may be newer than the response in escrow, and nothing tells.
#[tokio::test]
async fn another_rotators_secret_stays_until_a_person_decides_and_then_a_third_is_made() {
    let world = World::new().await;
    die_in_commit(&world, false).await;
    let webhooks = world.bench.client().organization(&world.organization).webhooks(&world.project);
    let rival = webhooks.rotate_secret(&world.id).await.unwrap().secret;
    write(&world.path(), rival.expose_secret());

    let failure = world.recover(RecoverOptions::default()).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotStored, "{failure}");
    assert!(world.stored() == rival.expose_secret() && world.sent() == 2);
    let options = RecoverOptions::default().with_on_live(OnLiveSecret::RotateUnread);
    let Ok(Recovery::Done(report)) = world.recover(options).await else { panic!() };
    assert_eq!((report.ending, world.sent()), (Ending::Rotated, 3));
    world.bench.sandbox.advance(Duration::from_secs(24 * 3600));
    assert!(world.signs_with(&world.stored()));
    world.bench.assert_clean();
}
