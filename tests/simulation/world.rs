//! The world of one run: random source, scheduled occurrences, and everything outside the daemon. It uses the paused
//! clock of the runtime, which jumps to the next occurrence.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use managed_app::model::Change;
use managed_app::reconciler::{Event, NodeLogSettings, Policy, Settings};
use managed_app_runtimes::{ContainerId, EnvValue, Owner};
use tokio::time::Instant;

use crate::cloud::Cloud;
use crate::disk::Disk;
use crate::engine::{Engine, EngineCall};
use crate::fault_plan::{Class, FaultPlan};
use crate::invariants::Invariants;
use crate::prng::Prng;
use crate::script::{Script, Source, Step};
use crate::trace::Trace;

/// A shared handle of the world. Only one thread uses it, but the parts of the daemon require `Send`.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// A new world, within a runtime with a paused clock.
    pub fn new(source: Source<'_>, is_traced: bool) -> Self {
        Self(Arc::new(Mutex::new(World::new(source, is_traced))))
    }

    /// Accesses the world at this moment.
    pub fn with<T>(&self, access: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.0.lock().expect("no holder panics");
        world.now = world.began.elapsed();
        access(&mut world)
    }
}

/// A scheduled occurrence.
pub enum Occurrence {
    /// This daemon receives an event.
    Deliver { daemon: u32, event: Event },
    /// The daemon reads its settings again.
    Settings,
    /// A change message is at the head of the queue.
    Message(Change),
    /// The engine executes a step.
    Engine(EngineCall),
    /// The engine restarts an ended process.
    RestartProcess(ContainerId),
    /// The engine responds again.
    EngineUp,
    /// A pending removal of a container is complete.
    RemovalComplete(ContainerId),
    /// A user changes something.
    User,
    /// An external action on the host.
    Other,
    /// The daemon is killed.
    Crash,
    /// The daemon is started.
    Start,
    /// The daemon is suspended for a while.
    Freeze,
    /// The engine restarts.
    EngineRestart,
    /// A step of the script.
    Step(Step),
}

struct Entry {
    at: Duration,
    number: u64,
    what: Occurrence,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    /// The earliest is the greatest, because the heap returns the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// Everything except the daemon.
pub struct World {
    /// The time since the start of the run, at the last access.
    pub now: Duration,
    /// Start of the run, by the clock of the runtime.
    pub began: Instant,
    pub prng: Prng,
    pub fault_plan: FaultPlan,
    pub trace: Trace,
    pub invariants: Invariants,
    pub cloud: Cloud,
    pub engine: Engine,
    pub disk: Disk,
    pub settings: Settings,
    /// The script of the run, if it has one.
    pub script: Option<Script>,
    /// The number of the running daemon; each daemon has another.
    pub daemon: u32,
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl World {
    pub fn new(source: Source<'_>, is_traced: bool) -> Self {
        let script = match source {
            Source::Seed(_) => None,
            Source::Input(input) => Some(Script::read(input)),
        };
        let mut prng = Prng::new(match (source, &script) {
            (Source::Seed(seed), _) => seed,
            (_, script) => script.as_ref().map_or(0, |script| script.seed),
        });
        let fault_plan =
            script.as_ref().map_or_else(|| FaultPlan::new(&mut prng), |script| FaultPlan::of(script.classes));
        let resync = if fault_plan.loses() { 300 } else { 3_600 };
        let settings = Settings {
            owner: Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() },
            env: BTreeMap::from([("PASSWORD".to_owned(), EnvValue::Plain("0".to_owned()))]),
            logs: NodeLogSettings::Engine { file_bytes_max: 1, files_max: 1 },
            kept_logs: None,
            stop_grace: Duration::from_secs(30),
            overlap: prng.chance(40),
            resync: Duration::from_secs(resync),
            remove_nodes_with_app: prng.chance(50),
            policy: Policy::open(),
            hardening: Default::default(),
        };
        let cloud = Cloud::new(&mut prng);
        Self {
            now: Duration::ZERO,
            began: Instant::now(),
            fault_plan,
            trace: Trace::new(is_traced),
            invariants: Invariants::default(),
            cloud,
            engine: Engine::default(),
            disk: Disk::default(),
            settings,
            script,
            daemon: 0,
            heap: BinaryHeap::new(),
            number: 0,
            prng,
        }
    }

    /// Schedules an occurrence at `at`, or now if that is in the past.
    pub fn schedule(&mut self, at: Duration, what: Occurrence) {
        self.number += 1;
        self.heap.push(Entry { at: at.max(self.now), number: self.number, what });
    }

    /// Schedules an occurrence after `delay`.
    pub fn after(&mut self, delay: Duration, what: Occurrence) {
        self.schedule(self.now + delay, what);
    }

    /// Time of the next occurrence.
    pub fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next occurrence, if it is due.
    pub fn take_due(&mut self) -> Option<Occurrence> {
        let is_due = self.next_at().is_some_and(|at| at <= self.now);
        is_due.then(|| self.heap.pop().map(|entry| entry.what)).flatten()
    }

    /// Removes the scheduled occurrences for which `is_off` holds.
    pub fn cancel(&mut self, is_off: impl Fn(&Occurrence) -> bool) {
        self.heap.retain(|entry| !is_off(&entry.what));
    }

    /// Whether a scheduled occurrence may legitimately cause an operation.
    pub fn is_unsettled(&self) -> bool {
        let has_tags = self.fault_plan.knows(Class::TagsMove);
        self.heap.iter().any(|entry| match &entry.what {
            Occurrence::Engine(_) | Occurrence::RestartProcess(_) | Occurrence::RemovalComplete(_) => true,
            // A message about a type makes the daemon pull and find a tag that moved earlier.
            Occurrence::Message(_) => has_tags,
            _ => false,
        })
    }

    pub fn log_line(&mut self, line: impl FnOnce() -> String) {
        self.trace.log_line(self.now, line);
    }
}
