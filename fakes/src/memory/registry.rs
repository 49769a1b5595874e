//! Images: those in the fake registries and those on the engine. One content has one id; a tag can move.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use managed_app_runtimes::{ErrorKind, ImageId, ImageReference, RegistryCredentials, RuntimeError};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

use super::InMemoryRuntime;

#[derive(Default)]
pub(super) struct Registry {
    /// Images in registries, by the reference of a pull.
    published: BTreeMap<String, Published>,
    passwords: HashMap<String, (String, SecretString)>,
    throttled: HashMap<String, u32>,
    stalled: BTreeSet<String>,
    /// Images on the engine.
    local: BTreeMap<String, ImageId>,
    local_ids: BTreeSet<ImageId>,
}

#[derive(Clone)]
pub(super) struct Published {
    pub(super) id: ImageId,
    pub(super) size_bytes: u64,
}

impl Registry {
    /// The result of a pull from the registry.
    pub(super) fn pull(
        &mut self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Published, ErrorKind> {
        let host = image.registry();
        if let Some(times) = self.throttled.get_mut(host).filter(|times| **times > 0) {
            *times -= 1;
            return Err(ErrorKind::Throttled);
        }
        if let Some((username, password)) = self.passwords.get(host) {
            let is_right = |given: &RegistryCredentials| {
                given.username == *username && given.password.expose_secret() == password.expose_secret()
            };
            if !credentials.is_some_and(is_right) {
                return Err(ErrorKind::Unauthorized);
            }
        }
        self.published.get(&image.to_pull()).cloned().ok_or(ErrorKind::NotFound)
    }

    pub(super) fn is_stalled(&self, image: &ImageReference) -> bool {
        self.stalled.contains(&image.to_pull())
    }

    /// Stores the image on the engine; a tag moves.
    pub(super) fn keep(&mut self, image: &ImageReference, id: &ImageId) {
        self.local.insert(image.to_pull(), id.clone());
        self.local_ids.insert(id.clone());
    }

    pub(super) fn local(&self, image: &ImageReference) -> Option<&ImageId> {
        self.local.get(&image.to_pull())
    }

    pub(super) fn remove_local(&mut self, id: &ImageId) {
        self.local.retain(|_, found| found != id);
        self.local_ids.remove(id);
    }
}

impl InMemoryRuntime {
    /// Publishes an image of `content` under `image`; an existing tag moves. Also available as
    /// `registry/repository@<id>`.
    ///
    /// The id is the hash of the content.
    pub fn publish_image(&self, image: &ImageReference, content: &[u8]) -> ImageId {
        let published = Published { id: content_id(content), size_bytes: content.len() as u64 };
        let by_digest = format!("{}@{}", image.name(), published.id);
        let offered = &mut self.lock().registry.published;
        offered.insert(by_digest, published.clone());
        offered.insert(image.to_pull(), published.clone());
        published.id
    }

    /// The id of the published image `image`.
    pub fn published_image(&self, image: &ImageReference) -> Option<ImageId> {
        self.lock().registry.published.get(&image.to_pull()).map(|published| published.id.clone())
    }

    /// Removes an image from its registry; the engine keeps its copy.
    pub fn unpublish_image(&self, image: &ImageReference) {
        self.lock().registry.published.remove(&image.to_pull());
    }

    /// Loads an image directly into the engine, like `docker load`.
    pub fn load_image(&self, image: &ImageReference, content: &[u8]) -> ImageId {
        let id = content_id(content);
        self.lock().registry.keep(image, &id);
        id
    }

    /// From now on pulls from the registry host require these credentials.
    pub fn require_credentials(&self, registry: &str, username: &str, password: &str) {
        let wanted = (username.to_owned(), SecretString::from(password));
        self.lock().registry.passwords.insert(registry.to_owned(), wanted);
    }

    /// The next `times` pulls from the registry host fail with `Throttled`.
    pub fn throttle_registry(&self, registry: &str, times: u32) {
        self.lock().registry.throttled.insert(registry.to_owned(), times);
    }

    /// Sets whether pulls of `image` send no byte, until `pull_silence` ends them with `TimedOut`.
    pub fn stall_pulls(&self, image: &ImageReference, stalls: bool) {
        let stalled = &mut self.lock().registry.stalled;
        if stalls {
            stalled.insert(image.to_pull());
        } else {
            stalled.remove(&image.to_pull());
        }
    }

    /// Ids of the images on the engine.
    pub fn local_images(&self) -> Vec<ImageId> {
        self.lock().registry.local_ids.iter().cloned().collect()
    }

    /// Removes an image; `Conflict` while a container, however it was created, uses it.
    pub(super) fn drop_image(&self, id: &ImageId) -> Result<(), RuntimeError> {
        let mut state = self.lock();
        if let Some(user) = state.containers.values().find(|entry| entry.image_id == *id) {
            let reason = format!("it is used by container {:?}", user.name);
            return Err(RuntimeError::new(ErrorKind::Conflict, "remove image", &id.0).with_source(reason));
        }
        state.registry.remove_local(id);
        Ok(())
    }
}

/// `sha256:` and the hash of `content`.
pub(super) fn content_id(content: &[u8]) -> ImageId {
    ImageId(format!("sha256:{}", hex_digest(content)))
}

/// Hash of `content` as 64 hex digits.
pub(super) fn hex_digest(content: &[u8]) -> String {
    hex::encode(Sha256::digest(content))
}
