//! The log of `--log-format json`: an object a line on stderr.
//!
//! Each has `timestamp`, `level`, `target` and `event`. By its event, it has more:
//!
//! | event | what it is | its fields |
//! |---|---|---|
//! | `step` | a rotation has come so far | `key_id` (or `endpoint_id`, `credential_id`, `key`), `run`, `change`, `state`, `message`, `next` |
//! | `result` | what became of one of several keys | `key_id`, `result`, `exit_code`, `message` |
//! | `message`, `warning` | what is worth knowing, what must be known | `message` |
//! | `error` | why something failed | `message`, `because`, `next` |
//! | `end` | the command has ended | `command`, `exit_code` |
//! | `span`, `trace` | with `-v` or `RUST_LOG`: a span that closed, an event of a crate | `name`, `message`, `key_id`, `run`, `fields` |

use std::{
    fmt::Debug,
    sync::atomic::{AtomicBool, Ordering},
};

use rixl_credentials::Timestamp;
use rixl_rotation::Event;
use serde::{Serialize, Serializer, ser::SerializeMap as _};
use serde_json::{Map, Value};
use tracing_core::{Field, dispatcher, field::Visit};
use tracing_subscriber::{
    Registry,
    registry::{LookupSpan, SpanRef},
};

use crate::{failure::command, stderr, text::shown_in_json};

/// The target of what the program says itself.
pub(crate) const PROGRAM: &str = "rixl";

static IS_JSON: AtomicBool = AtomicBool::new(false);

/// From now on.
pub(crate) fn use_json() {
    IS_JSON.store(true, Ordering::Relaxed);
}

pub(crate) fn is_json() -> bool {
    IS_JSON.load(Ordering::Relaxed)
}

/// The fields of a line, of a span or of an event, in their order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Fields(Vec<(&'static str, Value)>);

impl Fields {
    pub(crate) fn message(text: &str) -> Self {
        Self::default().with("message", text)
    }

    /// With this one, unless it is nothing.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.set(name, value.into());
        self
    }

    fn set(&mut self, name: &'static str, value: Value) {
        let is_empty = value.as_array().is_some_and(Vec::is_empty) || value.as_object().is_some_and(Map::is_empty);
        if value.is_null() || is_empty {
            return;
        }
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = value,
            None => self.0.push((name, value)),
        }
    }

    pub(crate) fn to_value(&self) -> Value {
        self.0.iter().map(|(name, value)| (*name, value.clone())).collect()
    }

    /// Takes one out.
    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        let at = self.0.iter().position(|(known, _)| *known == name)?;
        Some(self.0.remove(at).1)
    }

    fn get(&self, name: &str) -> Option<Value> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
    }

    /// Those of the key and the run that the spans around are about.
    pub(crate) fn of_run<'a, S: LookupSpan<'a>>(span: Option<SpanRef<'a, S>>) -> Self {
        let rotation = span.and_then(|span| span.scope().find(|span| span.name() == "rixl.rotation"));
        let Some(rotation) = rotation else { return Self::default() };
        let (extensions, mut fields) = (rotation.extensions(), Self::default());
        for (name, said) in [
            ("key_id", "rixl.key_id"),
            ("endpoint_id", "rixl.endpoint_id"),
            ("credential_id", "rixl.credential_id"),
            ("run", "rixl.run_id"),
            ("change", "rixl.change"),
        ] {
            fields.set(name, extensions.get::<Self>().and_then(|known| known.get(said)).unwrap_or_default());
        }
        fields
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.set(field.name(), format!("{value:?}").into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field.name(), value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field.name(), value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field.name(), value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field.name(), value.into());
    }
}

struct Line<'a> {
    level: &'a str,
    target: &'a str,
    event: &'a str,
    fields: &'a Fields,
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &format_args!("{:.3}", Timestamp::now()))?;
        for (name, value) in [("level", self.level), ("target", self.target), ("event", self.event)] {
            map.serialize_entry(name, value)?;
        }
        for (name, value) in &self.fields.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Writes a line.
pub(crate) fn write(level: &str, target: &str, event: &str, fields: &Fields) {
    if let Some(line) = line(level, target, event, fields) {
        stderr::write(line.into_bytes());
    }
}

pub(crate) fn line(level: &str, target: &str, event: &str, fields: &Fields) -> Option<String> {
    let text = serde_json::to_string(&Line { level, target, event, fields }).ok()?;
    Some(format!("{}\n", shown_in_json(&text)))
}

/// One step of a rotation, with what the span around it knows of the run.
pub(crate) fn step(event: &Event) {
    let mut fields = dispatcher::get_default(|dispatch| {
        let registry = dispatch.downcast_ref::<Registry>();
        let current = dispatch.current_span();
        Fields::of_run(registry.zip(current.id()).and_then(|(registry, id)| registry.span(id)))
    });
    if ["key_id", "endpoint_id", "credential_id"].iter().all(|name| fields.get(name).is_none()) {
        fields.set("key", event.key.as_str().into());
    }
    let fields = fields.with("state", event.kind.as_str()).with("message", event.sentence.as_str());
    write("info", "rixl_rotation", "step", &fields.with("next", event.next.as_ref().and_then(command)));
}
