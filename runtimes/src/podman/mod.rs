//! The Podman backend: libpod over a Unix socket, Podman 4.3 to 5.x, rootful and rootless. Does not use Docker.
//!
//! Peculiarities of Podman and their handling:
//! - **Calls that bypass the crate** podman-api, over `containers_api::conn::RequestClient` on the same socket, each
//!   because its typed form is wrong: *inspect* and *list* (the crate's types reject Podman 5's responses and any
//!   unknown shape); *create* (`log_configuration` is written with keys that libpod ignores); *stop* and *restart*
//!   (restart sends `t=`, which libpod ignores, so that the process is killed at once); *remove* (sends `v=`, which
//!   libpod ignores, so that anonymous volumes leak); *pull* (an error inside a 200 comes as an ordinary item); *logs*
//!   (panics on an unknown stream number); *events* (its types again); *info* (its types again); removal of an image
//!   with several tags (the crate forces, and force removes the containers that use it). The crate is used for the
//!   rest: ping, networks, start, unpause, rename.
//! - The crate has no timeouts: each call here has one, over headers and body.
//! - **Failures** are mostly status 500 with a text; the `error` module reads the text.
//! - **Logs**: driver `k8s-file`, one file. libpod reports the time of a line in whole seconds, on 4.3 and on 5.4, and
//!   cuts lines after 8 KiB. A followed log omits lines from the container's end on (the `logs` module handles this).
//!   There is no awslogs driver.
//! - **Events** come in batches of about 250 ms. Network events carry no labels.
//! - **Pulls** use the Docker-like endpoint of the same socket, because libpod's own is silent while a layer is
//!   fetched. TLS is always verified (unless the host's registries.conf disables it), except for a registry on a
//!   loopback address (127.0.0.0/8, ::1, localhost): it may have any certificate or be plain HTTP, images are pulled
//!   from it through libpod, and progress is zeros. Names are fully qualified, so Podman never guesses a registry.
//! - **SELinux**: if enabled, bind mounts are relabelled (`z`), because Podman denies access otherwise.
//! - **Rootless**: the engine rejects ports below 1024 at start ([`Refused`](crate::ErrorKind::Refused)).
//! - **Renames** do not reach its name server before the next start: a container that starts under a temporary name is
//!   known by its final name through its aliases. It lists no network for containers in the host's network.
//! - **Networks**: netavark and CNI. With CNI containers resolve each other by name only if its `dnsname` plugin is
//!   installed.
//! - **A Podman that crashes during a creation** leaves storage under the name, which no list shows and which blocks
//!   the name for every container. If this backend observed the aborted creation, it removes the storage before it
//!   creates again.
//! - Graces are whole seconds, rounded up.

mod containers;
mod convert;
mod error;
mod events;
mod follow;
mod images;
#[cfg(feature = "demo")]
mod load;
mod logs;
mod networks;
mod position;
mod pull;
mod socket;
mod streams;
mod wire;

#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;

use self::error::Context;
use self::socket::{Request, Socket, typed};
#[cfg(feature = "fuzzing")]
pub(crate) use self::streams::fuzz_frames;
use crate::logfile::Watches;
use crate::{
    Backend, Container, ContainerId, ContainerRuntime, ContainerSpec, EngineHost, EngineInfo, EngineInspection,
    EngineKind, ErrorKind, EventStream, ImageId, ImageReference, ImageStore, Limits, LogStream, Owner, ProgressFn,
    RegistryCredentials, Remedies, Result,
};

/// Usual endpoints of Podman, in order of preference: the user's own socket, then the system's.
///
/// `xdg_runtime_dir` is the value of `XDG_RUNTIME_DIR`, if it is set; this crate reads no environment.
pub fn default_endpoints(xdg_runtime_dir: Option<&str>) -> Vec<String> {
    let user = xdg_runtime_dir.filter(|dir| dir.starts_with('/')).map(|dir| dir.trim_end_matches('/'));
    let user = user.map(|dir| format!("unix://{dir}/podman/podman.sock"));
    user.into_iter().chain(["unix:///run/podman/podman.sock".to_owned()]).collect()
}

/// The backend.
pub const BACKEND: Backend = Backend {
    kind: EngineKind::Podman,
    endpoint_variable: "CONTAINER_HOST",
    default_endpoints,
    connect: |endpoint, limits| {
        Box::pin(async move { Ok(Arc::new(PodmanRuntime::connect(&endpoint, limits).await?) as _) })
    },
    remedies: Remedies {
        permission: "this user may not use the socket: run as root, or use the user's own Podman: \
                     systemctl --user enable --now podman.socket",
        start: |endpoint| match is_of_user(endpoint) {
            true => "systemctl --user enable --now podman.socket",
            false => "systemctl enable --now podman.socket",
        },
        restart: |endpoint| match is_of_user(endpoint) {
            true => "systemctl --user restart podman",
            false => "systemctl restart podman",
        },
    },
    is_automatic: true,
    is_shared: true,
};

/// systemd creates the sockets of a user below `/run/user/<uid>`.
fn is_of_user(endpoint: &str) -> bool {
    endpoint.starts_with("unix:///run/user/")
}

/// A Podman engine behind a Unix socket.
#[derive(Debug)]
pub struct PodmanRuntime {
    endpoint: String,
    socket: Socket,
    limits: Limits,
    /// Whether bind mounts are relabelled for SELinux.
    relabel: bool,
    /// Names whose creation was aborted: the engine may have crashed during it.
    in_doubt: Mutex<HashSet<String>>,
    log_files: Watches,
}

impl PodmanRuntime {
    /// The engine at `endpoint` (`unix:///path`), which must respond within [`Limits::call`].
    ///
    /// # Errors
    /// `Refused` for another scheme or a relative path, `Unreachable` or `TimedOut` when no engine responds, `Other`
    /// when the server is not Podman.
    pub async fn connect(endpoint: &str, limits: Limits) -> Result<Self> {
        let context = Context { operation: "connect to", subject: endpoint };
        let path = endpoint.strip_prefix("unix://").filter(|path| path.starts_with('/')).ok_or_else(|| {
            context.error(ErrorKind::Refused).with_source("an endpoint of Podman is unix:// and an absolute path")
        })?;
        let runtime = Self {
            endpoint: endpoint.to_owned(),
            socket: Socket::new(Path::new(path)),
            limits,
            relabel: containers::selinux_is_on(),
            in_doubt: Mutex::default(),
            log_files: Watches::default(),
        };
        runtime.ping(context).await?;
        Ok(runtime)
    }

    fn in_doubt(&self) -> MutexGuard<'_, HashSet<String>> {
        self.in_doubt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The version of its libpod; cheap.
    async fn ping(&self, context: Context<'_>) -> Result<String> {
        let ping = typed(context, self.limits.call, self.socket.podman.ping()).await?;
        Ok(ping.libpod_api_version)
    }
}

#[async_trait]
impl EngineInspection for PodmanRuntime {
    async fn host(&self) -> Result<EngineHost> {
        let context = Context { operation: "ask for the host of", subject: &self.endpoint };
        let request = Request::Get("/info".to_owned());
        let info: wire::Info = self.socket.json(context, self.limits.call, request).await?;
        Ok(EngineHost {
            rootless: info.host.security.rootless,
            architecture: EngineHost::architecture_of(&info.host.arch).to_owned(),
            data_root: Some(info.store.graph_root).filter(|root| !root.is_empty()).map(PathBuf::from),
        })
    }
}

#[async_trait]
impl ImageStore for PodmanRuntime {
    async fn image_architecture(&self, image: &ImageReference) -> Result<Option<String>> {
        images::architecture(&self.socket, &self.limits, image).await
    }

    async fn remove_image(&self, id: &ImageId) -> Result<()> {
        images::remove_image(&self.socket, &self.limits, id).await
    }
}

#[async_trait]
impl ContainerRuntime for PodmanRuntime {
    fn kind(&self) -> EngineKind {
        EngineKind::Podman
    }

    async fn info(&self) -> Result<EngineInfo> {
        let context = Context { operation: "ask for the version of", subject: &self.endpoint };
        let version = self.ping(context).await?;
        Ok(EngineInfo { kind: EngineKind::Podman, version, endpoint: self.endpoint.clone(), has_awslogs: false })
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Container>> {
        containers::list(&self.socket, &self.limits, owner).await
    }

    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()> {
        networks::ensure(&self.socket, &self.limits, name, Some(owner)).await
    }

    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId> {
        pull::pull(&self.socket, &self.limits, image, credentials, progress).await
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        images::image(&self.socket, &self.limits, image).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        // Separate from the creation: an aborted lookup leaves no name in doubt.
        networks::require(&self.socket, &self.limits, &spec.network, &spec.name).await?;
        let create = || containers::create(&self.socket, &self.limits, spec, self.relabel);
        let is_in_doubt = self.in_doubt().contains(&spec.name);
        let created = match create().await {
            Err(error) if error.kind() == ErrorKind::AlreadyExists && is_in_doubt => {
                if !containers::clear_leftover(&self.socket, &self.limits, &spec.name).await? {
                    return Err(error);
                }
                create().await
            }
            other => other,
        };
        match &created {
            // Not after a timeout: a running engine may still be working on it.
            Err(error) if error.kind() == ErrorKind::Unreachable => {
                self.in_doubt().insert(spec.name.clone());
            }
            Err(_) => {}
            Ok(_) => {
                self.in_doubt().remove(&spec.name);
            }
        }
        created
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        containers::start(&self.socket, &self.limits, id).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        containers::stop(&self.socket, &self.limits, id, grace).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        containers::restart(&self.socket, &self.limits, id, grace).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        containers::rename(&self.socket, &self.limits, id, name).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        containers::remove(&self.socket, &self.limits, id).await
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        logs::logs(&self.socket, &self.limits, &self.log_files, id, since).await
    }

    async fn events(&self, owner: &Owner) -> Result<EventStream> {
        events::events(&self.socket, &self.limits, owner).await
    }
}
