//! Pulls an image: credentials, limits, and progress summed over the layers.

use std::collections::HashMap;
use std::pin::pin;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bollard::Docker;
use bollard::models::CreateImageInfo;
use bollard::query_parameters::CreateImageOptionsBuilder;
use futures_util::StreamExt;
use secrecy::{ExposeSecret, SecretString};
use serde_json::json;
use tokio::time::Instant;

use super::client::Client;
use super::error::{PULL, translate};
use crate::{ErrorKind, ImageReference, ProgressFn, PullProgress, RegistryCredentials, Result, RuntimeError};

/// The shortest time between two reports of progress.
const REPORT_EVERY: Duration = Duration::from_millis(250);

/// Pulls `image`; the engine has it when this returns.
pub(super) async fn pull(
    client: &Client,
    image: &ImageReference,
    credentials: Option<&RegistryCredentials>,
    progress: ProgressFn<'_>,
) -> Result<()> {
    let name = image.to_pull();
    let docker = match credentials {
        Some(credentials) => with_credentials(&client.docker, image, credentials),
        None => client.docker.clone(),
    };
    let fetch = fetch(&docker, &name, client.limits.pull_silence, progress);
    match tokio::time::timeout(client.limits.pull_total, fetch).await {
        Ok(done) => done,
        Err(_) => Err(timed_out(&name, "not complete within", client.limits.pull_total)),
    }
}

async fn fetch(docker: &Docker, name: &str, silence: Duration, progress: ProgressFn<'_>) -> Result<()> {
    let options = CreateImageOptionsBuilder::new().from_image(name).build();
    let mut steps = pin!(docker.create_image(Some(options), None, None));
    let mut meter = Meter::default();
    loop {
        match tokio::time::timeout(silence, steps.next()).await {
            Err(_) => return Err(timed_out(name, "no data for", silence)),
            Ok(Some(step)) => meter.update(&step.map_err(|error| translate(PULL, name, error))?),
            Ok(None) => break,
        }
        if let Some(sum) = meter.due(Instant::now()) {
            progress(sum);
        }
    }
    progress(meter.sum());
    Ok(())
}

fn timed_out(name: &str, what: &str, limit: Duration) -> RuntimeError {
    RuntimeError::new(ErrorKind::TimedOut, PULL, name).with_source(format!("{what} {limit:?}"))
}

/// A client whose requests carry the credentials.
///
/// bollard encodes the header in standard base64. The engine expects the URL-safe alphabet and silently ignores the
/// header as soon as it contains a character in which the two differ.
fn with_credentials(docker: &Docker, image: &ImageReference, credentials: &RegistryCredentials) -> Docker {
    let header = auth_header(image.registry(), credentials);
    docker.clone().with_request_modifier(move |mut request| {
        let value = header.expose_secret().parse();
        request.headers_mut().insert("x-registry-auth", value.expect("base64 is a valid header"));
        request
    })
}

fn auth_header(registry: &str, credentials: &RegistryCredentials) -> SecretString {
    let text = json!({
        "username": credentials.username,
        "password": credentials.password.expose_secret(),
        "serveraddress": registry,
    });
    URL_SAFE.encode(text.to_string()).into()
}

/// Sums the progress of the layers.
#[derive(Debug, Default)]
struct Meter {
    /// Bytes done and bytes altogether, by layer.
    layers: HashMap<String, (u64, u64)>,
    reported: Option<(Instant, PullProgress)>,
}

impl Meter {
    fn update(&mut self, step: &CreateImageInfo) {
        let (Some(layer), Some(status)) = (&step.id, step.status.as_deref()) else { return };
        let detail = step.progress_detail.as_ref();
        let bytes = |count: Option<i64>| count.and_then(|count| u64::try_from(count).ok()).unwrap_or(0);
        match status {
            "Downloading" => {
                let current = bytes(detail.and_then(|detail| detail.current));
                let total = bytes(detail.and_then(|detail| detail.total));
                self.layers.insert(layer.clone(), (current, total.max(current)));
            }
            "Verifying Checksum" | "Download complete" | "Extracting" | "Pull complete" => {
                if let Some((done, total)) = self.layers.get_mut(layer) {
                    *done = *total;
                }
            }
            _ => {}
        }
    }

    fn sum(&self) -> PullProgress {
        self.layers.values().fold(PullProgress::default(), |sum, (done, total)| PullProgress {
            done_bytes: sum.done_bytes + done,
            total_bytes: sum.total_bytes + total,
        })
    }

    /// The sum, if it is new and a report is due.
    fn due(&mut self, now: Instant) -> Option<PullProgress> {
        let sum = self.sum();
        let is_due = match self.reported {
            None => sum != PullProgress::default(),
            Some((at, last)) => sum != last && now.duration_since(at) >= REPORT_EVERY,
        };
        is_due.then(|| {
            self.reported = Some((now, sum));
            sum
        })
    }
}

#[cfg(test)]
mod tests {
    use bollard::models::ProgressDetail;

    use super::*;

    fn step(layer: &str, status: &str, current: i64, total: i64) -> CreateImageInfo {
        CreateImageInfo {
            id: Some(layer.to_owned()),
            status: Some(status.to_owned()),
            progress_detail: Some(ProgressDetail { current: Some(current), total: Some(total) }),
            ..CreateImageInfo::default()
        }
    }

    #[test]
    fn progress_is_summed_over_layers() {
        let mut meter = Meter::default();
        let cases = [
            (step("latest", "Pulling from x", 0, 0), (0, 0)),
            (step("a", "Downloading", 10, 100), (10, 100)),
            (step("b", "Downloading", 5, 50), (15, 150)),
            (step("a", "Download complete", 0, 0), (105, 150)),
            (step("a", "Extracting", 3, 100), (105, 150)),
            (step("b", "Downloading", 60, -1), (160, 160)),
            (step("c", "Already exists", 0, 0), (160, 160)),
        ];
        for (step, (done_bytes, total_bytes)) in cases {
            meter.update(&step);
            assert_eq!(meter.sum(), PullProgress { done_bytes, total_bytes }, "{step:?}");
        }
    }

    #[test]
    fn progress_reports_are_rate_limited() {
        let mut meter = Meter::default();
        let start = Instant::now();
        assert_eq!(meter.due(start), None);
        meter.update(&step("a", "Downloading", 1, 9));
        assert!(meter.due(start).is_some());
        meter.update(&step("a", "Downloading", 2, 9));
        assert_eq!(meter.due(start + REPORT_EVERY / 2), None);
        assert!(meter.due(start + REPORT_EVERY).is_some());
        assert_eq!(meter.due(start + REPORT_EVERY * 2), None);
    }

    #[test]
    fn credentials_are_written_in_the_engines_alphabet() {
        let credentials = RegistryCredentials { username: "AWS".to_owned(), password: "~~??>>~~?>".to_owned().into() };
        let header = auth_header("a.b:5000", &credentials);
        let header = header.expose_secret();
        assert!(!header.contains(['+', '/']), "{header}");
        let text = URL_SAFE.decode(header).expect("it is base64");
        let text: serde_json::Value = serde_json::from_slice(&text).expect("it is JSON");
        assert_eq!(text, json!({"username": "AWS", "password": "~~??>>~~?>", "serveraddress": "a.b:5000"}));
    }
}
