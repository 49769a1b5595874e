//! Files that are written, renamed, replaced and truncated as the engines do it.

use std::io::Write;
use std::sync::Arc;

use futures_util::StreamExt;
use tokio::sync::Notify;

use super::*;

const LIMIT: Duration = Duration::from_secs(60);
/// Duration in which nothing may arrive.
const QUIET: Duration = Duration::from_millis(100);

struct Log {
    folder: tempfile::TempDir,
    format: Format,
    end: Arc<Notify>,
    watches: Watches,
}

impl Log {
    fn new(format: Format) -> Self {
        let log = Self {
            folder: tempfile::tempdir().expect("a folder"),
            format,
            end: Arc::default(),
            watches: Watches::default(),
        };
        log.write(0..0);
        log
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    fn at(number: usize) -> OffsetDateTime {
        OffsetDateTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000) + Duration::from_millis(number as u64)
    }

    fn line(&self, number: usize) -> String {
        let time = Self::at(number).format(&time::format_description::well_known::Rfc3339).expect("a time");
        match self.format {
            Format::Json => format!("{{\"log\":\"line {number}\\n\",\"stream\":\"stdout\",\"time\":\"{time}\"}}\n"),
            Format::K8s => format!("{time} stdout F line {number}\n"),
        }
    }

    fn write(&self, numbers: std::ops::Range<usize>) {
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(self.path()).expect("the file");
        let text: String = numbers.map(|number| self.line(number)).collect();
        file.write_all(text.as_bytes()).expect("room");
    }

    /// Rotates as the engine does when the file is full; Docker keeps `kept` old files.
    fn rotate(&self, kept: usize) {
        match self.format {
            Format::Json => {
                let _ = std::fs::remove_file(numbered(&self.path(), kept));
                for number in (0..kept).rev() {
                    let _ = std::fs::rename(numbered(&self.path(), number), numbered(&self.path(), number + 1));
                }
                self.write(0..0);
            }
            Format::K8s => {
                let next = self.folder.path().join("log.tmp");
                std::fs::write(&next, "").expect("room");
                std::fs::rename(next, self.path()).expect("a rename");
            }
        }
    }

    async fn follow(&self, since: Option<OffsetDateTime>) -> LogStream {
        let end = self.end.clone();
        let has_ended = move |limit| {
            let end = end.clone();
            async move { tokio::time::timeout(limit, end.notified()).await.is_ok() }.boxed()
        };
        follow(self.watches.clone(), "c".to_owned(), self.path(), self.format, since, Box::new(has_ended))
            .await
            .expect("the file can be read")
    }

    async fn expect(&self, stream: &mut LogStream, numbers: std::ops::Range<usize>) {
        for number in numbers {
            let chunk = tokio::time::timeout(LIMIT, stream.next()).await.expect("it comes");
            let chunk = chunk.expect("the log goes on").expect("it can be read");
            assert_eq!(String::from_utf8_lossy(&chunk.bytes), format!("line {number}\n"));
        }
    }
}

const BOTH: [Format; 2] = [Format::Json, Format::K8s];

#[tokio::test]
async fn old_and_new_output_arrives_until_the_container_ends() {
    for format in BOTH {
        let log = Log::new(format);
        log.write(0..1_000);
        let mut stream = log.follow(None).await;
        log.expect(&mut stream, 0..1_000).await;
        log.write(1_000..1_010);
        log.expect(&mut stream, 1_000..1_010).await;
        log.write(1_010..1_020);
        log.end.notify_one();
        log.expect(&mut stream, 1_010..1_020).await;
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_nothing() {
    for format in BOTH {
        let log = Log::new(format);
        log.write(10_000..10_010);
        let mut stream = log.follow(Some(Log::at(10_005))).await;
        log.expect(&mut stream, 10_005..10_010).await;
        log.write(10..20);
        log.expect(&mut stream, 10..20).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_when_the_file_is_full() {
    for format in BOTH {
        let log = Log::new(format);
        log.write(0..10);
        let mut stream = log.follow(None).await;
        log.expect(&mut stream, 0..5).await;
        log.write(10..20);
        log.rotate(3);
        log.write(20..30);
        log.expect(&mut stream, 5..30).await;
        log.rotate(3);
        log.end.notify_one();
        log.write(30..40);
        log.expect(&mut stream, 30..40).await;
        assert!(stream.next().await.is_none());
    }
}

#[tokio::test]
async fn only_file_changes_are_signalled_and_at_once() {
    let log = Log::new(Format::K8s);
    let file = File::open(log.path()).expect("the file");
    let mut watch = log.watches.watch(&file);
    let mut other = log.watches.watch(&file);
    assert!(watch.is_live());
    let told = async |watch: &mut Watch| {
        tokio::time::timeout(LIMIT, watch.changed()).await.expect("a change");
    };
    log.write(0..1);
    told(&mut watch).await;
    told(&mut other).await;
    drop(other);
    // A write causes several events, the last ones late on a busy machine.
    let quiet = async {
        while tokio::time::timeout(QUIET, watch.changed()).await.is_ok() {
            watch.mark_seen();
        }
    };
    tokio::time::timeout(LIMIT, quiet).await.expect("it becomes quiet");
    std::fs::rename(log.path(), numbered(&log.path(), 1)).expect("a rename");
    told(&mut watch).await;
    std::fs::remove_file(numbered(&log.path(), 1)).expect("it can be removed");
    told(&mut watch).await;
}

#[tokio::test]
async fn lines_arrive_without_waiting_for_the_next_poll() {
    let log = Log::new(Format::K8s);
    let mut stream = log.follow(None).await;
    let begun = Instant::now();
    for number in 0..20 {
        log.write(number..number + 1);
        log.expect(&mut stream, number..number + 1).await;
        if number % 5 == 4 {
            log.rotate(0);
        }
    }
    assert!(begun.elapsed() < PAUSE_WATCHED * 15, "twenty polls take {:?}", PAUSE_WATCHED * 20);
}

#[tokio::test]
async fn the_end_is_queried_at_first_and_after_the_file_is_closed() {
    let log = Log::new(Format::K8s);
    let mut file = std::fs::OpenOptions::new().append(true).open(log.path()).expect("the file");
    let answers = Arc::new(std::sync::Mutex::new(vec![true, false]));
    let asked = answers.clone();
    let has_ended: HasEnded = Box::new(move |_| {
        let answer = asked.lock().expect("answers").pop().expect("one more question than there are answers");
        std::future::ready(answer).boxed()
    });
    let stream = follow(log.watches.clone(), "c".to_owned(), log.path(), log.format, None, has_ended).await;
    let mut stream = stream.expect("the file can be read");
    for number in 0..3 {
        file.write_all(log.line(number).as_bytes()).expect("room");
        log.expect(&mut stream, number..number + 1).await;
    }
    assert_eq!(answers.lock().expect("answers").len(), 1);
    file.write_all(log.line(3).as_bytes()).expect("room");
    drop(file);
    log.expect(&mut stream, 3..4).await;
    assert!(tokio::time::timeout(LIMIT, stream.next()).await.expect("it ends").is_none());
    assert!(answers.lock().expect("answers").is_empty());
}

#[tokio::test]
async fn without_inotify_events_the_end_query_has_no_limit() {
    let log = Log::new(Format::K8s);
    log.write(0..1);
    let has_ended: HasEnded = Box::new(|limit| std::future::ready(limit == Duration::MAX).boxed());
    let stream = follow(log.watches.clone(), "c".to_owned(), log.path(), log.format, None, has_ended).await;
    let mut stream = stream.expect("the file can be read");
    log.expect(&mut stream, 0..1).await;
    assert!(tokio::time::timeout(Duration::from_millis(100), stream.next()).await.is_err());
    log.watches.lose();
    assert!(tokio::time::timeout(LIMIT, stream.next()).await.expect("it ends").is_none());
}

#[tokio::test]
async fn without_inotify_files_are_polled() {
    for format in BOTH {
        let mut log = Log::new(format);
        log.watches = Watches::none();
        let mut stream = log.follow(None).await;
        for number in 0..3 {
            log.write(number..number + 1);
            log.expect(&mut stream, number..number + 1).await;
            log.rotate(3);
        }
    }
}

#[tokio::test]
async fn an_unseen_podman_log_file_is_an_error_even_in_a_quiet_log() {
    let log = Log::new(Format::K8s);
    let mut stream = log.follow(None).await;
    log.write(0..1);
    log.expect(&mut stream, 0..1).await;
    let tick = Duration::from_millis(30);
    for replaced in [1, 2] {
        for _ in 0..replaced {
            std::thread::sleep(tick);
            log.rotate(0);
        }
        log.write(replaced..replaced + 1);
        match replaced {
            1 => log.expect(&mut stream, 1..2).await,
            _ => assert!(stream.next().await.expect("an item").is_err()),
        }
    }
}

#[tokio::test]
async fn all_files_that_docker_keeps_are_read_in_order() {
    let log = Log::new(Format::Json);
    let mut stream = log.follow(None).await;
    for number in 0..4 {
        log.write(number * 10..number * 10 + 10);
        log.rotate(5);
    }
    log.write(40..50);
    log.expect(&mut stream, 0..50).await;
    let mut again = log.follow(None).await;
    log.expect(&mut again, 0..50).await;
}

#[tokio::test]
async fn a_log_file_that_vanishes_before_its_successor_is_an_error() {
    let log = Log::new(Format::Json);
    log.write(0..10);
    let mut stream = log.follow(None).await;
    log.expect(&mut stream, 0..1).await;
    for _ in 0..3 {
        log.rotate(2);
        log.write(10..20);
    }
    log.expect(&mut stream, 1..10).await;
    assert!(stream.next().await.expect("an item").is_err());
    assert!(stream.next().await.is_none());
}

#[tokio::test]
async fn a_truncated_file_is_read_from_its_start() {
    let log = Log::new(Format::Json);
    log.write(0..10);
    let mut stream = log.follow(None).await;
    log.expect(&mut stream, 0..10).await;
    std::fs::File::create(log.path()).expect("it can be cut");
    let wait = stream.next();
    tokio::pin!(wait);
    assert!(tokio::time::timeout(PAUSE_MAX * 2, &mut wait).await.is_err());
    log.write(3..4);
    let chunk = tokio::time::timeout(LIMIT, wait).await.expect("it comes").expect("it goes on").expect("a line");
    assert_eq!(chunk.bytes.as_ref(), b"line 3\n");
}

#[tokio::test]
async fn reading_starts_at_a_time_in_a_file_of_any_length() {
    for format in BOTH {
        let log = Log::new(format);
        log.write(0..20_000);
        log.end.notify_one();
        for from in [0, 1, 777, 10_000, 19_999] {
            let mut stream = log.follow(Some(Log::at(from))).await;
            log.expect(&mut stream, from..from + 1).await;
        }
        let mut late = log.follow(Some(Log::at(20_000))).await;
        log.end.notify_one();
        assert!(late.next().await.is_none());
    }
}

#[tokio::test]
async fn an_invalid_log_line_is_skipped() {
    let log = Log::new(Format::K8s);
    log.write(0..1);
    let mut file = std::fs::OpenOptions::new().append(true).open(log.path()).expect("the file");
    file.write_all(b"\0\0 nonsense\n").expect("room");
    log.write(1..2);
    let mut stream = log.follow(None).await;
    log.expect(&mut stream, 0..2).await;
}
