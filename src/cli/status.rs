//! `status`: prints the running daemon and its nodes once, as a table or as JSON. `watch` prints them repeatedly.

use std::io::{IsTerminal, Write};

use time::OffsetDateTime;

use super::report::print_error;
use super::watch::watch;
use crate::config::ClientConfig;
use crate::exit::Exit;
use crate::status::{Amount, Client, ClientError, LogReport, NodeReport, Report, Stamp};
use crate::text::{self, sanitize};

/// Options of `status`.
#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
pub struct StatusOptions {
    /// Print JSON, one line per report
    #[arg(long)]
    pub json: bool,
    /// Print again after each change, until Ctrl-C; reconnects to a daemon that restarts
    #[arg(long)]
    pub watch: bool,
}

/// Prints the status report of the daemon.
pub async fn status(config: &ClientConfig, options: &StatusOptions) -> Exit {
    let client = match client(config) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    if options.watch {
        return watch(&client, config, options).await;
    }
    match client.report().await {
        Ok(report) => {
            print(&render(&report, options, is_coloured(config)));
            Exit::Done
        }
        Err(error) => report_client_error(&error),
    }
}

/// A client of the daemon's socket.
pub(super) fn client(config: &ClientConfig) -> Result<Client, Exit> {
    let Some(path) = &config.status_socket else {
        print_error("the status socket is switched off: MANAGED_APP_STATUS_SOCKET is off");
        return Err(Exit::Configuration);
    };
    Client::new(path).map_err(|error| report_client_error(&error))
}

/// Prints the failure of a request to the daemon with its remedy.
pub(super) fn report_client_error(error: &ClientError) -> Exit {
    let remedy = match error {
        ClientError::NotRunning(_) => {
            " -> start it (systemctl start echostream-managed-app), or name its socket with --status-socket"
        }
        ClientError::Forbidden(_) => " -> run this command as the user of the daemon, usually root",
        ClientError::UnknownNode => " -> `status` lists all nodes",
        ClientError::Failed(_) => "",
    };
    print_error(&format!("{error}{remedy}"));
    if matches!(error, ClientError::UnknownNode) { Exit::Usage } else { Exit::Unavailable }
}

/// Coloured on a terminal, unless NO_COLOR is set.
pub(super) fn is_coloured(config: &ClientConfig) -> bool {
    std::io::stdout().is_terminal() && !config.no_color
}

/// Prints `text`; false if standard output is closed.
pub(super) fn print(text: &str) -> bool {
    let mut out = std::io::stdout();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// A report as text in the requested format.
pub(super) fn render(report: &Report, options: &StatusOptions, is_coloured: bool) -> String {
    match options.json {
        true => serde_json::to_string(report).expect("strings and numbers are always JSON") + "\n",
        false => table(report, is_coloured).into_text(),
    }
}

/// The report as a table for people.
pub(super) struct Table {
    /// The lines above the nodes.
    pub(super) head: String,
    /// The lines of each node.
    pub(super) nodes: Vec<String>,
}

impl Table {
    fn into_text(self) -> String {
        self.head + &self.nodes.concat()
    }
}

/// The report as a table.
pub(super) fn table(report: &Report, is_coloured: bool) -> Table {
    let now = report.at;
    let mut rows = vec![["NODE", "STATE", "SINCE", "RESTARTS", "LOG LAG", "IMAGE", "LAST"].map(str::to_owned)];
    rows.extend(report.nodes.iter().map(|node| row(node, now)));
    let width = |column: usize| rows.iter().map(|row| text::width(&row[column])).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut lines = rows.iter().enumerate().map(|(index, row)| {
        let mut line = String::new();
        let node = index.checked_sub(1).and_then(|index| report.nodes.get(index));
        let colour = node.map(colour_of).filter(|_| is_coloured);
        for (column, cell) in row.iter().enumerate() {
            let padded = match widths.get(column) {
                Some(&width) => text::pad(cell, width) + "  ",
                None => cell.clone(),
            };
            match (column, colour) {
                (1, Some(colour)) => line.push_str(&format!("\u{1b}[{colour}m{padded}\u{1b}[0m")),
                _ => line.push_str(&padded),
            }
        }
        line.truncate(line.trim_end_matches(' ').len());
        line.push('\n');
        if let Some(error) = node.and_then(|node| node.error.as_ref()) {
            line.push_str(&format!("  ! {}\n", sanitize(error)));
        }
        if let Some(losses) = node.and_then(|node| node.log.as_ref()).and_then(losses) {
            line.push_str(&format!("  ! output: {losses}\n"));
        }
        line
    });
    let head = heading(report) + &lines.next().unwrap_or_default();
    Table { head, nodes: lines.collect() }
}

fn heading(report: &Report) -> String {
    let daemon = &report.daemon;
    let up = report.nodes.iter().filter(|node| node.state == "running").count();
    let failing = report.nodes.iter().filter(|node| node.error.is_some()).count();
    let mut text = format!(
        "app {:?} of tenant {:?}: {}, {up} of {} nodes up",
        sanitize(&daemon.app),
        sanitize(&daemon.tenant),
        daemon.phase,
        report.nodes.len()
    );
    if failing > 0 {
        text.push_str(&format!(", {failing} failing"));
    }
    text.push_str(if daemon.is_converged { ", in the desired state\n" } else { "\n" });
    let engine = daemon.engine.as_ref().map_or("no engine yet".to_owned(), |engine| {
        format!("{} {} at {}", engine.kind, sanitize(&engine.version), sanitize(&engine.endpoint))
    });
    let last = daemon
        .last_change_at
        .map_or("no change yet".to_owned(), |at| format!("last change {} ago", age(at, report.at)));
    let (version, pid) = (sanitize(&daemon.version), daemon.pid);
    text.push_str(&format!(
        "{engine}; daemon {version}, pid {pid}, up {}; {last}\n",
        age(daemon.started_at, report.at)
    ));
    for (what, failure) in [("cloud", &daemon.cloud_failure), ("engine", &daemon.engine_failure)] {
        if let Some(failure) = failure {
            text.push_str(&format!("degraded, {what}: {}\n", sanitize(failure)));
        }
    }
    if let Some(losses) = daemon.log.as_ref().and_then(losses) {
        text.push_str(&format!("the daemon's own log in CloudWatch: {losses}; the log file has them\n"));
    }
    if !daemon.is_history_kept {
        text.push_str("the history cannot be written to the state directory\n");
    }
    text.push('\n');
    text
}

/// Output that will never be in CloudWatch; `None` if there is none.
fn losses(log: &LogReport) -> Option<String> {
    let mut all = Vec::new();
    for (amount, what) in [(log.lost, "lost"), (log.rejected, "rejected by CloudWatch for their time")] {
        if amount != Amount::default() {
            all.push(format!("{} lines ({} bytes) {what}", amount.lines, amount.bytes));
        }
    }
    if log.gaps > 0 {
        all.push(format!("{} gaps of {:.1}s in total, where the engine's log had rotated", log.gaps, log.gap_s));
    }
    (!all.is_empty()).then(|| all.join(", "))
}

fn row(node: &NodeReport, now: Stamp) -> [String; 7] {
    let state = match &node.busy {
        Some(busy) => format!("{} ({busy})", node.state),
        None => node.state.clone(),
    };
    let last = node.last.as_ref().map_or(String::new(), |last| {
        let ago = last.ended_at.map_or(String::new(), |at| format!("{} ago: ", age(at, now)));
        let outcome = if last.outcome == crate::status::Outcome::Done { "" } else { last.outcome.text() };
        let gap = if outcome.is_empty() { "" } else { " " };
        format!("{ago}{}{gap}{outcome}, {}", last.action, last.because)
    });
    let lag = node.log_lag_s.map_or("-".to_owned(), |lag| format!("{lag:.1}s"));
    let image = node.image.as_deref().map_or("-", short_image).to_owned();
    [node.name.clone(), state, age(node.since, now), node.all_restarts().to_string(), lag, image, last]
        .map(|cell| sanitize(&cell))
}

/// An image without its registry.
fn short_image(image: &str) -> &str {
    image.split_once('/').map_or(image, |(_, rest)| rest)
}

fn colour_of(node: &NodeReport) -> u8 {
    match (node.error.is_some(), node.state.as_str(), node.is_settled) {
        (true, ..) => 31,
        (false, "running", true) => 32,
        _ => 33,
    }
}

/// Time since `at`, in the largest unit that is not zero.
pub(super) fn age(at: Stamp, now: Stamp) -> String {
    let seconds = (now.time() - at.time()).whole_seconds().max(0);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}m", seconds / 60),
        3_600..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Date and time for people, UTC.
pub(super) fn moment(at: Stamp) -> String {
    let at: OffsetDateTime = at.time();
    let (date, time) = (at.date(), at.time());
    format!("{date} {:02}:{:02}:{:02}.{:03}", time.hour(), time.minute(), time.second(), time.millisecond())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn columns_stay_aligned_below_wide_and_unsafe_names() {
        let at = "2026-11-22T19:17:00Z";
        let node =
            |name: &str| json!({"name": name, "state": "running", "since": at, "is_settled": true, "restarts": 1});
        let nodes: Vec<Value> = ["日本", "e\u{301}", "x\u{202e}gpj", "abcdef"].map(node).into();
        let report = json!({
            "version": 1, "at": at, "nodes": nodes, "recent": [],
            "daemon": {"version": "1", "app": "a", "tenant": "t", "pid": 1, "started_at": at, "phase": "running",
                "is_converged": true, "engine": null, "cloud_failure": null, "engine_failure": null,
                "last_change_at": null, "expiries": {}, "is_history_kept": true},
        });
        let report: Report = serde_json::from_value(report).expect("a report");
        for line in table(&report, false).nodes {
            let (name, _) = line.split_once("running").expect("a state");
            assert_eq!(text::width(name), 8, "{line:?}");
            assert!(!name.contains(text::is_unsafe), "{line:?}");
        }
    }
}
