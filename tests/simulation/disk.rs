//! The state file as it is on disk, and as the daemon that lives has it in memory.

use std::collections::HashMap;

use managed_app::reconciler::Revision;
use managed_app_runtimes::ContainerId;

use crate::weather::Class;
use crate::world::World;

type Revisions = HashMap<ContainerId, Revision>;

/// Both forms of the state file.
#[derive(Default)]
pub struct Disk {
    pub memory: Revisions,
    saved: Revisions,
}

impl World {
    /// The file is written whole; a write that fails leaves the old one.
    pub fn save(&mut self) {
        if self.weather.has(Class::Disk) && self.prng.chance(40) {
            self.note(|| "the state file cannot be written".to_owned());
            return;
        }
        self.disk.saved.clone_from(&self.disk.memory);
    }

    /// A new daemon reads the file. A node whose container is not in it as it was known may restart once.
    pub fn load(&mut self) {
        if self.weather.has(Class::Disk) && self.prng.chance(20) {
            self.note(|| "the state file cannot be read".to_owned());
            self.disk.saved.clear();
        }
        let before = std::mem::replace(&mut self.disk.memory, self.disk.saved.clone());
        for kept in &self.engine.containers {
            let id = &kept.container.id;
            if let (Some(node), true) = (&kept.node, before.get(id) != self.disk.saved.get(id)) {
                self.ledger.allow(node, 1);
            }
        }
    }
}
