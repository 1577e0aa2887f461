//! Consumers that write what they run with into fields of one entry: of a real OpenBao server, and of one that misbehaves.

use std::sync::Arc;

use futures_util::future::join_all;
use rixl_credentials::{AcknowledgementSink as _, Client, PageRequest};
use rixl_rotation::{
    acknowledge, acknowledgements_in, fingerprint,
    store::{StoreErrorKind, Stores},
};
use rixl_sandbox::Sandbox;
use rixl_testing::{
    folder,
    openbao::shared,
    vault::{Manner, Vault},
    wait_for_async,
};
use rixl_vault::{VaultConfig, VaultStore};
use serde_json::{Value, json};

use crate::store::{config, config_at, text_of};

fn stores(config: VaultConfig) -> Stores {
    Stores::default()
        .with("vault:MOUNT/PATH#FIELD", move |open| Ok(Arc::new(VaultStore::new(config.clone(), open.rest)?)))
}

/// Each has the whole entry before it when it writes.
async fn consumers_keep_each_others_fields(config: VaultConfig, entry: &str) {
    const COUNT: usize = 12;
    for round in 0..2 {
        let write = async |number: usize| {
            let store = VaultStore::new(config.clone(), &format!("{entry}#web-{number}")).unwrap();
            let secret = format!("rxl_{number}{round}");
            // So many at once find it busy: then they come again.
            wait_for_async("acknowledgement", async || acknowledge(&store, &fingerprint(&secret)).await).await;
        };
        join_all((0..COUNT).map(write)).await;
        let all = acknowledgements_in(&stores(config.clone()), &format!("vault:{entry}")).await.unwrap();
        assert_eq!(all.len(), COUNT);
        for one in all {
            let number = one.name.strip_prefix("web-").unwrap();
            assert_eq!(one.fingerprint, Some(fingerprint(&format!("rxl_{number}{round}"))), "{one:?}");
            assert!(one.since.is_some() && one.problem.is_none(), "{one:?}");
        }
    }
}

#[tokio::test]
async fn consumers_keep_each_others_fields_in_openbao() {
    let Some(server) = shared().await else { return };
    let mount = server.mount("2").await;
    consumers_keep_each_others_fields(config(server), &format!("{mount}/acks")).await;
    let data = server.must("GET", &format!("{mount}/data/acks"), None).await;
    assert_eq!(data["data"]["data"].as_object().unwrap().len(), 12);
}

#[tokio::test]
async fn consumers_keep_each_others_fields_in_memory() {
    let vault = Vault::start();
    consumers_keep_each_others_fields(config_at(&vault.url, "s.TOKEN"), "kv/acks").await;
}

/// The policy in the documentation is enough, and the rotator can't write.
#[tokio::test]
async fn a_client_acknowledges_with_one_call_of_its_builder() {
    let Some(server) = shared().await else { return };
    let (mount, sandbox, folder) = (server.mount("2").await, Sandbox::start().unwrap(), folder());
    let policy = |capabilities: &str| format!("path \"{mount}/data/acks\" {{ capabilities = [{capabilities}] }}");
    let consumer = server.token(&policy(r#""create", "read", "update""#), json!({})).await;
    let rotator = server.token(&policy(r#""read""#), json!({})).await;
    let (entry, key) = (format!("{mount}/acks"), sandbox.create_key("billing"));
    std::fs::write(folder.path().join("key"), &key.secret).unwrap();
    let sink = VaultStore::new(config_at(&server.url, &consumer), &format!("{entry}#billing")).unwrap();
    assert_eq!(sink.place(), format!("vault:{entry}#billing"));
    let client = Client::builder().base_url(sandbox.url()).api_key_file(folder.path().join("key")).acknowledge_to(sink);
    let client = client.build().unwrap();
    client.first_generation().api_keys().list_page(PageRequest::default()).await.unwrap();
    let read = stores(config_at(&server.url, &rotator));
    wait_for_async("acknowledgement", async || {
        let all = acknowledgements_in(&read, &format!("vault:{entry}")).await;
        match all.as_deref() {
            Ok([one]) if one.fingerprint == Some(fingerprint(&key.secret)) => Ok(()),
            _ => Err(all),
        }
    })
    .await;
    let store = read.open(&format!("vault:{entry}#billing")).unwrap();
    let error = acknowledge(&*store, &fingerprint("rxl_other")).await.unwrap_err();
    assert_eq!(error.kind(), StoreErrorKind::Unusable, "{}", text_of(&error, &[&rotator]));
}

#[tokio::test]
async fn what_is_no_acknowledgement_is_neither_overwritten_nor_repeated() {
    let vault = Vault::start();
    let config = config_at(&vault.url, "s.TOKEN");
    let store = VaultStore::new(config.clone(), "kv/acks#api").unwrap();
    let own = fingerprint("rxl_own");
    let others: [Value; 6] = [
        "rxl_OLDSECRET".into(),
        format!("{own}x").into(),
        format!("{own} soon").into(),
        "none".into(),
        own[1..].into(),
        7.into(),
    ];
    for other in others {
        vault.put("acks", "api", other.clone());
        let error = acknowledge(&store, &own).await.unwrap_err();
        let text = text_of(&error, &["s.TOKEN"]);
        let expected = if other.is_number() { StoreErrorKind::Unusable } else { StoreErrorKind::Foreign };
        assert_eq!((error.kind(), &vault.entry("acks").1["api"]), (expected, &other), "{text}");
        let all = acknowledgements_in(&stores(config.clone()), "vault:kv/acks").await.unwrap();
        assert_eq!((all[0].fingerprint.as_ref(), all[0].since), (None, None));
        assert!(!format!("{all:?}").contains("SECRET"), "{all:?}");
    }
    for other in ["", &fingerprint("rxl_before"), &format!("{} 2026-01-15T10:30:00Z", fingerprint("rxl_before"))] {
        vault.put("acks", "api", other);
        acknowledge(&store, &own).await.unwrap();
        let (version, fields) = vault.entry("acks");
        assert!(fields["api"].as_str().unwrap().starts_with(&format!("{own} 20")), "{fields:?}");
        // It is there already, since then.
        acknowledge(&store, &own).await.unwrap();
        assert_eq!(vault.entry("acks"), (version, fields));
    }
    // By hand, without a time; and what no consumer is named.
    vault.put("acks", "api", own.to_uppercase() + "\n");
    vault.put("acks", ".hidden", own.clone());
    let all = acknowledgements_in(&stores(config), "vault:kv/acks").await.unwrap();
    assert_eq!((all.len(), all[0].fingerprint.clone(), all[0].since), (1, Some(own), None));
}

#[tokio::test]
async fn an_entry_that_can_not_be_read_says_why() {
    let vault = Vault::start();
    let stores = stores(config_at(&vault.url, "s.TOKEN"));
    assert!(acknowledgements_in(&stores, "vault:kv/acks").await.unwrap().is_empty());
    for entry in ["vault:kv/acks#api", "vault:kv", "file:acks", "other:kv/acks"] {
        let error = acknowledgements_in(&stores, entry).await.unwrap_err();
        assert!(error.message().contains("can't be read"), "{entry}: {error}");
    }
    vault.behave(Manner::Refuses(403));
    let error = acknowledgements_in(&stores, "vault:kv/acks").await.unwrap_err();
    let text = text_of(&error, &["s.TOKEN"]);
    assert!(text.contains("the server refused the token, or its policies do not allow this"), "{text}");
}
