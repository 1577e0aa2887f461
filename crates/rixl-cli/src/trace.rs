//! Traces on stderr, for `RUST_LOG` and `-v`.

use std::{
    env,
    fmt::{self, Debug},
};

use serde_json::Value;
use tracing_core::{
    Event, Field, LevelFilter, Metadata, Subscriber,
    field::Visit,
    span::{Attributes, Id, Record},
};
use tracing_subscriber::{
    Layer,
    filter::Targets,
    fmt::format::FmtSpan,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
    util::SubscriberInitExt as _,
};

use crate::{
    failure::Failure,
    log::{self, Fields},
    output::say,
    stderr,
    text::shown,
};

/// Starts writing. `RUST_LOG` says what; without it `-v` shows a line for each request, `-vv` each event of this project's
/// crates.
pub(crate) fn start(verbosity: u8) -> Result<(), Failure> {
    let json = log::is_json();
    let wanted = match (env::var("RUST_LOG"), verbosity) {
        (Ok(filter), _) if !filter.is_empty() => filter,
        (_, verbosity @ ..=1) if json => {
            let written = Lines { is_all: false, has_requests: verbosity == 1 };
            tracing_subscriber::registry().with(LevelFilter::INFO).with(written).init();
            return Ok(());
        }
        (_, 0) => return Ok(()),
        (_, 1) => {
            tracing_subscriber::registry().with(LevelFilter::INFO).with(Requests).init();
            return Ok(());
        }
        _ => "rixl_credentials=trace,rixl_rotation=trace".into(),
    };
    let filter: Result<Targets, _> = wanted.parse();
    let filter = filter.map_err(|error| Failure::usage("RUST_LOG is not a valid filter").with_cause(&error))?;
    if json {
        let written = Lines { is_all: true, has_requests: true };
        tracing_subscriber::registry().with(filter).with(written).init();
        return Ok(());
    }
    let written = tracing_subscriber::fmt::layer()
        .with_span_events(FmtSpan::CLOSE)
        .with_writer(|| stderr::Lines)
        .with_ansi(false)
        // It reports a closed stderr with a panic, which must not end a rotation halfway.
        .log_internal_errors(false);
    tracing_subscriber::registry().with(filter).with(written).init();
    Ok(())
}

/// Writes lines of JSON, and remembers what each span says.
struct Lines {
    is_all: bool,
    has_requests: bool,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(fields) = span.extensions_mut().get_mut::<Fields>()
        {
            values.record(fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        if self.is_all {
            let mut fields = Fields::default();
            event.record(&mut fields);
            let message = fields.take("message");
            line(event.metadata(), "trace", message, Fields::of_run(context.event_span(event)), &fields);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        if self.is_all || self.has_requests && span.name() == "rixl.attempt" {
            let fields = span.extensions().get::<Fields>().cloned().unwrap_or_default();
            line(span.metadata(), "span", None, Fields::of_run(context.span(&id)), &fields);
        }
    }
}

fn line(metadata: &Metadata<'_>, event: &str, message: Option<Value>, of_run: Fields, fields: &Fields) {
    let name = (event == "span").then(|| metadata.name());
    let all = of_run.with("name", name).with("message", message).with("fields", fields.to_value());
    log::write(&metadata.level().as_str().to_ascii_lowercase(), metadata.target(), event, &all);
}

/// Shows each request in a line, when it has ended.
struct Requests;

/// What its span says of it.
#[derive(Default)]
struct Request {
    method: String,
    path: String,
    status: String,
    error: String,
    millis: String,
    id: String,
}

impl Visit for Request {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let place = match field.name() {
            "http.request.method" => &mut self.method,
            "url.template" => &mut self.path,
            "http.response.status_code" => &mut self.status,
            "error.type" => &mut self.error,
            "rixl.duration_ms" => &mut self.millis,
            "rixl.request_id" => &mut self.id,
            _ => return,
        };
        *place = format!("{value:?}");
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)?;
        for (value, unit) in [(&self.status, ""), (&self.error, ""), (&self.millis, " ms"), (&self.id, "")] {
            if !value.is_empty() {
                write!(f, "  {value}{unit}")?;
            }
        }
        Ok(())
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Requests {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id).filter(|span| span.name() == "rixl.attempt") {
            let mut request = Request::default();
            attributes.record(&mut request);
            span.extensions_mut().insert(request);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(request) = span.extensions_mut().get_mut::<Request>()
        {
            values.record(request);
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        // Nobody is told of what was not sent.
        if let Some(span) = context.span(&id)
            && let Some(request) = span.extensions().get::<Request>().filter(|request| !request.method.is_empty())
        {
            say(&shown(&request.to_string()));
        }
    }
}
