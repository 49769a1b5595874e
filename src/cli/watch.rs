//! `status --watch`: prints the report after each change. Reconnects after a restart of the daemon.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::report::print_error;
use super::screen::Screen;
use super::status::{StatusOptions, Table, age, is_coloured, print, render, report_client_error, table};
use crate::config::ClientConfig;
use crate::exit::Exit;
use crate::status::{Client, ClientError, Report, Stamp};
use crate::text::sanitize;

/// Interval of requests without events.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// Delay after an event, so that a burst of events causes one request.
const WATCH_PAUSE: Duration = Duration::from_millis(200);
/// Moves the cursor to the top left and clears the screen below it (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Prints reports until standard output is closed. If no daemon runs at the start, it ends like `status`.
pub(super) async fn watch(client: &Client, config: &ClientConfig, options: &StatusOptions) -> Exit {
    let is_screen = std::io::stdout().is_terminal() && !options.json;
    let text = |above: &str, report: &Report| match (is_screen, Screen::of_stdout()) {
        (true, Some(screen)) => {
            let table = table(report, is_coloured(config));
            screen.fit(&Table { head: format!("{above}{}", table.head), ..table })
        }
        _ => format!("{above}{}", render(report, options, is_coloured(config))),
    };
    let (mut newest, mut is_away): (Option<Report>, bool) = (None, false);
    loop {
        let text_now = match (client.report().await, newest.take()) {
            (Ok(report), old) => {
                let is_new = is_screen || is_away || old.is_none_or(|old| differs(&old, &report));
                let text_now = is_new.then(|| text("", &report));
                (newest, is_away) = (Some(report), false);
                text_now
            }
            (Err(error), None) => return report_client_error(&error),
            (Err(error), Some(old)) => {
                let message = failure_message(&error);
                let above = format!("{message}\n{} ago:\n\n", age(old.at, Stamp::now()));
                let text_now = is_screen.then(|| text(&above, &old));
                if !is_screen && !is_away {
                    print_error(&message);
                }
                (newest, is_away) = (Some(old), true);
                text_now
            }
        };
        let clear = if is_screen { CLEAR } else { "" };
        if text_now.is_some_and(|text_now| !print(&format!("{clear}{text_now}"))) {
            return Exit::Done;
        }
        next_change(client).await;
    }
}

fn failure_message(error: &ClientError) -> String {
    let waiting = if matches!(error, ClientError::NotRunning(_)) { "; waiting for it" } else { "" };
    sanitize(&format!("{error}{waiting}"))
}

/// Whether `new` differs from `old` by more than time and log lag.
fn differs(old: &Report, new: &Report) -> bool {
    let timeless = |report: &Report| {
        let mut nodes = report.nodes.clone();
        nodes.iter_mut().for_each(|node| node.log_lag_s = None);
        (report.daemon.clone(), nodes)
    };
    timeless(old) != timeless(new)
}

/// Waits for an event, for at most [`WATCH_EVERY`].
async fn next_change(client: &Client) {
    let next = Instant::now() + WATCH_EVERY;
    let change = async {
        // Without a stream of events: a request every few seconds.
        if let Ok(mut events) = client.follow(None).await
            && let Ok(Some(_)) = events.next().await
        {
            sleep(WATCH_PAUSE).await;
        } else {
            sleep_until(next).await;
        }
    };
    // The result does not matter: the next request reads the report.
    let _ = timeout(WATCH_EVERY, change).await;
}
