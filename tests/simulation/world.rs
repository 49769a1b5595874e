//! The world of one run: chance, what is going to happen, and all that lives outside the daemon. Its clock is that of the
//! runtime, which is paused and jumps to whatever happens next.

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

/// The world as all who act in it share it. Only one thread does, but the daemon's parts need not know that.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<World>>);

impl Shared {
    /// A new world; within a runtime whose clock is paused.
    pub fn new(source: Source<'_>, is_traced: bool) -> Self {
        Self(Arc::new(Mutex::new(World::new(source, is_traced))))
    }

    /// Asks the world, or does something to it, at this moment.
    pub fn with<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        let mut world = self.0.lock().expect("nobody panics with it");
        world.now = world.began.elapsed();
        ask(&mut world)
    }
}

/// Something that is going to happen.
pub enum Occurrence {
    /// This daemon is told of this.
    Deliver { daemon: u32, event: Event },
    /// The daemon reads its settings anew.
    Settings,
    /// A change message is at the head of the queue.
    Message(Change),
    /// The engine does something.
    Engine(EngineCall),
    /// A process that died is started again by the engine.
    RestartProcess(ContainerId),
    /// The engine answers again.
    EngineUp,
    /// A container that was being removed is gone.
    Vanish(ContainerId),
    /// A user changes something.
    User,
    /// Somebody else does something on the host.
    Other,
    /// The daemon dies.
    Crash,
    /// The daemon is started.
    Start,
    /// The daemon does not get to run for a while.
    Freeze,
    /// The engine restarts.
    EngineRestart,
    /// What the script has next.
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
    /// The earliest is the greatest, as a heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.number).cmp(&(self.at, self.number))
    }
}

/// All that is not the daemon.
pub struct World {
    /// The time since its beginning, as of the last time that anybody asked.
    pub now: Duration,
    /// When it began, by the runtime's clock.
    pub began: Instant,
    pub prng: Prng,
    pub fault_plan: FaultPlan,
    pub trace: Trace,
    pub invariants: Invariants,
    pub cloud: Cloud,
    pub engine: Engine,
    pub disk: Disk,
    pub settings: Settings,
    /// What is not left to chance, if the run has such.
    pub script: Option<Script>,
    /// The daemon that lives, by number; each has another.
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

    /// Something happens at `at`, or now when that is over.
    pub fn schedule(&mut self, at: Duration, what: Occurrence) {
        self.number += 1;
        self.heap.push(Entry { at: at.max(self.now), number: self.number, what });
    }

    /// Something happens after a while.
    pub fn after(&mut self, delay: Duration, what: Occurrence) {
        self.schedule(self.now + delay, what);
    }

    /// When the next thing happens.
    pub fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|entry| entry.at)
    }

    /// The next thing, if its time has come.
    pub fn take_due(&mut self) -> Option<Occurrence> {
        let is_due = self.next_at().is_some_and(|at| at <= self.now);
        is_due.then(|| self.heap.pop().map(|entry| entry.what)).flatten()
    }

    /// Forgets what was going to happen, as far as `is_off` says so.
    pub fn cancel(&mut self, is_off: impl Fn(&Occurrence) -> bool) {
        self.heap.retain(|entry| !is_off(&entry.what));
    }

    /// Whether something is still on its way that rightly leads to an operation.
    pub fn is_unsettled(&self) -> bool {
        let has_tags = self.fault_plan.knows(Class::TagsMove);
        self.heap.iter().any(|entry| match &entry.what {
            Occurrence::Engine(_) | Occurrence::RestartProcess(_) | Occurrence::Vanish(_) => true,
            // A message about a type makes the daemon pull, and find that a tag was moved long ago.
            Occurrence::Message(_) => has_tags,
            _ => false,
        })
    }

    pub fn log_line(&mut self, line: impl FnOnce() -> String) {
        self.trace.log_line(self.now, line);
    }
}
