//! The history file: one action a line, appended, so that a crash costs at most the last line. A file that is too long is
//! rewritten and replaced atomically. Invalid lines (of a later version, or torn) are skipped.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::{History, TOTAL_MAX};
use crate::json_file;
use crate::status::model::Action;

const FILE_NAME: &str = "history.jsonl";
/// Lines after which the file is rewritten.
const LINES_MAX: usize = 4 * TOTAL_MAX;
/// Maximum of bytes that are read.
const BYTES_MAX: u64 = 64 * 1024 * 1024;
/// Longest line that is read.
const LINE_MAX: u64 = 256 * 1024;

/// The file of one daemon. Blocks: do not use it in async tasks.
#[derive(Debug)]
pub struct HistoryFile {
    path: PathBuf,
    lines: usize,
}

impl HistoryFile {
    /// The file in `directory` and its history. A missing file is an empty history; an unreadable file is an error.
    pub fn open(directory: &Path) -> (Self, io::Result<History>) {
        let path = directory.join(FILE_NAME);
        let (lines, history) = match read(&path) {
            Ok((lines, actions)) => (lines, Ok(History::of(actions))),
            Err(error) => (0, Err(error)),
        };
        (Self { path, lines }, history)
    }

    /// Appends actions, oldest first. `all` returns all kept actions, for a rewrite of a file that is too long.
    pub fn append(&mut self, actions: &[Action], all: impl FnOnce() -> Vec<Action>) -> io::Result<()> {
        if self.lines + actions.len() > LINES_MAX {
            return self.rewrite(&all());
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(&self.path)?;
        let mut text = if is_torn(&mut file)? { vec![b'\n'] } else { Vec::new() };
        write_lines(&mut text, actions)?;
        file.write_all(&text)?;
        self.lines += actions.len();
        Ok(())
    }

    fn rewrite(&mut self, all: &[Action]) -> io::Result<()> {
        let mut text = Vec::new();
        write_lines(&mut text, all)?;
        json_file::replace(&self.path, &text)?;
        self.lines = all.len();
        Ok(())
    }
}

fn write_lines(text: &mut Vec<u8>, actions: &[Action]) -> io::Result<()> {
    for action in actions {
        serde_json::to_writer(&mut *text, action)?;
        text.push(b'\n');
    }
    Ok(())
}

/// Whether the last line has no line end, because its writer crashed.
fn is_torn(file: &mut File) -> io::Result<bool> {
    if file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

fn read(path: &Path) -> io::Result<(usize, Vec<Action>)> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok((0, Vec::new())),
        Err(error) => return Err(error),
    };
    let mut reader = BufReader::new(file.take(BYTES_MAX));
    let (mut lines, mut actions, mut line) = (0, Vec::new(), Vec::new());
    loop {
        line.clear();
        if reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line)? == 0 {
            return Ok((lines, actions));
        }
        lines += 1;
        actions.extend(serde_json::from_slice::<Action>(&line).ok());
    }
}
