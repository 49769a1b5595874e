//! Tests of the daemon's log with the fake CloudWatch.

use managed_app_fakes::FakeCloud;
use tokio::time::{Instant, timeout};

use super::*;
use crate::cloud::testing::{SOON, aws, eventually};

/// A shipped log with its handles.
struct Harness {
    fake: FakeCloud,
    group: String,
    lines: Unshipped,
    redactor: Redactor,
    log: DaemonLog,
    shutdown: CancellationToken,
    task: tokio::task::JoinHandle<()>,
}

impl Harness {
    async fn start() -> Self {
        Self::with(|_, _| {}).await
    }

    /// Calls `prepare` before shipping begins.
    async fn with(prepare: impl FnOnce(&FakeCloud, &Unshipped)) -> Self {
        let fake = FakeCloud::start().await;
        let (lines, redactor, shutdown) = (Unshipped::default(), Redactor::default(), CancellationToken::new());
        prepare(&fake, &lines);
        let env = fake.env();
        let service = Arc::new(LogService::new(aws(&fake), &env["AWS_DEFAULT_REGION"]));
        let log = DaemonLog::new(lines.clone(), redactor.clone());
        let group = env["LOG_GROUP_NAME"].clone();
        let task = tokio::spawn(log.clone().ship(service, group.clone(), shutdown.clone()));
        Self { fake, group, lines, redactor, log, shutdown, task }
    }

    fn region(&self) -> String {
        self.fake.env()["AWS_DEFAULT_REGION"].clone()
    }

    fn texts(&self) -> Vec<String> {
        let events = self.fake.cloudwatch.events(&self.region(), &self.group);
        events.into_iter().map(|event| event.message).collect()
    }

    async fn shipped(&self, count: u64) {
        eventually(&format!("{count} are shipped"), || self.log.numbers().shipped.lines == count).await;
    }

    async fn ended(self) -> Duration {
        let began = Instant::now();
        self.shutdown.cancel();
        timeout(SOON, self.task).await.expect("it ends").expect("it does not panic");
        began.elapsed()
    }
}

fn line(text: impl Into<String>) -> Line {
    Line { at: OffsetDateTime::now_utc(), text: text.into() }
}

fn write(lines: &Unshipped, numbers: std::ops::Range<usize>) {
    numbers.for_each(|number| lines.push(line(format!("[INFO] line {number}"))));
}

fn expected(numbers: std::ops::Range<usize>) -> Vec<String> {
    numbers.map(|number| format!("[INFO] line {number}")).collect()
}

#[tokio::test]
async fn lines_from_before_and_after_the_start_share_one_stream() {
    let harness = Harness::with(|_, lines| write(lines, 0..3)).await;
    harness.shipped(3).await;
    write(&harness.lines, 3..1_700);
    harness.shipped(1_700).await;
    assert_eq!(harness.texts(), expected(0..1_700));
    let streams = harness.fake.cloudwatch.streams(&harness.region(), &harness.group);
    let [stream] = &streams[..] else { panic!("one stream: {streams:?}") };
    let shape: String = stream.chars().map(|c| if c.is_ascii_hexdigit() { '0' } else { c }).collect();
    assert_eq!(shape, format!("0000/00/00/{}", "0".repeat(32)));
    let numbers = harness.log.numbers();
    assert_eq!((numbers.read, numbers.lost, numbers.retried), (numbers.shipped, Volume::default(), Volume::default()));
}

#[tokio::test]
async fn a_secret_that_became_known_late_is_not_sent() {
    let harness = Harness::with(|_, lines| lines.push(line("[INFO] token=late-secret"))).await;
    harness.redactor.add(&"late-secret".into());
    harness.shipped(1).await;
    assert_eq!(harness.texts(), ["[INFO] token=[redacted]"]);
}

#[tokio::test]
async fn an_outage_loses_nothing() {
    let harness = Harness::with(|fake, _| fake.cloudwatch.faults().set_outage(true)).await;
    write(&harness.lines, 0..600);
    eventually("it is tried again", || harness.log.numbers().retried.lines >= 1_000).await;
    write(&harness.lines, 600..700);
    harness.fake.cloudwatch.faults().set_outage(false);
    harness.shipped(700).await;
    assert_eq!(harness.texts(), expected(0..700));
}

#[tokio::test]
async fn delivery_waits_for_a_missing_or_denied_group() {
    let harness = Harness::with(|fake, _| {
        let env = fake.env();
        fake.cloudwatch.delete_group(&env["AWS_DEFAULT_REGION"], &env["LOG_GROUP_NAME"]);
    })
    .await;
    write(&harness.lines, 0..5);
    eventually("it is tried again", || harness.log.numbers().retried.lines >= 10).await;
    harness.fake.cloudwatch.faults().set_denied(true);
    harness.fake.cloudwatch.create_group(&harness.region(), &harness.group);
    let retried = harness.log.numbers().retried.lines;
    eventually("it is denied", || harness.log.numbers().retried.lines > retried).await;
    harness.fake.cloudwatch.faults().set_denied(false);
    harness.shipped(5).await;
    assert_eq!(harness.texts(), expected(0..5));
}

#[tokio::test]
async fn remaining_log_lines_are_shipped_at_the_end() {
    let harness = Harness::start().await;
    write(&harness.lines, 0..1_200);
    let (log, cloudwatch, region, group) =
        (harness.log.clone(), harness.fake.cloudwatch.clone(), harness.region(), harness.group.clone());
    let took = harness.ended().await;
    assert_eq!((log.numbers().shipped.lines, cloudwatch.events(&region, &group).len()), (1_200, 1_200));
    assert!(took < Duration::from_secs(20), "{took:?}");
}

#[tokio::test]
async fn an_outage_delays_the_end_by_seconds_and_losses_are_counted() {
    let harness = Harness::with(|fake, _| fake.cloudwatch.faults().set_outage(true)).await;
    write(&harness.lines, 0..700);
    eventually("it is tried", || harness.log.numbers().retried.lines > 0).await;
    let log = harness.log.clone();
    let took = harness.ended().await;
    assert!(took < Duration::from_secs(20), "{took:?}");
    assert_eq!((log.numbers().lost.lines, log.numbers().shipped.lines), (700, 0));
}
