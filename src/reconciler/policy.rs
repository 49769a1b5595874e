//! Restrictions on what the cloud may run on this host: registries of images and paths of mounts. The control plane
//! decides what runs here; the operator of the host sets these limits. Pure.

mod mounts;
mod registries;

use managed_app_runtimes::{ImageReference, Mount, MountSource};

use crate::model::RegistryHost;
pub use mounts::AllowedBindMounts;
pub use registries::AllowedRegistries;

/// The restrictions. A node that violates them does not run; its existing container stays unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// Allowed registries.
    pub registries: AllowedRegistries,
    /// Allowed host paths.
    pub bind_mounts: AllowedBindMounts,
}

impl Policy {
    /// No restrictions, for tests and for a private cloud.
    pub fn open() -> Self {
        let all = "the setting has this value";
        Self {
            registries: AllowedRegistries::parse("*").expect(all),
            bind_mounts: AllowedBindMounts::parse("/").expect(all),
        }
    }

    /// Whether a node may have this image and these mounts. The error is for people and names the setting.
    ///
    /// `registry`: the AWS registry of the image.
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
