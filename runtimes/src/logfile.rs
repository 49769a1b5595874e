//! The log file that an engine keeps of a container, read where it lies.
//!
//! For daemons on the engine's own host, which is the rule. It is better than the engine's own way to follow a log: that
//! one costs the engine a multiple of what writing the log does, ends with the engine, and on Podman loses lines when the
//! file is begun anew. Docker (`json-file`) renames a full file to `.1`, `.2`, ... and keeps some; Podman (`k8s-file`)
//! replaces it and keeps none. Either way a file that has been opened stays readable to its end, and nothing is written to
//! it once another one has its name.

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

/// How an engine writes a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// Docker's `json-file`: an object a line, with text, stream and time.
    Json,
    /// Podman's `k8s-file`: time, stream, `F` or `P` (the line goes on), text.
    K8s,
}

const OPERATION: &str = "read the log file of container";
/// Read at a time.
const BLOCK_BYTES: usize = 64 << 10;
/// Files that are opened or read at a time, of all containers: each takes a thread, which keeps memory to itself.
static READERS: Semaphore = Semaphore::const_new(4);
/// A line longer than this is none of the engine's: they cut at 16 KiB, and a byte takes six at most as JSON.
const LINE_BYTES_MAX: usize = 1 << 20;
/// Pause at the end of the file where the kernel does not tell of changes; doubled up to a longest one while nothing comes.
const PAUSE_FIRST: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(320);
/// The same where it does: a safety net.
const PAUSE_WATCHED: Duration = Duration::from_secs(5);
/// How long the engine is asked for the end of a container that seems to run.
const ASKED_FOR: Duration = Duration::from_secs(5);
/// The same when its log file was closed: the engine takes networks down before it tells of the end.
const ASKED_FOR_CLOSED: Duration = Duration::from_secs(60);
/// It is asked again after so long: a safety net too.
const ASK_EVERY: Duration = Duration::from_secs(600);
/// A file that lost its name so long ago may have been followed by more than one, where the file system does not tell when
/// a file was begun.
const UNSEEN_MAX: Duration = Duration::from_secs(2);
/// Podman's replaced files that are kept open until they are read. Each may be as large as a log may be.
const WAITING_MAX: usize = 2;
/// How often a successor is looked for while files are being renamed.
const SUCCESSOR_TRIES: usize = 10;

/// Asks the engine whether a container has ended and has written all it will. Answers `true` as soon as it has, `false`
/// after a time in which it had not.
pub(crate) type HasEnded = Box<dyn Fn(Duration) -> BoxFuture<'static, bool> + Send>;

/// Output from `since` on, then follows until the container has ended.
///
/// The engine is asked for the end at first, and whenever the file was closed by whoever writes it: a question that is
/// always open costs both sides a connection for each container, and Podman a look twice a second.
///
/// Fails when the file is not there or may not be read; then ask the engine. The stream fails, to be opened again, when
/// output may have been missed because nobody read for a while.
pub(crate) async fn follow(
    watches: Watches,
    subject: String,
    path: PathBuf,
    format: Format,
    since: Option<OffsetDateTime>,
    has_ended: HasEnded,
) -> io::Result<LogStream> {
    let (place, at) = (path.clone(), since);
    let file = blocking(move || start::open(&place, format, at)).await??;
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
        asking: std::future::pending().boxed(),
        asked: Instant::now(),
        is_ended: false,
        is_replaced: false,
        is_unnamed: false,
        waiting: VecDeque::new(),
        is_missed: false,
        buffer: BytesMut::new(),
        pause: PAUSE_FIRST,
    };
    reader.ask(ASKED_FOR);
    Ok(Box::pin(stream::unfold(Some(reader), |reader| async {
        let mut reader = reader?;
        let chunk = reader.next().await.transpose()?;
        let reader = chunk.is_ok().then_some(reader);
        Some((chunk, reader))
    })))
}

/// The end of a pause of at most `pause`. All readers that rest wake up at the same moments, so that the process wakes up
/// once for all of them.
fn grid(pause: Duration) -> Instant {
    static BASE: OnceLock<Instant> = OnceLock::new();
    let now = Instant::now();
    let past = now.saturating_duration_since(*BASE.get_or_init(|| now)).as_nanos() % pause.as_nanos();
    now + pause - Duration::from_nanos(u64::try_from(past).unwrap_or(0))
}

/// In a thread, and in turn.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    let _turn = READERS.acquire().await.map_err(io::Error::other)?;
    spawn_blocking(work).await.map_err(io::Error::other)
}

/// What makes a file the same under another name.
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

/// Whether another file had the name after `old` and before `new`. The successor is begun under another name, then takes
/// that of `old`, which is a change of `old`; what comes after the successor is begun later.
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
    /// Of [`Reader::file`].
    watch: Watch,
    subject: String,
    path: PathBuf,
    format: Format,
    /// Away only while a block is read.
    file: Option<File>,
    identity: Identity,
    /// The file that had the name when it was last looked at.
    newest: Identity,
    /// Podman's files after this one, oldest first: they lose their names for good.
    waiting: VecDeque<File>,
    /// There were more files than are waiting.
    is_missed: bool,
    /// Lines are left out up to the first that is not older. What follows that one is new, also where a clock that was set
    /// back has made it look old.
    since: Option<OffsetDateTime>,
    has_ended: HasEnded,
    /// The question whether it has ended, while it is open.
    asking: BoxFuture<'static, bool>,
    asked: Instant,
    is_ended: bool,
    /// The file has lost its name: what it holds now is all it will ever hold.
    is_replaced: bool,
    /// No file has the name: it is being replaced, or removed.
    is_unnamed: bool,
    /// Read and not yet made into pieces.
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

    /// The next piece of what was read. A line that is none is left out: a crash may have cut it.
    fn buffered(&mut self) -> Option<LogChunk> {
        loop {
            // Of the standard library, as it searches for the newline fast.
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
        if self.watch.look() && !self.is_ended {
            self.ask(ASKED_FOR_CLOSED);
        }
        self.look()?;
        let given_up = || io::Error::other("a read was given up");
        let file = self.file.as_mut().ok_or_else(given_up)?;
        // Mostly there is nothing new. Seen here, that takes a microsecond, and neither a thread nor a block in memory.
        if file.metadata()?.len() <= file.stream_position()? {
            if self.buffer.is_empty() {
                self.buffer = BytesMut::new();
            }
            return Ok(0);
        }
        let mut file = self.file.take().ok_or_else(given_up)?;
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

    /// What to do where the file ends for now: wait, go on with the next file, or (`false`) end.
    async fn at_end(&mut self) -> Result<bool> {
        if self.newest != self.identity {
            return self.replaced().map(|()| true);
        }
        if self.is_ended {
            return Ok(false);
        }
        self.rewind_if_cut().map_err(|error| self.failed(error))?;
        if self.asked.elapsed() > ASK_EVERY {
            self.ask(ASKED_FOR);
        }
        let pause = if self.watch.is_live() && !self.is_unnamed { PAUSE_WATCHED } else { self.pause };
        // All arms are cancel-safe. Once ended, the rest is read before the end is believed.
        tokio::select! {
            is_ended = &mut self.asking => {
                self.asking = std::future::pending().boxed();
                self.is_ended = is_ended;
            }
            () = self.watch.changed() => if !self.watch.is_live() {
                self.ask(ASKED_FOR);
            },
            () = sleep_until(grid(pause)) => self.pause = (self.pause * 2).min(PAUSE_MAX),
        }
        Ok(true)
    }

    /// Asks for the end, for a while only where the kernel tells when to ask again.
    fn ask(&mut self, limit: Duration) {
        let limit = if self.watch.is_live() { limit } else { Duration::MAX };
        (self.asking, self.asked) = ((self.has_ended)(limit), Instant::now());
    }

    /// Sees whether another file has the name now.
    fn look(&mut self) -> io::Result<()> {
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

    /// Another file has the name. This one is read to its end first, then comes the one after it.
    fn replaced(&mut self) -> Result<()> {
        if !std::mem::replace(&mut self.is_replaced, true) {
            return Ok(());
        }
        let next = self.successor().map_err(|error| self.failed(error))?;
        self.identity = Identity::of(&next.metadata().map_err(|error| self.failed(error))?);
        self.watch = self.watches.watch(&next);
        // It may have been closed before it was watched.
        self.ask(ASKED_FOR_CLOSED);
        self.file = Some(next);
        self.is_replaced = false;
        self.buffer.clear();
        Ok(())
    }

    /// The file that was begun when this one was full. Files may be renamed while they are looked at.
    fn successor(&mut self) -> io::Result<File> {
        let missed = || io::Error::other("the log has rotated while nobody read it");
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

    /// The number in this file's present name; `None` when it has none any more.
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

    /// Somebody may have cut the file instead of replacing it.
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

/// The name of the file that was full `number` files ago.
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
