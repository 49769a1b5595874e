//! Sends a command to a running fake cloud over HTTP and prints the response.

use std::io::Write;
use std::time::Duration;

use super::Problem;
use super::commands::Command;
use super::server::CONTROL_PATH;
use crate::text::chain;

/// The longest wait for a response: `receive` may wait 20 s.
const RESPONSE_LIMIT: Duration = Duration::from_secs(30);

/// Sends `command` and prints the response on standard output.
pub(super) async fn send(at: &str, command: &Command) -> Result<(), Problem> {
    let http = reqwest::Client::builder().no_proxy().timeout(RESPONSE_LIMIT).build();
    let http = http.map_err(|error| Problem::unavailable(format!("create an HTTP client: {error}")))?;
    let response = http.post(format!("http://{at}{CONTROL_PATH}")).json(command).send().await;
    let response = response.map_err(|error| {
        let cause = chain(&error);
        Problem::unavailable(format!(
            "reach a fake cloud at {at}: {cause}; does `fake-cloud serve` run, and is its address the one of --at?"
        ))
    })?;
    let (status, text) = (response.status(), response.text().await);
    let text = text.map_err(|error| Problem::unavailable(format!("read the response of {at}: {error}")))?;
    match status.as_u16() {
        200 => {
            // A closed standard output is not a failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        422 => Err(Problem::usage(format!("do it: {text}"))),
        _ => {
            Err(Problem::unavailable(format!("be understood at {at} ({status}); is it a fake cloud of this version?")))
        }
    }
}
