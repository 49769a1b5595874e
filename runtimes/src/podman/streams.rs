//! Splits arriving bytes into whole lines and whole frames. Pure state machines: no I/O, no clock.
//!
//! A chunk of a body may end anywhere, also inside a frame's header; the crate's own decoders expect whole lines in one
//! chunk, or panic on an unknown stream number.

use bytes::{Buf as _, Bytes, BytesMut};
use thiserror::Error;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{LogChunk, LogSource};

/// Longest line of a JSON stream; events with many labels are a few kilobytes.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Longest frame of a log; Podman cuts lines into pieces of 8 KiB.
const FRAME_BYTES_MAX: usize = 16 << 20;
/// Stream number, three zeros, length in network order.
const HEADER_BYTES: usize = 8;

/// An invalid stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(super) enum Malformed {
    /// A line exceeds the limit.
    #[error("a line is longer than 1 MiB")]
    Line,
    /// Not a frame of a log, or one that exceeds the limit.
    #[error("the log is not made of frames, or one is longer than 16 MiB")]
    Frame,
}

/// Collects chunks and returns whole items.
pub(super) trait Decoder: Default {
    /// A decoded item.
    type Item;
    /// Takes the next chunk.
    fn push(&mut self, piece: &[u8]);
    /// The next whole item; `None` until more chunks come.
    fn next(&mut self) -> Option<Result<Self::Item, Malformed>>;
}

/// Whole lines without their end; empty ones are left out.
#[derive(Debug, Default)]
pub(super) struct Lines {
    buffer: BytesMut,
}

impl Decoder for Lines {
    type Item = Bytes;

    fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    fn next(&mut self) -> Option<Result<Bytes, Malformed>> {
        while let Some(end) = self.buffer.iter().position(|&byte| byte == b'\n') {
            let line = self.buffer.split_to(end).freeze();
            self.buffer.advance(1);
            if !line.trim_ascii().is_empty() {
                return Some(Ok(line));
            }
        }
        (self.buffer.len() > LINE_BYTES_MAX).then_some(Err(Malformed::Line))
    }
}

/// Whole chunks of a log: frames whose content starts with a time and a space.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: BytesMut,
    last: OffsetDateTime,
}

impl Default for Frames {
    fn default() -> Self {
        Self { buffer: BytesMut::new(), last: OffsetDateTime::UNIX_EPOCH }
    }
}

impl Decoder for Frames {
    type Item = LogChunk;

    fn push(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    fn next(&mut self) -> Option<Result<LogChunk, Malformed>> {
        let header = self.buffer.first_chunk::<HEADER_BYTES>()?;
        let [stream, 0, 0, 0, length @ ..] = *header else { return Some(Err(Malformed::Frame)) };
        let length = u32::from_be_bytes(length) as usize;
        let source = match stream {
            1 => LogSource::Stdout,
            2 => LogSource::Stderr,
            _ => return Some(Err(Malformed::Frame)),
        };
        if length > FRAME_BYTES_MAX {
            return Some(Err(Malformed::Frame));
        }
        if self.buffer.len() < HEADER_BYTES + length {
            return None;
        }
        self.buffer.advance(HEADER_BYTES);
        let content = self.buffer.split_to(length).freeze();
        Some(Ok(self.chunk(source, content)))
    }
}

impl Frames {
    /// Removes the time. Content without one keeps all its bytes and gets the time of the previous chunk.
    fn chunk(&mut self, source: LogSource, content: Bytes) -> LogChunk {
        let space = content.iter().take(STAMP_BYTES_MAX).position(|&byte| byte == b' ');
        let stamp = space.and_then(|end| {
            let text = std::str::from_utf8(&content[..end]).ok()?;
            Some((end, OffsetDateTime::parse(text, &Rfc3339).ok()?))
        });
        match stamp {
            Some((end, at)) => {
                self.last = at;
                LogChunk { at, source, bytes: content.slice(end + 1..) }
            }
            None => LogChunk { at: self.last, source, bytes: content },
        }
    }
}

/// Input: a byte for the length of the chunks, then a body. The chunks must decode to the same items as the whole.
#[cfg(feature = "fuzzing")]
pub(crate) fn fuzz_frames(data: &[u8]) {
    let Some((&length, body)) = data.split_first() else { return };
    fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Result<LogChunk, Malformed>> {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for piece in pieces {
            frames.push(piece);
            while let Some(item) = frames.next() {
                let is_over = item.is_err();
                found.push(item);
                if is_over {
                    return found;
                }
            }
        }
        found
    }
    let whole = read(std::iter::once(body));
    assert_eq!(whole, read(body.chunks(usize::from(length).max(1))));
    let kept: usize = whole.iter().flatten().map(|chunk| chunk.bytes.len()).sum();
    assert!(kept <= body.len());
}

/// Longest RFC 3339 time with nanoseconds and an offset, and the space after it.
const STAMP_BYTES_MAX: usize = 36;
