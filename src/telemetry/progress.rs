//! Progress bars on a terminal: one for each pull, and one for the nodes that start. Drawn on standard error, below the
//! lines of the log. Without a terminal there are no bars; the lines of the log have the same information.
//!
//! Progress is reported as events of `tracing` with the target [`TARGET`], so that the reporting code needs no handle.
//! These events are not logged.

use std::collections::HashMap;
use std::fmt;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

/// Target of progress events, with the fields `subject`, `done`, `total` (0: not known), `unit` (`bytes` or `nodes`)
/// and `is_over`.
pub const TARGET: &str = "progress";

/// The bars on the terminal; a cheap handle.
#[derive(Clone)]
pub(super) struct Bars(MultiProgress);

impl Bars {
    /// `None` unless both streams are terminals, because lines and bars share the terminal.
    pub(super) fn on_terminal() -> Option<Self> {
        (std::io::stdout().is_terminal() && std::io::stderr().is_terminal()).then(|| Self(MultiProgress::new()))
    }

    /// Hides the bars during a write to the terminal.
    pub(super) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.0.suspend(write)
    }

    /// A layer that draws the events.
    pub(super) fn layer(&self) -> BarLayer {
        BarLayer { bars: self.clone(), open: Arc::default() }
    }
}

/// Draws progress events; clones share the bars.
#[derive(Clone)]
pub(super) struct BarLayer {
    bars: Bars,
    open: Arc<Mutex<HashMap<String, ProgressBar>>>,
}

impl<S: Subscriber> Layer<S> for BarLayer {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if event.metadata().target() == TARGET {
            let mut progress = Progress::default();
            event.record(&mut progress);
            self.show(progress);
        }
    }
}

impl BarLayer {
    fn show(&self, progress: Progress) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if progress.is_over {
            if let Some(bar) = open.remove(&progress.subject) {
                bar.finish_and_clear();
                self.bars.0.remove(&bar);
            }
            return;
        }
        let bar = open.entry(progress.subject.clone()).or_insert_with(|| {
            let bar = self.bars.0.add(ProgressBar::no_length().with_message(progress.subject.clone()));
            bar.with_style(style(&progress.unit))
        });
        if progress.total > 0 {
            bar.set_length(progress.total);
        }
        bar.set_position(progress.done);
    }
}

/// Without colours, which would have to respect NO_COLOR.
fn style(unit: &str) -> ProgressStyle {
    let template = match unit {
        "bytes" => "{msg:40!} [{bar:24}] {bytes}/{total_bytes} {bytes_per_sec} {eta}",
        _ => "{msg:40!} [{bar:24}] {pos}/{len}",
    };
    ProgressStyle::with_template(template).expect("it is a literal template").progress_chars("=> ")
}

/// The fields of one event.
#[derive(Debug, Default, PartialEq, Eq)]
struct Progress {
    subject: String,
    done: u64,
    total: u64,
    unit: String,
    is_over: bool,
}

impl Visit for Progress {
    fn record_u64(&mut self, field: &Field, value: u64) {
        match field.name() {
            "done" => self.done = value,
            "total" => self.total = value,
            _ => {}
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        if field.name() == "is_over" {
            self.is_over = value;
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        match field.name() {
            "subject" => value.clone_into(&mut self.subject),
            "unit" => value.clone_into(&mut self.unit),
            _ => {}
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.record_str(field, &format!("{value:?}"));
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[test]
    fn a_bar_is_there_from_the_first_event_to_the_last() {
        let layer = Bars(MultiProgress::new()).layer();
        let subscriber = tracing_subscriber::registry().with(layer.clone());
        let position = |layer: &BarLayer| {
            let open = layer.open.lock().expect("nobody panics here");
            open.get("image").map(|bar| (bar.position(), bar.length()))
        };
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(target: TARGET, subject = "image", unit = "bytes", done = 5_u64, total = 0_u64);
            assert_eq!(position(&layer), Some((5, None)));
            tracing::info!(target: TARGET, subject = "image", unit = "bytes", done = 7_u64, total = 9_u64);
            assert_eq!(position(&layer), Some((7, Some(9))));
            tracing::info!(other = 1, "an ordinary line");
            tracing::info!(target: TARGET, subject = "image", is_over = true);
            assert_eq!(position(&layer), None);
        });
    }
}
