//! One run from one seed or input: fault phases, each followed by a calm phase, and an end.

use std::time::Duration;

use managed_app::model::Change;
use managed_app::reconciler::{EndOfNodes, Event, Finish};
use managed_app_runtimes::ContainerState;
use tokio::time::{Instant, sleep_until};

use crate::daemon::Daemon;
use crate::fault_plan::Class;
use crate::script::Source;
use crate::world::{Occurrence, Shared, World};

/// Interval of the checks of the desired state.
const POLL_INTERVAL: Duration = Duration::from_secs(5);
/// Duration without actions after the desired state is reached; longer than the shorter resync with its jitter.
const QUIET: Duration = Duration::from_secs(400);
/// Limit of the end: a stop, a pending operation, two attempts.
const END_LIMIT: Duration = Duration::from_secs(400);

/// A failure, with the trace if it was kept.
pub struct Report {
    pub what: String,
    pub classes: String,
    pub trace: String,
}

/// Counters of runs, to verify that runs have an effect.
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

/// Executes a run of `source`, on one thread and with a clock that jumps to the next occurrence.
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
            result.map(|()| totals).map_err(|what| Report { what, classes, trace: world.trace.take_text() })
        })
    })
}

impl Run {
    fn with<T>(&self, access: impl FnOnce(&mut World) -> T) -> T {
        self.world.with(access)
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

    /// Executes all occurrences until `end`.
    async fn until(&mut self, end: Duration) -> Result<(), String> {
        loop {
            let (now, next) = self.with(|world| (world.now, world.next_at()));
            let is_frozen = now < self.frozen_until;
            let timer = self.daemon.as_ref().and_then(Daemon::deadline).map(|at| at.max(self.frozen_until));
            let thaw = is_frozen.then_some(self.frozen_until);
            let at = [next, timer, thaw].into_iter().flatten().min().unwrap_or(end).min(end);
            // Both arms are cancel-safe. Events of the same moment are handled in this order.
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
            Occurrence::RemovalComplete(id) => self.with(|world| world.delete_externally(&id)),
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
                // Unused choices affect no other step.
                self.with(|world| world.prng.choose(&[]));
            }
            Occurrence::Freeze => {
                self.frozen_until = self.now() + self.with(|world| world.prng.ms(1_000, 90_000));
                self.with(|world| world.log_line(|| "the daemon is suspended".to_owned()));
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
            world.log_line(|| "the daemon is killed".to_owned());
            world.invariants.crashed();
            // An engine may cancel a call when its caller disconnects.
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

    /// After a fault phase, the desired state is reached within a bound, and then nothing happens.
    async fn calm(&mut self) -> Result<(), String> {
        self.with(|world| {
            world.log_line(|| "--- calm".to_owned());
            world.fault_plan.is_active = false;
            world.remove_strangers();
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
            let is_reported = self.daemon.as_ref().is_some_and(|d| d.is_idle() && d.reconciler.status().is_converged);
            let is_reported = is_reported && self.is_status_healthy() && !self.with(|world| world.is_unsettled());
            if is_reported && self.what_is_wrong().is_none() {
                break;
            }
            if self.now() >= end {
                let wrong = self.what_is_wrong().unwrap_or_else(|| "the status does not report it".to_owned());
                let status = self.daemon.as_ref().map(|daemon| daemon.reconciler.status());
                let seconds = bound.as_secs();
                return Err(format!(
                    "not in the desired state {seconds} s after the last fault: {wrong}\nstatus: {status:?}"
                ));
            }
        }
        self.with(|world| world.log_line(|| "--- desired state reached".to_owned()));
        Ok(())
    }

    /// Whether the status reports no failure of valid nodes, and refuses all others. Before it refuses a node, a daemon
    /// may still start its container.
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
        let has_unknown_tag = self.with(|world| world.has_unknown_tag());
        // Late duplicate messages are still in the queue; they must have no effect.
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
            // A tag that moved without a message is found by the next pull, whenever that is.
            (1.., _) if has_unknown_tag => Ok(()),
            (0, Some(wrong)) => Err(format!("the desired state was reached and left: {wrong}")),
            (count, _) => Err(format!("the desired state was reached, and {count} operations were started")),
        }
    }

    /// A restart of the daemon in the desired state ends no node.
    async fn restart_in_calm(&mut self) -> Result<(), String> {
        self.crash();
        self.until(self.now() + Duration::from_secs(30)).await?;
        self.converge().await?;
        self.stay_quiet().await
    }

    async fn end_of_app(&mut self) -> Result<(), String> {
        self.with(|world| {
            let failing_stops =
                [Class::EngineErrors, Class::EngineRefuses, Class::LostReplies, Class::Hangs, Class::EngineRestarts];
            let is_gentle = !failing_stops.iter().any(|class| world.fault_plan.knows(*class));
            // The daemon abandons a node whose stop fails repeatedly, so failing engines are excluded.
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
            world.remove_strangers();
            *world.prng.pick(&[EndOfNodes::Stop, EndOfNodes::Leave, EndOfNodes::Remove])
        });
        self.deliver(Event::Stop(end));
        self.ended(Finish::Stopped, END_LIMIT).await?;
        // A hung start may be executed after the end of the daemon.
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
            // A daemon that started after the removal has never seen the app.
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

/// The result of the next finished task of the daemon; pending while there are no tasks.
async fn done(daemon: &mut Option<Daemon>) -> Event {
    match daemon {
        Some(daemon) => daemon.done().await,
        None => std::future::pending().await,
    }
}
