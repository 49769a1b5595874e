//! The trace of a run, line by line. Kept only for the repetition of a failed run.

use std::fmt::Write as _;
use std::time::Duration;

use managed_app::model::Snapshot;
use managed_app::reconciler::{Effect, Event, Operation, Outcome, Pulled};

/// The trace of one run.
pub struct Trace {
    is_kept: bool,
    text: String,
}

impl Trace {
    pub fn new(is_kept: bool) -> Self {
        Self { is_kept, text: String::new() }
    }

    /// Adds a line; evaluates it only if the trace is kept.
    pub fn log_line(&mut self, now: Duration, line: impl FnOnce() -> String) {
        if self.is_kept {
            let _ = writeln!(self.text, "{:>10.3}  {}", now.as_secs_f64(), line());
        }
    }

    pub fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }
}

/// A short description of an event.
pub fn of_event(event: &Event) -> String {
    match event {
        Event::Change(change) => format!("change: {change}"),
        Event::Snapshot(Ok(Snapshot::Gone)) => "snapshot: gone".to_owned(),
        Event::Snapshot(Ok(Snapshot::App(app) | Snapshot::Update { app, .. })) => {
            let nodes: Vec<String> = app.nodes.keys().map(ToString::to_string).collect();
            let gaps = if app.is_complete { "" } else { ", with gaps" };
            let invalid: Vec<String> = app.invalid_nodes.keys().map(ToString::to_string).collect();
            format!("snapshot: nodes {nodes:?}, invalid {invalid:?}{gaps}")
        }
        Event::Snapshot(Err(failure)) => format!("snapshot failed: {:?}", failure.kind),
        Event::Listed(Ok(list)) => {
            let all: Vec<String> = list.iter().map(|c| format!("{} {} {:?}", c.id, c.name, c.state)).collect();
            format!("listed: {all:?}")
        }
        Event::Listed(Err(failure)) => format!("list failed: {:?}", failure.kind),
        Event::Engine(event) => format!("engine event: {} {:?}", event.container, event.action),
        Event::Pulled { image, outcome } => {
            let how = match outcome {
                Pulled::Fresh(id) => format!("fresh {id}"),
                Pulled::Kept { id, failure } => format!("kept {id}, {:?}", failure.kind),
                Pulled::Failed(failure) => format!("failed, {:?}", failure.kind),
            };
            format!("pulled {image}: {how}")
        }
        Event::Finished { node, outcome } => format!("finished {node}: {}", of_outcome(outcome)),
        Event::Stop(nodes) => format!("stop: {nodes:?}"),
        other => other.name().to_owned(),
    }
}

fn of_outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Created(created) => format!("created {} at {:?}", created.id, created.revision),
        Outcome::Failed(failure) => format!("failed: {} ({:?})", failure.text, failure.kind),
        other => format!("{other:?}"),
    }
}

/// A short description of an effect.
pub fn of_effect(effect: &Effect) -> String {
    match effect {
        Effect::FetchSnapshot => "fetch".to_owned(),
        Effect::List => "list".to_owned(),
        Effect::Pull(image) => format!("pull {image}"),
        Effect::Operate { node, operation, reason } => {
            let what = match operation {
                Operation::Create(target) => format!("create {target:?}"),
                other => format!("{other:?}"),
            };
            format!("operate {node}: {what}: {reason}")
        }
        other => format!("{other:?}"),
    }
}
