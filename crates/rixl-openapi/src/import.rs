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

pub(crate) use self::parts::MARK;

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
            let count = (step.run)(&mut self.document, &mut self.left);
            if count > 0 {
                self.counts.push((step.name, count));
            }
        }
    }

    /// What no step can handle must not cost more than the operations that use it.
    fn leave_out_refused(&mut self, accept: Accept<'_>) {
        let all: Vec<_> = document::operations(&self.document).iter().map(Operation::place).collect();
        let kept: BTreeSet<_> = self.accepted(&all, accept).into_iter().collect();
        document::retain_operations(&mut self.document, |place, _| kept.contains(place));
        self.take(&[types::UNUSED]);
    }

    /// Those of these operations that are accepted: by halves, since most are, and asking takes long.
    fn accepted(&mut self, places: &[String], accept: Accept<'_>) -> Vec<String> {
        match (accept(&types::excerpt(&self.document, places)), places) {
            (Ok(()), _) => places.to_vec(),
            (Err(problems), [place]) => {
                self.left.push(Left::operation(place, problems.to_string()));
                Vec::new()
            }
            (Err(_), _) => {
                let (first, second) = places.split_at(places.len() / 2);
                let mut accepted = self.accepted(first, accept);
                accepted.extend(self.accepted(second, accept));
                accepted
            }
        }
    }
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
    parts::check_references(&imported.document)?;
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
    let version = document.text("swagger").or(document.text("openapi"));
    Err(Problems::one(match version {
        None => "This is no API document: it has neither \"swagger\" nor \"openapi\" at its top.".to_owned(),
        Some(other) if other != "2.0" && !other.starts_with("3.0") && !other.starts_with("3.1") => {
            format!("The document is of version {other:?}; Swagger 2.0, OpenAPI 3.0 and 3.1 are supported.")
        }
        Some(_) if document.map("paths").is_none() => {
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
    }
}
