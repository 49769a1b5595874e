//! The course of a fault phase: from a script, or random.

use std::time::Duration;

use managed_app::model::Change;

use crate::fault_plan::Class;
use crate::script::Step;
use crate::world::{Occurrence, World};

/// Duration of a fault phase after the last step of a script.
const AFTER_STEPS: Duration = Duration::from_secs(20);

impl World {
    /// Plans a fault phase and returns its end.
    pub fn begin_faults(&mut self) -> Duration {
        self.fault_plan.is_active = true;
        self.log_line(|| "--- fault phase".to_owned());
        let end = match self.script.as_mut().and_then(|script| script.fault_phases.pop_front()) {
            Some(steps) => self.plan_steps(steps),
            None => self.plan_randomly(),
        };
        // Causes a read of a cloud that may report falsely that the app is gone.
        if self.fault_plan.has(Class::FalseGone) {
            self.send(Change::AppRemoved);
        }
        end
    }

    /// Plans random events and returns the end.
    fn plan_randomly(&mut self) -> Duration {
        let length = self.prng.ms(20_000, 300_000);
        let users = 1 + self.prng.below(8);
        let mut plan = |count: usize, make: fn() -> Occurrence| {
            for _ in 0..count {
                let delay = self.prng.ms(0, length.as_millis() as usize);
                self.after(delay, make());
            }
        };
        plan(users, || Occurrence::User);
        plan(users, || Occurrence::Other);
        self.plan_crashes(length);
        self.now + length
    }

    /// Plans the steps of a script and a time in which they take effect. Returns the end.
    fn plan_steps(&mut self, steps: Vec<Step>) -> Duration {
        let mut at = self.now;
        for step in steps {
            at += step.delay;
            self.schedule(at, Occurrence::Step(step));
        }
        at + AFTER_STEPS
    }

    /// Plans crashes and freezes of the daemon and restarts of the engine.
    fn plan_crashes(&mut self, length: Duration) {
        let crashes: [(Class, fn() -> Occurrence); 3] = [
            (Class::Crashes, || Occurrence::Crash),
            (Class::Freezes, || Occurrence::Freeze),
            (Class::EngineRestarts, || Occurrence::EngineRestart),
        ];
        for (class, make) in crashes {
            let count = if self.fault_plan.has(class) { 1 + self.prng.below(4) } else { 0 };
            for _ in 0..count {
                let delay = self.prng.ms(0, length.as_millis() as usize);
                self.after(delay, make());
            }
        }
    }
}
