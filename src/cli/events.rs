//! `events`: what happens, as it happens.

use std::time::Duration;

use tokio::time::sleep;

use super::report::complain;
use super::status::{client, moment, print, refuse};
use crate::config::ClientConfig;
use crate::exit::Exit;
use crate::status::{ClientError, Event, sanitize};

/// Pause before a daemon that is gone is looked for again.
const RECONNECT_PAUSE: Duration = Duration::from_secs(1);

/// How to show them.
#[derive(Debug, Clone, PartialEq, Eq, Default, clap::Args)]
pub struct EventsOptions {
    /// Print JSON, one line per event
    #[arg(long)]
    pub json: bool,
}

/// Prints events until nobody reads them any more. A daemon that goes away meanwhile is waited for.
pub async fn events(place: &ClientConfig, options: &EventsOptions) -> Exit {
    let client = match client(place) {
        Ok(client) => client,
        Err(exit) => return exit,
    };
    let (mut newest, mut is_first, mut is_told) = (None, true, false);
    loop {
        match client.follow(newest).await {
            Ok(mut following) => {
                (is_first, is_told) = (false, false);
                while let Ok(Some(event)) = following.next().await {
                    newest = Some(event.id);
                    if !print(&line(&event, options)) {
                        return Exit::Done;
                    }
                }
            }
            Err(error) if is_first => return refuse(&error),
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    let waiting = if matches!(error, ClientError::NotRunning(_)) { "; waiting for it" } else { "" };
                    complain(&format!("{error}{waiting}"));
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
