//! Functions of the demo that are not part of the trait: load images from an archive, remove a network.

use super::PodmanRuntime;
use super::error::Context;
use super::socket::typed;
use crate::{ErrorKind, Result};

impl PodmanRuntime {
    /// Loads an image archive (as `docker save` writes it) with the tags that it names.
    pub async fn load_image(&self, archive: Vec<u8>) -> Result<()> {
        let context = Context { operation: "load image", subject: "archive" };
        typed(context, self.limits.call, self.socket.podman.images().load(&archive)).await.map(drop)
    }

    /// Removes a network that no container uses. An absent one is `Ok`.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let context = Context { operation: "remove network", subject: name };
        let network = self.socket.podman.networks().get(name);
        match typed(context, self.limits.call, network.delete()).await.map(drop) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
