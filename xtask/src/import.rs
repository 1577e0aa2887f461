//! `cargo xtask import`: a document as RIXL publishes it, Swagger 2.0 or OpenAPI 3.0 or 3.1, to OpenAPI 3.0.3 that the
//! generator reads. One small named step per difference, each counting what it changed.

mod calls;
mod names;
mod newer;
mod parts;
mod shapes;
mod swagger;
mod types;

use std::{collections::BTreeSet, fs, path::Path, process::ExitCode};

use regex::Regex;
use serde_json::Value;

use crate::{Problems, contract, regen, schemas, source};

/// Changes the document, says at how many places, and names what is lost.
type Run = fn(&mut Value, &mut Vec<Left>) -> usize;

/// One difference between what is published and what is generated from.
#[derive(Clone, Copy)]
struct Step {
    name: &'static str,
    run: Run,
}

/// What was not carried over, or not as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Left {
    /// `PUT /path` for a whole operation; more for a part of one, or of a schema.
    pub(crate) place: String,
    pub(crate) why: String,
    is_operation: bool,
}

impl Left {
    fn new(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { place: place.into(), why: why.into(), is_operation: false }
    }

    /// A whole operation.
    fn operation(place: impl Into<String>, why: impl Into<String>) -> Self {
        Self { is_operation: true, ..Self::new(place, why) }
    }
}

/// A document that was read, and what became of it.
#[derive(Debug)]
pub(crate) struct Imported {
    pub(crate) document: Value,
    /// What each step changed, in order; steps that found nothing are not listed.
    pub(crate) counts: Vec<(&'static str, usize)>,
    pub(crate) left: Vec<Left>,
    /// How many operations the document has, of those that were asked for.
    pub(crate) operations: usize,
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

    /// A form that no step knows must not cost more than the operations that use it.
    fn leave_out_refused(&mut self) {
        let whole = self.document.clone();
        let left = &mut self.left;
        schemas::retain_operations(&mut self.document, |place, _| {
            let mut alone = whole.clone();
            schemas::retain_operations(&mut alone, |other, _| other == place);
            (types::UNUSED.run)(&mut alone, &mut Vec::new());
            let refused = regen::try_published(&alone).err();
            left.extend(refused.iter().map(|problems| Left::operation(place, problems.to_string())));
            refused.is_none()
        });
        self.take(&[types::UNUSED]);
    }

    /// For people, on stderr.
    #[allow(clippy::print_stderr, reason = "a command-line program")]
    pub(crate) fn report(&self) {
        for (step, count) in &self.counts {
            eprintln!("{count:>6}  {step}");
        }
        for left in &self.left {
            eprintln!("left out: {}: {}", plain(&left.place), plain(&left.why));
        }
        eprintln!("{} operations in, {} out.", self.operations, contract::operations(&self.document).len());
    }
}

/// For the terminal: a document must not move the cursor.
fn plain(text: &str) -> String {
    let text: String = text.chars().filter(|letter| !letter.is_control()).collect();
    if text.chars().count() > 300 { text.chars().take(300).chain(['…']).collect() } else { text }
}

/// Reads `spec`, and writes what became of it to `out` or stdout.
#[allow(clippy::print_stdout, reason = "a command-line program")]
pub(crate) fn run(spec: &Path, out: Option<&Path>, only: Option<&str>) -> Result<ExitCode, Problems> {
    let imported = import(source::read(spec)?.0, only)?;
    imported.report();
    let text = serde_json::to_string_pretty(&imported.document)
        .map_err(|error| Problems::one(format!("The result cannot be written as JSON: {error}.")))?;
    match out {
        None => println!("{text}"),
        Some(out) => fs::write(out, text + "\n")
            .map_err(|error| Problems::one(format!("{}: cannot be written: {error}.", out.display())))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The document in OpenAPI 3.0.3, with all that it says: for comparing it with another.
pub(crate) fn normalize(document: Value) -> Result<Imported, Problems> {
    check_version(&document)?;
    let mut imported = Imported { document, counts: Vec::new(), left: Vec::new(), operations: 0 };
    parts::check_references(&imported.document)?;
    imported.take(&swagger::STEPS);
    imported.take(&newer::STEPS);
    imported.take(&parts::SECURITY);
    imported.take(&shapes::STEPS);
    imported.operations = contract::operations(&imported.document).len();
    Ok(imported)
}

/// The document as the generator reads it well; `only` chooses operations by `POST /path` or by id.
pub(crate) fn import(document: Value, only: Option<&str>) -> Result<Imported, Problems> {
    let only = only.map(Regex::new).transpose().map_err(|error| Problems::one(format!("--only: {error}.")))?;
    let mut imported = normalize(document)?;
    if let Some(only) = only {
        schemas::retain_operations(&mut imported.document, |place, operation| {
            only.is_match(place) || contract::text(operation, "operationId").is_some_and(|id| only.is_match(id))
        });
        imported.operations = contract::operations(&imported.document).len();
        // What is wrong elsewhere was not asked about.
        imported.left.retain(|left| !left.place.contains(" /") || only.is_match(&left.place));
        if imported.operations == 0 {
            return Err(Problems::one(format!("--only: no operation of the document matches {only}.")));
        }
    }
    // First what is not used any more, so that nothing is said of it.
    imported.take(&[types::UNUSED]);
    imported.take(&types::STEPS[..4]);
    imported.take(&calls::STEPS);
    imported.take(&types::STEPS[4..]);
    imported.take(&[types::UNUSED]);
    parts::check_references(&imported.document)?;
    if regen::try_published(&imported.document).is_err() {
        imported.leave_out_refused();
    }
    let out = contract::operations(&imported.document).len();
    let left: BTreeSet<_> = imported.left.iter().filter(|left| left.is_operation).map(|left| &left.place).collect();
    if out + left.len() != imported.operations {
        let lost = imported.operations.saturating_sub(out + left.len());
        return Err(Problems::one(format!("{lost} operations were lost without a word: a step is to be mended.")));
    }
    if out == 0 {
        let why = imported.left.iter().map(|left| plain(&format!("{}: {}", left.place, left.why)));
        return Err(Problems(why.chain(["No operation could be carried over.".into()]).collect()));
    }
    Ok(imported)
}

fn check_version(document: &Value) -> Result<(), Problems> {
    let version = contract::text(document, "swagger").or(contract::text(document, "openapi"));
    let is_known = matches!(version, Some("2.0"))
        || version.is_some_and(|version| version.starts_with("3.0") || version.starts_with("3.1"));
    match version {
        None => Err(Problems::one("This is no API document: it has neither \"swagger\" nor \"openapi\" at its top.")),
        Some(other) if !is_known => Err(Problems::one(format!(
            "The document is of version {other:?}; Swagger 2.0, OpenAPI 3.0 and 3.1 are known."
        ))),
        Some(_) if !document.get("paths").is_some_and(Value::is_object) => {
            Err(Problems::one("The document has no \"paths\", so there is nothing to call."))
        }
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_the_generator_refuses_costs_the_operations_that_use_it() {
        let answer = |schema: Value| json!({ "responses": { "200": { "content": { "application/json": { "schema": schema } } } } });
        let bad = json!({ "type": "array", "items": 7 });
        let document = json!({ "openapi": "3.0.0", "paths": { "/bad": { "get": answer(bad) }, "/good": { "get": answer(json!({})) } } });
        let imported = import(document, None).unwrap();
        assert_eq!(contract::operations(&imported.document).len(), 1);
        assert_eq!(imported.left.iter().map(|left| left.place.as_str()).collect::<Vec<_>>(), ["GET /bad"]);
        assert!(imported.left[0].why.contains("progenitor refuses the document"));
    }

    /// What the step makes of the document; it must say so.
    pub(super) fn changed(mut document: Value, step: Run, count: usize) -> Value {
        let mut left = Vec::new();
        assert_eq!(step(&mut document, &mut left), count, "{document:#}");
        document
    }
}
