//! What changed from one document to another, operation by operation, and whom it breaks.

mod change;
mod operation;
mod report;
mod routes;
mod schema;
mod security;

use std::collections::BTreeSet;

use serde_json::Value;

pub use self::change::Drift;
use self::change::{Change, Class, code};
use crate::{
    document::{self, Node, Operation, Part},
    import::{ELSEWHERE, MARK, TARGETS},
    problems,
    secret::is_secret_name,
};

/// What changed from `old` to `new`, both of them [normalized](crate::normalize).
pub fn compare(old: &Value, new: &Value) -> Drift {
    let (old_operations, new_operations) = (document::operations(old), document::operations(new));
    let documents = schema::Documents::new(old, new);
    let mut drift = Drift {
        changes: whole(&documents),
        old_operations: old_operations.len(),
        new_operations: new_operations.len(),
        ..Drift::default()
    };
    for pair in routes::pair((old, &old_operations), (new, &new_operations)) {
        let mut found = Vec::new();
        match (pair.old, pair.new) {
            (Some(old_one), Some(new_one)) => {
                if pair.is_moved {
                    drift.moved += 1;
                    found.push((Class::Callers, format!("moved to {}", code(&new_one.place()))));
                } else {
                    drift.same_place += 1;
                }
                operation::compare(&documents, old_one, new_one, &mut found);
            }
            (Some(_), None) => {
                drift.gone += 1;
                let successor = pair.successor.map(|successor| {
                    format!("; its likely successor, which both documents have, is {}", code(&successor.place()))
                });
                found.push((Class::Callers, format!("gone{}", successor.unwrap_or_default())));
            }
            (None, _) => {
                drift.added += 1;
                found.push((Class::Additive, "new".to_owned()));
            }
        }
        let place = problems::plain(&pair.old.or(pair.new).map(Operation::place).unwrap_or_default());
        drift.changes.extend(found.into_iter().map(|(class, what)| Change { class, place: place.clone(), what }));
    }
    drift.changes.sort();
    drift.changes.dedup();
    drift
}

/// Before the host, a password may stand.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    format!("{scheme}://{}{path}", host.rsplit('@').next().unwrap_or_default())
}

fn without_secrets(variables: &Value) -> Value {
    let mut shown = variables.clone();
    for (_, variable) in shown.as_object_mut().into_iter().flatten().filter(|(name, _)| is_secret_name(name)) {
        *variable = "[redacted]".into();
    }
    shown
}

/// What concerns all operations at once.
fn whole(documents: &schema::Documents<'_>) -> Vec<Change> {
    let (old, new) = (documents.0, documents.1);
    let mut changes = Vec::new();
    let mut push = |class, what| changes.push(Change { class, place: "document".into(), what });
    type Server<'a> = (&'a str, Option<&'a Value>);
    fn servers(document: &Value) -> Vec<Server<'_>> {
        let all = document.list("servers").iter();
        all.map(|server| (server.text("url").unwrap_or_default(), server.get("variables"))).collect()
    }
    let (before, after) = (servers(old), servers(new));
    let show = |(url, variables): &Server<'_>| {
        format!(
            "{}{}",
            without_user(url),
            variables.map(|all| format!(" with {}", without_secrets(all))).unwrap_or_default()
        )
    };
    let join = |all: &[Server<'_>]| match all.is_empty() {
        true => "not said".to_owned(),
        false => code(&all.iter().map(show).collect::<Vec<_>>().join(", ")),
    };
    let what = format!("the servers were {} and are {}", join(&before), join(&after));
    match (before.is_empty(), after.is_empty()) {
        _ if before == after => {}
        (false, false) if before.iter().all(|server| after.contains(server)) => push(Class::Additive, what),
        (false, false) => push(Class::Callers, what),
        _ => push(Class::Unjudged, what),
    }
    match (security::is_silent(old), security::is_silent(new)) {
        (false, true) => push(Class::Unjudged, "security is defined, but no longer stated for any operation".into()),
        (true, false) => push(Class::Unjudged, "security is stated now, where it was only defined".into()),
        _ => {}
    }
    security::rest_of_schemes(documents).into_iter().for_each(|(class, what)| push(class, what));
    let version = |document: &Value| document.pointer("/info/version").map(Value::to_string).unwrap_or_default();
    let (before, after) = (version(old), version(new));
    if before != after {
        push(Class::Wording, format!("the version was {} and is {}", code(&before), code(&after)));
    }
    // A webhook is the server's call: none of the rules has its direction.
    let broken = |document: &Value| -> BTreeSet<String> {
        let items = document.entries("paths").filter(|(_, item)| item.get(MARK).is_some());
        items.map(|(path, _)| path.clone()).collect()
    };
    for path in broken(old).symmetric_difference(&broken(new)) {
        push(Class::Unjudged, format!("the path {} refers to nothing in one of the documents", code(path)));
    }
    let elsewhere = |document: &Value| {
        let mut count = 0;
        document::each_part(Part::Document, document, "", &mut |_, _, value| {
            count += usize::from(value.text(MARK).is_some_and(|why| why.contains(ELSEWHERE)));
        });
        count
    };
    for (side, count) in [("old", elsewhere(old)), ("new", elsewhere(new))].into_iter().filter(|(_, count)| *count > 0)
    {
        let what = format!(
            "not every $ref of the {side} document can be followed: each of {count} {ELSEWHERE}, which is not read"
        );
        push(Class::Unjudged, what);
    }
    let names =
        |document: &Value| -> BTreeSet<String> { document.entries("webhooks").map(|(name, _)| name.clone()).collect() };
    for name in names(old).union(&names(new)) {
        let at = |document| Node::map(document, "webhooks").and_then(|all| all.get(name));
        match (at(old), at(new)) {
            (Some(_), None) => push(Class::Decoding, format!("the webhook {} is gone", code(name))),
            (None, Some(_)) => push(Class::Additive, format!("the webhook {} is new", code(name))),
            (before, after) if documents.2.differ(before, after) => {
                push(
                    Class::Unjudged,
                    format!("the webhook {} changed, and no rule of this report covers that", code(name)),
                );
            }
            _ => {}
        }
    }
    if let (Some(old), Some(new)) = (old.as_object(), new.as_object()) {
        const RULED: &str = "openapi paths webhooks components servers security info";
        for (key, class) in change::rest(&documents.2, old, new, RULED).into_iter().filter(|(key, _)| *key != TARGETS) {
            push(class, format!("other {}", code(key)));
        }
        if let (Some(old), Some(new)) = (old.map("info"), new.map("info")) {
            for (key, _) in change::rest(&documents.2, old, new, "version") {
                push(Class::Wording, format!("new wording in {} of the document", code(key)));
            }
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::import::normalize;

    /// The changes between two documents of one operation each, as `class: what`.
    fn changes(old: &Value, new: &Value) -> Vec<String> {
        let normalized = |operation: &Value| {
            let document =
                json!({ "openapi": "3.0.3", "info": { "version": "1" }, "paths": { "/a": { "post": operation } } });
            normalize(document).unwrap()
        };
        let drift = compare(&normalized(old), &normalized(new));
        drift.changes.iter().map(|change| format!("{}: {}", change.class.name(), change.what)).collect()
    }

    fn response(schema: &Value) -> Value {
        json!({ "responses": { "200": { "content": { "application/json": { "schema": schema } } } } })
    }

    fn body(schema: &Value) -> Value {
        json!({ "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } } })
    }

    fn query(parameters: &Value) -> Value {
        json!({ "parameters": parameters })
    }

    /// One property, before and after, a string when nothing else is said: its class in a response, and in a body.
    #[test]
    fn a_change_of_a_value_is_classed_by_its_direction() {
        const DECODING: &str = "breaking for decoding";
        const CALLERS: &str = "breaking for callers";
        const ADDITIVE: &str = "additive";
        let either = r#"{"type":null,"oneOf":[{"type":"integer"},{"type":"string"}]}"#;
        for (old, new, in_response, in_body, what) in [
            (r#"{"type":"integer"}"#, r#"{"type":"boolean"}"#, DECODING, CALLERS, "was integer and is boolean"),
            (r#"{"type":"integer"}"#, either, DECODING, ADDITIVE, "was integer and is integer or string"),
            (r#"{"enum":["x"]}"#, r#"{"enum":["x","y"]}"#, DECODING, ADDITIVE, "may be `y` now"),
            (r#"{"enum":["x","y"]}"#, r#"{"enum":["x"]}"#, ADDITIVE, CALLERS, "is not `y` any more"),
            (r#"{"maxLength":9}"#, r#"{"maxLength":5}"#, ADDITIVE, CALLERS, ": maxLength was 9 and is 5"),
            ("{}", r#"{"minLength":1}"#, ADDITIVE, CALLERS, ": minLength is 1 now"),
            (r#"{"pattern":"x"}"#, "{}", DECODING, ADDITIVE, ": pattern was `x` and is gone"),
            ("{}", r#"{"nullable":true}"#, DECODING, ADDITIVE, "may be null now"),
            (r#"{"format":"a"}"#, r#"{"format":"b"}"#, DECODING, CALLERS, ": its format was `a` and is `b`"),
        ] {
            let [old, new] = [old, new].map(|text| {
                let mut schema: Value = serde_json::from_str(text).unwrap();
                let map = schema.as_object_mut().unwrap();
                map.entry("type").or_insert("string".into());
                map.retain(|_, value| !value.is_null());
                json!({ "type": "object", "properties": { "a": schema } })
            });
            let what = if what.starts_with(':') { what.to_owned() } else { format!(" {what}") };
            assert_eq!(changes(&response(&old), &response(&new)), [format!("{in_response}: response: `a`{what}")]);
            assert_eq!(changes(&body(&old), &body(&new)), [format!("{in_body}: body: `a`{what}")]);
        }
    }

    #[test]
    fn properties_come_go_and_change_their_spelling() {
        let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required });
        let (one, both) = (object(json!({ "a": {} }), json!([])), object(json!({ "a": {}, "b": {} }), json!([])));
        let strict = object(json!({ "a": {}, "b": {} }), json!(["b"]));
        assert_eq!(changes(&response(&one), &response(&both)), ["additive: response: `b` is new"]);
        assert_eq!(changes(&response(&both), &response(&one)), ["breaking for decoding: response: `b` is gone"]);
        assert_eq!(changes(&body(&one), &body(&both)), ["additive: body: `b` is new"]);
        assert_eq!(changes(&body(&one), &body(&strict)), ["breaking for callers: body: `b` is new and required"]);
        assert_eq!(changes(&body(&both), &body(&one)), ["breaking for callers: body: `b` is gone"]);
        assert_eq!(changes(&body(&both), &body(&strict)), ["breaking for callers: body: `b` is required now"]);
        assert_eq!(
            changes(&response(&strict), &response(&both)),
            ["breaking for decoding: response: `b` is not required any more"]
        );
        let spelled = |name: &str| object(json!({ name: { "type": "string" } }), json!([]));
        assert_eq!(
            changes(&response(&spelled("orgId")), &response(&spelled("org_id"))),
            ["breaking for decoding: response: `orgId` is spelled `org_id` now"]
        );
        assert_eq!(
            changes(&body(&spelled("orgId")), &body(&spelled("org_id"))),
            ["breaking for callers: body: `orgId` is spelled `org_id` now"]
        );
    }

    #[test]
    fn parameters_come_go_and_become_required() {
        let parameter = |name: &str, required: bool| json!({ "in": "query", "name": name, "required": required, "schema": { "type": "string" } });
        let none = query(&json!([]));
        let one = |required| query(&json!([parameter("q", required)]));
        assert_eq!(changes(&none, &one(false)), ["additive: query parameter `q` is new"]);
        assert_eq!(changes(&none, &one(true)), ["breaking for callers: query parameter `q` is new and required"]);
        assert_eq!(changes(&one(true), &one(false)), ["additive: query parameter `q` is not required any more"]);
        assert_eq!(changes(&one(false), &none), ["breaking for callers: query parameter `q` is gone"]);
        let other = query(&json!([parameter("page.q", false)]));
        assert_eq!(changes(&one(false), &other), ["breaking for callers: query parameter `q` is called `page.q` now"]);
        let two = query(&json!([parameter("a.q", false), parameter("b.q", false)]));
        assert_eq!(
            changes(&two, &one(false)),
            [
                "breaking for callers: query parameter `a.q` is called `q` now",
                "breaking for callers: query parameter `b.q` is gone"
            ]
        );
    }

    #[test]
    fn security_errors_and_words_are_compared() {
        let with = |security: Value| json!({ "security": security });
        assert_eq!(
            changes(&with(json!([])), &with(json!([{ "bearer": [] }]))),
            ["breaking for callers: security was none and is bearer, which is not defined"]
        );
        assert_eq!(
            changes(&with(json!([{ "bearer": [] }])), &with(json!([]))),
            ["additive: security was bearer, which is not defined and is none"]
        );
        let errors = |statuses: &[&str]| json!({ "responses": statuses.iter().map(|status| ((*status).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>() });
        assert_eq!(
            changes(&errors(&["200", "401"]), &errors(&["200", "404"])),
            [
                "additive: error responses are documented now: 404",
                "wording: error responses are not documented any more: 401"
            ]
        );
        assert_eq!(
            changes(&errors(&["200"]), &errors(&["201"])),
            ["breaking for decoding: success was 200 and is 201"]
        );
        assert_eq!(
            changes(&json!({ "summary": "a" }), &json!({ "summary": "b", "deprecated": true })),
            ["wording: it is deprecated now", "wording: new wording in summary"]
        );
        assert_eq!(changes(&json!({}), &body(&json!({}))), ["breaking for callers: a body is required now"]);
    }

    #[test]
    fn the_same_is_the_same() {
        let node = json!({ "type": "object", "properties": { "next": { "$ref": "#/paths/~1a/post/responses/200/content/application~1json/schema" } } });
        assert_eq!(changes(&response(&node), &response(&node)), [] as [&str; 0]);
    }

    /// Rings and chains of references, longer than what is followed in one go, and shared by many operations.
    #[test]
    fn what_is_far_away_is_compared_too() {
        let ring = |kind: &str| {
            let at = |index: usize| json!({ "$ref": format!("#/components/schemas/S{}", index % 300) });
            let schema = |index: usize| {
                let kind = if index == 7 { kind } else { "string" };
                json!({ "properties": { "n": at(index + 1), "p": { "type": kind } } })
            };
            let schemas: serde_json::Map<_, _> = (0..300).map(|index| (format!("S{index}"), schema(index))).collect();
            let paths: serde_json::Map<_, _> = [250, 8, 260, 0, 100]
                .map(|index| (format!("/{index}"), json!({ "get": response(&at(index)) })))
                .into_iter()
                .collect();
            normalize(json!({ "openapi": "3.0.3", "paths": paths, "components": { "schemas": schemas } })).unwrap()
        };
        let (old, new) = (ring("string"), ring("integer"));
        assert_eq!(compare(&old, &old).changes, []);
        let drift = compare(&old, &new);
        let said: Vec<_> = drift.changes.iter().map(|change| (change.place.as_str(), change.class)).collect();
        assert_eq!(
            said,
            ["GET /0", "GET /100", "GET /250", "GET /260", "GET /8"].map(|place| (place, Class::Decoding))
        );
    }

    #[test]
    fn a_moved_route_is_found_and_a_strange_one_is_not() {
        let operation = |id: &str, property: &str| {
            let mut operation =
                response(&json!({ "type": "object", "properties": { property: { "type": "string" } } }));
            operation["operationId"] = json!(id);
            operation
        };
        let document = |paths: Value| normalize(json!({ "openapi": "3.0.3", "paths": paths })).unwrap();
        let old = document(json!({
            "/platform/api-keys/{keyId}/rotate": { "post": operation("rotateApiKeyByKeyid", "api_key") },
            "/platform/api-keys": { "get": operation("listApiKeysByOrgid", "api_keys") },
            "/weather": { "get": operation("getWeather", "rain") },
        }));
        let new = document(json!({
            "/organizations/{org_id}/api-keys/v1/{key_id}/rotate": { "post": operation("apikeys.v1.RotateApiKey", "api_key") },
            "/organizations/{org_id}/api-keys/v1": { "get": operation("apikeys.v1.ListApiKeys", "api_keys") },
            "/billing/invoices": { "get": operation("billing.ListInvoices", "invoices") },
        }));
        let drift = compare(&old, &new);
        let said: Vec<_> = drift
            .changes
            .iter()
            .filter(|change| change.class != Class::Wording)
            .map(|change| format!("{} {}", change.place, change.what))
            .collect();
        assert_eq!(
            said,
            [
                "GET /platform/api-keys a path parameter is new: `org_id`",
                "GET /platform/api-keys moved to `GET /organizations/{org_id}/api-keys/v1`",
                "GET /weather gone",
                "POST /platform/api-keys/{keyId}/rotate a path parameter is new: `org_id`",
                "POST /platform/api-keys/{keyId}/rotate moved to `POST /organizations/{org_id}/api-keys/v1/{key_id}/rotate`",
                "GET /billing/invoices new",
            ]
        );
        // The contract has both generations: what is gone has a successor that is no news.
        let both = document(json!({
            "/platform/api-keys/{keyId}/rotate": { "post": operation("rotateApiKeyByKeyid", "api_key") },
            "/organizations/{org_id}/api-keys/v1/{key_id}/rotate": { "post": operation("apikeys.v1.RotateApiKey", "api_key") },
        }));
        let drift = compare(&both, &new);
        assert!(drift.changes.iter().any(|change| {
            change.what.starts_with("gone; its likely successor, which both documents have, is `POST /organizations/")
        }));
    }

    /// At the same place, in another place, and where both documents have it.
    #[test]
    fn of_two_that_are_alike_the_one_of_the_same_name_is_meant() {
        let named = |summary: &str| json!({ "delete": { "summary": summary, "responses": { "204": {} } } });
        let document = |paths: Value| normalize(json!({ "openapi": "3.0.3", "paths": paths })).unwrap();
        let by_language = named("Delete audio tracks by language");
        let old = |place: &str| document(json!({ place: by_language }));
        let (one, language) = ("/media/video/audio-tracks/{trackId}", "/media/video/audio-tracks/language/{code}");
        for (summary, id) in
            [("DeleteAudioTracksByLanguage", None), ("x", Some("tracks.v1.DeleteAudioTracksByLanguage"))]
        {
            let mut there = named(summary);
            there["delete"]["operationId"] = json!(id);
            let new = document(json!({ one: named("Delete an audio track"), language: there }));
            for place in ["/media/video/audio-tracks/{lang_code}", "/media/v1/videos/{id}/audio-tracks/{lang_code}"] {
                let drift = compare(&old(place), &new);
                let is_moved =
                    drift.changes.iter().any(|change| change.what == format!("moved to `DELETE {language}`"));
                assert!(is_moved && drift.moved == 1 && drift.added == 1, "{place}: {drift:?}");
            }
            let both = document(
                json!({ "/media/v1/video/audio-tracks/{lang_code}": by_language, one: named("x"), language: by_language }),
            );
            let drift = compare(&both, &new);
            let is_named = drift.changes.iter().any(|change| change.what.ends_with(&format!("is `DELETE {language}`")));
            assert!(is_named && drift.gone == 1, "{drift:?}");
        }
        // Another name alone is no move.
        let renamed = document(json!({ "/a/{id}": named("Other") }));
        assert_eq!(compare(&old("/a/{lang_code}"), &renamed).same_place, 1);
    }

    #[test]
    fn paths_that_differ_in_the_names_of_parameters_alone_are_kept_apart() {
        let paths =
            |first: &str, second: &str| json!({ first: { "get": {} }, second: { "get": { "operationId": "b" } } });
        let document = |paths| normalize(json!({ "openapi": "3.0.3", "paths": paths })).unwrap();
        let old = document(paths("/a/{x}", "/a/{y}"));
        assert_eq!(compare(&old, &old).changes, []);
        let drift = compare(&old, &document(paths("/a/{x}", "/a/{z}")));
        assert_eq!((drift.same_place, drift.changes.len()), (2, 1), "{drift:?}");
    }
}
