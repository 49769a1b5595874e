//! The world of one run: clock, chance, what is going to happen, and all that lives outside the daemon.

use std::cell::RefCell;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BinaryHeap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use managed_app::model::Change;
use managed_app::reconciler::{Event, NodeLogSettings, Settings};
use managed_app_runtimes::{ContainerId, ErrorKind, Owner};

use crate::cloud::Cloud;
use crate::disk::Disk;
use crate::engine::{Act, Engine};
use crate::ledger::Ledger;
use crate::prng::Prng;
use crate::trace::Trace;
use crate::weather::{Class, Weather};

/// The world as the tasks of the daemon share it.
pub type Shared = Rc<RefCell<World>>;

/// Something that is going to happen.
pub enum Occurrence {
    /// A task of this daemon has something to do.
    Wake { daemon: u32, task: u64 },
    /// This daemon is told of this.
    Tell { daemon: u32, event: Event },
    /// A change message is at the head of the queue.
    Message(Change),
    /// The engine does something.
    Engine(Act),
    /// A process that died is started again by the engine.
    Revive(ContainerId),
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
    Birth,
    /// The daemon does not get to run for a while.
    Freeze,
    /// The engine restarts.
    EngineRestart,
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
    pub now: Duration,
    pub prng: Prng,
    pub weather: Weather,
    pub trace: Trace,
    pub ledger: Ledger,
    pub cloud: Cloud,
    pub engine: Engine,
    pub disk: Disk,
    pub settings: Settings,
    /// The daemon that lives, by number; each has another.
    pub daemon: u32,
    /// The task that is being polled.
    pub task: u64,
    /// Whether the daemon was told to end.
    pub is_stopping: bool,
    /// What came of acts of the engine that somebody waits for.
    pub replies: HashMap<u64, Result<Option<ContainerId>, ErrorKind>>,
    heap: BinaryHeap<Entry>,
    number: u64,
}

impl World {
    pub fn new(seed: u64, is_traced: bool) -> Self {
        let mut prng = Prng::new(seed);
        let weather = Weather::new(&mut prng);
        let resync = if weather.loses() { 300 } else { 3_600 };
        let settings = Settings {
            owner: Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() },
            env: BTreeMap::new(),
            logs: NodeLogSettings::Engine { file_bytes_max: 1, files_max: 1 },
            stop_grace: Duration::from_secs(30),
            overlap: false,
            resync: Duration::from_secs(resync),
            remove_nodes_with_app: prng.chance(50),
        };
        let cloud = Cloud::new(&mut prng);
        Self {
            now: Duration::ZERO,
            weather,
            trace: Trace::new(is_traced),
            ledger: Ledger::default(),
            cloud,
            engine: Engine::default(),
            disk: Disk::default(),
            settings,
            daemon: 0,
            task: 0,
            is_stopping: false,
            replies: HashMap::new(),
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

    /// The next thing, whose time has come.
    pub fn take_next(&mut self) -> Option<Occurrence> {
        let entry = self.heap.pop()?;
        self.now = self.now.max(entry.at);
        Some(entry.what)
    }

    /// Forgets what was going to happen, as far as `is_off` says so.
    pub fn call_off(&mut self, is_off: impl Fn(&Occurrence) -> bool) {
        self.heap.retain(|entry| !is_off(&entry.what));
    }

    /// Whether something is still on its way that rightly leads to an operation.
    pub fn is_unsettled(&self) -> bool {
        let has_tags = self.weather.knows(Class::TagsMove);
        self.heap.iter().any(|entry| match &entry.what {
            Occurrence::Engine(_) | Occurrence::Revive(_) | Occurrence::Vanish(_) => true,
            // A message about a type makes the daemon pull, and find that a tag was moved long ago.
            Occurrence::Message(_) => has_tags,
            _ => false,
        })
    }

    /// A number that was not given before.
    pub fn fresh(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub fn note(&mut self, line: impl FnOnce() -> String) {
        self.trace.note(self.now, line);
    }
}

/// Waits in virtual time. Nothing else ever waits, so the model needs no waker.
pub struct Sleep {
    world: Shared,
    delay: Duration,
    until: Option<Duration>,
}

impl Sleep {
    pub fn new(world: &Shared, delay: Duration) -> Self {
        Self { world: world.clone(), delay, until: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        let world = self.world.clone();
        let mut world = world.borrow_mut();
        match self.until {
            Some(until) if until <= world.now => Poll::Ready(()),
            Some(_) => Poll::Pending,
            None => {
                let until = world.now + self.delay;
                self.until = Some(until);
                let (daemon, task) = (world.daemon, world.task);
                world.schedule(until, Occurrence::Wake { daemon, task });
                Poll::Pending
            }
        }
    }
}
