//! A published document, turned into OpenAPI 3.0.3 that a generator reads: one small named step per difference, each
//! counting what it changed.

mod calls;
mod names;
mod newer;
mod parts;
mod shapes;
mod step;
mod swagger;
mod types;

pub use self::calls::MEDIA_TYPE;
pub(crate) use self::parts::{ELSEWHERE, MARK, TARGETS};

use std::{collections::BTreeSet, fmt};

use regex::Regex;
use serde_json::Value;

use self::step::{Left, Step};
use crate::{
    document::{self, Node as _, Operation},
    problems::{Problems, plain},
};

/// An imported document. `Display` is the report for people: what each step changed, and what was left out and why.
#[derive(Debug)]
pub struct Imported {
    /// The document, in OpenAPI 3.0.3.
    pub document: Value,
    /// What each step changed, in order; steps that found nothing are not listed.
    counts: Vec<(&'static str, usize)>,
    left: Vec<Left>,
    /// How many operations the original has, of those that were asked for.
    operations: usize,
}

impl Imported {
    fn take(&mut self, steps: &[Step]) {
        for step in steps {
            let count = step.apply(&mut self.document, &mut self.left);
            if count > 0 {
                self.counts.push((step.name, count));
            }
        }
    }

    /// What no step can handle must not cost more than the operations that use it.
    fn leave_out_refused(&mut self, accept: Accept<'_>) {
        let all: Vec<_> = document::operations(&self.document).iter().map(Operation::place).collect();
        let kept: BTreeSet<_> = self.accepted(all, accept, &mut Asked::default()).into_iter().collect();
        document::retain_operations(&mut self.document, |place, _| kept.contains(place));
        self.take(&[types::UNUSED]);
    }

    /// Those of these operations that are accepted: by halves, since most are, and asking takes long.
    fn accepted(&mut self, mut places: Vec<String>, accept: Accept<'_>, asked: &mut Asked) -> Vec<String> {
        places.retain(|place| !asked.gone.contains(place));
        let part = types::excerpt(&self.document, &places);
        match (accept(&part), places.as_slice()) {
            (Ok(()), _) => places,
            (Err(problems), [place]) => {
                let before = self.left.len();
                if !self.leave_out_schema(&part, accept, asked) {
                    self.left.push(Left::operation(place, problems.to_string()));
                }
                let operations = self.left.iter().skip(before).filter(|left| left.is_operation);
                asked.gone.extend(operations.map(|left| left.place.clone()));
                // It may be without what was refused now, such as the body of an error.
                if asked.gone.contains(place) { Vec::new() } else { self.accepted(places, accept, asked) }
            }
            (Err(_), _) => {
                let second = places.split_off(places.len() / 2);
                let mut accepted = self.accepted(places, accept, asked);
                accepted.extend(self.accepted(second, accept, asked));
                accepted
            }
        }
    }

    /// A schema that is refused by itself costs all operations that reach it, and none of them needs to be asked about.
    fn leave_out_schema(&mut self, part: &Value, accept: Accept<'_>, asked: &mut Asked) -> bool {
        let refused = types::each_alone(part).find_map(|(name, alone)| {
            if asked.good.contains(&name) {
                return None;
            }
            match accept(&alone()) {
                Err(problems) => Some((name, problems)),
                Ok(()) => {
                    asked.good.insert(name);
                    None
                }
            }
        });
        let Some((name, problems)) = refused else { return false };
        if let Some(schema) = document::named(&mut self.document).and_then(|schemas| schemas.get_mut(&name)) {
            document::set(schema, MARK, problems.to_string());
        }
        parts::BROKEN.apply(&mut self.document, &mut self.left) > 0
    }
}

/// What the generator was asked about already.
#[derive(Default)]
struct Asked {
    /// Operations that need a schema that it refuses.
    gone: BTreeSet<String>,
    /// Schemas that it accepts.
    good: BTreeSet<String>,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (step, count) in &self.counts {
            writeln!(f, "{count:>6}  {step}")?;
        }
        for left in &self.left {
            writeln!(f, "left out: {}: {}", shortened(&left.place), shortened(&left.why))?;
        }
        write!(f, "{} operations in, {} out.", self.operations, document::operations(&self.document).len())
    }
}

fn shortened(text: &str) -> String {
    let text = plain(text);
    if text.chars().count() > 300 { text.chars().take(300).chain(['…']).collect() } else { text }
}

/// Says whether the generator accepts a document of OpenAPI 3.0.3, and if not, why.
pub type Accept<'a> = &'a dyn Fn(&Value) -> Result<(), Problems>;

/// The document in OpenAPI 3.0.3, with all that it says: for comparing it with another.
///
/// # Errors
///
/// When it is no API document, or of an unknown version.
pub fn normalize(document: Value) -> Result<Value, Problems> {
    normalized(document).map(|imported| imported.document)
}

fn normalized(document: Value) -> Result<Imported, Problems> {
    check_version(&document)?;
    // As the document has them, before any step.
    let operations = document::operations(&document).len();
    let mut imported = Imported { document, counts: Vec::new(), left: Vec::new(), operations };
    imported.take(&swagger::STEPS);
    imported.take(&newer::STEPS);
    imported.take(&[parts::AUTHORIZATION]);
    imported.take(&shapes::STEPS);
    let no_operations = imported.left.iter().filter(|left| left.is_operation).count();
    // A path item may have got some by reference.
    imported.operations = operations.max(document::operations(&imported.document).len() + no_operations);
    Ok(imported)
}

/// The document as a generator makes a good client of it. `only` selects operations by `POST /path` or by id, with a
/// regular expression. Operations that the generator does not `accept` are left out.
///
/// # Errors
///
/// As for [`normalize`], and when `only` is no regular expression or no operation is left.
pub fn import(document: Value, only: Option<&str>, accept: Accept<'_>) -> Result<Imported, Problems> {
    let only = only.map(Regex::new).transpose().map_err(|error| Problems::one(format!("--only: {error}.")))?;
    let mut imported = normalized(document)?;
    if let Some(only) = only {
        document::retain_operations(&mut imported.document, |place, operation| {
            only.is_match(place) || operation.text("operationId").is_some_and(|id| only.is_match(id))
        });
        // What is wrong elsewhere was not asked about.
        imported.left.clear();
        imported.operations = document::operations(&imported.document).len();
        if imported.operations == 0 {
            return Err(Problems::one(format!("--only: no operation of the document matches {only}.")));
        }
    }
    imported.take(&[parts::BROKEN]);
    imported.take(&newer::LOSSES);
    imported.take(&[parts::SECURITY]);
    imported.take(&shapes::LOSSES);
    // First what is not used any more, so that nothing is said of it.
    imported.take(&[types::UNUSED]);
    imported.take(&types::BEFORE_CALLS);
    imported.take(&calls::STEPS);
    imported.take(&types::AFTER_CALLS);
    imported.take(&[types::UNUSED]);
    if accept(&imported.document).is_err() {
        imported.leave_out_refused(accept);
    }
    let out = document::operations(&imported.document).len();
    let left: BTreeSet<_> = imported.left.iter().filter(|left| left.is_operation).map(|left| &left.place).collect();
    if out + left.len() != imported.operations {
        let lost = imported.operations.saturating_sub(out + left.len());
        return Err(Problems::one(format!(
            "{lost} operations were lost without a report: fix the step that lost them."
        )));
    }
    if out == 0 {
        let why = imported.left.iter().map(|left| format!("{}: {}", shortened(&left.place), shortened(&left.why)));
        return Err(Problems(why.chain(["No operation could be carried over.".into()]).collect()));
    }
    Ok(imported)
}

fn check_version(document: &Value) -> Result<(), Problems> {
    // Without quotes, YAML has a number there.
    let version = ["swagger", "openapi"].iter().find_map(|key| match document.get(key)? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    });
    Err(Problems::one(match version.as_deref() {
        None => "This is no API document: it has neither \"swagger\" nor \"openapi\" at its top.".to_owned(),
        Some(other) if other != "2.0" && !other.starts_with("3.0") && !other.starts_with("3.1") => {
            format!("The document is of version {other:?}; Swagger 2.0, OpenAPI 3.0 and 3.1 are supported.")
        }
        Some(_) if document.map("paths").or(document.map("webhooks")).is_none() => {
            "The document has no \"paths\", so there is nothing to call.".to_owned()
        }
        Some(_) => return Ok(()),
    }))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_generator_refuses_costs_the_operations_that_use_it() {
        let content = |schema: &Value| json!({ "application/json": { "schema": schema } });
        let operation = |schema: &Value| json!({ "get": { "responses": { "200": { "content": content(schema) } } } });
        let bad = json!({ "type": "array", "items": 7 });
        let paths = json!({ "/bad": operation(&bad), "/good": operation(&json!({})) });
        let accept = |document: &Value| match document.to_string().contains("\"items\":7") {
            true => Err(Problems::one("refused.")),
            false => Ok(()),
        };
        let imported = import(json!({ "openapi": "3.0.0", "paths": paths }), None, &accept).unwrap();
        assert_eq!(document::operations(&imported.document).len(), 1);
        assert_eq!(imported.left, [Left::operation("GET /bad", "refused.")]);

        // Many that share what is refused, by itself or in a ring: one is asked about.
        let at = |name: usize| json!({ "$ref": format!("#/components/schemas/S{name}") });
        let paths: document::Object = (0..64)
            .map(|index| (format!("/{index}"), operation(&at(index % 30))))
            .chain([("/good".into(), operation(&json!({})))])
            .collect();
        let ring = |index: usize| json!({ "properties": { "next": at((index + 1) % 30), "bad": if index == 7 { bad.clone() } else { json!({}) } } });
        let schemas: document::Object = (0..30).map(|index| (format!("S{index}"), ring(index))).collect();
        let count = std::cell::Cell::new(0);
        let counted = |document: &Value| {
            count.set(count.get() + 1);
            accept(document)
        };
        let many = json!({ "openapi": "3.0.0", "paths": paths, "components": { "schemas": schemas } });
        let imported = import(many, None, &counted).unwrap();
        assert_eq!((imported.left.len(), document::operations(&imported.document).len()), (64, 1));
        assert!(count.get() < 20, "{}", count.get());

        // Of a call that needs it for its errors alone, the errors are lost.
        let mut paths = json!({ "/good": operation(&json!({})), "/error": operation(&json!({})) });
        paths["/error"]["get"]["responses"]["404"] = json!({ "content": content(&at(0)) });
        let error = json!({ "openapi": "3.0.0", "paths": paths, "components": { "schemas": { "S0": { "properties": { "bad": bad } } } } });
        let imported = import(error, None, &accept).unwrap();
        assert_eq!(imported.left, [Left::new("GET /error: response 404", "refused.")]);
        assert_eq!(document::operations(&imported.document).len(), 2);
    }
}
