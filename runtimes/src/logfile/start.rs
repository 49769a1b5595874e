//! Finds the start position: the file, and the offset in it, from which lines are not older than requested. Blocking.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Seek, SeekFrom};
use std::path::Path;

use time::OffsetDateTime;

use super::{Format, line, numbered};

/// A smaller range is read line by line instead of being halved.
const STRETCH_BYTES: u64 = 64 << 10;

/// The oldest file with lines from `since` on, or the newest file, positioned before the first of these lines.
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
    let offset = match since {
        Some(since) => offset(&found, format, since)?,
        None => 0,
    };
    found.seek(SeekFrom::Start(offset))?;
    Ok(found)
}

/// The start of a line that no line from `since` on precedes. Lines are ordered by time, except for disorder that is
/// small compared with the slack of the callers.
fn offset(file: &File, format: Format, since: OffsetDateTime) -> io::Result<u64> {
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
