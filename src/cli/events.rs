//! `events`: prints actions and state changes as they happen.

use std::time::Duration;

use tokio::time::sleep;

use super::report::print_error;
use super::status::{client, moment, print, report_client_error};
use crate::config::ClientConfig;
use crate::exit::Exit;
use crate::status::{ClientError, Event};
use crate::text::sanitize;

/// Delay before a reconnection.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// Options of `events`.
#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
pub struct EventsOptions {
    /// Print JSON, one line per event
    #[arg(long)]
    pub json: bool,
}

/// Prints events until standard output is closed. Reconnects after a restart of the daemon.
pub async fn events(config: &ClientConfig, options: &EventsOptions) -> Exit {
    let client = match client(config) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let (mut last_id, mut is_first, mut is_reported) = (None, true, false);
    loop {
        match client.follow(last_id).await {
            Ok(mut stream) => {
                (is_first, is_reported) = (false, false);
                while let Ok(Some(event)) = stream.next().await {
                    last_id = Some(event.id);
                    if !print(&line(&event, options)) {
                        return Exit::Done;
                    }
                }
            }
            Err(error) if is_first => return report_client_error(&error),
            Err(error) => {
                if !std::mem::replace(&mut is_reported, true) {
                    let waiting = if matches!(error, ClientError::NotRunning(_)) { "; waiting for it" } else { "" };
                    print_error(&format!("{error}{waiting}"));
                }
            }
        }
        sleep(RECONNECT_PAUSE).await;
    }
}

fn line(event: &Event, options: &EventsOptions) -> String {
    match options.json {
        true => serde_json::to_string(event).expect("strings and numbers are always JSON") + "\n",
        false => format!("{}  {:<7} {}\n", moment(event.at), sanitize(&event.kind), sanitize(&event.text)),
    }
}
