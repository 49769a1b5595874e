//! A container's output as a stream.
//!
//! The engine's `json-file` driver stores text: it has already replaced invalid bytes with U+FFFD.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bollard::container::LogOutput;
use bollard::errors::Error;
use bollard::query_parameters::{LogsOptions, WaitContainerOptions};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, stream};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{sleep, timeout};

use super::client::{Client, Raw, within};
use super::error::translate;
use crate::logfile::{self, Format, Watches};
use crate::{ContainerId, ErrorKind, LogChunk, LogSource, LogStream, Result, RuntimeError};

const OPERATION: &str = "read the output of container";

/// Pause before an unreachable engine is queried again whether a container has ended.
const WAIT_PAUSE: Duration = Duration::from_secs(1);
/// Begins the engine's report, in the middle of the output, that it cannot read further.
const BROKEN: &[u8] = b"Error grabbing logs: ";

/// Output from `since` on, from the engine's own file if it is readable.
pub(super) async fn logs(
    client: &Arc<Client>,
    watches: &Watches,
    id: &ContainerId,
    since: Option<OffsetDateTime>,
) -> Result<LogStream> {
    let file = match file_of(client, id).await {
        Err(error) if error.kind() == ErrorKind::NotFound => return Err(error),
        other => other.ok().flatten(),
    };
    if let Some(path) = file {
        let (waiting, waited) = (client.clone(), id.clone());
        let has_ended = move |limit| has_ended(waiting.clone(), waited.clone(), limit).boxed();
        match logfile::follow(watches.clone(), id.0.clone(), path, Format::Json, since, Box::new(has_ended)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                tracing::debug!(container = %id, %error, "cannot read the engine's log file, using its API")
            }
        }
    }
    asked(client, id, since).await
}

/// Path of the engine's log file of a container, if this program can read it.
async fn file_of(client: &Client, id: &ContainerId) -> Result<Option<PathBuf>> {
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct Kept {
        log_path: Option<String>,
        host_config: HostConfig,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct HostConfig {
        log_config: LogConfig,
    }
    #[derive(Default, Deserialize)]
    #[serde(default, rename_all = "PascalCase")]
    struct LogConfig {
        r#type: Option<String>,
    }
    let path = format!("/containers/{id}/json");
    let inspected = client.get::<Kept>(&path);
    let kept = within(client.limits.call, OPERATION, &id.0, inspected).await?;
    let is_file = kept.host_config.log_config.r#type.as_deref() == Some("json-file");
    Ok(kept.log_path.filter(|path| is_file && !path.is_empty()).map(PathBuf::from))
}

/// Whether the container's process has ended and the engine has written all of its output, or the container is absent,
/// within `limit`. Waits for an unreachable engine: the file does not need it.
async fn has_ended(client: Arc<Client>, id: ContainerId, limit: Duration) -> bool {
    loop {
        let options = WaitContainerOptions { condition: "not-running".to_owned() };
        match timeout(limit, client.docker.wait_container(&id.0, Some(options)).next()).await {
            Ok(Some(Ok(_) | Err(Error::DockerContainerWaitError { .. }))) => return true,
            Ok(Some(Err(Error::DockerResponseServerError { status_code: 404, .. }))) => return true,
            Ok(_) => sleep(WAIT_PAUSE).await,
            Err(_) => return false,
        }
    }
}

/// Output from `since` on, from the engine's API; returns when the engine has begun its response. Silence after that
/// has no limit: a container may have no output.
async fn asked(client: &Client, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
    // The path is written here because bollard's `since` has whole seconds only.
    let mut path = format!("/containers/{id}/logs?follow=1&stdout=1&stderr=1&timestamps=1");
    if let Some(since) = since {
        path.push_str(&format!("&since={}", seconds(since)));
    }
    let open = |docker: bollard::Docker| docker.logs("any", None::<LogsOptions>);
    let raw = client.open(OPERATION, &id.0, path, open).await?;
    let reader = Reader { raw, id: id.0.clone(), since, last: since.unwrap_or(OffsetDateTime::UNIX_EPOCH) };
    Ok(Box::pin(stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        let chunk = reader.next().await?;
        let reader = chunk.is_ok().then_some(reader);
        Some((chunk, reader))
    })))
}

/// `at` in the engine's format: seconds and nanoseconds since 1970.
pub(super) fn seconds(at: OffsetDateTime) -> String {
    let nanos = at.unix_timestamp_nanos().max(0);
    format!("{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
}

struct Reader {
    raw: Raw<LogOutput>,
    id: String,
    /// Chunks are skipped up to the first one that is not older; after it the clock may be set back.
    since: Option<OffsetDateTime>,
    /// Time of the last chunk, for output without a time.
    last: OffsetDateTime,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<LogChunk>> {
        loop {
            let chunk = match self.raw.next().await? {
                Ok(output) => chunk(output, self.last),
                Err(error) => return Some(Err(translate(OPERATION, &self.id, error))),
            };
            match chunk {
                Err(reason) => {
                    return Some(Err(RuntimeError::new(ErrorKind::Other, OPERATION, &self.id).with_source(reason)));
                }
                Ok(chunk) if self.since.is_some_and(|since| chunk.at < since) => {}
                Ok(chunk) => {
                    self.since = None;
                    self.last = chunk.at;
                    return Some(Ok(chunk));
                }
            }
        }
    }
}

/// Removes the time from the front of a frame; `last` is used for a frame without a time.
fn chunk(output: LogOutput, last: OffsetDateTime) -> Result<LogChunk, String> {
    let source = match &output {
        LogOutput::StdErr { .. } => LogSource::Stderr,
        LogOutput::StdOut { .. } | LogOutput::StdIn { .. } | LogOutput::Console { .. } => LogSource::Stdout,
    };
    let bytes = output.into_bytes();
    match timed(&bytes) {
        Some((at, length)) => Ok(LogChunk { at, source, bytes: bytes.slice(length..) }),
        None if bytes.starts_with(BROKEN) => Err(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
        None => Ok(LogChunk { at: last, source, bytes }),
    }
}

/// Input: a byte for the stream, then a frame's content. The output must be the end of that content.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_frame(data: &[u8]) {
    let Some((&stream, content)) = data.split_first() else { return };
    let message = Bytes::copy_from_slice(content);
    let output = if stream == 0 { LogOutput::StdOut { message } } else { LogOutput::StdErr { message } };
    match chunk(output, OffsetDateTime::UNIX_EPOCH) {
        Ok(chunk) => assert!(content.ends_with(&chunk.bytes) && (stream == 0) == (chunk.source == LogSource::Stdout)),
        Err(_) => assert!(content.starts_with(BROKEN)),
    }
}

/// The time at the front of a frame, and its length in bytes with the space after it.
fn timed(bytes: &Bytes) -> Option<(OffsetDateTime, usize)> {
    /// `2026-11-22T19:17:00.123456789+00:00`
    const TIME_LENGTH_MAX: usize = 35;
    let length = bytes.iter().take(TIME_LENGTH_MAX + 1).position(|&byte| byte == b' ')?;
    let text = std::str::from_utf8(&bytes[..length]).ok()?;
    Some((OffsetDateTime::parse(text, &Rfc3339).ok()?, length + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_is_removed_from_output_and_the_bytes_stay() {
        let stdout = |bytes: &'static [u8]| LogOutput::StdOut { message: Bytes::from_static(bytes) };
        let last = OffsetDateTime::UNIX_EPOCH;
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_795_375_020_123_456_789).expect("a time");
        let cases: [(&'static [u8], OffsetDateTime, &'static [u8]); 5] = [
            (b"2026-11-22T19:17:00.123456789Z a b\n", at, b"a b\n"),
            (b"2026-11-22T19:17:00.123456789Z \xff\x00", at, b"\xff\x00"),
            (b"2026-11-22T19:17:00.123456789Z \n", at, b"\n"),
            (b"no time here\n", last, b"no time here\n"),
            (b"", last, b""),
        ];
        for (bytes, at, rest) in cases {
            let chunk = chunk(stdout(bytes), last).expect("output");
            assert_eq!((chunk.at, chunk.bytes.as_ref()), (at, rest));
        }
    }

    #[test]
    fn a_broken_reader_is_an_error() {
        let message = Bytes::from_static(b"Error grabbing logs: invalid character\n");
        assert!(chunk(LogOutput::StdErr { message }, OffsetDateTime::UNIX_EPOCH).is_err());
    }

    #[test]
    fn since_keeps_its_nanoseconds() {
        let at = OffsetDateTime::from_unix_timestamp_nanos(1_000_000_005).expect("a time");
        assert_eq!(seconds(at), "1.000000005");
        assert_eq!(seconds(OffsetDateTime::UNIX_EPOCH - time::Duration::days(1)), "0.000000000");
    }
}
