//! One call to the engine: whether it is carried out, when, and what the caller hears of it. Three things apart.

use std::time::Duration;

use managed_app::reconciler::{Event, Listing};
use managed_app_runtimes::{Container, ContainerId, ErrorKind, ImageId, ImageReference};

use crate::engine::{Act, Verb};
use crate::hands::{Hands, failure};
use crate::weather::Class;
use crate::world::{Occurrence, Sleep, World};

/// The limits of a backend by default.
pub const CALL_LIMIT: Duration = Duration::from_secs(60);
pub const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What becomes of a call.
enum Fate {
    /// It is carried out and answered.
    Done,
    /// It fails before anything is done.
    Fails(ErrorKind),
    /// It is carried out, and the answer is an error.
    Lost(ErrorKind),
    /// It is not answered; it may be carried out so long after the limit.
    Hangs(Option<Duration>),
}

impl World {
    fn fate(&mut self) -> Fate {
        if self.engine.is_down {
            return Fate::Fails(ErrorKind::Unreachable);
        }
        if self.weather.has(Class::EngineErrors) && self.prng.chance(15) {
            let kinds = [ErrorKind::Other, ErrorKind::Unreachable, ErrorKind::Conflict];
            return Fate::Fails(*self.prng.pick(&kinds));
        }
        if self.weather.has(Class::EngineRefuses) && self.prng.chance(10) {
            return Fate::Fails(ErrorKind::Refused);
        }
        if self.weather.has(Class::LostReplies) && self.prng.chance(15) {
            return Fate::Lost(ErrorKind::Unreachable);
        }
        if self.weather.has(Class::Hangs) && self.prng.chance(8) {
            let is_late = self.prng.chance(50);
            return Fate::Hangs(is_late.then(|| self.prng.ms(0, 20_000)));
        }
        Fate::Done
    }

    /// How long the engine takes for a step. Some processes end at once, some need all of their grace.
    fn duration_of(&mut self, verb: &Verb) -> Duration {
        match verb {
            Verb::End(_) if self.prng.chance(15) => self.settings.stop_grace,
            Verb::End(_) => self.prng.ms(20, 5_000),
            _ => self.prng.ms(5, 800),
        }
    }

    /// Sets the engine to work from `delay` on, one step after another, when it is done with what it does to this
    /// container; says when it is done.
    fn set_to_work(&mut self, id: Option<&ContainerId>, verbs: Vec<Verb>, delay: Duration, ticket: u64) -> Duration {
        let busy_until = id.and_then(|id| self.engine.get(id)).map_or(Duration::ZERO, |kept| kept.busy_until);
        let (is_late, daemon) = (!delay.is_zero(), self.daemon);
        let mut at = (self.now + delay).max(busy_until);
        for verb in verbs {
            at += self.duration_of(&verb);
            self.schedule(at, Occurrence::Engine(Act { verb, daemon, is_late, ticket }));
        }
        if let Some(kept) = id.and_then(|id| self.engine.get(id)) {
            kept.busy_until = at;
        }
        at
    }
}

impl Hands {
    /// One call: the engine takes `verbs` as its steps, and what comes of the last is the answer.
    pub async fn call(
        &self,
        id: Option<&ContainerId>,
        verbs: Vec<Verb>,
        limit: Duration,
    ) -> Result<Option<ContainerId>, ErrorKind> {
        let result = self.call_once(id, verbs, limit).await;
        if result.is_err() {
            self.with(|world| self.node.iter().for_each(|node| world.ledger.allow(node, 2)));
        }
        result
    }

    async fn call_once(
        &self,
        id: Option<&ContainerId>,
        verbs: Vec<Verb>,
        limit: Duration,
    ) -> Result<Option<ContainerId>, ErrorKind> {
        let (fate, ticket) = self.with(|world| (world.fate(), world.fresh()));
        let carried_out = match fate {
            Fate::Fails(kind) => {
                self.sleep(1, 500).await;
                return Err(kind);
            }
            Fate::Hangs(late) => {
                if let Some(late) = late {
                    self.with(|world| world.set_to_work(id, verbs, limit + late + Duration::from_millis(1), ticket));
                }
                Sleep::new(&self.world, limit).await;
                return Err(ErrorKind::TimedOut);
            }
            Fate::Lost(kind) => Err(kind),
            Fate::Done => Ok(()),
        };
        let done_at = self.with(|world| world.set_to_work(id, verbs, Duration::ZERO, ticket) - world.now);
        if done_at >= limit {
            Sleep::new(&self.world, limit).await;
            return Err(ErrorKind::TimedOut);
        }
        // The engine's step comes first at the same moment, as it was scheduled first.
        Sleep::new(&self.world, done_at).await;
        let reply = self.with(|world| world.replies.remove(&ticket));
        self.sleep(1, 50).await;
        carried_out?;
        // An engine that restarted in the middle forgets what it was at.
        reply.unwrap_or(Err(ErrorKind::Unreachable))
    }

    pub async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>, ErrorKind> {
        self.sleep(1, 100).await;
        match self.with(World::fate) {
            Fate::Done => Ok(self.with(|world| world.local_image(image))),
            Fate::Fails(kind) | Fate::Lost(kind) => Err(kind),
            Fate::Hangs(_) => {
                Sleep::new(&self.world, CALL_LIMIT).await;
                Err(ErrorKind::TimedOut)
            }
        }
    }

    /// All our containers, as some moment of the call has them.
    pub async fn look(&self) -> Result<Vec<Container>, ErrorKind> {
        self.sleep(1, 300).await;
        match self.with(World::fate) {
            Fate::Done => {
                let containers = self.with(World::listed);
                let is_slow = self.with(|world| world.weather.has(Class::SlowLists) && world.prng.chance(30));
                self.sleep(1, if is_slow { 15_000 } else { 300 }).await;
                Ok(containers)
            }
            Fate::Fails(kind) | Fate::Lost(kind) => Err(kind),
            Fate::Hangs(_) => {
                Sleep::new(&self.world, CALL_LIMIT).await;
                Err(ErrorKind::TimedOut)
            }
        }
    }

    pub async fn list(self) -> Event {
        let listed = self.look().await.map_err(failure);
        let revisions = self.with(|world| world.disk.memory.clone());
        Event::Listed(listed.map(|containers| Listing { containers, revisions }))
    }
}
