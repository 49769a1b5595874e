//! The state file on disk, and the state in memory of the last killed daemon.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use managed_app::driver::StateFile;
use managed_app_runtimes::{ContainerId, Revision, RevisionStore};

use crate::calls::Backends;
use crate::fault_plan::Class;
use crate::world::{Shared, World};

/// The text of the state file, if there is one.
#[derive(Default)]
pub struct Disk {
    saved: Option<Vec<u8>>,
    /// The state in memory of the previous daemon when it was killed.
    pub lost: HashMap<ContainerId, Revision>,
}

impl World {
    /// Writes the whole file; a failed write leaves the old one.
    pub fn save(&mut self, text: Vec<u8>) -> io::Result<()> {
        if self.fault_plan.has(Class::Disk) && self.prng.chance(40) {
            self.log_line(|| "the state file cannot be written".to_owned());
            return Err(io::Error::other("the disk is full"));
        }
        self.disk.saved = Some(text);
        Ok(())
    }
}

/// A new daemon reads the file. A node whose container has another revision in it may restart once.
pub fn open(shared: &Shared) -> Arc<StateFile> {
    let text = shared.with(|world| {
        if world.fault_plan.has(Class::Disk) && world.prng.chance(20) {
            world.log_line(|| "the state file cannot be read".to_owned());
            world.disk.saved = Some(b"{".to_vec());
        }
        world.disk.saved.clone()
    });
    let file = Arc::new(StateFile::of(text.as_deref(), Box::new(Backends(shared.clone()))));
    let known = file.revisions();
    shared.with(|world| {
        for kept in &world.engine.containers {
            let id = &kept.container.id;
            if let (Some(node), true) = (&kept.node, world.disk.lost.get(id) != known.get(id)) {
                world.invariants.allow(node, 1);
            }
        }
    });
    file
}
