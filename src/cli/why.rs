//! `why`: prints the history of one node, from each cause to its outcome. If no daemon runs, reads the history file.

use tokio::task::spawn_blocking;

use super::report::print_error;
use super::status::{age, client, moment, print, report_client_error};
use crate::config::ClientConfig;
use crate::exit::Exit;
use crate::status::{
    Action, Cause, ClientError, FieldChange, NodeHistory, NodeReport, Outcome, Stamp, Step, offline_history,
};
use crate::text::sanitize;

/// Options of `why`.
#[derive(Debug, Clone, PartialEq, Eq, clap::Args)]
pub struct WhyOptions {
    /// Name of the node
    pub node: String,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

/// Prints the actions on a node and their causes.
pub async fn why(config: &ClientConfig, options: &WhyOptions) -> Exit {
    let result = match client(config) {
        Ok(client) => client.history(&options.node).await,
        Err(exit) => return exit,
    };
    match result {
        Ok(history) => show(&history, options),
        Err(error @ ClientError::NotRunning(_)) => without_daemon(config, options, &error).await,
        Err(error) => report_client_error(&error),
    }
}

async fn without_daemon(config: &ClientConfig, options: &WhyOptions, error: &ClientError) -> Exit {
    let (directory, node) = (config.state_directory.clone(), options.node.clone());
    let found = spawn_blocking(move || offline_history(&directory, &node)).await;
    let Ok(Ok(Some(history))) = found else { return report_client_error(error) };
    print_error(&format!("{error}; this is what the last one left in {}", config.state_directory.display()));
    show(&history, options);
    Exit::Unavailable
}

fn show(history: &NodeHistory, options: &WhyOptions) -> Exit {
    print(&match options.json {
        true => serde_json::to_string(history).expect("strings and numbers are always JSON") + "\n",
        false => text(history, Stamp::now()),
    });
    Exit::Done
}

fn text(history: &NodeHistory, now: Stamp) -> String {
    let mut lines = Vec::new();
    lines.push(match &history.now {
        Some(node) => format!(
            "node \"{}\": {} since {}, {}, image {}",
            node.name,
            node.state,
            age(node.since, now),
            restarts(node),
            node.image.as_deref().unwrap_or("unknown")
        ),
        None => format!("node \"{}\": does not exist now", history.node),
    });
    lines.extend(history.now.iter().filter_map(|node| node.error.as_ref()).map(|error| format!("  ! {error}")));
    lines.extend(history.now.iter().filter_map(|node| last_exit(node, now)));
    for action in &history.actions {
        lines.push(String::new());
        lines.extend(action_lines(action));
    }
    lines.iter().map(|line| sanitize(line) + "\n").collect()
}

fn restarts(node: &NodeReport) -> String {
    let count = node.all_restarts();
    let text = if count == 1 { "1 restart".to_owned() } else { format!("{count} restarts") };
    match node.engine_restarts {
        Some(by_engine @ 1..) => format!("{text} ({by_engine} by the engine)"),
        _ => text,
    }
}

fn last_exit(node: &NodeReport, now: Stamp) -> Option<String> {
    let exit = node.last_exit.as_ref()?;
    let ago = exit.at.map_or(String::new(), |at| format!(", {} ago", age(at, now)));
    Some(format!("  last exit: {}{ago}", exit.text().trim_start_matches("exited ")))
}

fn action_lines(action: &Action) -> Vec<String> {
    let mut lines = vec![format!("{}  {}: {}", moment(action.began_at), action.action, action.because)];
    let mut add = |what: &str, text: String| lines.push(format!("  {what:<9} {text}"));
    if action.causes.is_empty() {
        add("cause", "no message: found by a comparison".to_owned());
    }
    action.causes.iter().for_each(|cause| add("cause", cause_text(cause)));
    action.differences.iter().for_each(|difference| add("field", field_text(difference)));
    if !action.steps.is_empty() {
        let steps: Vec<String> = action.steps.iter().map(step_text).collect();
        add("steps", steps.join(", "));
    }
    for step in action.steps.iter().filter(|step| step.error.is_some()) {
        add("failed", format!("{}: {}", step.step, step.error.as_deref().unwrap_or_default()));
    }
    add("outcome", outcome_text(action));
    lines
}

fn cause_text(cause: &Cause) -> String {
    let mut text = cause.change.clone();
    if let Some(id) = &cause.message_id {
        text.push_str(&format!(", message {id}"));
    }
    if let Some(id) = &cause.tracking_id {
        text.push_str(&format!(", tracking id {id}"));
    }
    if let Some(at) = cause.sent_at {
        text.push_str(&format!(", sent {}", moment(at)));
    }
    if let Some(at) = cause.received_at {
        text.push_str(&format!(", received {}", moment(at)));
    }
    text
}

fn field_text(difference: &FieldChange) -> String {
    let field = &difference.field;
    match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => format!("{field}: {before} -> {after}"),
        (None, Some(after)) => format!("{field} added: {after}"),
        (Some(before), None) => format!("{field} removed: {before}"),
        (None, None) => field.clone(),
    }
}

fn step_text(step: &Step) -> String {
    let container = step.container.as_ref().map_or(String::new(), |id| format!(" {id}"));
    format!("{}{container} {}", step.step, seconds(step.took_ms))
}

fn outcome_text(action: &Action) -> String {
    let mut text = action.outcome.text().to_owned();
    if let (Some(at), Some(took)) = (action.ended_at, action.took_ms) {
        text.push_str(&format!(" at {} in {}", moment(at), seconds(took)));
    }
    if action.attempts > 1 {
        text.push_str(&format!(", attempt {}", action.attempts));
    }
    if let (Some(latency), Outcome::Done) = (action.latency_ms, action.outcome) {
        text.push_str(&format!(", {} after the message", seconds(latency)));
    }
    if let Some(downtime) = action.downtime_ms {
        text.push_str(&format!(", down for {}", seconds(downtime)));
    }
    if let Some(error) = &action.error {
        text.push_str(&format!(": {error}"));
    }
    text
}

fn seconds(millis: u64) -> String {
    format!("{}.{:03} s", millis / 1_000, millis % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_restarts_and_the_last_exit_are_printed() {
        let at = |second: u8| format!("2026-11-22T19:17:{second:02}.000Z");
        let node = |more: serde_json::Value| {
            let mut node = serde_json::json!({
                "name": "a", "state": "running", "since": at(0), "is_settled": true, "restarts": 1,
            });
            node.as_object_mut().expect("an object").extend(more.as_object().expect("an object").clone());
            serde_json::from_value::<NodeReport>(node).expect("the fields of version 0.1, and more")
        };
        let old = node(serde_json::json!({}));
        let new = node(serde_json::json!({
            "engine_restarts": 26,
            "last_exit": {"code": 137, "signal": "SIGKILL", "is_oom": true, "at": at(5), "later": 1},
            "crash_loop": {"count": 26, "window_s": 2.5},
        }));
        assert_eq!([&old, &new].map(restarts), ["1 restart", "27 restarts (26 by the engine)"]);
        let now: Stamp = serde_json::from_value(at(17).into()).expect("a moment");
        assert_eq!(last_exit(&old, now), None);
        assert_eq!(last_exit(&new, now).as_deref(), Some("  last exit: 137 (OOM killed), 12s ago"));
    }
}
