//! The core's `tracing` spans and events, kept for Python's `logging`.
//!
//! The threads that write them must not wait for Python, so they are kept, and Python takes them from a thread of its own; see `log`.

use std::collections::VecDeque;
use std::fmt::{Debug, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::registry::LookupSpan;

/// Lines kept until somebody takes them; the oldest go first.
const CAPACITY: usize = 4096;

static LINES: Mutex<VecDeque<TraceLine>> = Mutex::new(VecDeque::new());
/// How many of `LEVELS` are wanted, the gravest first.
static WANTED: AtomicUsize = AtomicUsize::new(2);
const LEVELS: [(Level, u8); 5] =
    [(Level::ERROR, 40), (Level::WARN, 30), (Level::INFO, 20), (Level::DEBUG, 10), (Level::TRACE, 5)];

/// What a span or an event says.
pub(crate) struct TraceLine {
    /// The name of the logger, such as `tabagent.engine`.
    pub(crate) logger: String,
    /// Its level in `logging`.
    pub(crate) level: u8,
    pub(crate) text: String,
}

/// Keeps the lines of this process from now on. Does nothing where something else listens to `tracing` already.
pub(crate) fn listen() {
    let _ = tracing::subscriber::set_global_default(tracing_subscriber::registry().with(Lines));
}

/// Keeps only lines at or above a level of `logging`.
pub(crate) fn set_level(level: i64) {
    let wanted = LEVELS.iter().filter(|(_, number)| i64::from(*number) >= level).count();
    if WANTED.swap(wanted, Ordering::Relaxed) != wanted {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// Takes all lines kept since the last call, oldest first.
pub(crate) fn drain() -> Vec<TraceLine> {
    LINES.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect()
}

struct Lines;

/// The fields of a span, as far as they are known, and since when it is.
struct Known {
    fields: Fields,
    since: Instant,
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Lines {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        // The level that is wanted changes.
        Interest::sometimes()
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        is_ours(metadata) && wanted_level() >= *metadata.level()
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(wanted_level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            let mut fields = Fields::default();
            attributes.record(&mut fields);
            span.extensions_mut().insert(Known { fields, since: Instant::now() });
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        if let Some(span) = context.span(id)
            && let Some(known) = span.extensions_mut().get_mut::<Known>()
        {
            values.record(&mut known.fields);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut text = std::mem::take(&mut fields.message);
        let span = context.event_span(event);
        if let Some(span) = &span {
            // Which one it is; the rest comes when it ends.
            let id = span
                .extensions()
                .get::<Known>()
                .and_then(|known| known.fields.value("id").map(str::to_owned));
            let _ = write!(text, " {}", span.name());
            if let Some(id) = id {
                let _ = write!(text, " id={id}");
            }
        }
        fields.write_to(&mut text);
        keep(event.metadata(), text);
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(Known { fields, since }) = span.extensions_mut().remove::<Known>() else { return };
        let mut text = span.name().to_owned();
        fields.write_to(&mut text);
        let _ = write!(text, " took_s={:.6}", since.elapsed().as_secs_f64());
        keep(span.metadata(), text);
    }
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata.target().starts_with("tabagent::")
}

fn wanted_level() -> LevelFilter {
    let gravest = WANTED.load(Ordering::Relaxed).checked_sub(1).and_then(|at| LEVELS.get(at));
    gravest.map_or(LevelFilter::OFF, |(level, _)| LevelFilter::from_level(*level))
}

fn keep(metadata: &Metadata<'_>, text: String) {
    let number = LEVELS.iter().find(|(level, _)| level == metadata.level()).map_or(10, |(_, number)| *number);
    let mut lines = LINES.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() == CAPACITY {
        lines.pop_front();
    }
    lines.push_back(TraceLine { logger: metadata.target().replace("::", "."), level: number, text });
}

/// Fields in the order in which they are declared, as texts.
#[derive(Default)]
struct Fields {
    message: String,
    named: Vec<(&'static str, String)>,
}

impl Fields {
    fn value(&self, name: &str) -> Option<&str> {
        self.named.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    fn write_to(&self, text: &mut String) {
        for (name, value) in &self.named {
            let _ = write!(text, " {name}={value}");
        }
    }

    fn put(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            self.message = value;
        } else {
            self.named.push((field.name(), value));
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field, format!("{value:.6}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field, format!("{value:?}"));
    }
}
