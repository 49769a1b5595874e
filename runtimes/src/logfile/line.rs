//! Parses one line of an engine's log file. Pure.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Format;
use crate::{LogChunk, LogSource};

/// A line of Docker's log file.
#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow)]
    stream: Cow<'a, str>,
    #[serde(borrow)]
    time: Cow<'a, str>,
}

/// The chunk of a line without its newline; `None` for an invalid line.
pub(super) fn parse(format: Format, line: &[u8]) -> Option<LogChunk> {
    match format {
        Format::Json => json(line),
        Format::K8s => k8s(line),
    }
}

/// The time of a line, without parsing more than necessary.
pub(super) fn time_of(format: Format, line: &[u8]) -> Option<OffsetDateTime> {
    parse(format, line).map(|chunk| chunk.at)
}

fn json(line: &[u8]) -> Option<LogChunk> {
    // A crash of the host may leave zeros before a line.
    let line: JsonLine<'_> = serde_json::from_slice(line.trim_ascii()).ok()?;
    let at = OffsetDateTime::parse(&line.time, &Rfc3339).ok()?;
    Some(LogChunk { at, source: source(line.stream.as_bytes())?, bytes: Bytes::from(line.log.into_owned()) })
}

fn k8s(line: &[u8]) -> Option<LogChunk> {
    let mut fields = line.splitn(4, |byte| *byte == b' ');
    let (time, stream, tag, text) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    let at = OffsetDateTime::parse(std::str::from_utf8(time).ok()?, &Rfc3339).ok()?;
    let mut bytes = text.to_vec();
    match tag {
        b"F" => bytes.push(b'\n'),
        b"P" => {}
        _ => return None,
    }
    Some(LogChunk { at, source: source(stream)?, bytes: bytes.into() })
}

fn source(stream: &[u8]) -> Option<LogSource> {
    match stream {
        b"stdout" => Some(LogSource::Stdout),
        b"stderr" => Some(LogSource::Stderr),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_lines_of_both_engines_parse() {
        let cases: [(Format, &[u8], LogSource, &[u8]); 5] = [
            (
                Format::Json,
                br#"{"log":"a \"b\"\n","stream":"stdout","time":"2026-11-22T19:17:00.123456789Z"}"#,
                LogSource::Stdout,
                b"a \"b\"\n",
            ),
            (
                Format::Json,
                br#"{"log":"part","stream":"stderr","attrs":{"x":"y"},"time":"2026-11-22T19:17:00.123456789Z"}"#,
                LogSource::Stderr,
                b"part",
            ),
            (Format::K8s, b"2026-11-22T20:17:00.123456789+01:00 stdout F a b", LogSource::Stdout, b"a b\n"),
            (Format::K8s, b"2026-11-22T19:17:00.123456789Z stderr P \xff ", LogSource::Stderr, b"\xff "),
            (Format::K8s, b"2026-11-22T19:17:00.123456789Z stdout F ", LogSource::Stdout, b"\n"),
        ];
        for (format, line, source, bytes) in cases {
            let chunk = parse(format, line).expect("a line");
            assert_eq!((chunk.source, chunk.bytes.as_ref()), (source, bytes));
            assert_eq!(chunk.at.unix_timestamp_nanos(), 1_795_375_020_123_456_789);
        }
    }

    #[test]
    fn invalid_log_lines_are_rejected() {
        for line in ["", "{", "{}", "x stdout F y", "2026-11-22T19:17:00Z stdin F y", "2026-11-22T19:17:00Z stdout Q y"]
        {
            assert!(parse(Format::Json, line.as_bytes()).is_none() && parse(Format::K8s, line.as_bytes()).is_none());
        }
    }
}
