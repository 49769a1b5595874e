//! One life of the daemon: the real reconciler, and its effects as tasks in virtual time. Dropping it is a crash.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use managed_app::reconciler::{Effect, EndOfNodes, Event, Finish, Phase, Reconciler};

use crate::hands::Hands;
use crate::trace;
use crate::world::Shared;

type Task = Pin<Box<dyn Future<Output = Event>>>;

/// A daemon that lives.
pub struct Daemon {
    pub reconciler: Reconciler,
    world: Shared,
    /// The daemon's own clock starts with it, and has nothing to do with the time of day.
    born: Duration,
    tasks: BTreeMap<u64, Task>,
    pub finish: Option<Finish>,
    pub is_ready: bool,
}

impl Daemon {
    /// Starts with what the state file holds.
    pub fn new(world: &Shared) -> Self {
        let mut outside = world.borrow_mut();
        outside.daemon += 1;
        outside.is_stopping = false;
        outside.load();
        let reconciler = Reconciler::new(outside.settings.clone(), outside.prng.next());
        let network = outside.settings.network();
        outside.engine.networks.insert(network);
        outside.note(|| "daemon begins".to_owned());
        let born = outside.now;
        drop(outside);
        let tasks = BTreeMap::new();
        let mut daemon = Self { reconciler, world: world.clone(), born, tasks, finish: None, is_ready: false };
        daemon.tell(Event::Begin);
        daemon
    }

    /// When the reconciler wants to be woken.
    pub fn deadline(&self) -> Option<Duration> {
        self.reconciler.deadline().map(|at| self.born + at)
    }

    /// Whether nothing is going on.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether it has begun to end.
    pub fn is_ending(&self) -> bool {
        matches!(self.reconciler.phase(), Phase::Stopping { .. } | Phase::Finished)
    }

    pub fn tell(&mut self, event: Event) {
        if self.finish.is_some() {
            return;
        }
        let now = {
            let mut world = self.world.borrow_mut();
            world.note(|| format!("-> {}", trace::of_event(&event)));
            world.check_event(&event);
            if let Event::Stop(nodes) = event {
                world.is_stopping = true;
                world.ledger.is_ending = true;
                world.ledger.is_clearing |= nodes == EndOfNodes::Remove;
            }
            world.now - self.born
        };
        for effect in self.reconciler.on(event, now) {
            self.execute(effect);
        }
    }

    fn execute(&mut self, effect: Effect) {
        {
            let mut world = self.world.borrow_mut();
            world.note(|| format!("   <- {}", trace::of_effect(&effect)));
            world.check_effect(&effect);
        }
        let hands = Hands { world: self.world.clone(), node: None };
        match effect {
            Effect::FetchSnapshot => self.spawn(hands.snapshot()),
            Effect::List => self.spawn(hands.list()),
            Effect::Pull(image) => self.spawn(hands.pull(image)),
            Effect::Operate { node, operation, .. } => {
                let hands = Hands { node: Some(node.clone()), ..hands };
                self.spawn(async move { Event::Finished { node, outcome: hands.operate(operation).await } });
            }
            Effect::Forget(ids) => self.spawn(hands.retain(ids)),
            Effect::Listen(_) => {}
            Effect::Ready => self.is_ready = true,
            Effect::Finish(finish) => self.finish = Some(finish),
        }
    }

    fn spawn(&mut self, task: impl Future<Output = Event> + 'static) {
        let number = self.world.borrow_mut().fresh();
        self.tasks.insert(number, Box::pin(task));
        // The first step of a task does not lead to an event at once, as every task begins with a wait.
        self.wake(number);
    }

    /// A task goes on; when it is done the reconciler hears of it.
    pub fn wake(&mut self, number: u64) {
        let Some(task) = self.tasks.get_mut(&number) else { return };
        self.world.borrow_mut().task = number;
        let polled = task.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        if let Poll::Ready(event) = polled {
            self.tasks.remove(&number);
            self.tell(event);
        }
    }
}
