//! One run from one seed or input: fault_phases with calm after each, and an end.

use std::time::Duration;

use managed_app::model::Change;
use managed_app::reconciler::{EndOfNodes, Event, Finish};
use managed_app_runtimes::ContainerState;
use tokio::time::{Instant, sleep_until};

use crate::daemon::Daemon;
use crate::fault_plan::Class;
use crate::script::Source;
use crate::world::{Occurrence, Shared, World};

/// How often it is looked at whether all is right.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
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
pub struct Totals {
    pub operations: usize,
    pub ends: usize,
}

struct Run {
    world: Shared,
    began: Instant,
    daemon: Option<Daemon>,
    frozen_until: Duration,
}

/// Runs what `source` says, on one thread and a clock that jumps to whatever happens next.
pub fn run(source: Source<'_>, is_traced: bool) -> Result<Totals, Report> {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_time().start_paused(true).build().expect("a runtime needs memory only");
    runtime.block_on(async {
        let world = Shared::new(source, is_traced);
        let (began, daemon) = (world.with(|world| world.began), None);
        let mut run = Run { world: world.clone(), began, daemon, frozen_until: Duration::ZERO };
        let result = run.execute().await;
        drop(run);
        world.with(|world| {
            let totals = Totals { operations: world.invariants.operations, ends: world.invariants.ends };
            let classes = world.fault_plan.describe();
            result.map(|()| totals).map_err(|what| Report { what, classes, story: world.trace.take_text() })
        })
    })
}

impl Run {
    fn with<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        self.world.with(ask)
    }

    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    async fn execute(&mut self) -> Result<(), String> {
        self.with(|world| {
            world.engine.networks.insert("app".to_owned());
            if world.prng.chance(20) {
                world.add_python_containers();
            }
        });
        self.start_daemon();
        let rounds = self.with(|world| match &world.script {
            Some(script) => script.fault_phases.len(),
            None => 1 + world.prng.below(2),
        });
        for _ in 0..rounds {
            self.fault_phase().await?;
            self.calm().await?;
            if self.with(|world| world.prng.chance(50)) {
                self.restart_in_calm().await?;
            }
        }
        match self.with(|world| world.prng.below(4)) {
            0 => Ok(()),
            1 => self.end_of_app().await,
            _ => self.stop().await,
        }
    }

    /// Everything that happens until `end`.
    async fn until(&mut self, end: Duration) -> Result<(), String> {
        loop {
            let (now, next) = self.with(|world| (world.now, world.next_at()));
            let is_frozen = now < self.frozen_until;
            let timer = self.daemon.as_ref().and_then(Daemon::deadline).map(|at| at.max(self.frozen_until));
            let thaw = is_frozen.then_some(self.frozen_until);
            let at = [next, timer, thaw].into_iter().flatten().min().unwrap_or(end).min(end);
            // Both arms are cancel-safe. What is ready at the same moment comes in this order.
            tokio::select! {
                biased;
                event = done(&mut self.daemon), if !is_frozen => self.deliver(event),
                () = sleep_until(self.began + at) => {
                    let now = self.now();
                    let is_timer = timer.is_some_and(|timer| timer <= now && next.is_none_or(|next| timer < next));
                    if is_timer {
                        self.deliver(Event::Timer);
                    } else if let Some(what) = self.with(World::take_due) {
                        self.handle(what);
                    } else if now >= end {
                        return Ok(());
                    }
                }
            }
            if let Some(violation) = self.with(|world| world.invariants.violation.take()) {
                return Err(violation);
            }
        }
    }

    fn deliver(&mut self, event: Event) {
        if let Some(daemon) = &mut self.daemon {
            daemon.deliver(event);
        }
    }

    fn handle(&mut self, what: Occurrence) {
        let is_for_daemon = matches!(what, Occurrence::Deliver { .. } | Occurrence::Message(_) | Occurrence::Settings);
        if is_for_daemon && self.now() < self.frozen_until {
            let until = self.frozen_until;
            return self.with(|world| world.schedule(until, what));
        }
        let alive = self.with(|world| world.daemon);
        match what {
            Occurrence::Deliver { daemon, event } if daemon == alive => self.deliver(event),
            Occurrence::Deliver { .. } => {}
            Occurrence::Settings => {
                let settings = self.with(|world| world.settings.clone());
                self.deliver(Event::Settings(Box::new(settings)));
            }
            Occurrence::Message(change) if self.daemon.is_some() => self.deliver(Event::Change(change)),
            // The queue keeps it for the next daemon.
            Occurrence::Message(change) => self.with(|world| {
                world.after(Duration::from_secs(1), Occurrence::Message(change));
            }),
            Occurrence::Engine(call) => self.with(|world| world.perform(call)),
            Occurrence::RestartProcess(id) => self.with(|world| world.restart_process(&id)),
            Occurrence::Vanish(id) => self.with(|world| world.vanish_by_others(&id)),
            Occurrence::User => self.with(World::user_action),
            Occurrence::Other => self.with(World::external_action),
            Occurrence::EngineRestart => self.with(World::engine_restarts),
            Occurrence::EngineUp => self.with(|world| {
                world.engine.is_down = false;
                let daemon = world.daemon;
                world.after(Duration::from_secs(1), Occurrence::Deliver { daemon, event: Event::EventsLost });
            }),
            Occurrence::Crash => self.crash(),
            Occurrence::Start if self.daemon.is_none() => self.start_daemon(),
            Occurrence::Start => {}
            Occurrence::Step(step) => {
                self.with(|world| world.prng.choose(&step.choices));
                self.handle(step.occurrence());
                // What it did not need decides nothing else.
                self.with(|world| world.prng.choose(&[]));
            }
            Occurrence::Freeze => {
                self.frozen_until = self.now() + self.with(|world| world.prng.ms(1_000, 90_000));
                self.with(|world| world.log_line(|| "the daemon does not get to run".to_owned()));
            }
        }
    }

    fn start_daemon(&mut self) {
        self.daemon = Some(Daemon::new(&self.world));
    }

    fn crash(&mut self) {
        let Some(daemon) = self.daemon.take() else { return };
        let known = daemon.revisions();
        drop(daemon);
        self.frozen_until = Duration::ZERO;
        self.with(|world| {
            world.disk.lost = known;
            world.log_line(|| "the daemon dies".to_owned());
            world.invariants.crashed();
            // An engine may give up a call when its caller is gone.
            if world.prng.chance(50) {
                world.cancel(|what| matches!(what, Occurrence::Engine(_)));
            }
            world.daemon += 1;
            let delay = world.prng.ms(10, 20_000);
            world.after(delay, Occurrence::Start);
        });
    }

    async fn fault_phase(&mut self) -> Result<(), String> {
        let end = self.with(World::begin_faults);
        self.until(end).await
    }

    /// The storm is over: within a bound all is right, and then nothing more happens.
    async fn calm(&mut self) -> Result<(), String> {
        self.with(|world| {
            world.log_line(|| "--- calm".to_owned());
            world.fault_plan.is_active = false;
            world.strangers_leave();
            world.repair_types_in_the_way();
        });
        self.converge().await?;
        self.stay_quiet().await
    }

    async fn converge(&mut self) -> Result<(), String> {
        let bound = self.with(|world| world.fault_plan.bound());
        let end = self.now() + bound;
        loop {
            self.until(self.now() + POLL_INTERVAL).await?;
            let is_told = self.daemon.as_ref().is_some_and(|d| d.is_idle() && d.reconciler.status().is_converged);
            let is_told = is_told && self.is_status_healthy() && !self.with(|world| world.is_unsettled());
            if is_told && self.what_is_wrong().is_none() {
                break;
            }
            if self.now() >= end {
                let wrong = self.what_is_wrong().unwrap_or_else(|| "the status does not say so".to_owned());
                let status = self.daemon.as_ref().map(|daemon| daemon.reconciler.status());
                let seconds = bound.as_secs();
                return Err(format!("not right {seconds} s after the last fault: {wrong}\nstatus: {status:?}"));
            }
        }
        self.with(|world| world.log_line(|| "--- all is right".to_owned()));
        Ok(())
    }

    /// Whether the status tells of nothing wrong with nodes that can be run, and that the others cannot: a daemon that has
    /// not heard of that yet still starts what they have.
    fn is_status_healthy(&self) -> bool {
        let Some(daemon) = &self.daemon else { return false };
        let nodes = daemon.reconciler.status().nodes;
        self.with(|world| {
            nodes.iter().all(|node| if world.can_run(&node.name) { node.failure.is_none() } else { node.is_refused })
        })
    }

    fn what_is_wrong(&self) -> Option<String> {
        let known = self.daemon.as_ref().map(Daemon::revisions).unwrap_or_default();
        self.with(|world| world.what_is_wrong(&known))
    }

    async fn stay_quiet(&mut self) -> Result<(), String> {
        // Messages that come twice, long after, are still on their way; they must not matter.
        let before = self.with(|world| {
            world.invariants.clear();
            world.invariants.operations
        });
        self.until(self.now() + QUIET).await?;
        self.deliver(Event::Resync);
        self.until(self.now() + POLL_INTERVAL).await?;
        let wrong = self.what_is_wrong();
        match (self.with(|world| world.invariants.operations) - before, wrong) {
            (0, None) => Ok(()),
            (0, Some(wrong)) => Err(format!("all was right, and is not any more: {wrong}")),
            (count, _) => Err(format!("all was right, and {count} operations were begun")),
        }
    }

    /// A new daemon beside what is right ends no node.
    async fn restart_in_calm(&mut self) -> Result<(), String> {
        self.crash();
        self.until(self.now() + Duration::from_secs(30)).await?;
        self.converge().await?;
        self.stay_quiet().await
    }

    async fn end_of_app(&mut self) -> Result<(), String> {
        self.with(|world| {
            let gives_up =
                [Class::EngineErrors, Class::EngineRefuses, Class::LostReplies, Class::Hangs, Class::EngineRestarts];
            let is_gentle = !gives_up.iter().any(|class| world.fault_plan.knows(*class));
            // A node that cannot be stopped is given up after some attempts, so engines that fail are left out.
            world.fault_plan.is_active = is_gentle && world.prng.chance(50);
            world.log_line(|| "user: removes the app".to_owned());
            let now = world.now;
            world.cloud.set(now, None);
            world.send(Change::AppRemoved);
        });
        self.until(self.now() + Duration::from_secs(20)).await?;
        if self.with(|world| world.prng.chance(30)) && self.daemon.as_ref().is_some_and(Daemon::is_ending) {
            self.deliver(Event::Stop(EndOfNodes::Stop));
        }
        self.with(|world| world.fault_plan.is_active = false);
        let bound = self.with(|world| world.fault_plan.bound()) + END_LIMIT;
        self.ended(Finish::AppRemoved, bound).await
    }

    async fn stop(&mut self) -> Result<(), String> {
        let delay = self.with(|world| {
            for _ in 0..2 {
                world.after(Duration::ZERO, Occurrence::User);
            }
            world.fault_plan.is_active = world.prng.chance(50);
            world.prng.ms(0, 30_000)
        });
        self.until(self.now() + delay).await?;
        let end = self.with(|world| {
            world.fault_plan.is_active = false;
            world.strangers_leave();
            *world.prng.pick(&[EndOfNodes::Stop, EndOfNodes::Leave, EndOfNodes::Remove])
        });
        self.deliver(Event::Stop(end));
        self.ended(Finish::Stopped, END_LIMIT).await?;
        // A start that hung may be carried out when nobody is there any more.
        let may_linger = self.with(|world| world.fault_plan.knows(Class::Hangs));
        if end == EndOfNodes::Leave || may_linger { Ok(()) } else { self.nothing_runs() }
    }

    async fn ended(&mut self, wanted: Finish, bound: Duration) -> Result<(), String> {
        let end = self.now() + bound;
        while self.daemon.as_ref().is_none_or(|daemon| daemon.finish.is_none()) {
            if self.now() >= end {
                return Err(format!("the daemon has not ended {} s after it should", bound.as_secs()));
            }
            self.until(self.now() + POLL_INTERVAL).await?;
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
        self.with(|world| {
            let running = world.engine.containers.iter().find(|kept| {
                kept.node.is_some() && kept.container.state == ContainerState::Running && !kept.is_foreign_start
            });
            running.map_or(Ok(()), |kept| Err(format!("{} still runs after the end", kept.container.id)))
        })
    }
}

/// What comes of one of the daemon's tasks; never ends while there are none.
async fn done(daemon: &mut Option<Daemon>) -> Event {
    match daemon {
        Some(daemon) => daemon.done().await,
        None => std::future::pending().await,
    }
}
