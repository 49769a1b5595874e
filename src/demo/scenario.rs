//! The scenario: actions of users in the cloud, and the reactions of the daemon with their times.

use std::collections::BTreeMap;
use std::future::Future;
use std::time::Duration;

use futures_util::StreamExt;
use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::commands::Node;
use managed_app_runtimes::{Action, ContainerId, EngineEvent, EventStream, Owner};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::engine::DemoEngine;
use crate::reconciler::Status;

/// A step ends when the daemon has converged and there was no event for this time.
const QUIET: Duration = Duration::from_millis(700);
/// Time limit of a step.
const STEP_LIMIT: Duration = Duration::from_secs(60);
/// Time to read what happened.
const PAUSE: Duration = Duration::from_millis(700);
/// Number of edges that are added and removed in the step about bursts.
const BURST: usize = 20;

/// Runs and prints the scenario.
pub struct Scenario<'a> {
    cloud: &'a FakeCloud,
    engine: &'a DemoEngine,
    owner: Owner,
    statuses: watch::Receiver<Option<Status>>,
    events: EventStream,
    began: Instant,
    names: BTreeMap<ContainerId, String>,
}

impl<'a> Scenario<'a> {
    /// A scenario with this cloud and this engine.
    pub fn new(
        cloud: &'a FakeCloud,
        engine: &'a DemoEngine,
        owner: Owner,
        statuses: watch::Receiver<Option<Status>>,
        events: EventStream,
    ) -> Self {
        Self { cloud, engine, owner, statuses, events, began: Instant::now(), names: BTreeMap::new() }
    }

    /// Runs all steps. Fails if the daemon does not react in time.
    pub async fn run(&mut self) -> anyhow::Result<()> {
        let cloud = self.cloud;
        println!("Demo: a fake EchoStream cloud, the daemon, and the engine: {}.", self.engine.runtime().kind());
        println!("`cloud`: actions of a user. `host`: reactions of the daemon, with the time since the action.\n");
        let (first, second) = (self.engine.image(1).to_string(), self.engine.image(2).to_string());
        let node = |node: Node| node.image(&first).of_type("demo node");
        self.step("adds three nodes: reader, \"HL7: inlet\", writer", async {
            cloud.add_node("reader", node);
            cloud.add_node("HL7: inlet", node);
            cloud.add_node("writer", node);
        })
        .await?;
        self.step("adds an edge from reader to writer; both restart to read their edges", async {
            cloud.connect("reader", "writer");
        })
        .await?;
        self.step("adds a mount to the inlet; its new container is created beside the old one", async {
            cloud.change_mounts("HL7: inlet", vec![managed_app_fakes::cloud::commands::Mount::anonymous("/data")]);
        })
        .await?;
        self.step("releases version 2 of the image", async {
            cloud.set_image("demo node", &second);
        })
        .await?;
        self.step("adds and removes an edge twenty times in a burst; this costs few restarts", async {
            for _ in 0..BURST {
                cloud.connect("writer", "HL7: inlet");
                cloud.disconnect("writer", "HL7: inlet");
            }
            cloud.connect("writer", "HL7: inlet");
        })
        .await?;
        self.remove_container().await?;
        self.step("removes the inlet", async {
            cloud.remove_node("HL7: inlet");
        })
        .await?;
        self.remove_app().await
    }

    async fn step(&mut self, title: &str, act: impl Future<Output = ()>) -> anyhow::Result<()> {
        println!("{:>6.2} s  cloud | a user {title}", self.began.elapsed().as_secs_f64());
        let acted = Instant::now();
        act.await;
        self.follow(acted).await?;
        sleep(PAUSE).await;
        Ok(())
    }

    /// Somebody on the host removes a container by hand.
    async fn remove_container(&mut self) -> anyhow::Result<()> {
        let runtime = self.engine.runtime();
        let containers = runtime.list(&self.owner).await?;
        if let Some(victim) = containers.iter().find(|container| container.name == "reader") {
            println!("{:>6.2} s  host  ! somebody removes the container of reader", self.began.elapsed().as_secs_f64());
            let acted = Instant::now();
            runtime.remove(&victim.id).await?;
            self.follow(acted).await?;
        }
        sleep(PAUSE).await;
        Ok(())
    }

    async fn remove_app(&mut self) -> anyhow::Result<()> {
        println!(
            "{:>6.2} s  cloud | a user removes the app; the daemon confirms this by two reads, seconds apart",
            self.began.elapsed().as_secs_f64()
        );
        let acted = Instant::now();
        self.cloud.remove_app();
        let limit = acted + STEP_LIMIT;
        // The sender of the status is dropped when the daemon has ended.
        while self.statuses.has_changed().is_ok() {
            self.print_until_quiet(Duration::from_millis(100), acted).await;
            anyhow::ensure!(Instant::now() < limit, "see the daemon end in time: {}", self.summary());
        }
        self.print_until_quiet(QUIET, acted).await;
        println!("{:>6.2} s  host  | the daemon exits", self.began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Prints events until there was none for `quiet`.
    async fn print_until_quiet(&mut self, quiet: Duration, acted: Instant) {
        while let Ok(Some(Ok(event))) = timeout(quiet, self.events.next()).await {
            self.print(&event, acted);
        }
    }

    /// Prints events until the daemon has converged and there are no more events.
    async fn follow(&mut self, acted: Instant) -> anyhow::Result<()> {
        let limit = Instant::now() + STEP_LIMIT;
        loop {
            match timeout(QUIET, self.events.next()).await {
                Ok(Some(Ok(event))) => self.print(&event, acted),
                Ok(_) => anyhow::bail!("follow the engine's events: they ended"),
                Err(_) if self.is_converged() => return Ok(()),
                Err(_) => {}
            }
            anyhow::ensure!(Instant::now() < limit, "see the daemon converge in time: {}", self.summary());
        }
    }

    fn is_converged(&self) -> bool {
        self.statuses.borrow().as_ref().is_some_and(|status| status.is_converged)
    }

    fn summary(&self) -> String {
        self.statuses.borrow().as_ref().map(Status::summary).unwrap_or_default()
    }

    fn print(&mut self, event: &EngineEvent, acted: Instant) {
        let what = match event.action {
            Action::Created => "created",
            Action::Started => "started",
            Action::Died => "stopped",
            Action::Renamed => "renamed",
            Action::Removed => "removed",
            Action::Paused | Action::Unpaused | Action::Network | Action::OutOfMemory | Action::Other => return,
        };
        let name = if event.name.is_empty() {
            self.names.get(&event.container).cloned().unwrap_or_else(|| "a container".to_owned())
        } else {
            event.name.clone()
        };
        self.names.insert(event.container.clone(), name.clone());
        let at = self.began.elapsed().as_secs_f64();
        println!("{at:>6.2} s  host  | {name} {what}, {} ms later", acted.elapsed().as_millis());
    }
}
