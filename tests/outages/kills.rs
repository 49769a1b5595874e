//! Kills of the program at many moments of its start and of a replacement; the next start reaches the desired state.
//!
//! Each host repeats a cycle: the cloud changes while no daemon runs; the daemon is started, killed a moment later, and
//! started again; then the image of a type changes, and the daemon is killed and started again. The moments are spread
//! over the duration of the same work without a kill.

use std::time::{Duration, Instant};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::engine::{Container, Engine};
use crate::engine_harness::EngineHarness;
use crate::process::Process;
use crate::turns;
use crate::wait::until;

on_each_engine! {
    a_kill_at_any_moment_of_start_or_replacement_converges
}

/// Moments per kind and engine.
const MOMENTS: u32 = 16;
/// The last moment, as a fraction of the whole duration, which varies with the load of the machine.
const LAST_MOMENT: f64 = 0.9;
/// Concurrent hosts; they share the moments.
const HOSTS: u32 = 2;
/// The label with the node of a container.
const NODE_LABEL: &str = "stream.echo.managed-app.node";

async fn a_kill_at_any_moment_of_start_or_replacement_converges(engine: Engine) {
    let _turn = turns::shared().await;
    let began = Instant::now();
    let hosts = (0..HOSTS).map(|first| async move {
        let mut host = KilledHost::begin(engine).await;
        let (one, other) = (host.measure().await, host.measure().await);
        let start = one.start.min(other.start);
        let whole = Durations { start, replacement: one.replacement.min(other.replacement) };
        for moment in (first..MOMENTS).step_by(HOSTS as usize) {
            let part = LAST_MOMENT * f64::from(moment + 1) / f64::from(MOMENTS);
            host.kill_during_start(whole.start.mul_f64(part)).await;
            host.kill_during_replacement(whole.replacement.mul_f64(part)).await;
        }
        (whole, host.early)
    });
    let ends = futures_util::future::join_all(hosts).await;
    let early: u32 = ends.iter().map(|(_, early)| early).sum();
    for (whole, _) in &ends {
        println!("{}: a start takes {:?}, a replacement {:?}", engine.name(), whole.start, whole.replacement);
    }
    let kills = 2 * MOMENTS;
    println!("{}: {kills} kills, {early} before the end of the work, in {:?}", engine.name(), began.elapsed());
    assert!(early * 4 >= kills, "many kills must come before the end of the work: {early} of {kills}");
}

/// Durations without a kill.
struct Durations {
    start: Duration,
    replacement: Duration,
}

/// One host with many kills.
struct KilledHost {
    engine_harness: EngineHarness,
    daemon: Process,
    stranger: Container,
    /// Reference and ID of two versions, which share all layers but one, so that pulls are short.
    images: [(String, String); 2],
    rounds: usize,
    replacements: usize,
    /// End of the last count of starts.
    counted_until: OffsetDateTime,
    /// Kills before the end of the work.
    early: u32,
}

impl KilledHost {
    /// A host with a node that never changes, one that is restarted, one that is new in each cycle, and one that is
    /// replaced.
    async fn begin(engine: Engine) -> Self {
        let engine_harness = EngineHarness::new(engine).await;
        let mut images = Vec::new();
        for version in ["1", "2"] {
            let reference = engine_harness.image(&format!("node:{version}"));
            let id = engine_harness.push_as(&reference, version, Default::default()).await;
            images.push((reference, id));
        }
        let images: [(String, String); 2] = images.try_into().expect("two were pushed");
        let foreign = engine_harness.push_and_pull("stranger:1").await;
        engine.create_network(&engine_harness.tag).await;
        let name = engine_harness.name("stranger");
        engine.run(&["run", "--detach", "--name", &name, "--network", &engine_harness.tag, &foreign]).await;
        let stranger = engine.container(&name).await;
        for (node, of) in [("same", "steady"), ("stale", "steady"), ("new-0", "steady"), ("swap", "moving")] {
            engine_harness.add(node, |n| n.of_type(of).image(&images[0].0));
        }
        let daemon = Process::start(&engine_harness, &[]);
        let counted_until = OffsetDateTime::now_utc();
        let mut host =
            Self { engine_harness, daemon, stranger, images, rounds: 0, replacements: 0, counted_until, early: 0 };
        host.is_right().await;
        host.starts().await;
        host
    }

    /// Measures one start and one replacement without a kill.
    async fn measure(&mut self) -> Durations {
        let began = self.start_after_changes().await;
        self.daemon.notified("READY=1").await;
        let start = began.elapsed();
        self.is_right().await;
        let began = self.change_image();
        let swap = self.engine_harness.name("swap");
        until("it is logged", async || self.daemon.log().lines().any(|line| is_replaced(line, &swap))).await;
        let replacement = began.elapsed();
        self.is_right().await;
        self.starts().await;
        Durations { start, replacement }
    }

    async fn kill_during_start(&mut self, moment: Duration) {
        let before = self.containers().await;
        self.start_after_changes().await;
        self.kill_after(moment, |line, _| line.contains("startup complete")).await;
        self.check(before, &["stale"], &format!("killed {moment:?} after the start")).await;
    }

    async fn kill_during_replacement(&mut self, moment: Duration) {
        let before = self.containers().await;
        self.change_image();
        self.kill_after(moment, is_replaced).await;
        self.check(before, &["swap"], &format!("killed {moment:?} after the image changed")).await;
    }

    /// Kills the daemon, changes the cloud, and starts the daemon. Containers keep running.
    async fn start_after_changes(&mut self) -> Instant {
        self.daemon.kill().await;
        let (old, new) = (self.new_node(), format!("new-{}", self.rounds + 1));
        let (old, stale) = (self.engine_harness.name(&old), self.engine_harness.name("stale"));
        self.rounds += 1;
        let config = format!(r#"{{"round":{}}}"#, self.rounds);
        let image = self.images[0].0.clone();
        self.engine_harness.cloud().remove_node(&old);
        self.engine_harness.add(&new, |n| n.of_type("steady").image(&image));
        self.engine_harness.cloud().set_node_config(&stale, &config);
        self.daemon = Process::start(&self.engine_harness, &[]);
        Instant::now()
    }

    /// Changes the image of the type `moving`.
    fn change_image(&mut self) -> Instant {
        self.replacements += 1;
        self.engine_harness.cloud().set_image("moving", &self.images[self.replacements % 2].0);
        Instant::now()
    }

    /// `is_end` detects the log line at the end of the work, given the name of the replaced node.
    async fn kill_after(&mut self, moment: Duration, is_end: impl Fn(&str, &str) -> bool) {
        // The moment is the parameter of the test.
        tokio::time::sleep(moment).await;
        self.daemon.kill().await;
        let swap = self.engine_harness.name("swap");
        let is_done = self.daemon.log().lines().any(|line| is_end(line, &swap));
        self.early += u32::from(!is_done);
    }

    /// Starts the daemon and checks the desired state and the number of container starts: none for unchanged nodes, one
    /// for `changed` ones, and one more if a start was in progress.
    async fn check(&mut self, before: Vec<Container>, changed: &[&str], what: &str) {
        self.daemon = Process::start(&self.engine_harness, &[]);
        self.daemon.notified("READY=1").await;
        self.is_right().await;
        let started = self.starts().await;
        let new = self.new_node();
        for old in before {
            let node = old.label(NODE_LABEL).expect("it is one of ours").to_owned();
            let short = node
                .strip_prefix(&format!("{}-", self.engine_harness.tag))
                .expect("our names have this prefix")
                .to_owned();
            let count = started.iter().filter(|line| line.contains(&quoted(&node))).count();
            let is_new = short == new;
            if changed.contains(&short.as_str()) || is_new {
                assert!((usize::from(!is_new)..=2).contains(&count), "{what}: {short} was started {count} times");
            } else if short == "same" || short == "swap" || short == "stale" {
                let now = self.engine_harness.container(&short).await;
                assert!(now.is_same_run(&old), "{what}: {short} was touched: {:?} -> {:?}", old.run(), now.run());
                assert_eq!(count, 0, "{what}: {short} was started");
            }
        }
        let stranger = self.engine_harness.engine.container(self.stranger.id()).await;
        assert!(stranger.is_same_run(&self.stranger), "{what}: the stranger was touched");
        // Messages in flight at the kill would delay the next ones for seconds, as in SQS.
        self.engine_harness.cloud().queues.purge(&self.engine_harness.cloud().change_queue());
    }

    fn new_node(&self) -> String {
        format!("new-{}", self.rounds)
    }

    fn nodes(&self) -> [String; 4] {
        ["same".to_owned(), "stale".to_owned(), "swap".to_owned(), self.new_node()]
    }

    async fn containers(&self) -> Vec<Container> {
        let mut containers = Vec::new();
        for node in self.nodes() {
            containers.push(self.engine_harness.container(&node).await);
        }
        containers
    }

    async fn is_right(&self) {
        until("the desired state is reached", async || self.difference().await.is_none()).await;
    }

    /// A difference from the desired state, if any.
    async fn difference(&self) -> Option<String> {
        let mut wanted: Vec<String> =
            self.nodes().iter().map(|node| self.engine_harness.container_name(node)).collect();
        wanted.push(self.engine_harness.name("stranger"));
        wanted.sort();
        let found = self.engine_harness.engine.containers(&self.engine_harness.tag).await;
        if found != wanted {
            return Some(format!("containers are {found:?}"));
        }
        for node in self.nodes() {
            let image = if node == "swap" { self.replacements % 2 } else { 0 };
            let now = self.engine_harness.engine.find(&self.engine_harness.container_name(&node)).await;
            let is_so = now.is_some_and(|now| now.is_running() && now.image_id() == self.images[image].1);
            if !is_so {
                return Some(format!("{node} does not run from image {}", image + 1));
            }
        }
        None
    }

    /// The start events of the engine since the last call, one per line.
    async fn starts(&mut self) -> Vec<String> {
        let now = OffsetDateTime::now_utc();
        let text = |at: OffsetDateTime| at.format(&Rfc3339).expect("any time can be written");
        let (since, until) = (text(self.counted_until), text(now));
        // With `--until` at the current time, Podman would wait for events.
        let window: &[&str] = match self.engine_harness.engine {
            Engine::Docker => &["--since", &since, "--until", &until, "--format", "{{json .}}"],
            Engine::Podman => &["--since", &since, "--stream=false", "--format", "json"],
        };
        let window = [&["events", "--filter", "event=start"], window].concat();
        let lines = self.engine_harness.engine.run(&window).await;
        self.counted_until = now;
        lines.lines().filter(|line| line.contains(&self.engine_harness.tag)).map(str::to_owned).collect()
    }
}

/// Whether a log line reports the replacement of `node`.
fn is_replaced(line: &str, node: &str) -> bool {
    line.contains("operation completed") && line.contains(node)
}

/// As a JSON value, so that `new-1` does not match `new-10`.
fn quoted(node: &str) -> String {
    format!("\"{node}\"")
}
