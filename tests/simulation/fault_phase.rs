//! What happens in a storm: as a script has it, or by chance.

use std::time::Duration;

use managed_app::model::Change;

use crate::fault_plan::Class;
use crate::script::Step;
use crate::world::{Occurrence, World};

/// How long a storm goes on after the last step of a script.
const AFTER_STEPS: Duration = Duration::from_secs(20);

impl World {
    /// Plans all of it. Gives its end.
    pub fn begin_faults(&mut self) -> Duration {
        self.fault_plan.is_active = true;
        self.log_line(|| "--- fault_phase".to_owned());
        let end = match self.script.as_mut().and_then(|script| script.fault_phases.pop_front()) {
            Some(steps) => self.plan_steps(steps),
            None => self.plan_by_chance(),
        };
        // A cloud that says falsely that the app is gone is asked.
        if self.fault_plan.has(Class::FalseGone) {
            self.send(Change::AppRemoved);
        }
        end
    }

    /// Gives the end.
    fn plan_by_chance(&mut self) -> Duration {
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

    /// Plans the steps of a script, and a while in which they take effect. Gives the end.
    fn plan_steps(&mut self, steps: Vec<Step>) -> Duration {
        let mut at = self.now;
        for step in steps {
            at += step.delay;
            self.schedule(at, Occurrence::Step(step));
        }
        at + AFTER_STEPS
    }

    /// Blows to the daemon and the engine as wholes.
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
