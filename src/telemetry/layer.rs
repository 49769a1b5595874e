//! Converts events of `tracing` to lines: collects the fields of spans and events. Writes nothing itself.

use time::OffsetDateTime;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

use super::filter;
use super::line::{self, Fields};
use super::progress::TARGET as PROGRESS;
use super::redact::Redactor;
use super::unshipped::Line;
use crate::config::LoggingLevel;

/// The span of the shipping of the log. Its lines are not shipped: each would create more.
pub(super) const UNSHIPPED: &str = "log-shipping";

/// Creates lines and passes them, redacted, to `sink`, with a flag whether the line may be shipped.
pub(super) struct Lines<F> {
    pub(super) threshold: LoggingLevel,
    pub(super) redactor: Redactor,
    pub(super) sink: F,
}

impl<S, F> Layer<S> for Lines<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    F: Fn(Line, bool) + 'static,
{
    /// Spans of own crates are always enabled, because lines include their fields; spans of other crates never.
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        if metadata.target() == PROGRESS {
            // Not used by this layer, but an event that one layer disables is disabled for all layers.
            return true;
        }
        if metadata.is_span() {
            return filter::is_ours(metadata.target());
        }
        filter::enabled(self.threshold, metadata)
    }

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
        if event.metadata().target() == PROGRESS {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        if self.threshold == LoggingLevel::Critical && !fields.critical {
            return;
        }
        let mut around = String::new();
        let mut is_ours = filter::is_ours(event.metadata().target());
        let mut is_unshipped = false;
        for span in context.event_scope(event).into_iter().flat_map(|scope| scope.from_root()) {
            is_unshipped |= span.metadata().name() == UNSHIPPED;
            if let Some(of_span) = span.extensions().get::<Fields>() {
                is_ours = true;
                around.push_str(&of_span.rest);
            }
        }
        let level = filter::name(*event.metadata().level(), fields.critical);
        let at = OffsetDateTime::now_utc();
        let line = line::line(level, at, &around, &fields);
        // Redacted before it is cut, so that no part of a secret remains at the end.
        let text = line::cut(self.redactor.redact(line));
        // Tasks of client libraries have no own span: their lines may be about shipping and are not shipped.
        (self.sink)(Line { at, text }, is_ours && !is_unshipped);
    }
}

#[cfg(test)]
mod tests;
