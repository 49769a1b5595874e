//! Functions of the demo that are not part of the trait: load images from an archive, remove a network.

use bollard::body_full;
use bollard::query_parameters::ImportImageOptionsBuilder;
use futures_util::TryStreamExt;

use super::DockerRuntime;
use super::client::within;
use crate::{ErrorKind, Result};

impl DockerRuntime {
    /// Loads an image archive (as `docker save` writes it) with the tags that it names.
    pub async fn load_image(&self, archive: Vec<u8>) -> Result<()> {
        let options = ImportImageOptionsBuilder::new().quiet(true).build();
        let load = async {
            let responses = self.client.docker.import_image(options, body_full(archive.into()), None);
            responses.try_for_each(|_| std::future::ready(Ok(()))).await
        };
        within(self.client.limits.call, "load image", "archive", load).await
    }

    /// Removes a network that no container uses. An absent one is `Ok`.
    pub async fn remove_network(&self, name: &str) -> Result<()> {
        let removal = self.client.docker.remove_network(name);
        match within(self.client.limits.call, "remove network", name, removal).await {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}
