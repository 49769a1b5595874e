//! A counting node during kills, outages, restarts and replacements.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use managed_app_fakes::node_image::Options;
use tempfile::TempDir;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::count::{self, LINES_OF_AN_EVENT};
use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::hidden;
use crate::process::Process;
use crate::wait::until;

on_each_engine! {
    a_million_lines_arrive_through_kills_outages_and_restarts
    no_line_is_lost_when_the_log_of_the_engine_rotates
    every_line_arrives_without_access_to_the_engine_log_files
    a_slow_node_loses_no_line_without_access_to_log_files
}

/// Serialises the scenarios, also under a runner with one thread per test.
pub static TURN: Mutex<()> = Mutex::const_new(());

const LINES: usize = 1_000_000;
/// Lines if the daemon requests them from the engine, which is slower.
const FEWER_LINES: usize = 200_000;
/// Lines of a slow node.
const FEWEST_LINES: usize = 20_000;
/// Kills of the daemon in a scenario.
const KILLS: usize = 3;
/// In a mount, which survives a replacement, so that the new container continues the count.
const FILE: &str = "/numbers/next";
/// Lead of the node over the arrived numbers, in percent, so that output is in flight at each interruption.
const AHEAD: usize = 12;
/// Time between the new limit and the kill of the daemon: less than the node needs to reach the limit.
const BEFORE_KILL: Duration = Duration::from_millis(300);

pub struct Counter {
    pub engine_harness: EngineHarness,
    pub node: String,
    settings: Vec<(&'static str, &'static str)>,
    daemon: Process,
    last: usize,
    began: Instant,
    /// Mounted into the node.
    folder: TempDir,
    /// The directory that is hidden from the daemon.
    hidden: Option<PathBuf>,
}

impl Counter {
    /// A node that counts to `last`, with this size and number of log files.
    pub async fn begin(engine: Engine, last: usize, pause: Duration, size: [&'static str; 2]) -> Self {
        Self::begin_without(None, engine, last, pause, size).await
    }

    /// The same with a directory that is hidden from the daemon.
    pub async fn begin_without(
        hidden: Option<PathBuf>,
        engine: Engine,
        last: usize,
        pause: Duration,
        size: [&'static str; 2],
    ) -> Self {
        let engine_harness = EngineHarness::new(engine).await;
        let numbers = u32::try_from(last).expect("a small number");
        let options = Options {
            numbers: Some(numbers),
            numbers_pause: pause,
            numbers_file: FILE.to_owned(),
            ..Options::default()
        };
        let images = ["counter:1", "counter:2"].map(|name| engine_harness.image(name));
        for image in &images {
            engine_harness.push_as(image, image, options.clone()).await;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let source = folder.path().display().to_string();
        engine_harness.add("counter", |n| n.of_type("counter").image(&images[0]).volume(&source, "/numbers"));
        let settings = vec![
            ("MANAGED_APP_NODE_LOGS", "agent"),
            ("MANAGED_APP_NODE_LOG_SIZE", size[0]),
            ("MANAGED_APP_NODE_LOG_FILES", size[1]),
        ];
        let mut daemon = start(&engine_harness, &settings, hidden.as_deref());
        daemon.notified("READY=1").await;
        let node = engine_harness.name("counter");
        Self { engine_harness, node, settings, daemon, last, began: Instant::now(), folder, hidden }
    }

    /// Allows the node to count up to this percentage of all numbers.
    pub fn allow(&self, percent: usize) {
        let limit = self.last / 100 * percent.min(100);
        let (new, limit_file) = (self.folder.path().join("limit.next"), self.folder.path().join("limit"));
        std::fs::write(&new, limit.to_string()).expect("the folder is ours");
        std::fs::rename(new, limit_file).expect("the folder is ours");
    }

    /// Waits until this percentage of all numbers is in CloudWatch.
    pub async fn reaches(&self, percent: usize) {
        self.allow(percent + AHEAD);
        let wanted = self.last / 100 * percent / LINES_OF_AN_EVENT;
        let what = format!("{percent} % have arrived; log of the daemon:\n{}", self.daemon.log());
        until(&what, async || count::events(self.engine_harness.cloud(), &self.node) >= wanted).await;
    }

    /// Kills the daemon after this percentage of all numbers, while the node continues to count.
    async fn kill(&mut self, percent: usize) {
        self.allow(percent + 2 * AHEAD);
        sleep(BEFORE_KILL).await;
        self.daemon.kill().await;
        let log = hidden::log_path(&self.engine_harness.container("counter").await);
        let length = || std::fs::metadata(&log).expect("the engine keeps it").len();
        let at_kill = length();
        until("the node continues to count", async || length() != at_kill).await;
    }

    fn start(&mut self) {
        self.daemon = start(&self.engine_harness, &self.settings, self.hidden.as_deref());
    }

    /// Restarts the node by a change of its configuration.
    async fn restart(&self, round: usize) {
        let before = self.engine_harness.container("counter").await;
        self.engine_harness.cloud().set_node_config(&self.node, &format!(r#"{{"round":{round}}}"#));
        self.engine_harness.restarted("counter", &before).await;
    }

    async fn replace(&self) {
        let before = self.engine_harness.container("counter").await;
        self.engine_harness.cloud().set_image("counter", &self.engine_harness.image("counter:2"));
        self.engine_harness.replaced("counter", &before).await;
    }

    /// Number of log lines that the output of nodes does not arrive. The same line about the daemon log does not count.
    fn outage_lines(&self) -> usize {
        let is_one = |line: &&str| line.contains("logs do not reach CloudWatch") && line.contains("/node/");
        self.daemon.log().lines().filter(is_one).count()
    }

    fn set_outage(&self, outage: bool) {
        self.engine_harness.cloud().cloudwatch.faults().set_outage(outage);
    }

    /// Stops the daemon after the last number has arrived.
    async fn end(&mut self) -> count::Count {
        self.allow(100);
        until("the last number has arrived", async || count::has(self.engine_harness.cloud(), &self.node, self.last))
            .await;
        self.daemon.signal("TERM").await;
        assert_eq!(self.daemon.ended().await.code(), Some(0), "{}", self.daemon.log());
        let count = count::count(self.engine_harness.cloud(), &self.node, self.last);
        println!(
            "{}: {} lines in {:?}, {} streams, {} lines twice",
            self.engine_harness.engine.name(),
            self.last,
            self.began.elapsed(),
            count.ranges.len(),
            count.doubles
        );
        count
    }
}

fn start(engine_harness: &EngineHarness, settings: &[(&str, &str)], hidden: Option<&Path>) -> Process {
    match hidden {
        Some(folder) => hidden::start(folder, engine_harness, settings),
        None => Process::start(engine_harness, settings),
    }
}

async fn a_million_lines_arrive_through_kills_outages_and_restarts(engine: Engine) {
    let _turn = TURN.lock().await;
    // Large enough for all lines: unread output must stay.
    let mut counter = Counter::begin(engine, LINES, Duration::from_millis(1), ["16m", "20"]).await;
    counter.reaches(10).await;
    counter.restart(1).await;
    counter.reaches(20).await;
    counter.kill(20).await;
    counter.start();
    counter.reaches(30).await;
    counter.set_outage(true);
    counter.restart(2).await;
    // At its limit, the node would have no output that could fail.
    counter.allow(50);
    until("the outage is logged", async || counter.outage_lines() > 0).await;
    counter.set_outage(false);
    counter.reaches(40).await;
    assert_eq!(counter.outage_lines(), 1, "an outage is logged once:\n{}", counter.daemon.log());
    counter.engine_harness.cloud().cloudwatch.faults().fail_next(5, 400, "ThrottlingException");
    counter.reaches(50).await;
    counter.replace().await;
    counter.reaches(60).await;
    counter.kill(60).await;
    counter.start();
    counter.reaches(70).await;
    counter.restart(3).await;
    counter.reaches(80).await;
    counter.set_outage(true);
    counter.kill(80).await;
    counter.start();
    counter.daemon.notified("READY=1").await;
    counter.set_outage(false);
    let count = counter.end().await;
    let batch = count::largest_batch(counter.engine_harness.cloud(), &counter.node) * LINES_OF_AN_EVENT;
    assert!(count.overlaps <= KILLS, "lines are duplicated only after a kill: {count:?}");
    assert!(count.doubles <= KILLS * batch, "and at most one batch ({batch}) each: {count:?}");
}

async fn no_line_is_lost_when_the_log_of_the_engine_rotates(engine: Engine) {
    let _turn = TURN.lock().await;
    let mut counter = Counter::begin(engine, 60_000, Duration::from_millis(10), ["256k", "4"]).await;
    let count = counter.end().await;
    assert_eq!(count.doubles, 0, "{count:?}");
}

/// As on a host that hides the directory of the engine: the daemon requests output from the engine.
async fn every_line_arrives_without_access_to_the_engine_log_files(engine: Engine) {
    check_without_the_log(engine, FEWER_LINES, Duration::from_millis(10)).await;
}

/// The size of the requests depends on the amount of output.
async fn a_slow_node_loses_no_line_without_access_to_log_files(engine: Engine) {
    check_without_the_log(engine, FEWEST_LINES, Duration::from_millis(100)).await;
}

async fn check_without_the_log(engine: Engine, lines: usize, pause: Duration) {
    let _turn = TURN.lock().await;
    let hidden = Some(hidden::folder(engine).await);
    let mut counter = Counter::begin_without(hidden, engine, lines, pause, ["16m", "20"]).await;
    assert!(
        hidden::is_hidden(&counter.engine_harness.container("counter").await, &counter.daemon),
        "it could read the log"
    );
    counter.reaches(10).await;
    counter.kill(10).await;
    counter.start();
    counter.reaches(30).await;
    counter.restart(1).await;
    counter.reaches(45).await;
    counter.kill(45).await;
    counter.start();
    counter.reaches(60).await;
    counter.replace().await;
    counter.reaches(75).await;
    counter.kill(75).await;
    counter.start();
    let count = counter.end().await;
    let batch = count::largest_batch(counter.engine_harness.cloud(), &counter.node) * LINES_OF_AN_EVENT;
    assert!(count.doubles <= KILLS * batch, "lines are duplicated only after a kill: {count:?}, batch {batch}");
}
