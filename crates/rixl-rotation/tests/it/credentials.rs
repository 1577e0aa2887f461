//! A client credential, through the same protocol: another one is created, and the old one revoked.

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use rixl_credentials::{
    Client, ClientCredentials, ClientTokenRequest, CredentialId, NewClientCredential, RetryPolicy, Secret, Timestamp,
};
use rixl_rotation::{
    Account, ClientFormat, Effect as Done, Ending, EventKind, Failure, FailureKind, Next, OnLiveSecret, ProbeStep,
    RecoverOptions, Recovery, Report, Rotator, State, fingerprint, open_runs,
    store::{DotenvStore, FileStore, Stores},
};
use rixl_sandbox::{CreatedClient, Effect, Fault};
use serde_json::{Value, json};

use crate::bench::{Bench, set_private};

const CREATE: &str = "createClientCredentialV1";
const LIST: &str = "listClientCredentialsV1";
const REVOKE: &str = "revokeClientCredentialV1";
const MINT: &str = "mintClientTokenV1";

/// A client credential, and a file with both its parts.
struct World {
    bench: Bench,
    old: CreatedClient,
    id: CredentialId,
}

impl World {
    fn new() -> Self {
        let bench = Bench::new();
        let old = bench.sandbox.create_client_credential("web0000001", "web");
        let world = Self { id: old.id.parse().unwrap(), bench, old };
        world.write(&pair(&world.old));
        world
    }

    fn account(&self) -> Account {
        Account::new(self.bench.client(), self.bench.sandbox.organization_id().parse().unwrap())
    }

    fn rotator(&self) -> Rotator {
        let events = Arc::clone(&self.bench.events);
        Rotator::new(self.account(), self.bench.journal())
            .with_observer(move |event| events.lock().unwrap().push(event.clone()))
    }

    fn credentials(&self) -> ClientCredentials {
        let organization = self.bench.sandbox.organization_id().parse().unwrap();
        self.bench.client().organization(&organization).client_credentials()
    }

    fn path(&self) -> PathBuf {
        self.bench.folder.path().join("client")
    }

    fn store(&self) -> FileStore {
        FileStore::new(self.path()).unwrap()
    }

    fn write(&self, text: &str) {
        fs::write(self.path(), text).unwrap();
        set_private(&self.path());
    }

    fn stored(&self) -> String {
        fs::read_to_string(self.path()).unwrap()
    }

    async fn replace(&self) -> Result<Report, Failure> {
        self.rotator().replace_client_credential(&self.id, self.store(), Duration::ZERO).await
    }

    async fn recover(&self, options: RecoverOptions) -> Result<Recovery, Failure> {
        let mut recovered = self.rotator().recover(&Stores::default(), options).await.unwrap();
        assert_eq!(recovered.len(), 1, "{recovered:?}");
        let recovered = recovered.pop().unwrap();
        assert_eq!(recovered.entry, "credential-web0000001");
        recovered.result
    }

    async fn recovered(&self) -> Report {
        self.recover(RecoverOptions::default()).await.unwrap().report().unwrap().clone()
    }

    fn inject(&self, operation: &str, fault: Fault) {
        self.bench.sandbox.inject(fault.on(operation)).unwrap();
    }

    fn calls(&self, operation: &str) -> u64 {
        self.bench.sandbox.calls(operation)
    }

    fn is_old_live(&self) -> bool {
        self.bench.sandbox.mints(&self.old.client_id, &self.old.client_secret)
    }

    /// The pair in the place mints, and is not the old one.
    fn is_new_stored(&self) -> bool {
        let pair: Value = serde_json::from_str(&self.stored()).unwrap();
        let [client_id, secret] = ["client_id", "client_secret"].map(|name| pair[name].as_str().unwrap());
        client_id != self.old.client_id && self.bench.sandbox.mints(client_id, secret)
    }

    #[track_caller]
    fn assert_replaced(&self) {
        assert!(self.is_new_stored() && !self.is_old_live());
        self.bench.assert_clean();
        // No part of it was told.
        let pair: Value = serde_json::from_str(&self.stored()).unwrap();
        for secret in [&self.old.client_secret, pair["client_secret"].as_str().unwrap()] {
            assert!(!self.told().contains(secret), "{}", self.told());
        }
    }

    /// Nothing was created or revoked.
    #[track_caller]
    fn assert_untouched(&self, failure: &Failure) {
        assert_eq!((failure.kind(), failure.effect()), (FailureKind::Refused, Done::Unchanged), "{failure}");
        assert_eq!((self.calls(CREATE), self.calls(REVOKE)), (0, 0));
        assert!(self.is_old_live());
    }

    fn told(&self) -> String {
        self.bench.story()
    }
}

fn pair(client: &CreatedClient) -> String {
    json!({ "client_id": client.client_id, "client_secret": client.client_secret }).to_string()
}

fn is_about(time: Timestamp, expected: Timestamp) -> bool {
    time.duration_since(expected).abs().as_secs() < 60
}

#[tokio::test]
async fn another_one_is_stored_whole_and_the_old_one_revoked() {
    let world = World::new();
    let report = world.replace().await.unwrap();
    world.assert_replaced();
    assert_eq!((report.ending, report.rotations, report.outage), (Ending::Replaced, 1, None));
    assert_eq!((&report.key_id, &report.endpoint_id, report.warnings.len()), (&None, &None, 0));
    let stored: Value = serde_json::from_str(&world.stored()).unwrap();
    assert_eq!(report.client_id.as_deref(), stored["client_id"].as_str());
    assert_eq!(report.name.as_deref(), Some("web"));
    assert_eq!(report.fingerprint, Some(fingerprint(&world.stored())));
    let new = report.credential_id.clone().unwrap();
    let secret = stored["client_secret"].as_str().unwrap();
    assert_eq!(world.bench.sandbox.client_of(secret), Some(new.to_string()));

    let [audit] = &world.bench.history().await[..] else { panic!() };
    assert_eq!((audit.change.as_str(), &audit.key_id, &audit.replaced), ("credential", &None, &None));
    assert_eq!(audit.credential_id.as_deref(), Some(new.as_str()));
    assert_eq!(audit.replaced_credential_id.as_deref(), Some("web0000001"));
    assert_eq!((&audit.client_id, audit.old_tokens_until), (&report.client_id, report.old_tokens_until));
    // That it is gone was seen.
    assert!(audit.old_refused_at.is_some());
    // A token that was minted a moment before is gone by then.
    let until = report.old_tokens_until.unwrap();
    assert!(is_about(until, audit.at + Duration::from_secs(15 * 60)), "{until} {}", audit.at);
    assert!(world.told().contains("tokens minted with it live up to 15 min longer"), "{}", world.told());
    // Its secret was shown to nobody as a key.
    assert_eq!((world.calls("exchangeApiKeyV1"), world.calls("exchangeApiKey")), (0, 0));
}

/// By both generations of routes.
#[tokio::test]
async fn the_first_generation_of_routes_does_the_same() {
    let world = World::new();
    let rotator = world.bench.rotator();
    let report = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap();
    assert_eq!((report.ending, world.calls("revokeClientCredential")), (Ending::Replaced, 1));
    world.assert_replaced();
}

#[tokio::test]
async fn the_secret_alone_is_stored_where_that_is_asked_for() {
    let world = World::new();
    world.write(&world.old.client_secret);
    let rotator = world.rotator().with_client_format(ClientFormat::Secret);
    let report = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap();
    let stored = world.stored();
    assert!(world.bench.sandbox.mints(report.client_id.as_deref().unwrap(), &stored) && !world.is_old_live());
    assert_eq!(report.ending, Ending::Replaced);
    assert!(world.told().contains("the stored one is live"), "{}", world.told());
    world.bench.assert_clean();
}

/// Readers of such files must not trip over the quotation marks.
#[tokio::test]
async fn a_pair_fits_into_a_dotenv_file() {
    let world = World::new();
    let path = world.bench.folder.path().join(".env");
    fs::write(&path, "A=1\nRIXL_CLIENT=\nB=2\n").unwrap();
    set_private(&path);
    let store = DotenvStore::new(&path, "RIXL_CLIENT").unwrap();
    let report = world.rotator().replace_client_credential(&world.id, store, Duration::ZERO).await.unwrap();
    let text = fs::read_to_string(&path).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("RIXL_CLIENT='")?.strip_suffix('\'')).unwrap();
    assert_eq!(report.fingerprint, Some(fingerprint(line)));
    let pair: Value = serde_json::from_str(line).unwrap();
    assert!(text.starts_with("A=1\n") && text.ends_with("B=2\n") && pair["client_secret"].is_string());
}

#[tokio::test]
async fn what_is_not_its_own_is_not_overwritten() {
    let world = World::new();
    let other = world.bench.sandbox.create_client_credential("other00001", "other");
    for (held, format, said) in [
        (pair(&other), ClientFormat::Pair, "holds the secret of another client credential, with the client id"),
        (world.old.client_secret.clone(), ClientFormat::Pair, "does not look like a client credential's id and secret"),
        (pair(&world.old), ClientFormat::Secret, "does not look like a client credential's secret"),
        (world.bench.key.secret.clone(), ClientFormat::Pair, "does not look like a client credential's id and secret"),
    ] {
        world.write(&held);
        let rotator = world.rotator().with_client_format(format);
        let failure = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap_err();
        assert!(failure.message().contains(said), "{failure}");
        assert_eq!((failure.next(), world.stored()), (&Next::AllowTakeOver, held));
        world.assert_untouched(&failure);
    }
    // Where that is wanted, it is: that the other one is live says nothing of this one.
    world.write(&pair(&other));
    let rotator = world.rotator().with_take_over(true);
    let report = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap();
    assert_eq!(report.ending, Ending::Replaced);
    assert!(
        world.told().contains("the stored one is dead already")
            && world.bench.sandbox.mints(&other.client_id, &other.client_secret)
    );
    let world = World::new();
    world.write(&world.bench.key.secret);
    // A key's place is not given one either, nor the other way round.
    let failure = world.bench.rotator().rotate(&world.bench.key_id, world.store()).await.unwrap();
    assert_eq!(failure.ending, Ending::Rotated);
    world.write(&pair(&world.old));
    let failure = world.bench.rotator().rotate(&world.bench.key_id, world.store()).await.unwrap_err();
    assert!(failure.message().contains("holds") && failure.effect() == Done::Unchanged, "{failure}");
}

/// A place belongs to the credential whose secret the last run put there: that of the successor.
#[tokio::test]
async fn the_successor_is_known_by_its_own_id() {
    let world = World::new();
    world.write(&world.old.client_secret);
    let rotator = world.rotator().with_client_format(ClientFormat::Secret);
    let report = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap();
    // Its own next replacement finds its place.
    let id = report.credential_id.unwrap();
    let again = rotator.replace_client_credential(&id, world.store(), Duration::ZERO).await.unwrap();
    assert_eq!(again.ending, Ending::Replaced);
    let failure = world.bench.rotator().rotate(&world.bench.key_id, world.store()).await.unwrap_err();
    assert!(failure.message().contains("has had the secret of a client credential, credential-"), "{failure}");
}

#[tokio::test]
async fn what_can_not_be_replaced_is_refused() {
    let world = World::new();
    let unknown = "nowhere001".parse().unwrap();
    let failure = world.rotator().replace_client_credential(&unknown, world.store(), Duration::ZERO).await.unwrap_err();
    assert!(failure.message().contains("no client credential has the id nowhere001"), "{failure}");
    world.assert_untouched(&failure);

    let rotator = world.rotator().with_probe_step(ProbeStep::url("http://127.0.0.1:1/").unwrap());
    let failure = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap_err();
    assert!(failure.message().contains("can't be tried at a URL"), "{failure}");
    world.assert_untouched(&failure);

    let attached = r#"{"attachments":[{"id":"a1","identity_id":"web0000001","identity_type":"POLICY_IDENTITY_TYPE_CLIENTAUTH_CREDENTIAL"}]}"#;
    world.inject(
        "listPolicyAttachments",
        Fault::new(Effect::Respond { status: 200, headers: json_type(), body: attached.into() }),
    );
    let failure = world.replace().await.unwrap_err();
    assert!(failure.message().contains("has policies (Rotator), which its successor would lack"), "{failure}");
    world.assert_untouched(&failure);

    // What can't be told is said, and hinders nobody.
    for (field, value, said) in [
        ("last_used_at", json!("yesterday"), "the last use of the client credential web0000001 can't be read"),
        ("name", Value::Null, "has no name to give to its successor"),
    ] {
        let edit = move |page: &mut Value| page["credentials"][0][field] = value.clone();
        world.inject(LIST, Fault::new(Effect::edit_json(edit)));
        let failure = world.replace().await.unwrap_err();
        assert!(failure.message().contains(said), "{failure}");
        world.assert_untouched(&failure);
    }

    world.credentials().revoke(&world.id).await.unwrap();
    let failure = world.replace().await.unwrap_err();
    assert!(failure.message().contains("is revoked, so there is nothing to replace"), "{failure}");
    assert_eq!(world.calls(CREATE), 0);
}

fn json_type() -> Vec<(String, String)> {
    vec![("content-type".to_owned(), "application/json".to_owned())]
}

/// A run that is authorized with it would revoke what its own tokens are minted with.
#[tokio::test]
async fn the_credential_that_authorizes_the_run_is_not_replaced() {
    let world = World::new();
    // RIXL's list, which the sandbox shows to no client token.
    let listed = json!({ "credentials": [
        { "id": "web0000001", "name": "web", "client_id": world.old.client_id, "status": "CLIENT_CREDENTIAL_STATUS_ACTIVE" },
    ], "total": 1 });
    let body = listed.to_string().into_bytes();
    world.inject(
        "listClientCredentials",
        Fault::new(Effect::Respond { status: 200, headers: json_type(), body }).always(),
    );
    let request = ClientTokenRequest::new(&world.old.client_id, &*world.old.client_secret, "rotator");
    let client = Client::builder().base_url(world.bench.sandbox.url()).client_credential(request);
    let client = client.retry(RetryPolicy::off()).build().unwrap();
    let failure = world
        .bench
        .rotator_of(client)
        .replace_client_credential(&world.id, world.store(), Duration::ZERO)
        .await
        .unwrap_err();
    assert!(failure.message().contains("was obtained with the client credential web0000001 itself"), "{failure}");
    assert_eq!(world.calls("createClientCredential"), 0);
    world.assert_untouched(&failure);
}

/// Nobody knows its secret, and nothing else tells it from one that is needed.
#[tokio::test]
async fn after_a_lost_response_another_one_is_created_and_the_first_is_named() {
    let world = World::new();
    // One of the same name that was there before is nobody's orphan, nor is one that is revoked.
    let twin = world.bench.sandbox.create_client_credential("twin000001", "web");
    world.inject(CREATE, Fault::new(Effect::Close));
    let failure = world.replace().await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Unknown, Done::Unknown), "{failure}");
    assert!(failure.message().contains("whether a client credential \"web\" was created"), "{failure}");
    let [open] = &open_runs(&world.bench.journal()).await.unwrap()[..] else { panic!() };
    assert_eq!((open.entry.as_str(), &open.credential_id), ("credential-web0000001", &Some(world.id.clone())));

    let failure = world.replace().await.unwrap_err();
    assert!(failure.message().contains("an earlier run on this client credential is unfinished"), "{failure}");

    let report = world.recovered().await;
    assert_eq!((report.ending, world.calls(CREATE), report.rotations), (Ending::Replaced, 2, 2));
    world.assert_replaced();
    let mut orphans = Vec::new();
    let mut all = world.credentials().list();
    while let Some(credential) = all.next().await {
        let credential = credential.unwrap();
        let is_known = [world.id.as_str(), &twin.id].contains(&credential.id.as_str());
        if !is_known && Some(&credential.id) != report.credential_id.as_ref() {
            orphans.push(credential.id);
        }
    }
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert_eq!(warning.next, Some(Next::RevokeCredentials(orphans)));
    assert!(warning.message.contains("the client credential"), "{warning}");
}

/// A response without a client id is no use to anybody.
#[tokio::test]
async fn a_secret_without_its_client_id_is_not_stored() {
    let world = World::new();
    let edit = |created: &mut Value| created["credential"]["client_id"] = Value::Null;
    world.inject(CREATE, Fault::new(Effect::edit_json(edit)));
    let report = world.replace().await.unwrap();
    assert_eq!((report.ending, world.calls(CREATE)), (Ending::Replaced, 2));
    assert!(
        matches!(report.warnings.iter().find_map(|warning| warning.next.clone()), Some(Next::RevokeCredentials(ids)) if ids.len() == 1)
    );
    world.assert_replaced();
}

#[tokio::test]
async fn a_refused_revocation_leaves_both_and_is_done_later() {
    let world = World::new();
    let body = r#"{"code":7,"message":"not you","details":[]}"#;
    let refused =
        || Fault::new(Effect::Respond { status: 403, headers: json_type(), body: body.into() }).before_commit();
    world.inject(REVOKE, refused().always());
    let failure = world.replace().await.unwrap_err();
    assert_eq!((failure.kind(), failure.effect()), (FailureKind::Unknown, Done::Changed), "{failure}");
    assert!(
        failure.message().contains("but the old client credential web0000001 could not be revoked: the call failed"),
        "{failure}"
    );
    assert!(world.is_old_live() && world.is_new_stored());
    let [open] = &open_runs(&world.bench.journal()).await.unwrap()[..] else { panic!() };
    assert!(open.situation.contains("the old client credential is not revoked yet"), "{}", open.situation);
    world.bench.sandbox.clear_faults();
    let report = world.recovered().await;
    assert_eq!((report.ending, world.calls(CREATE)), (Ending::Replaced, 1));
    world.assert_replaced();
}

/// A revocation whose response is lost was one all the same, and its tokens count from when it was seen. One that was none is not
/// sent again by the same process.
#[tokio::test]
async fn a_lost_response_to_the_revocation_is_looked_for_in_the_list() {
    let world = World::new();
    world.inject(REVOKE, Fault::new(Effect::Close));
    let report = world.replace().await.unwrap();
    assert!(report.ending == Ending::Replaced && report.old_tokens_until.is_some());
    world.assert_replaced();

    let world = World::new();
    world.inject(REVOKE, Fault::new(Effect::Close).before_commit());
    let failure = world.replace().await.unwrap_err();
    assert!(failure.message().contains("could not be revoked: the call failed"), "{failure}");
    assert!(world.is_old_live() && world.is_new_stored() && world.calls(REVOKE) == 1);
    assert_eq!(world.recovered().await.ending, Ending::Replaced);
    world.assert_replaced();
}

/// RIXL may leave out what state a credential is in.
#[tokio::test]
async fn a_list_without_states_ends_the_run_after_a_revocation() {
    let world = World::new();
    let edit = |page: &mut Value| {
        for credential in page["credentials"].as_array_mut().unwrap() {
            credential.as_object_mut().unwrap().remove("status");
        }
    };
    world.inject(LIST, Fault::new(Effect::edit_json(edit)).always());
    let report = world.replace().await.unwrap();
    assert_eq!((report.ending, world.calls(REVOKE)), (Ending::Replaced, 1));
    world.assert_replaced();
}

#[tokio::test]
async fn what_is_still_used_is_not_revoked() {
    let world = World::new();
    let used = Arc::new(std::sync::Mutex::new(0));
    let at = Arc::clone(&used);
    // A consumer that has not switched mints again and again, four times.
    let edit = move |page: &mut Value| {
        let mut used = at.lock().unwrap();
        *used = (*used + 1).min(9);
        for credential in page["credentials"].as_array_mut().unwrap() {
            if credential["id"] == "web0000001" {
                credential["last_used_at"] = format!("2026-11-28T12:00:0{used}Z").into();
            }
        }
    };
    world.inject(LIST, Fault::new(Effect::edit_json(edit)).always());
    let hour = Duration::from_secs(3_600);
    let report = world.rotator().replace_client_credential(&world.id, world.store(), hour).await.unwrap();
    assert_eq!(report.ending, Ending::Replaced);
    let told = world.told();
    let still = "the old client credential web0000001 is still used; it is not revoked yet";
    assert!(told.matches(still).count() >= 2, "{told}");
    // As long as a token may live.
    assert!(told.contains("watches the old client credential web0000001 for 900 s"), "{told}");
    assert!(told.contains("s before the old client credential web0000001 is revoked"), "{told}");
    world.assert_replaced();
}

/// Who overwrites the place after it has settled may be about to use what is there.
#[tokio::test]
async fn nothing_is_revoked_while_a_place_lacks_the_new_secret() {
    let world = World::new();
    let path = world.path();
    let old = pair(&world.old);
    let rotator = world.rotator().with_observer(move |event| {
        if event.kind == EventKind::Reached(State::Settled) {
            fs::write(&path, &old).unwrap();
        }
    });
    let hour = Duration::from_secs(3_600);
    // Each time that it is settled anew: it is not stored for ever.
    let failure = rotator.replace_client_credential(&world.id, world.store(), hour).await.unwrap_err();
    assert!(failure.message().contains("someone else keeps removing the new secret"), "{failure}");
    assert!(world.is_old_live() && world.calls(REVOKE) == 0);
    let report = world.recover(RecoverOptions::default()).await.unwrap();
    assert_eq!(report.report().unwrap().ending, Ending::Replaced);
    world.assert_replaced();
}

/// The new one was revoked by somebody: the old one is what is left.
#[tokio::test]
async fn nothing_is_revoked_for_a_new_credential_that_is_dead() {
    let world = World::new();
    world.inject(MINT, Fault::new(Effect::Respond { status: 503, headers: vec![], body: vec![] }).always());
    let rotator = world.rotator().with_patience(Duration::ZERO);
    let failure = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap_err();
    assert!(failure.message().contains("RIXL does not say clearly"), "{failure}");
    world.assert_untouched(&failure);
    world.bench.sandbox.clear_faults();

    let refused = r#"{"error":"invalid_client","error_description":"no"}"#;
    // The old one, which is asked for first, is live.
    world.inject(MINT, Fault::new(Effect::Intact));
    world
        .inject(MINT, Fault::new(Effect::Respond { status: 401, headers: json_type(), body: refused.into() }).always());
    let failure = world.replace().await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotStored, "{failure}");
    assert!(world.is_old_live() && world.calls(REVOKE) == 0 && world.stored() == pair(&world.old));
    world.bench.sandbox.clear_faults();
    assert_eq!(world.recovered().await.ending, Ending::Replaced);
    world.assert_replaced();
}

/// Whoever may replace credentials may not be allowed to read policies.
#[tokio::test]
async fn policies_that_can_not_be_read_are_warned_of() {
    let world = World::new();
    let body = r#"{"code":7,"message":"not you","details":[]}"#;
    world.inject("listPolicies", Fault::new(Effect::Respond { status: 403, headers: json_type(), body: body.into() }));
    let report = world.replace().await.unwrap();
    let [warning] = &report.warnings[..] else { panic!("{:?}", report.warnings) };
    assert!(warning.message.contains("not known whether web0000001 has policies"), "{warning}");
    world.assert_replaced();
}

/// RIXL's list tells of it where nothing is tried.
#[tokio::test]
async fn nothing_is_revoked_for_a_new_credential_that_is_revoked() {
    let world = World::new();
    let edit = |page: &mut Value| {
        for credential in page["credentials"].as_array_mut().unwrap() {
            if credential["id"] != "web0000001" {
                credential["status"] = "CLIENT_CREDENTIAL_STATUS_REVOKED".into();
            }
        }
    };
    world.inject(LIST, Fault::new(Effect::edit_json(edit)).always());
    let rotator = world.rotator().with_verification(false);
    let failure = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap_err();
    assert!(failure.message().contains("could not be revoked: the new one is revoked"), "{failure}");
    assert!(world.is_old_live() && world.calls(REVOKE) == 0);
}

#[tokio::test]
async fn without_verification_no_token_is_minted() {
    let world = World::new();
    let rotator = world.rotator().with_verification(false);
    let report = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap();
    assert_eq!((report.ending, world.calls(MINT)), (Ending::Replaced, 0));
    world.assert_replaced();
}

/// Another use than this run's own, of the new credential.
#[tokio::test]
async fn its_use_can_be_waited_for() {
    let world = World::new();
    let rotator = world.rotator().with_use_within(Duration::from_secs(120));
    let failure = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap_err();
    assert_eq!(failure.kind(), FailureKind::NotTaken, "{failure}");
    assert!(world.is_old_live() && world.is_new_stored() && world.calls(REVOKE) == 0);
    let pair: Value = serde_json::from_str(&world.stored()).unwrap();
    let [client_id, secret] = ["client_id", "client_secret"].map(|name| pair[name].as_str().unwrap());
    world.bench.sandbox.advance(Duration::from_secs(600));
    let request = ClientTokenRequest::new(client_id, Secret::from(secret), "user-17");
    world.credentials().mint(&request).await.unwrap();
    assert_eq!(world.recovered().await.ending, Ending::Replaced);
    world.assert_replaced();
}

#[tokio::test]
async fn given_up_the_new_one_is_named_and_the_old_one_lives() {
    let world = World::new();
    world.inject(CREATE, Fault::new(Effect::Close));
    world.replace().await.unwrap_err();
    let dropped = world.recover(RecoverOptions::default().with_on_live(OnLiveSecret::Drop)).await.unwrap();
    let report = dropped.report().unwrap();
    assert_eq!((report.ending, world.calls(CREATE), world.calls(REVOKE)), (Ending::Dropped, 1, 0));
    assert!(
        report
            .warnings
            .iter()
            .any(|warning| matches!(&warning.next, Some(Next::RevokeCredentials(ids)) if ids.len() == 1))
    );
    assert!(world.is_old_live() && world.stored() == pair(&world.old));
    world.bench.assert_clean();
}

/// One that was made beside it, by hand.
#[tokio::test]
async fn a_list_that_lacks_both_revokes_nothing() {
    let edit = |page: &mut Value| {
        page["credentials"] = json!([]);
        page["total"] = 0.into();
    };
    nothing_is_revoked_by(Effect::edit_json(edit)).await;
}

/// Whoever is revoked stays in the list.
#[tokio::test]
async fn a_list_that_lacks_the_old_one_does_not_tell_that_it_is_revoked() {
    let edit = |page: &mut Value| {
        let credentials = page["credentials"].as_array_mut().unwrap();
        let oldest = credentials.iter().filter_map(|one| one["created_at"].as_str()).min().unwrap().to_owned();
        credentials.retain(|one| one["created_at"] != oldest.as_str());
        page["total"] = credentials.len().into();
    };
    nothing_is_revoked_by(Effect::edit_json(edit)).await;
}

async fn nothing_is_revoked_by(edit: Effect) {
    let world = World::new();
    let _ = world.credentials().create(NewClientCredential::new("web")).await.unwrap();
    let list = Fault::new(edit).always();
    let sandbox = Arc::clone(&world.bench.sandbox);
    let list = std::sync::Mutex::new(Some(list.on(LIST)));
    let rotator = world.rotator().with_patience(Duration::ZERO).with_observer(move |event| {
        if event.kind == EventKind::Reached(State::Settled)
            && let Some(list) = list.lock().unwrap().take()
        {
            sandbox.inject(list).unwrap();
        }
    });
    let failure = rotator.replace_client_credential(&world.id, world.store(), Duration::ZERO).await.unwrap_err();
    assert!(failure.message().contains("the list lacks it or the new one"), "{failure}");
    assert!(world.is_old_live() && world.calls(REVOKE) == 0);
}
