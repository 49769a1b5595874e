//! A node that counts, while everything around it fails.

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
    every_line_of_a_million_arrives_through_kills_outages_restarts_and_a_replacement
    nothing_is_lost_where_the_engines_log_rotates_under_the_reader
    where_the_engines_log_cannot_be_read_every_line_arrives_all_the_same
    where_the_engines_log_cannot_be_read_a_node_that_takes_its_time_loses_none_either
}

/// One at a time; also under a runner that gives each test a thread.
pub static TURN: Mutex<()> = Mutex::const_new(());

const LINES: usize = 1_000_000;
/// Lines where the engine is asked for them, which are counted more slowly.
const FEWER_LINES: usize = 200_000;
/// Lines of a node that takes its time.
const FEWEST_LINES: usize = 20_000;
/// Kills of the daemon in a scenario.
const KILLS: usize = 3;
/// What becomes of a mount when a node is replaced: it stays, so that the new container goes on counting.
const FILE: &str = "/numbers/next";
/// How far ahead of what has come the node may count, in percent: what is to be interrupted goes on meanwhile.
const AHEAD: usize = 12;
/// How long the node counts on before the daemon is killed: less than it takes to count as far as it may.
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
    /// Folder that the daemon does not see.
    hidden: Option<PathBuf>,
}

impl Counter {
    /// A node that counts to `last`, with a log in the engine of this size and number of files.
    pub async fn begin(engine: Engine, last: usize, pause: Duration, size: [&'static str; 2]) -> Self {
        Self::begin_without(None, engine, last, pause, size).await
    }

    /// The same for a daemon that does not see this folder.
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

    /// Lets the node count up to this part of all numbers, in percent.
    pub fn allow(&self, percent: usize) {
        let limit = self.last / 100 * percent.min(100);
        let (new, limit_file) = (self.folder.path().join("limit.next"), self.folder.path().join("limit"));
        std::fs::write(&new, limit.to_string()).expect("the folder is ours");
        std::fs::rename(new, limit_file).expect("the folder is ours");
    }

    /// Waits until this part of all numbers, in percent, is in CloudWatch.
    pub async fn reaches(&self, percent: usize) {
        self.allow(percent + AHEAD);
        let wanted = self.last / 100 * percent / LINES_OF_AN_EVENT;
        let what = format!("{percent} % have come; log of the daemon:\n{}", self.daemon.log());
        until(&what, async || count::events(self.engine_harness.cloud(), &self.node) >= wanted).await;
    }

    /// Kills the daemon after this part of all numbers, in percent, while the node goes on counting.
    async fn kill(&mut self, percent: usize) {
        self.allow(percent + 2 * AHEAD);
        sleep(BEFORE_KILL).await;
        self.daemon.kill().await;
        let log = hidden::log_path(&self.engine_harness.container("counter").await);
        let length = || std::fs::metadata(&log).expect("the engine keeps it").len();
        let at_kill = length();
        until("the node goes on counting", async || length() != at_kill).await;
    }

    fn start(&mut self) {
        self.daemon = start(&self.engine_harness, &self.settings, self.hidden.as_deref());
    }

    /// The node reads another configuration, so that it is restarted.
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

    /// How often the daemon said that the output of nodes does not arrive. Its own log does not either, and it says so once
    /// too.
    fn complaints(&self) -> usize {
        let is_one = |line: &&str| line.contains("logs do not reach CloudWatch") && line.contains("/node/");
        self.daemon.log().lines().filter(is_one).count()
    }

    fn set_outage(&self, outage: bool) {
        self.engine_harness.cloud().cloudwatch.faults().set_outage(outage);
    }

    /// Ends the daemon in order when the last number has come.
    async fn end(&mut self) -> count::Count {
        self.allow(100);
        until("the last number has come", async || count::has(self.engine_harness.cloud(), &self.node, self.last))
            .await;
        self.daemon.signal("TERM").await;
        assert_eq!(self.daemon.ended().await.code(), Some(0), "{}", self.daemon.log());
        let count = count::count(self.engine_harness.cloud(), &self.node, self.last);
        println!(
            "{}: {} lines in {:?}, {} streams, {} lines twice",
            self.engine_harness.engine.name(),
            self.last,
            self.began.elapsed(),
            count.stretches.len(),
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

async fn every_line_of_a_million_arrives_through_kills_outages_restarts_and_a_replacement(engine: Engine) {
    let _turn = TURN.lock().await;
    // Room for all of it: what CloudWatch and a daemon that is away leave unread stays.
    let mut counter = Counter::begin(engine, LINES, Duration::from_millis(1), ["16m", "20"]).await;
    counter.reaches(10).await;
    counter.restart(1).await;
    counter.reaches(20).await;
    counter.kill(20).await;
    counter.start();
    counter.reaches(30).await;
    counter.set_outage(true);
    counter.restart(2).await;
    // The node may have been at its limit, and then has nothing that could fail to arrive.
    counter.allow(50);
    until("the outage is told", async || counter.complaints() > 0).await;
    counter.set_outage(false);
    counter.reaches(40).await;
    assert_eq!(counter.complaints(), 1, "an outage is told once:\n{}", counter.daemon.log());
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
    assert!(count.overlaps <= KILLS, "lines come twice only after a kill: {count:?}");
    assert!(count.doubles <= KILLS * batch, "and at most one batch ({batch}) each: {count:?}");
}

async fn nothing_is_lost_where_the_engines_log_rotates_under_the_reader(engine: Engine) {
    let _turn = TURN.lock().await;
    let mut counter = Counter::begin(engine, 60_000, Duration::from_millis(10), ["256k", "4"]).await;
    let count = counter.end().await;
    assert_eq!(count.doubles, 0, "{count:?}");
}

/// As on a host where the daemon may not look into the engine's folder: it asks the engine.
async fn where_the_engines_log_cannot_be_read_every_line_arrives_all_the_same(engine: Engine) {
    check_without_the_log(engine, FEWER_LINES, Duration::from_millis(10)).await;
}

/// What the engine is asked for depends on how much is said.
async fn where_the_engines_log_cannot_be_read_a_node_that_takes_its_time_loses_none_either(engine: Engine) {
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
    assert!(count.doubles <= KILLS * batch, "lines come twice only after a kill: {count:?}, batch {batch}");
}
