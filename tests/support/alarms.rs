//! Collects failed tasks from the log of the daemon. With `TEST_LOG` set, the log also goes to the output of the tests,
//! filtered by that value (`TEST_LOG=managed_app=debug`).

use std::fmt;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// Part of each error message of a failed task.
const MARK: &str = "this is a bug";

static FOUND: Mutex<Vec<String>> = Mutex::new(Vec::new());
static BEGUN: Once = Once::new();

/// Installs the collector, once per process.
pub fn listen() {
    BEGUN.call_once(|| {
        let output = std::env::var("TEST_LOG").ok().map(|filter| {
            tracing_subscriber::fmt::layer().with_test_writer().with_filter(tracing_subscriber::EnvFilter::new(filter))
        });
        tracing_subscriber::registry().with(Alarms).with(output).init();
    });
}

/// # Panics
/// If a task of any daemon of this process has failed.
pub fn assert_none() {
    let found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    assert!(found.is_empty(), "tasks failed: {found:?}");
}

struct Alarms;

impl<S: Subscriber> Layer<S> for Alarms {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() != Level::ERROR {
            return;
        }
        let mut text = Text(String::new());
        event.record(&mut text);
        if text.0.contains(MARK) {
            FOUND.lock().unwrap_or_else(PoisonError::into_inner).push(text.0);
        }
    }
}

struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}
