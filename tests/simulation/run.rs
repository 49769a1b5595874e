//! One run from one seed: storms with calm after each, and an end.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use managed_app::model::{Change, NodeName};
use managed_app::reconciler::{EndOfNodes, Event, Finish};
use managed_app_runtimes::ContainerState;

use crate::daemon::Daemon;
use crate::weather::Class;
use crate::world::{Occurrence, Shared, World};

/// How often it is looked at whether all is right.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// How long nothing may happen once all is right; longer than the shorter resync with its jitter.
const QUIET: Duration = Duration::from_secs(400);
/// How long the end may take: a stop, an operation that goes on, two attempts.
const END_LIMIT: Duration = Duration::from_secs(400);

/// What was wrong, and the story where it was kept.
pub struct Report {
    pub what: String,
    pub classes: String,
    pub story: String,
}

/// What runs did, to see that they do something.
#[derive(Default, Clone, Copy)]
pub struct Tally {
    pub operations: usize,
    pub ends: usize,
}

struct Run {
    world: Shared,
    daemon: Option<Daemon>,
    frozen_until: Duration,
}

/// Runs `seed`.
pub fn run(seed: u64, is_traced: bool) -> Result<Tally, Report> {
    let world = Rc::new(RefCell::new(World::new(seed, is_traced)));
    let mut run = Run { world: world.clone(), daemon: None, frozen_until: Duration::ZERO };
    let result = run.play();
    drop(run);
    let Ok(world) = Rc::try_unwrap(world) else { unreachable!("the daemon and its tasks are gone") };
    let world = world.into_inner();
    let tally = Tally { operations: world.ledger.operations, ends: world.ledger.ends };
    let classes = world.weather.describe();
    result.map(|()| tally).map_err(|what| Report { what, classes, story: world.trace.into_text() })
}

impl Run {
    fn with<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        ask(&mut self.world.borrow_mut())
    }

    fn now(&self) -> Duration {
        self.world.borrow().now
    }

    fn play(&mut self) -> Result<(), String> {
        self.with(|world| {
            world.engine.networks.insert("app".to_owned());
            if world.prng.chance(20) {
                world.leave_legacy();
            }
        });
        self.bear();
        let rounds = 1 + self.with(|world| world.prng.below(2));
        for _ in 0..rounds {
            self.storm()?;
            self.calm()?;
            if self.with(|world| world.prng.chance(50)) {
                self.restart_in_calm()?;
            }
        }
        match self.with(|world| world.prng.below(4)) {
            0 => Ok(()),
            1 => self.end_of_app(),
            _ => self.stop(),
        }
    }

    /// Everything that happens until `end`.
    fn until(&mut self, end: Duration) -> Result<(), String> {
        loop {
            let next = self.with(|world| world.next_at());
            let timer = self.daemon.as_ref().and_then(Daemon::deadline).map(|at| at.max(self.frozen_until));
            let is_timer = timer.is_some_and(|timer| next.is_none_or(|next| timer < next));
            let at = if is_timer { timer } else { next };
            match at.filter(|at| *at <= end) {
                None => {
                    self.with(|world| world.now = world.now.max(end));
                    return Ok(());
                }
                Some(at) if is_timer => {
                    self.with(|world| world.now = world.now.max(at));
                    self.tell(Event::Timer);
                }
                Some(_) => {
                    let what = self.with(|world| world.take_next()).expect("its time was just read");
                    self.happen(what);
                }
            }
            if let Some(violation) = self.with(|world| world.ledger.violation.take()) {
                return Err(violation);
            }
        }
    }

    fn tell(&mut self, event: Event) {
        if let Some(daemon) = &mut self.daemon {
            daemon.tell(event);
        }
    }

    fn happen(&mut self, what: Occurrence) {
        let is_for_daemon = matches!(what, Occurrence::Wake { .. } | Occurrence::Tell { .. } | Occurrence::Message(_));
        if is_for_daemon && self.now() < self.frozen_until {
            let until = self.frozen_until;
            return self.with(|world| world.schedule(until, what));
        }
        let alive = self.world.borrow().daemon;
        match what {
            Occurrence::Wake { daemon, task } if daemon == alive => {
                if let Some(daemon) = &mut self.daemon {
                    daemon.wake(task);
                }
            }
            Occurrence::Tell { daemon, event } if daemon == alive => self.tell(event),
            Occurrence::Wake { .. } | Occurrence::Tell { .. } => {}
            Occurrence::Message(change) if self.daemon.is_some() => self.tell(Event::Change(change)),
            // The queue keeps it for the next daemon.
            Occurrence::Message(change) => self.with(|world| {
                world.after(Duration::from_secs(1), Occurrence::Message(change));
            }),
            Occurrence::Engine(act) => self.with(|world| world.perform(act)),
            Occurrence::Revive(id) => self.with(|world| world.revive(&id)),
            Occurrence::Vanish(id) => self.with(|world| world.vanish_by_others(&id)),
            Occurrence::User => self.with(World::user_acts),
            Occurrence::Other => self.with(World::others_act),
            Occurrence::EngineRestart => self.with(World::engine_restarts),
            Occurrence::EngineUp => self.with(|world| {
                world.engine.is_down = false;
                let daemon = world.daemon;
                world.after(Duration::from_secs(1), Occurrence::Tell { daemon, event: Event::HintsLost });
            }),
            Occurrence::Crash => self.crash(),
            Occurrence::Birth if self.daemon.is_none() => self.bear(),
            Occurrence::Birth => {}
            Occurrence::Freeze => {
                self.frozen_until = self.now() + self.with(|world| world.prng.ms(1_000, 90_000));
                self.with(|world| world.note(|| "the daemon does not get to run".to_owned()));
            }
        }
    }

    fn bear(&mut self) {
        self.daemon = Some(Daemon::new(&self.world));
    }

    fn crash(&mut self) {
        if self.daemon.take().is_none() {
            return;
        }
        self.frozen_until = Duration::ZERO;
        self.with(|world| {
            world.note(|| "the daemon dies".to_owned());
            world.ledger.crashed();
            // An engine may give up a call when its caller is gone.
            if world.prng.chance(50) {
                world.call_off(|what| matches!(what, Occurrence::Engine(_)));
            }
            world.daemon += 1;
            let delay = world.prng.ms(10, 20_000);
            world.after(delay, Occurrence::Birth);
        });
    }

    fn storm(&mut self) -> Result<(), String> {
        let end = self.with(|world| {
            world.weather.is_stormy = true;
            world.note(|| "--- storm".to_owned());
            let length = world.prng.ms(20_000, 300_000);
            let users = 1 + world.prng.below(8);
            let mut plan = |count: usize, make: fn() -> Occurrence| {
                for _ in 0..count {
                    let delay = world.prng.ms(0, length.as_millis() as usize);
                    world.after(delay, make());
                }
            };
            plan(users, || Occurrence::User);
            plan(users, || Occurrence::Other);
            world.plan_blows(length);
            if world.weather.has(Class::FalseGone) {
                world.send(Change::AppRemoved);
            }
            world.now + length
        });
        self.until(end)
    }

    /// The storm is over: within a bound all is right, and then nothing more happens.
    fn calm(&mut self) -> Result<(), String> {
        self.with(|world| {
            world.note(|| "--- calm".to_owned());
            world.weather.is_stormy = false;
            world.strangers_leave();
        });
        self.converge()?;
        self.stay_quiet()
    }

    fn converge(&mut self) -> Result<(), String> {
        let bound = self.with(|world| world.weather.bound());
        let end = self.now() + bound;
        loop {
            self.until(self.now() + LOOK_EVERY)?;
            let is_told = self.daemon.as_ref().is_some_and(|d| d.is_idle() && d.reconciler.status().is_converged);
            let is_told = is_told && self.is_content() && !self.with(|world| world.is_unsettled());
            let wrong = self.with(|world| world.what_is_wrong());
            match (is_told, wrong) {
                (true, None) => break,
                (_, wrong) if self.now() >= end => {
                    let wrong = wrong.unwrap_or_else(|| self.status_text());
                    return Err(format!("not right {} s after the last fault: {wrong}", bound.as_secs()));
                }
                _ => {}
            }
        }
        self.with(|world| world.note(|| "--- all is right".to_owned()));
        Ok(())
    }

    fn status_text(&self) -> String {
        let status = self.daemon.as_ref().map(|daemon| daemon.reconciler.status());
        format!("the status does not say so: {status:?}")
    }

    /// Whether the status tells of nothing wrong with nodes that can be run.
    fn is_content(&self) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let world = self.world.borrow();
        let can_run = |name: &NodeName| world.can_run(name);
        daemon.reconciler.status().nodes.iter().all(|node| node.failure.is_none() || !can_run(&node.name))
    }

    fn stay_quiet(&mut self) -> Result<(), String> {
        // Messages that come twice, long after, are still on their way; they must not matter.
        let before = self.with(|world| {
            world.ledger.clear();
            world.ledger.operations
        });
        self.until(self.now() + QUIET)?;
        self.tell(Event::Resync);
        self.until(self.now() + LOOK_EVERY)?;
        let wrong = self.with(|world| world.what_is_wrong());
        match (self.with(|world| world.ledger.operations) - before, wrong) {
            (0, None) => Ok(()),
            (0, Some(wrong)) => Err(format!("all was right, and is not any more: {wrong}")),
            (count, _) => Err(format!("all was right, and {count} operations were begun")),
        }
    }

    /// A new daemon beside what is right ends no node.
    fn restart_in_calm(&mut self) -> Result<(), String> {
        self.crash();
        self.until(self.now() + Duration::from_secs(30))?;
        self.converge()?;
        self.stay_quiet()
    }

    fn end_of_app(&mut self) -> Result<(), String> {
        self.with(|world| {
            let gives_up =
                [Class::EngineErrors, Class::EngineRefuses, Class::LostReplies, Class::Hangs, Class::EngineRestarts];
            let is_gentle = !gives_up.iter().any(|class| world.weather.knows(*class));
            // A node that cannot be stopped is given up after some attempts, so engines that fail are left out.
            world.weather.is_stormy = is_gentle && world.prng.chance(50);
            world.note(|| "user: removes the app".to_owned());
            let now = world.now;
            world.cloud.set(now, None);
            world.send(Change::AppRemoved);
        });
        self.until(self.now() + Duration::from_secs(20))?;
        if self.with(|world| world.prng.chance(30)) && self.daemon.as_ref().is_some_and(Daemon::is_ending) {
            self.tell(Event::Stop(EndOfNodes::Stop));
        }
        self.with(|world| world.weather.is_stormy = false);
        let bound = self.with(|world| world.weather.bound()) + END_LIMIT;
        self.ended(Finish::AppRemoved, bound)
    }

    fn stop(&mut self) -> Result<(), String> {
        let delay = self.with(|world| {
            for _ in 0..2 {
                world.after(Duration::ZERO, Occurrence::User);
            }
            world.weather.is_stormy = world.prng.chance(50);
            world.prng.ms(0, 30_000)
        });
        self.until(self.now() + delay)?;
        let end = self.with(|world| {
            world.weather.is_stormy = false;
            world.strangers_leave();
            *world.prng.pick(&[EndOfNodes::Stop, EndOfNodes::Leave, EndOfNodes::Remove])
        });
        self.tell(Event::Stop(end));
        self.ended(Finish::Stopped, END_LIMIT)?;
        // A start that hung may be carried out when nobody is there any more.
        let may_linger = self.with(|world| world.weather.knows(Class::Hangs));
        if end == EndOfNodes::Leave || may_linger { Ok(()) } else { self.nothing_runs() }
    }

    fn ended(&mut self, wanted: Finish, bound: Duration) -> Result<(), String> {
        let end = self.now() + bound;
        while self.daemon.as_ref().is_none_or(|daemon| daemon.finish.is_none()) {
            if self.now() >= end {
                return Err(format!("the daemon has not ended {} s after it should", bound.as_secs()));
            }
            self.until(self.now() + LOOK_EVERY)?;
        }
        match self.daemon.as_ref().and_then(|daemon| daemon.finish) {
            Some(finish) if finish == wanted => {}
            // A daemon that began when all was gone has never seen the app.
            Some(Finish::NoSuchApp) if wanted == Finish::AppRemoved && self.with(|world| world.listed().is_empty()) => {
            }
            other => return Err(format!("the daemon ended with {other:?}")),
        }
        if wanted == Finish::AppRemoved { self.nothing_runs() } else { Ok(()) }
    }

    fn nothing_runs(&mut self) -> Result<(), String> {
        let world = self.world.borrow();
        let running = world.engine.containers.iter().find(|kept| {
            kept.node.is_some() && kept.container.state == ContainerState::Running && !kept.is_foreign_start
        });
        running.map_or(Ok(()), |kept| Err(format!("{} still runs after the end", kept.container.id)))
    }
}

impl World {
    /// Blows to the daemon and the engine as wholes.
    fn plan_blows(&mut self, length: Duration) {
        let blows: [(Class, fn() -> Occurrence); 3] = [
            (Class::Crashes, || Occurrence::Crash),
            (Class::Freezes, || Occurrence::Freeze),
            (Class::EngineRestarts, || Occurrence::EngineRestart),
        ];
        for (class, make) in blows {
            let count = if self.weather.has(class) { 1 + self.prng.below(4) } else { 0 };
            for _ in 0..count {
                let delay = self.prng.ms(0, length.as_millis() as usize);
                self.after(delay, make());
            }
        }
    }
}
