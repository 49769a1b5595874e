//! `status --watch`: the report again whenever it changes. A daemon that goes away is waited for.

use std::io::IsTerminal;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until, timeout};

use super::report::complain;
use super::screen::Screen;
use super::status::{StatusOptions, Table, age, is_coloured, print, refuse, shown, table};
use crate::config::ClientConfig;
use crate::exit::Exit;
use crate::status::{Client, ClientError, Report, Stamp, sanitize};

/// How often it looks when nothing happens.
const WATCH_EVERY: Duration = Duration::from_secs(2);
/// How long it waits for more news, so that a burst is one picture.
const WATCH_PAUSE: Duration = Duration::from_millis(200);
/// Takes the cursor home and clears what lies below (ECMA-48).
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// Shows reports until nobody reads them any more. Without a daemon at the start it ends as `status` does.
pub(super) async fn watch(client: &Client, place: &ClientConfig, options: &StatusOptions) -> Exit {
    let is_screen = std::io::stdout().is_terminal() && !options.json;
    let text = |above: &str, report: &Report| match (is_screen, Screen::of_stdout()) {
        (true, Some(screen)) => {
            let table = table(report, is_coloured(place));
            screen.fit(&Table { head: format!("{above}{}", table.head), ..table })
        }
        _ => format!("{above}{}", shown(report, options, is_coloured(place))),
    };
    let (mut newest, mut is_away): (Option<Report>, bool) = (None, false);
    loop {
        let picture = match (client.report().await, newest.take()) {
            (Ok(report), old) => {
                let is_news = is_screen || is_away || old.is_none_or(|old| tells_more(&old, &report));
                let picture = is_news.then(|| text("", &report));
                (newest, is_away) = (Some(report), false);
                picture
            }
            (Err(error), None) => return refuse(&error),
            (Err(error), Some(old)) => {
                let complaint = absence(&error);
                let above = format!("{complaint}\n{} ago:\n\n", age(old.at, Stamp::now()));
                let picture = is_screen.then(|| text(&above, &old));
                if !is_screen && !is_away {
                    complain(&complaint);
                }
                (newest, is_away) = (Some(old), true);
                picture
            }
        };
        let clear = if is_screen { CLEAR } else { "" };
        if picture.is_some_and(|picture| !print(&format!("{clear}{picture}"))) {
            return Exit::Done;
        }
        news(client).await;
    }
}

fn absence(error: &ClientError) -> String {
    let waiting = if matches!(error, ClientError::NotRunning(_)) { "; waiting for it" } else { "" };
    sanitize(&format!("{error}{waiting}"))
}

/// Whether a reader who has seen `old` learns anything; that time goes by, and logs with it, is nothing new.
fn tells_more(old: &Report, new: &Report) -> bool {
    let timeless = |report: &Report| {
        let mut nodes = report.nodes.clone();
        nodes.iter_mut().for_each(|node| node.log_lag_s = None);
        (report.daemon.clone(), nodes)
    };
    timeless(old) != timeless(new)
}

/// Waits for something to happen, a few seconds at most.
async fn news(client: &Client) {
    let next = Instant::now() + WATCH_EVERY;
    let news = async {
        // Without a stream of events it is a look every few seconds.
        if let Ok(mut events) = client.follow(None).await
            && let Ok(Some(_)) = events.next().await
        {
            sleep(WATCH_PAUSE).await;
        } else {
            sleep_until(next).await;
        }
    };
    // However it ends, the next look tells.
    let _ = timeout(WATCH_EVERY, news).await;
}
