//! Where reading begins: the file, and the place in it, from which on lines are not older than wanted. Blocking.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use time::OffsetDateTime;

use super::{Format, line, numbered};

/// A stretch that is read line by line instead of being halved.
const STRETCH_BYTES: u64 = 64 << 10;

/// The oldest file with lines from `since` on, or the newest file, at a place before the first of them.
pub(super) fn open(path: &Path, format: Format, since: Option<OffsetDateTime>) -> io::Result<File> {
    let newest = File::open(path)?;
    let mut found = newest;
    let numbers = if format == Format::Json { usize::MAX } else { 1 };
    for number in 1..numbers {
        let Ok(older) = File::open(numbered(path, number)) else { break };
        let written: OffsetDateTime = older.metadata()?.modified()?.into();
        if since.is_some_and(|since| written < since) {
            break;
        }
        found = older;
    }
    let place = match since {
        Some(since) => place(&found, format, since)?,
        None => 0,
    };
    found.seek(SeekFrom::Start(place))?;
    Ok(found)
}

/// The start of a line with no line from `since` on before it. Lines are in the order of their time, but for disorder
/// that is small against the slack of those who ask.
fn place(file: &File, format: Format, since: OffsetDateTime) -> io::Result<u64> {
    let (mut low, mut high) = (0, file.metadata()?.len());
    let mut reader = BufReader::new(file);
    let mut text = Vec::new();
    while high - low > STRETCH_BYTES {
        let middle = low + (high - low) / 2;
        reader.seek(SeekFrom::Start(middle))?;
        let skipped = reader.skip_until(b'\n')? as u64;
        text.clear();
        reader.read_until(b'\n', &mut text)?;
        match line::time_of(format, text.trim_ascii_end()) {
            Some(at) if at < since => low = middle + skipped,
            _ => high = middle,
        }
    }
    Ok(low)
}
