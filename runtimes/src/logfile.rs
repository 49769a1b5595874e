//! Reads the log file of a container directly, as the engine writes it.
//!
//! For daemons on the engine's own host, which is the usual case. It is better than the engine's API for logs: that
//! costs the engine a multiple of writing the log, ends with the engine, and on Podman loses lines when the file is
//! replaced. Docker (`json-file`) renames a full file to `.1`, `.2`, ... and keeps some; Podman (`k8s-file`) replaces
//! it and keeps none. In both cases an open file stays readable to its end, and nothing is written to it after another
//! file has its name.

mod line;
mod start;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::VecDeque;
use std::fs::{File, Metadata};
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{Duration, SystemTime};

use bytes::{Buf, BytesMut};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use futures_util::stream;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep_until};

use self::watch::Watch;
pub(crate) use self::watch::Watches;
use crate::{ErrorKind, LogChunk, LogStream, Result, RuntimeError};

/// Format of a log file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Docker's `json-file`: one object per line, with text, stream and time.
    Json,
    /// Podman's `k8s-file`: time, stream, `F` (full) or `P` (the line continues), text.
    K8s,
}

const OPERATION: &str = "read the log file of container";
/// Bytes per read.
const BLOCK_BYTES: usize = 64 << 10;
/// Files that are opened or read at the same time, over all containers: each needs a thread, which uses memory.
static READERS: Semaphore = Semaphore::const_new(4);
/// A longer line was not written by an engine: they cut at 16 KiB, and JSON encodes a byte in at most six.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Pause at the end of the file without inotify; doubled up to a maximum while no output arrives.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// The same with inotify: a safety net.
const PAUSE_WATCHED: Duration = Duration::from_secs(5);
/// Limit of a query whether a container that seems to run has ended.
const END_QUERY_LIMIT: Duration = Duration::from_secs(5);
/// The same after its log file was closed: the engine removes networks before it reports the end.
const END_QUERY_LIMIT_CLOSED: Duration = Duration::from_secs(60);
/// Interval of further queries: a safety net too.
const END_QUERY_INTERVAL: Duration = Duration::from_secs(600);
/// A file that lost its name this long ago may have had more than one successor, where the file system does not record
/// creation times.
const UNSEEN_MAX: Duration = Duration::from_secs(2);
/// Replaced files of Podman that stay open until they are read. Each can have the maximum size of a log.
const WAITING_MAX: usize = 2;
/// Attempts to find a successor while files are being renamed.
const SUCCESSOR_TRIES: usize = 10;

/// Asks the engine whether a container has ended and has written all of its output. Returns `true` as soon as it has,
/// `false` when the limit has passed.
pub(crate) type HasEnded = Box<dyn Fn(Duration) -> BoxFuture<'static, bool> + Send>;

/// Output from `since` on, then follows until the container has ended.
///
/// The engine is queried at first, and whenever a writer closed the file: a query that is always open costs both sides
/// a connection for each container, and makes Podman poll twice a second.
///
/// Fails when the file is missing or not readable; the caller then uses the engine's API. The stream fails, and must be
/// opened again, when output may have been missed because the reader paused.
pub(crate) async fn follow(
    watches: Watches,
    subject: String,
    path: PathBuf,
    format: Format,
    since: Option<OffsetDateTime>,
    has_ended: HasEnded,
) -> io::Result<LogStream> {
    let (start_path, at) = (path.clone(), since);
    let file = blocking(move || start::open(&start_path, format, at)).await??;
    let identity = Identity::of(&file.metadata()?);
    let watch = watches.watch(&file);
    let mut reader = Reader {
        watch,
        watches,
        subject,
        identity,
        newest: identity,
        file: Some(file),
        path,
        format,
        since,
        has_ended,
        end_query: std::future::pending().boxed(),
        asked: Instant::now(),
        is_ended: false,
        is_replaced: false,
        is_unnamed: false,
        waiting: VecDeque::new(),
        is_missed: false,
        buffer: BytesMut::new(),
        pause: PAUSE_FIRST,
    };
    reader.ask(END_QUERY_LIMIT);
    Ok(Box::pin(stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        let chunk = reader.next().await.transpose()?;
        let reader = chunk.is_ok().then_some(reader);
        Some((chunk, reader))
    })))
}

/// The end of a pause of at most `pause`. All idle readers wake up at the same moments, so that the process wakes up
/// once for all of them.
fn grid(pause: Duration) -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let past = now.saturating_duration_since(*BASE.get_or_init(|| now)).as_nanos() % pause.as_nanos();
    now + pause - Duration::from_nanos(u64::try_from(past).unwrap_or(0))
}

/// Runs `work` in a thread, with at most the permits of [`READERS`] at a time.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let _turn = READERS.acquire().await.map_err(io::Error::other)?;
    spawn_blocking(work).await.map_err(io::Error::other)
}

/// Identifies a file independently of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(metadata: &Metadata) -> Self {
        Self { device: metadata.dev(), inode: metadata.ino() }
    }

    /// `None` when there is no file.
    fn at(path: &Path) -> io::Result<Option<Self>> {
        match std::fs::metadata(path) {
            Ok(metadata) => Ok(Some(Self::of(&metadata))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Whether another file had the name after `old` and before `new`. The successor is created under another name, then
/// gets the name of `old`, which changes `old`; a file after the successor is created later.
fn is_between(old: &File, new: &File) -> io::Result<bool> {
    let old = old.metadata()?;
    let seconds = Duration::new(u64::try_from(old.ctime()).unwrap_or(0), u32::try_from(old.ctime_nsec()).unwrap_or(0));
    let replaced = SystemTime::UNIX_EPOCH + seconds;
    Ok(match new.metadata()?.created() {
        Ok(begun) => begun > replaced,
        Err(_) => replaced.elapsed().is_ok_and(|ago| ago > UNSEEN_MAX),
    })
}

struct Reader {
    watches: Watches,
    /// Watches [`Reader::file`].
    watch: Watch,
    subject: String,
    path: PathBuf,
    format: Format,
    /// `None` only while a block is read.
    file: Option<File>,
    identity: Identity,
    /// The file that had the name at the last check.
    newest: Identity,
    /// Podman's files after this one, oldest first. They have no name any more.
    waiting: VecDeque<File>,
    /// More files were replaced than [`Reader::waiting`] can hold.
    is_missed: bool,
    /// Lines are skipped up to the first one that is not older. All following lines are new, even if a clock that was
    /// set back makes them look old.
    since: Option<OffsetDateTime>,
    has_ended: HasEnded,
    /// The open query whether it has ended.
    end_query: BoxFuture<'static, bool>,
    asked: Instant,
    is_ended: bool,
    /// The file has lost its name: its content is final.
    is_replaced: bool,
    /// No file has the name: the file is being replaced or removed.
    is_unnamed: bool,
    /// Bytes that are read and not yet parsed.
    buffer: BytesMut,
    pause: Duration,
}

impl Reader {
    async fn next(&mut self) -> Result<Option<LogChunk>> {
        loop {
            if let Some(chunk) = self.buffered() {
                return Ok(Some(chunk));
            }
            let read = self.read().await.map_err(|error| self.failed(error))?;
            if read > 0 {
                self.pause = PAUSE_FIRST;
            } else if !self.at_end().await? {
                return Ok(None);
            }
        }
    }

    /// The next chunk of the buffer. An invalid line is skipped: a crash may have truncated it.
    fn buffered(&mut self) -> Option<LogChunk> {
        loop {
            // The standard library's search for the newline is fast.
            let length = (&self.buffer[..]).skip_until(b'\n').unwrap_or(0);
            if length == 0 || self.buffer[length - 1] != b'\n' {
                if self.buffer.len() > LINE_BYTES_MAX {
                    self.buffer.clear();
                }
                return None;
            }
            let chunk = line::parse(self.format, &self.buffer[..length - 1]);
            self.buffer.advance(length);
            match chunk {
                Some(chunk) if self.since.is_none_or(|since| chunk.at >= since) => {
                    self.since = None;
                    return Some(chunk);
                }
                Some(_) => {}
                None => tracing::debug!(container = self.subject, "a line of the engine's log cannot be read"),
            }
        }
    }

    async fn read(&mut self) -> io::Result<usize> {
        if self.watch.mark_seen() && !self.is_ended {
            self.ask(END_QUERY_LIMIT_CLOSED);
        }
        self.check_name()?;
        let aborted = || io::Error::other("a read was aborted");
        let file = self.file.as_mut().ok_or_else(aborted)?;
        // Usually there is nothing new. This check takes a microsecond and needs neither a thread nor a block of
        // memory.
        if file.metadata()?.len() <= file.stream_position()? {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            return Ok(0);
        }
        let mut file = self.file.take().ok_or_else(aborted)?;
        let mut block = self.buffer.split();
        let read = blocking(move || {
            let old = block.len();
            block.resize(old + BLOCK_BYTES, 0);
            let read = file.read(&mut block[old..]);
            block.truncate(old + *read.as_ref().unwrap_or(&0));
            (file, block, read)
        });
        let (file, block, read) = read.await?;
        (self.file, self.buffer) = (Some(file), block);
        read
    }

    /// Called at the current end of the file: waits, continues with the next file, or ends (`false`).
    async fn at_end(&mut self) -> Result<bool> {
        if self.newest != self.identity {
            return self.replaced().map(|()| true);
        }
        if self.is_ended {
            return Ok(false);
        }
        self.rewind_if_cut().map_err(|error| self.failed(error))?;
        if self.asked.elapsed() > END_QUERY_INTERVAL {
            self.ask(END_QUERY_LIMIT);
        }
        let pause = if self.watch.is_live() && !self.is_unnamed { PAUSE_WATCHED } else { self.pause };
        // All arms are cancel-safe. After the end of the container the rest of the file is read first.
        tokio::select! {
            is_ended = &mut self.end_query => {
                self.end_query = std::future::pending().boxed();
                self.is_ended = is_ended;
            }
            () = self.watch.changed() => if !self.watch.is_live() {
                self.ask(END_QUERY_LIMIT);
            },
            () = sleep_until(grid(pause)) => self.pause = (self.pause * 2).min(PAUSE_MAX),
        }
        Ok(true)
    }

    /// Starts a query for the end of the container; limited only where inotify signals when to query again.
    fn ask(&mut self, limit: Duration) {
        let limit = if self.watch.is_live() { limit } else { Duration::MAX };
        (self.end_query, self.asked) = ((self.has_ended)(limit), Instant::now());
    }

    /// Checks whether another file has the name now.
    fn check_name(&mut self) -> io::Result<()> {
        let found = Identity::at(&self.path)?;
        self.is_unnamed = found.is_none();
        let now = found.unwrap_or(self.newest);
        if now == self.newest {
            return Ok(());
        }
        self.newest = now;
        if self.format == Format::K8s && !self.is_missed {
            let next = File::open(&self.path)?;
            self.newest = Identity::of(&next.metadata()?);
            let last = self.waiting.back().or(self.file.as_ref());
            self.is_missed =
                self.waiting.len() == WAITING_MAX || last.map_or(Ok(true), |last| is_between(last, &next))?;
            if !self.is_missed {
                self.waiting.push_back(next);
            }
        }
        Ok(())
    }

    /// Another file has the name. This file is read to its end first, then the next one is opened.
    fn replaced(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.is_replaced, true) {
            return Ok(());
        }
        let next = self.successor().map_err(|error| self.failed(error))?;
        self.identity = Identity::of(&next.metadata().map_err(|error| self.failed(error))?);
        self.watch = self.watches.watch(&next);
        // The file may have been closed before the watch was added.
        self.ask(END_QUERY_LIMIT_CLOSED);
        self.file = Some(next);
        self.is_replaced = false;
        self.buffer.clear();
        Ok(())
    }

    /// The file that was created when this one was full. Files may be renamed during the search.
    fn successor(&mut self) -> io::Result<File> {
        let missed = || io::Error::other("the log rotated before it was read");
        if self.format == Format::K8s {
            return self.waiting.pop_front().ok_or_else(missed);
        }
        for _ in 0..SUCCESSOR_TRIES {
            let Some(number) = self.number()? else { return Err(missed()) };
            let Some(newer) = number.checked_sub(1) else { continue };
            let file = File::open(numbered(&self.path, newer))?;
            if self.number()? == Some(number) {
                return Ok(file);
            }
        }
        Err(missed())
    }

    /// The number in this file's current name; `None` when it has no name any more.
    fn number(&self) -> io::Result<Option<usize>> {
        for number in 0.. {
            match Identity::at(&numbered(&self.path, number))? {
                Some(identity) if identity == self.identity => return Ok(Some(number)),
                Some(_) => {}
                None if number > 0 => return Ok(None),
                None => {}
            }
        }
        Ok(None)
    }

    /// Another program may have truncated the file instead of replacing it.
    fn rewind_if_cut(&mut self) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Ok(()) };
        if file.metadata()?.len() < file.stream_position()? {
            file.seek(SeekFrom::Start(0))?;
            self.buffer.clear();
        }
        Ok(())
    }

    fn failed(&self, error: io::Error) -> RuntimeError {
        RuntimeError::new(ErrorKind::Other, OPERATION, &self.subject).with_source(error)
    }
}

/// The name of the file after `number` rotations.
fn numbered(path: &Path, number: usize) -> PathBuf {
    match number {
        0 => path.to_owned(),
        number => {
            let mut name = path.as_os_str().to_owned();
            name.push(format!(".{number}"));
            name.into()
        }
    }
}
