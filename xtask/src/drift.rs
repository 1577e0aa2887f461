//! `cargo xtask drift`: what changed from one document to another, operation by operation, and whom it breaks.

mod operation;
mod report;
mod routes;
mod schema;

use std::{path::Path, process::ExitCode};

use clap::ValueEnum;
use serde_json::Value;

use crate::{Problems, contract, import, source};

/// Whom a change concerns, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    /// What was sent until now is refused, or means something else.
    Callers,
    /// What comes now does not fit what was documented until now.
    Decoding,
    /// Nothing that worked stops working.
    Additive,
    /// The same in other words.
    Wording,
}

impl Class {
    const ALL: [Self; 4] = [Self::Callers, Self::Decoding, Self::Additive, Self::Wording];

    fn name(self) -> &'static str {
        match self {
            Self::Callers => "breaking for callers",
            Self::Decoding => "breaking for decoding",
            Self::Additive => "additive",
            Self::Wording => "wording",
        }
    }

    fn is_breaking(self) -> bool {
        self <= Self::Decoding
    }
}

/// One change at one operation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    class: Class,
    /// `POST /path` as the old document has it, or the new one if it alone has it.
    place: String,
    what: String,
}

/// How `drift` prints what it found.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Output {
    /// For the terminal
    Table,
    /// For programs
    Json,
    /// For a pull request
    Markdown,
}

/// Compares two documents. Exit code 1 means: something is breaking.
#[allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line program")]
pub(crate) fn run(old: &Path, new: &Path, output: Output) -> Result<ExitCode, Problems> {
    let name = |path: &Path| path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
    let normalized = |path: &Path| {
        import::normalize(source::read(path)?.0).map_err(|problems| {
            Problems(problems.0.into_iter().map(|problem| format!("{}: {problem}", path.display())).collect())
        })
    };
    let (old_document, new_document) = (normalized(old)?.document, normalized(new)?.document);
    let drift = Drift::between(&old_document, &new_document);
    let names = (name(old), name(new));
    match output {
        Output::Table => print!("{}", report::table(&drift, &names)),
        Output::Json => println!("{:#}", report::json(&drift, &names)),
        Output::Markdown => print!("{}", report::markdown(&drift, &names)),
    }
    let is_breaking = drift.changes.iter().any(|change| change.class.is_breaking());
    Ok(if is_breaking { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// All changes in one text.
#[cfg(fuzzing)]
pub(crate) fn changes(old: &Value, new: &Value) -> String {
    Drift::between(old, new).changes.iter().map(|change| format!("{change:?}\n")).collect()
}

/// All changes, in order, and how many operations there were.
#[derive(Debug, Default)]
struct Drift {
    changes: Vec<Change>,
    old_operations: usize,
    new_operations: usize,
    /// In both documents, at the same place.
    same_place: usize,
    moved: usize,
    gone: usize,
    added: usize,
}

impl Drift {
    fn between(old: &Value, new: &Value) -> Self {
        let (old_operations, new_operations) = (contract::operations(old), contract::operations(new));
        let pairs = routes::pair((old, &old_operations), (new, &new_operations));
        let mut drift =
            Self { old_operations: old_operations.len(), new_operations: new_operations.len(), ..Self::default() };
        drift.document(old, new);
        for pair in &pairs {
            let place = pair.old.or(pair.new).map(contract::Operation::place).unwrap_or_default();
            let mut found = Vec::new();
            match (pair.old, pair.new) {
                (Some(old_one), Some(new_one)) => {
                    if pair.is_moved {
                        drift.moved += 1;
                        found.push((Class::Callers, format!("moved to {}", code(&new_one.place()))));
                    } else {
                        drift.same_place += 1;
                    }
                    operation::compare((old, old_one), (new, new_one), &mut found);
                }
                (Some(_), None) => {
                    drift.gone += 1;
                    let successor = pair.successor.map(|successor| {
                        format!("; its likely successor, which both documents have, is {}", code(&successor.place()))
                    });
                    found.push((Class::Callers, format!("gone{}", successor.unwrap_or_default())));
                }
                (None, Some(_)) => {
                    drift.added += 1;
                    found.push((Class::Additive, "new".to_owned()));
                }
                (None, None) => {}
            }
            drift.changes.extend(found.into_iter().map(|(class, what)| Change { class, place: place.clone(), what }));
        }
        drift.changes.sort();
        drift.changes.dedup();
        drift
    }

    /// What concerns all operations at once.
    fn document(&mut self, old: &Value, new: &Value) {
        let mut push = |class, what: String| self.changes.push(Change { class, place: "document".into(), what });
        let servers = |document: &Value| -> Vec<String> {
            let servers = document.get("servers").and_then(Value::as_array).into_iter().flatten();
            servers.filter_map(|server| contract::text(server, "url").map(str::to_owned)).collect()
        };
        let (old_servers, new_servers) = (servers(old), servers(new));
        if old_servers != new_servers && !old_servers.is_empty() && !new_servers.is_empty() {
            push(
                Class::Callers,
                format!("the servers were {} and are {}", code(&old_servers.join(", ")), code(&new_servers.join(", "))),
            );
        }
        let is_silent =
            |document: &Value| contract::operations(document).iter().all(|one| one.value.get("security").is_none());
        match (is_silent(old), is_silent(new)) {
            (false, true) => push(Class::Wording, "nothing is said of security any more".into()),
            (true, false) => push(Class::Wording, "security is said now, where nothing was said of it".into()),
            _ => {}
        }
        let version = |document: &Value| document.pointer("/info/version").map(Value::to_string).unwrap_or_default();
        if version(old) != version(new) {
            push(Class::Wording, format!("the version was {} and is {}", code(&version(old)), code(&version(new))));
        }
    }
}

/// A name out of a document, so that it stays a name in a terminal and in Markdown.
fn code(name: &str) -> String {
    let plain: String = name.chars().filter(|letter| !letter.is_control() && *letter != '`').take(160).collect();
    format!("`{plain}`")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The changes between two documents of one operation each, as `class: what`.
    fn changes(old: &Value, new: &Value) -> Vec<String> {
        let normalized = |operation: &Value| {
            let document =
                json!({ "openapi": "3.0.3", "info": { "version": "1" }, "paths": { "/a": { "post": operation } } });
            import::normalize(document).unwrap().document
        };
        let drift = Drift::between(&normalized(old), &normalized(new));
        drift.changes.iter().map(|change| format!("{}: {}", change.class.name(), change.what)).collect()
    }

    fn answer(schema: &Value) -> Value {
        json!({ "responses": { "200": { "content": { "application/json": { "schema": schema } } } } })
    }

    fn body(schema: &Value) -> Value {
        json!({ "requestBody": { "required": true, "content": { "application/json": { "schema": schema } } } })
    }

    fn query(parameters: &Value) -> Value {
        json!({ "parameters": parameters })
    }

    /// One property, before and after: what it is called in an answer, and what in a body.
    #[test]
    fn a_change_of_a_value_is_classed_by_its_direction() {
        let string = |more: &Value| {
            let mut schema = json!({ "type": "string" });
            schema.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            schema
        };
        let cases = [
            (
                json!({ "type": "integer" }),
                json!({ "type": "boolean" }),
                "decoding: `a` was integer and is boolean",
                "callers: `a` was integer and is boolean",
            ),
            (
                json!({ "type": "integer" }),
                json!({ "oneOf": [{ "type": "integer" }, { "type": "string" }] }),
                "decoding: `a` was integer and is integer or string",
                "additive: `a` was integer and is integer or string",
            ),
            (
                string(&json!({ "enum": ["x"] })),
                string(&json!({ "enum": ["x", "y"] })),
                "decoding: `a` may be `y` now",
                "additive: `a` may be `y` now",
            ),
            (
                string(&json!({ "enum": ["x", "y"] })),
                string(&json!({ "enum": ["x"] })),
                "additive: `a` is not `y` any more",
                "callers: `a` is not `y` any more",
            ),
            (
                string(&json!({ "maxLength": 9 })),
                string(&json!({ "maxLength": 5 })),
                "additive: `a`: maxLength was 9 and is 5",
                "callers: `a`: maxLength was 9 and is 5",
            ),
            (
                string(&json!({})),
                string(&json!({ "minLength": 1 })),
                "additive: `a`: minLength is 1 now",
                "callers: `a`: minLength is 1 now",
            ),
            (
                string(&json!({ "pattern": "x" })),
                string(&json!({})),
                "decoding: `a`: pattern was `x` and is gone",
                "additive: `a`: pattern was `x` and is gone",
            ),
            (
                string(&json!({})),
                string(&json!({ "nullable": true })),
                "decoding: `a` may be null now",
                "additive: `a` may be null now",
            ),
            (
                string(&json!({ "format": "uri" })),
                string(&json!({ "format": "date-time" })),
                "decoding: `a`: its format was uri and is date-time",
                "callers: `a`: its format was uri and is date-time",
            ),
        ];
        for (old, new, in_answer, in_body) in cases {
            let object = |schema: &Value| json!({ "type": "object", "properties": { "a": schema } });
            let expect =
                |said: &str, part: &str| vec![format!("{}: {part}: {}", class(said), said.split_once(": ").unwrap().1)];
            assert_eq!(changes(&answer(&object(&old)), &answer(&object(&new))), expect(in_answer, "answer"));
            assert_eq!(changes(&body(&object(&old)), &body(&object(&new))), expect(in_body, "body"));
        }
    }

    fn class(said: &str) -> String {
        match said.split(':').next().unwrap() {
            word @ ("callers" | "decoding") => format!("breaking for {word}"),
            other => other.to_owned(),
        }
    }

    #[test]
    fn properties_come_go_and_change_their_spelling() {
        let object = |properties: Value, required: Value| json!({ "type": "object", "properties": properties, "required": required });
        let (one, both) = (object(json!({ "a": {} }), json!([])), object(json!({ "a": {}, "b": {} }), json!([])));
        let strict = object(json!({ "a": {}, "b": {} }), json!(["b"]));
        assert_eq!(changes(&answer(&one), &answer(&both)), ["additive: answer: `b` is new"]);
        assert_eq!(changes(&answer(&both), &answer(&one)), ["breaking for decoding: answer: `b` is gone"]);
        assert_eq!(changes(&body(&one), &body(&both)), ["additive: body: `b` is new"]);
        assert_eq!(changes(&body(&one), &body(&strict)), ["breaking for callers: body: `b` is new and required"]);
        assert_eq!(changes(&body(&both), &body(&one)), ["breaking for callers: body: `b` is gone"]);
        assert_eq!(changes(&body(&both), &body(&strict)), ["breaking for callers: body: `b` is required now"]);
        assert_eq!(
            changes(&answer(&strict), &answer(&both)),
            ["breaking for decoding: answer: `b` is not required any more"]
        );
        let spelled = |name: &str| object(json!({ name: { "type": "string" } }), json!([]));
        assert_eq!(
            changes(&answer(&spelled("orgId")), &answer(&spelled("org_id"))),
            ["breaking for decoding: answer: `orgId` is spelled `org_id` now"]
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
    }

    #[test]
    fn security_errors_and_words_are_compared() {
        let with = |security: Value| json!({ "security": security });
        assert_eq!(
            changes(&with(json!([])), &with(json!([{ "bearer": [] }]))),
            ["breaking for callers: security was none and is bearer"]
        );
        assert_eq!(
            changes(&with(json!([{ "bearer": [] }])), &with(json!([]))),
            ["additive: security was bearer and is none"]
        );
        let errors = |statuses: &[&str]| json!({ "responses": statuses.iter().map(|status| ((*status).to_owned(), json!({}))).collect::<serde_json::Map<_, _>>() });
        assert_eq!(
            changes(&errors(&["200", "401"]), &errors(&["200", "404"])),
            [
                "additive: error answers are documented now: 404",
                "wording: error answers are not documented any more: 401"
            ]
        );
        assert_eq!(
            changes(&errors(&["200"]), &errors(&["201"])),
            ["breaking for decoding: success was 200 and is 201"]
        );
        assert_eq!(
            changes(&json!({ "summary": "a" }), &json!({ "summary": "b", "deprecated": true })),
            ["wording: it is deprecated now", "wording: other words in summary"]
        );
        assert_eq!(changes(&json!({}), &body(&json!({}))), ["breaking for callers: a body is required now"]);
    }

    #[test]
    fn the_same_is_the_same() {
        let node = json!({ "type": "object", "properties": { "next": { "$ref": "#/paths/~1a/post/responses/200/content/application~1json/schema" } } });
        assert_eq!(changes(&answer(&node), &answer(&node)), [] as [&str; 0]);
    }

    #[test]
    fn a_moved_route_is_found_and_a_strange_one_is_not() {
        let operation = |id: &str, property: &str| {
            let mut operation = answer(&json!({ "type": "object", "properties": { property: { "type": "string" } } }));
            operation["operationId"] = json!(id);
            operation
        };
        let document =
            |paths: Value| import::normalize(json!({ "openapi": "3.0.3", "paths": paths })).unwrap().document;
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
        let drift = Drift::between(&old, &new);
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
        let drift = Drift::between(&both, &new);
        assert!(drift.changes.iter().any(|change| {
            change.what.starts_with("gone; its likely successor, which both documents have, is `POST /organizations/")
        }));
    }

    #[test]
    fn paths_that_differ_in_the_names_of_parameters_alone_are_kept_apart() {
        let paths =
            |first: &str, second: &str| json!({ first: { "get": {} }, second: { "get": { "operationId": "b" } } });
        let document = |paths| import::normalize(json!({ "openapi": "3.0.3", "paths": paths })).unwrap().document;
        let old = document(paths("/a/{x}", "/a/{y}"));
        assert_eq!(Drift::between(&old, &old).changes, []);
        let drift = Drift::between(&old, &document(paths("/a/{x}", "/a/{z}")));
        assert_eq!((drift.same_place, drift.changes.len()), (2, 1), "{drift:?}");
    }

    #[test]
    fn names_stay_names_in_markdown() {
        assert_eq!(code("a`\n<b>\u{1b}[31m"), "`a<b>[31m`");
    }
}
