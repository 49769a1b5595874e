//! Checks: a container's output: its content, its order, and the end of the stream.

use std::time::Duration;

use futures_util::StreamExt;

use super::bench::{Bench, GRACE, SOON, joined, read_to_end, read_until, stop};
use super::outcome::{ensure, ensure_eq};
use super::{BROKEN_UTF8, CONTROL, Check, Failure, LINES, LONG_LINE_BYTES, Outcome, Program, checks};
use crate::{LogChunk, LogSource, LogStream};

/// A slow reader pauses this long after each [`REST_EVERY`] chunks.
const REST: Duration = Duration::from_millis(10);
const REST_EVERY: usize = 200;

pub(super) const CHECKS: &[Check] = checks![
    lines_arrive_in_order_even_many_in_a_millisecond,
    a_chunk_is_at_most_one_line,
    a_slow_reader_loses_nothing_when_the_container_ends,
    logs_since_a_time_are_complete,
    logs_since_a_time_after_the_end_are_empty,
    a_very_long_line_arrives_complete,
    control_characters_arrive_unchanged,
    bytes_that_are_not_utf8_arrive_unchanged,
    stdout_and_stderr_are_distinguished,
    an_unfinished_last_line_arrives_too,
    the_log_stream_follows,
    the_log_stream_ends_with_the_container,
    logs_of_a_stopped_container_are_kept_and_end,
    logs_survive_a_restart,
];

async fn stopped_after(bench: &Bench<'_>, program: Program, wanted: usize) -> Outcome<Vec<LogChunk>> {
    let id = bench.run("web", program).await?;
    let logs = bench.runtime.logs(&id, None).await?;
    read_bytes(logs, wanted).await?;
    stop(&*bench.runtime, &id).await?;
    read_to_end(bench.runtime.logs(&id, None).await?).await
}

/// Reads a log stream until this number of bytes has arrived.
async fn read_bytes(logs: LogStream, wanted: usize) -> Outcome {
    let mut seen = 0;
    let is_enough = |chunks: &[LogChunk]| {
        seen += chunks.last().map_or(0, |chunk| chunk.bytes.len());
        seen >= wanted
    };
    read_until(logs, is_enough).await?;
    ensure!(seen >= wanted, "only {seen} of {wanted} bytes came");
    Ok(())
}

fn all_lines() -> String {
    (0..LINES).map(|number| format!("line {number}\n")).collect()
}

async fn lines_arrive_in_order_even_many_in_a_millisecond(bench: &Bench<'_>) -> Outcome {
    let wanted = all_lines();
    let chunks = stopped_after(bench, Program::Lines, wanted.len()).await?;
    are_all_lines(&chunks)?;
    ensure!(chunks.is_sorted_by_key(|chunk| chunk.at), "the times are out of order");
    Ok(())
}

fn are_all_lines(chunks: &[LogChunk]) -> Outcome {
    let wanted = all_lines();
    let text = String::from_utf8_lossy(&joined(chunks)).into_owned();
    if let Some((found, line)) = text.lines().zip(wanted.lines()).find(|(found, wanted)| found != wanted) {
        return Err(Failure::new(format!("found {found:?} where {line:?} was written")));
    }
    ensure_eq!(text.len(), wanted.len(), "number of bytes");
    Ok(())
}

async fn a_slow_reader_loses_nothing_when_the_container_ends(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Lines).await?;
    let mut slow = bench.runtime.logs(&id, None).await?;
    let first = tokio::time::timeout(SOON, slow.next()).await;
    let Ok(Some(Ok(first))) = first else { return Err(Failure::new(format!("wanted a line, found {first:?}"))) };
    read_bytes(bench.runtime.logs(&id, None).await?, all_lines().len()).await?;
    stop(&*bench.runtime, &id).await?;
    let rest = slow.enumerate().then(async |(number, chunk)| {
        if number % REST_EVERY == 0 {
            tokio::time::sleep(REST).await;
        }
        chunk
    });
    let mut chunks = vec![first];
    chunks.extend(read_to_end(Box::pin(rest)).await?);
    are_all_lines(&chunks)
}

async fn a_chunk_is_at_most_one_line(bench: &Bench<'_>) -> Outcome {
    let chunks = stopped_after(bench, Program::Lines, all_lines().len()).await?;
    for chunk in &chunks {
        let newline = chunk.bytes.iter().position(|byte| *byte == b'\n');
        ensure!(newline.is_none_or(|at| at + 1 == chunk.bytes.len()), "a chunk holds {:?}", chunk.bytes);
    }
    // More chunks than lines are allowed: an engine that reads its pipe in blocks cuts a line at a block's end.
    ensure!(chunks.len() >= LINES, "{} chunks for {LINES} lines", chunks.len());
    Ok(())
}

async fn logs_since_a_time_are_complete(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Ticks).await?;
    let enough = |chunks: &[LogChunk]| chunks.len() >= 30;
    read_until(bench.runtime.logs(&id, None).await?, enough).await?;
    stop(&*bench.runtime, &id).await?;
    let all = read_to_end(bench.runtime.logs(&id, None).await?).await?;
    let since = all[25].at;
    let tail = read_to_end(bench.runtime.logs(&id, Some(since)).await?).await?;
    let wanted = all.iter().filter(|chunk| chunk.at >= since).count();
    let found = tail.iter().filter(|chunk| chunk.at >= since).count();
    ensure_eq!(found, wanted, "number of lines from that time on");
    let coarse = since - Duration::from_secs(1);
    let early = tail.iter().filter(|chunk| chunk.at < coarse).count();
    ensure_eq!(early, 0, "lines more than a second before that time");
    Ok(())
}

async fn logs_since_a_time_after_the_end_are_empty(bench: &Bench<'_>) -> Outcome {
    let chunks = stopped_after(bench, Program::Both, 20).await?;
    let id = bench.seen("web").await?.id;
    let last = chunks.last().ok_or_else(|| Failure::new("there is no output"))?.at;
    let late = bench.runtime.logs(&crate::ContainerId(id), Some(last + Duration::from_secs(2))).await?;
    ensure_eq!(read_to_end(late).await?, Vec::new(), "output after the end");
    Ok(())
}

async fn a_very_long_line_arrives_complete(bench: &Bench<'_>) -> Outcome {
    let chunks = stopped_after(bench, Program::LongLine, LONG_LINE_BYTES + 1).await?;
    let bytes = joined(&chunks);
    ensure_eq!(bytes.len(), LONG_LINE_BYTES + 1, "number of bytes");
    ensure!(bytes.iter().take(LONG_LINE_BYTES).all(|byte| *byte == b'x'), "something came between the pieces");
    ensure_eq!(bytes.last(), Some(&b'\n'), "last byte");
    Ok(())
}

/// The two lines of [`Program::Binary`]. A changed line may have another length.
async fn binary_lines(bench: &Bench<'_>) -> Outcome<Vec<Vec<u8>>> {
    let chunks = stopped_after(bench, Program::Binary, CONTROL.len() + BROKEN_UTF8.len() + 2).await?;
    Ok(joined(&chunks).split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect())
}

async fn control_characters_arrive_unchanged(bench: &Bench<'_>) -> Outcome {
    let lines = binary_lines(bench).await?;
    ensure_eq!(lines.first(), Some(&[CONTROL, b"\n"].concat()), "first line");
    Ok(())
}

async fn bytes_that_are_not_utf8_arrive_unchanged(bench: &Bench<'_>) -> Outcome {
    let lines = binary_lines(bench).await?;
    ensure_eq!(lines.get(1), Some(&[BROKEN_UTF8, b"\n"].concat()), "second line");
    Ok(())
}

async fn stdout_and_stderr_are_distinguished(bench: &Bench<'_>) -> Outcome {
    let chunks = stopped_after(bench, Program::Both, 20).await?;
    let of = |source| {
        let of_source: Vec<LogChunk> = chunks.iter().filter(|chunk| chunk.source == source).cloned().collect();
        String::from_utf8_lossy(&joined(&of_source)).into_owned()
    };
    ensure_eq!(of(LogSource::Stdout), "to stdout\n", "standard output");
    ensure_eq!(of(LogSource::Stderr), "to stderr\n", "standard error");
    Ok(())
}

async fn an_unfinished_last_line_arrives_too(bench: &Bench<'_>) -> Outcome {
    // An engine that waits for the end of a line returns nothing yet; a stop before the program wrote would leave
    // nothing.
    let mut chunks = stopped_after(bench, Program::Unfinished, "begun\n".len()).await?;
    chunks.retain(|chunk| chunk.source == LogSource::Stdout);
    ensure_eq!(String::from_utf8_lossy(&joined(&chunks)), "unfinished", "output");
    Ok(())
}

async fn the_log_stream_follows(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Ticks).await?;
    let first = read_until(bench.runtime.logs(&id, None).await?, |chunks| !chunks.is_empty()).await?;
    let more = read_until(bench.runtime.logs(&id, None).await?, |chunks| chunks.len() >= first.len() + 10).await?;
    ensure!(more.len() >= first.len() + 10, "the stream ended after {} ticks, the container runs", more.len());
    let span = more[more.len() - 1].at - more[0].at;
    ensure!(span >= Duration::from_millis(500), "ten ticks of 100 ms within {span}");
    Ok(())
}

async fn the_log_stream_ends_with_the_container(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Both).await?;
    let mut logs = bench.runtime.logs(&id, None).await?;
    let first = tokio::time::timeout(SOON, logs.next()).await;
    ensure!(matches!(first, Ok(Some(Ok(_)))), "wanted a first line, found {first:?}");
    bench.runtime.stop(&id, GRACE).await?;
    let rest = read_to_end(logs).await?;
    ensure!(rest.len() <= 1, "{} lines came after the first of two", rest.len());
    Ok(())
}

async fn logs_of_a_stopped_container_are_kept_and_end(bench: &Bench<'_>) -> Outcome {
    let chunks = stopped_after(bench, Program::Both, 20).await?;
    ensure_eq!(chunks.len(), 2, "number of lines");
    Ok(())
}

async fn logs_survive_a_restart(bench: &Bench<'_>) -> Outcome {
    let id = bench.run("web", Program::Both).await?;
    read_until(bench.runtime.logs(&id, None).await?, |chunks| chunks.len() == 2).await?;
    bench.runtime.restart(&id, GRACE).await?;
    let all = read_until(bench.runtime.logs(&id, None).await?, |chunks| chunks.len() == 4).await?;
    ensure_eq!(all.len(), 4, "number of lines of both runs");
    ensure!(all[1].at <= all[2].at, "the second run's output is older than the first's");
    Ok(())
}
