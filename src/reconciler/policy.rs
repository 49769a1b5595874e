//! What the cloud may have a node be made of: images of which registries, and which paths of the host. The control plane
//! decides what runs here; these are the bounds that the host's operator sets to that. Pure.

mod mounts;
mod registries;

use managed_app_runtimes::{ImageReference, Mount, MountSource};

use crate::model::RegistryHost;
pub use mounts::AllowedBindMounts;
pub use registries::AllowedRegistries;

/// The bounds. A node beyond them is not run; a container that it has already stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Where images may come from.
    pub registries: AllowedRegistries,
    /// What of the host may be mounted.
    pub bind_mounts: AllowedBindMounts,
}

impl Policy {
    /// No bounds at all, for tests and for a cloud of one's own.
    pub fn open() -> Self {
        let all = "every word of it is one of the setting's";
        Self {
            registries: AllowedRegistries::parse("*").expect(all),
            bind_mounts: AllowedBindMounts::parse("/").expect(all),
        }
    }

    /// Whether a node may have this image and these mounts. The error is for people; it names the setting.
    ///
    /// `registry`: the registry of AWS that the image is in.
    pub fn check(
        &self,
        image: &ImageReference,
        registry: Option<&RegistryHost>,
        mounts: &[Mount],
    ) -> Result<(), String> {
        self.registries.check(image, registry)?;
        mounts.iter().try_for_each(|mount| match &mount.source {
            MountSource::Bind(path) => self.bind_mounts.check(path),
            MountSource::Anonymous | MountSource::Volume(_) => Ok(()),
        })
    }
}
