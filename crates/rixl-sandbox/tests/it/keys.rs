//! Many keys, keys that the handle makes, and what the handle knows of them.

use std::collections::HashSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rixl_sandbox::{KeyForm, Sandbox, SeedKey};
use serde_json::{Value, json};

use super::{create_key, delete, exchange, get, refresh, rotate, text};

const DAY: Duration = Duration::from_secs(86_400);

async fn listed(sandbox: &Sandbox) -> Vec<String> {
    let mut ids = Vec::new();
    loop {
        let page = get(sandbox, &format!("/platform/api-keys?limit=100&offset={}", ids.len())).await.ok();
        ids.extend(page["api_keys"].as_array().unwrap().iter().map(|key| text(key, "id")));
        if page["total"] == ids.len() {
            return ids;
        }
    }
}

#[tokio::test]
async fn many_keys_keep_their_order_whichever_are_deleted() {
    let sandbox = Sandbox::start().unwrap();
    let mut keys: Vec<_> = (0..1000).map(|number| sandbox.create_key(format!("key-{number}").as_str())).collect();
    // The first, the last and some between: a place that is free again must not be taken for the old key's.
    for place in [999, 998, 500, 499, 1, 0] {
        let gone = keys.remove(place);
        delete(&sandbox, &format!("/platform/api-keys/{}", gone.id)).await.ok();
        assert!(!sandbox.is_live(&gone.secret));
        keys.push(sandbox.create_key("new"));
    }
    let ids: Vec<_> = keys.iter().map(|key| key.id.clone()).collect();
    assert_eq!(listed(&sandbox).await, ids);
    for key in &keys {
        assert!(sandbox.opens(&key.id, &key.secret), "{}", key.id);
    }
    let rotated = rotate(&sandbox, &keys[500].id).await;
    assert!(sandbox.opens(&rotated.id, &rotated.secret) && !sandbox.is_live(&keys[500].secret));
    assert!(sandbox.opens(&keys[499].id, &keys[499].secret) && sandbox.opens(&keys[501].id, &keys[501].secret));
}

#[tokio::test]
async fn a_key_can_be_made_with_a_past() {
    let sandbox = Sandbox::start().unwrap();
    let start = Timestamp::now();
    let plain = sandbox.create_key("plain");
    let seed = SeedKey::new("old").aged(DAY * 90).last_used_ago(DAY).expiring_in(DAY * 10);
    let old = sandbox.create_key(seed);
    assert!(sandbox.requests().is_empty());
    let page = get(&sandbox, "/platform/api-keys").await.ok();
    let [shown_plain, shown_old] = [0, 1].map(|place| &page["api_keys"][place]);
    let is_around = |value: &Value, days: i64| {
        let moment: Timestamp = value.as_str().unwrap().parse().unwrap();
        let expected = start + SignedDuration::from_hours(24 * days);
        (expected..expected + SignedDuration::from_mins(10)).contains(&moment)
    };
    for (shown, key, name) in [(shown_plain, &plain, "plain"), (shown_old, &old, "old")] {
        assert_eq!((&shown["id"], &shown["name"]), (&json!(key.id), &json!(name)));
        assert_eq!((&shown["project_id"], &shown["project_name"]), (&json!(sandbox.project_id()), &json!("Sandbox")));
        assert!(sandbox.opens(&key.id, &key.secret));
    }
    assert!(is_around(&shown_plain["created_at"], 0), "{shown_plain}");
    assert!(shown_plain.get("last_used").is_none() && shown_plain.get("expiring_at").is_none());
    assert!(is_around(&shown_old["created_at"], -90), "{shown_old}");
    assert!(is_around(&shown_old["last_used"], -1) && is_around(&shown_old["expiring_at"], 10), "{shown_old}");
    sandbox.advance(DAY * 10);
    assert!(sandbox.is_live(&plain.secret) && !sandbox.is_live(&old.secret));
    // No age is too old.
    sandbox.create_key(SeedKey::new("oldest").aged(Duration::MAX));
}

#[tokio::test]
async fn a_secret_is_taken_in_the_form_that_was_chosen() {
    for (form, has_mark, is_prefixed, status_of_the_wrong_form) in [
        (KeyForm::Whole, true, false, 401),
        (KeyForm::Prefixed, false, true, 400),
        (KeyForm::PrefixedTwice, true, true, 401),
    ] {
        let sandbox = Sandbox::builder().key_form(form).start().unwrap();
        let seeded = sandbox.create_key("seeded");
        let rotated = rotate(&sandbox, &create_key(&sandbox).await.id).await;
        for (id, secret) in [(seeded.id, seeded.secret), (rotated.id, rotated.secret)] {
            assert_eq!(secret.starts_with("rxl_"), has_mark, "{form:?}: {secret}");
            assert_eq!(secret.contains('_'), has_mark, "{form:?}: {secret}");
            let mut texts = [secret.clone(), format!("{id}_{secret}")];
            texts.sort_by_key(|text| (*text == secret) == is_prefixed);
            let [right, wrong] = texts;
            assert!(sandbox.is_live(&right) && sandbox.opens(&id, &right), "{form:?}");
            assert!(!sandbox.is_live(&wrong) && !sandbox.opens(&id, &wrong), "{form:?}");
            exchange(&sandbox, &right).await.ok();
            let status = exchange(&sandbox, &wrong).await.status;
            assert_eq!(status, status_of_the_wrong_form, "{form:?}");
            // Another key's id before it opens nothing.
            exchange(&sandbox, &format!("XyZ9aB8cD1_{secret}")).await.refused(401);
        }
    }
}

#[tokio::test]
async fn the_handle_knows_which_key_a_secret_opens() {
    let sandbox = Sandbox::builder().grace(DAY).start().unwrap();
    let (one, other) = (sandbox.create_key("one"), sandbox.create_key("other"));
    let new = rotate(&sandbox, &one.id).await.secret;
    let opened = [&one.secret, &new, &other.secret].map(|secret| sandbox.key_of(secret));
    assert_eq!(opened, [Some(one.id.clone()), Some(one.id.clone()), Some(other.id.clone())]);
    assert!(sandbox.opens(&one.id, &new) && sandbox.opens(&one.id, &one.secret));
    assert!(!sandbox.opens(&other.id, &new) && !sandbox.opens(&one.id, &other.secret));
    sandbox.advance(DAY);
    assert_eq!((sandbox.key_of(&one.secret), sandbox.opens(&one.id, &one.secret)), (None, false));
    assert!(!sandbox.opens("unknown", "unknown") && sandbox.key_of("unknown").is_none());

    assert_eq!((sandbox.issued(&one.id), sandbox.issued(&other.id), sandbox.issued("unknown")), (2, 1, 0));
    delete(&sandbox, &format!("/platform/api-keys/{}", one.id)).await.ok();
    assert_eq!((sandbox.key_of(&new), sandbox.issued(&one.id), sandbox.rotations(&one.id)), (None, 2, 1));
}

#[tokio::test]
async fn ten_refresh_tokens_of_a_key_live() {
    let sandbox = Sandbox::start().unwrap();
    let (key, other) = (sandbox.create_key("key"), sandbox.create_key("other"));
    let token_of_another = text(&exchange(&sandbox, &other.secret).await.ok(), "refresh_token");
    let mut tokens = Vec::new();
    for _ in 0..11 {
        tokens.push(text(&exchange(&sandbox, &key.secret).await.ok(), "refresh_token"));
    }
    assert_eq!(tokens.iter().collect::<HashSet<_>>().len(), 11);
    refresh(&sandbox, &tokens[0]).await.refused(401);
    // A token that is used up makes room for the one that replaces it.
    for token in tokens[1..].iter().chain([&token_of_another]) {
        refresh(&sandbox, token).await.ok();
    }
}
