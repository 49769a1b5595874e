//! The runtime trait on the in-memory engine. Each method records the call, takes its time, then changes the state at
//! once.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use managed_app_runtimes::{
    Action, Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, EngineHost, EngineInfo,
    EngineInspection, EngineKind, ErrorKind, EventStream, ImageId, ImageReference, ImageStore, LogSettings, LogStream,
    MountSource, Owner, ProgressFn, PullProgress, RegistryCredentials, Result, RuntimeError,
};
use time::OffsetDateTime;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::inspect::UsedVolume;
use super::process::{Cause, KILLED};
use super::registry::hex_digest;
use super::state::{Entry, Serial, State};
use super::{InMemoryRuntime, streams};

/// Progress reports of a slow pull.
const PULL_STEPS: u64 = 10;

#[async_trait]
impl EngineInspection for InMemoryRuntime {
    async fn host(&self) -> Result<EngineHost> {
        self.enter("host", "ask for the host of engine", "").await?;
        let architecture = EngineHost::architecture_of(std::env::consts::ARCH).to_owned();
        Ok(EngineHost { rootless: false, architecture, data_root: None })
    }
}

#[async_trait]
impl ImageStore for InMemoryRuntime {
    async fn image_architecture(&self, image: &ImageReference) -> Result<Option<String>> {
        self.enter("image_architecture", "look up image", &image.to_string()).await?;
        Ok(self.lock().registry.local(image).map(|_| EngineHost::architecture_of(std::env::consts::ARCH).to_owned()))
    }

    async fn remove_image(&self, id: &ImageId) -> Result<()> {
        self.enter("remove_image", "remove image", &id.0).await?;
        self.drop_image(id)
    }
}

#[async_trait]
impl ContainerRuntime for InMemoryRuntime {
    fn kind(&self) -> EngineKind {
        EngineKind::Memory
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.enter("info", "ask engine", "").await?;
        Ok(EngineInfo {
            kind: EngineKind::Memory,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            endpoint: "memory".to_owned(),
            has_awslogs: self.lock().has_awslogs,
        })
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Container>> {
        self.enter("list", "list containers of app", &owner.app).await?;
        Ok(self.lock().of_owner(owner))
    }

    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()> {
        self.enter("ensure_network", "create network", name).await?;
        if !is_name(name) {
            return Err(RuntimeError::new(ErrorKind::Refused, "create network", name));
        }
        self.lock().networks.entry(name.to_owned()).or_insert_with(|| owner.labels());
        Ok(())
    }

    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId> {
        const OPERATION: &str = "pull image";
        let subject = image.to_string();
        self.enter("pull", OPERATION, &subject).await?;
        let failed = |kind| RuntimeError::new(kind, OPERATION, &subject);
        let (published, is_stalled, latency) = {
            let mut state = self.lock();
            let published = state.registry.pull(image, credentials);
            (published, state.registry.is_stalled(image), state.latencies.pull)
        };
        if is_stalled {
            tokio::time::sleep(self.limits.pull_silence).await;
            return Err(failed(ErrorKind::TimedOut));
        }
        let published = published.map_err(failed)?;
        progress(PullProgress { done_bytes: 0, total_bytes: published.size_bytes });
        if !latency.is_zero() {
            for step in 1..PULL_STEPS {
                tokio::time::sleep(latency / PULL_STEPS as u32).await;
                let done_bytes = published.size_bytes * step / PULL_STEPS;
                progress(PullProgress { done_bytes, total_bytes: published.size_bytes });
            }
            tokio::time::sleep(latency / PULL_STEPS as u32).await;
        }
        progress(PullProgress { done_bytes: published.size_bytes, total_bytes: published.size_bytes });
        self.lock().registry.keep(image, &published.id);
        Ok(published.id)
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        self.enter("image", "look up image", &image.to_string()).await?;
        Ok(self.lock().registry.local(image).cloned())
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        const OPERATION: &str = "create container";
        self.enter("create", OPERATION, &spec.name).await?;
        let latency = self.lock().latencies.create;
        self.take_time(latency, OPERATION, &spec.name).await?;
        self.lock()
            .add(spec)
            .map_err(|(kind, reason)| RuntimeError::new(kind, OPERATION, &spec.name).with_source(reason))
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.enter_for("start", "start container", id).await?;
        self.start_now(id, "start container").await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.enter_for("stop", "stop container", id).await?;
        self.stop_now(id, grace, "stop container").await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.enter_for("restart", "restart container", id).await?;
        self.stop_now(id, grace, "restart container").await?;
        self.start_now(id, "restart container").await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        const OPERATION: &str = "rename container";
        self.enter_for("rename", OPERATION, id).await?;
        let mut state = self.lock();
        let serial = state.find(id, OPERATION)?;
        match state.serial_by_name(name) {
            Some(holder) if holder == serial => Ok(()),
            Some(_) => Err(RuntimeError::new(ErrorKind::AlreadyExists, OPERATION, name)),
            None if !is_name(name) => Err(RuntimeError::new(ErrorKind::Refused, OPERATION, name)),
            None => {
                state.change_name(serial, name);
                Ok(())
            }
        }
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.enter_for("remove", "remove container", id).await?;
        let mut state = self.lock();
        if let Some(serial) = state.serial_by_id(id) {
            state.end(serial, Instant::now(), KILLED, Cause::Wanted);
            state.remove_container(serial);
        }
        Ok(())
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        const OPERATION: &str = "read logs of container";
        self.enter_for("logs", OPERATION, id).await?;
        streams::logs(self.clone(), id, since).ok_or_else(|| RuntimeError::new(ErrorKind::NotFound, OPERATION, &id.0))
    }

    async fn events(&self, owner: &Owner) -> Result<EventStream> {
        self.enter("events", "subscribe to events of app", &owner.app).await?;
        Ok(streams::events(self.clone(), owner.clone()))
    }
}

impl InMemoryRuntime {
    async fn enter_for(&self, verb: &'static str, operation: &'static str, id: &ContainerId) -> Result<()> {
        let name = self.lock().name_of(id);
        self.enter(verb, operation, &name).await
    }

    async fn start_now(&self, id: &ContainerId, operation: &'static str) -> Result<()> {
        let (latency, has_process) = {
            let state = self.lock();
            let serial = state.find(id, operation)?;
            (state.latencies.start, state.containers[&serial].has_process())
        };
        if !has_process {
            self.take_time(latency, operation, &id.0).await?;
        }
        let mut state = self.lock();
        let serial = state.find(id, operation)?;
        let entry = &state.containers[&serial];
        let name = entry.name.clone();
        if entry.state == ContainerState::Paused {
            state.shift(serial, &ContainerState::Paused, ContainerState::Running, Action::Unpaused);
            return Ok(());
        }
        if entry.has_process() || entry.state == ContainerState::Restarting {
            return Ok(());
        }
        state.restore(serial).map_err(|path| {
            let reason = format!("{path:?} is missing on the engine's host: create it, or correct the node's mount");
            RuntimeError::new(ErrorKind::Refused, operation, &name).with_source(reason)
        })?;
        if let Some(entry) = state.containers.get_mut(&serial) {
            entry.restarts = 0;
        }
        state.begin(serial, Instant::now()).map_err(|port| {
            let reason = format!("port {}:{} is taken", port.host_address, port.host_port);
            RuntimeError::new(ErrorKind::Conflict, operation, name).with_source(reason)
        })
    }

    async fn stop_now(&self, id: &ContainerId, grace: Duration, operation: &'static str) -> Result<()> {
        let (serial, run, ends) = {
            let mut state = self.lock();
            let serial = state.find(id, operation)?;
            let ends = state.signal_stop(serial, Instant::now(), grace);
            (serial, state.containers[&serial].run, ends)
        };
        let Some(ends) = ends else { return Ok(()) };
        loop {
            let changed = {
                let state = self.lock();
                match state.containers.get(&serial) {
                    Some(entry) if entry.run == run && entry.has_process() => Arc::clone(&entry.changed),
                    // Removed, or started again by another user: this run has ended in both cases.
                    _ => return Ok(()),
                }
            };
            // A wake-up lost between the check and the wait has no effect: the end is due at a known time.
            tokio::select! {
                () = changed.notified() => {}
                () = tokio::time::sleep_until(ends) => {}
            }
        }
    }
}

impl State {
    fn find(&self, id: &ContainerId, operation: &'static str) -> Result<Serial> {
        self.serial_by_id(id).ok_or_else(|| RuntimeError::new(ErrorKind::NotFound, operation, &id.0))
    }

    /// Creates a container, or returns the reason for a failure.
    fn add(&mut self, spec: &ContainerSpec) -> Result<ContainerId, (ErrorKind, String)> {
        if let Some(reason) = refusal(spec, self.has_awslogs) {
            return Err((ErrorKind::Refused, reason));
        }
        let image_id = self.registry.local(&spec.image).cloned();
        let image_id = image_id.ok_or_else(|| (ErrorKind::NotFound, format!("no image {}", spec.image)))?;
        if !self.networks.contains_key(&spec.network) {
            return Err((ErrorKind::NotFound, format!("no network {:?}", spec.network)));
        }
        if self.serial_by_name(&spec.name).is_some() {
            return Err((ErrorKind::AlreadyExists, format!("another container has the name {:?}", spec.name)));
        }
        let serial = self.next_number();
        let id = ContainerId(hex_digest(&serial.to_be_bytes()));
        let volumes = self.add_volumes(spec);
        let entry = Entry {
            id: id.clone(),
            name: spec.name.clone(),
            image_id,
            labels: Arc::new(spec.labels.clone()),
            networks: vec![spec.network.clone()],
            spec: Some(spec.clone()),
            volumes,
            state: ContainerState::Created,
            started_at: None,
            started: None,
            run: 0,
            failures: 0,
            restarts: 0,
            last_exit: None,
            logs: VecDeque::new(),
            logs_first: 0,
            changed: Arc::new(Notify::new()),
        };
        self.insert(serial, entry);
        self.publish(serial, Action::Created, Instant::now());
        Ok(id)
    }

    /// Recreates references of a stopped container that others removed; a missing host path stays missing.
    fn restore(&mut self, serial: Serial) -> Result<(), String> {
        let Some(entry) = self.containers.get(&serial) else { return Ok(()) };
        let sources = entry.spec.iter().flat_map(|spec| &spec.mounts).filter_map(|mount| match &mount.source {
            MountSource::Bind(path) => Some(path),
            _ => None,
        });
        if let Some(path) = sources.into_iter().find(|path| self.missing_paths.contains(*path)) {
            return Err(path.clone());
        }
        let labels = Owner::from_labels(&entry.labels).map(|owner| owner.labels()).unwrap_or_default();
        let mut is_connected_again = false;
        for network in &entry.networks {
            if !self.networks.contains_key(network) {
                self.networks.insert(network.clone(), labels.clone());
                is_connected_again = true;
            }
        }
        self.volumes.extend(entry.volumes.iter().map(|volume| volume.name.clone()));
        if is_connected_again {
            self.publish(serial, Action::Network, Instant::now());
        }
        Ok(())
    }

    fn add_volumes(&mut self, spec: &ContainerSpec) -> Vec<UsedVolume> {
        let mut used = Vec::new();
        for mount in &spec.mounts {
            let (name, is_anonymous) = match &mount.source {
                MountSource::Anonymous => (hex_digest(format!("volume {}", self.next_number()).as_bytes()), true),
                MountSource::Volume(name) => (name.clone(), false),
                MountSource::Bind(_) => continue,
            };
            self.volumes.insert(name.clone());
            used.push(UsedVolume { name, target: mount.target.clone(), is_anonymous });
        }
        used
    }
}

/// Why an engine would reject this spec, if it would.
fn refusal(spec: &ContainerSpec, has_awslogs: bool) -> Option<String> {
    if !is_name(&spec.name) {
        return Some(format!("invalid container name {:?}", spec.name));
    }
    if spec.hostname.len() > 63 {
        return Some("the host name is longer than 63 characters".to_owned());
    }
    let mut targets = BTreeSet::new();
    if let Some(mount) = spec.mounts.iter().find(|mount| !targets.insert(&mount.target)) {
        return Some(format!("two mounts at {:?}", mount.target));
    }
    if let Some(mount) = spec.mounts.iter().find(|mount| !mount.target.starts_with('/')) {
        return Some(format!("mount target {:?} is not an absolute path", mount.target));
    }
    if matches!(spec.logs, LogSettings::Awslogs { .. }) && !has_awslogs {
        return Some("the log driver awslogs is not available".to_owned());
    }
    None
}

/// Whether engines accept this name of a container or network.
fn is_name(name: &str) -> bool {
    name.len() >= 2
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-'))
}
