//! Says a word to a fake cloud that runs, over HTTP, and prints the answer.

use std::io::Write;
use std::time::Duration;

use super::Problem;
use super::commands::Command;
use super::server::CONTROL_PATH;
use crate::driver::chain;

/// The longest wait for an answer: `receive` may wait 20 s.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// The answer goes to standard output.
pub(super) async fn say(at: &str, command: &Command) -> Result<(), Problem> {
    let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build();
    let http = http.map_err(|error| Problem::unavailable(format!("make a client: {error}")))?;
    let answer = http.post(format!("http://{at}{CONTROL_PATH}")).json(command).send().await;
    let answer = answer.map_err(|error| {
        let cause = chain(&error);
        Problem::unavailable(format!(
            "reach a fake cloud at {at}: {cause}; does `fake-cloud serve` run, and is its address the one of --at?"
        ))
    })?;
    let (status, text) = (answer.status(), answer.text().await);
    let text = text.map_err(|error| Problem::unavailable(format!("read the answer of {at}: {error}")))?;
    match status.as_u16() {
        200 => {
            // Output that nobody reads is no failure.
            let _ = std::io::stdout().write_all(text.as_bytes());
            Ok(())
        }
        422 => Err(Problem::usage(format!("do it: {text}"))),
        _ => {
            Err(Problem::unavailable(format!("be understood at {at} ({status}); is it a fake cloud of this version?")))
        }
    }
}
