//! External actions on the in-memory engine: its containers' processes, people with a shell, other programs.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use managed_app_runtimes::{
    Action, ContainerId, ContainerState, ErrorKind, ImageReference, LogSource, Protocol, Result, RuntimeError,
};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::process::{Cause, KILLED};
use super::registry::{content_id, hex_digest};
use super::state::{Entry, Serial, State};
use super::{Behaviour, InMemoryRuntime};

/// All actions on a container that does not exist fail with `NotFound`. They are not recorded in the journal.
impl InMemoryRuntime {
    /// Behaviour of containers of `image` at their next start.
    pub fn set_behaviour_of_image(&self, image: &ImageReference, behaviour: Behaviour) {
        self.lock().behaviours_by_image.insert(image.to_pull(), behaviour);
    }

    /// Behaviour of a container named `name`, present or future; overrides that of its image.
    pub fn set_behaviour(&self, name: &str, behaviour: Behaviour) {
        self.lock().behaviours_by_name.insert(name.to_owned(), behaviour);
    }

    /// Output of a container named `name`, present or future, at each start.
    pub fn set_output(&self, name: &str, output: Vec<(LogSource, Bytes)>) {
        self.lock().outputs_by_name.insert(name.to_owned(), output);
    }

    /// The container prints a line on standard output.
    pub fn print(&self, name: &str, line: &str) -> Result<()> {
        self.write(name, LogSource::Stdout, format!("{line}\n").into_bytes())
    }

    /// The container writes bytes unchanged; a chunk without a newline at its end is a separate line.
    pub fn write(&self, name: &str, source: LogSource, bytes: impl Into<Bytes>) -> Result<()> {
        let bytes = bytes.into();
        self.act("write to", name, |state, serial| state.write(serial, source, &bytes))
    }

    /// The process ends by itself with `code`; the engine restarts it after a delay.
    pub fn crash(&self, name: &str, code: i64) -> Result<()> {
        self.act("crash", name, |state, serial| state.end(serial, Instant::now(), code, Cause::Itself))
    }

    /// The kernel kills the process because the memory limit was reached; the engine restarts it after a delay.
    pub fn run_out_of_memory(&self, name: &str) -> Result<()> {
        self.act("exhaust", name, |state, serial| {
            let now = Instant::now();
            state.publish(serial, Action::OutOfMemory, now);
            state.end(serial, now, KILLED, Cause::Itself);
            if let Some(exit) = state.containers.get_mut(&serial).and_then(|entry| entry.last_exit.as_mut()) {
                exit.is_oom = true;
            }
        })
    }

    /// An external kill, as with `docker kill`; it stays stopped.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.act("kill", name, |state, serial| state.end(serial, Instant::now(), KILLED, Cause::Wanted))
    }

    /// An external start; it stays stopped if a port is taken.
    pub fn start_externally(&self, name: &str) -> Result<()> {
        self.act("start", name, |state, serial| {
            let is_down = state.containers.get(&serial).is_some_and(|entry| !entry.has_process());
            if is_down {
                let _ = state.begin(serial, Instant::now());
            }
        })
    }

    /// An external forced removal, with the anonymous volumes.
    pub fn remove_externally(&self, name: &str) -> Result<()> {
        self.act("remove", name, |state, serial| {
            state.end(serial, Instant::now(), KILLED, Cause::Wanted);
            state.remove_container(serial);
        })
    }

    /// An external pause; no effect when it is not running.
    pub fn pause(&self, name: &str) -> Result<()> {
        self.act("pause", name, |state, serial| {
            state.shift(serial, &ContainerState::Running, ContainerState::Paused, Action::Paused);
        })
    }

    /// An external unpause; no effect when it is not paused.
    pub fn unpause(&self, name: &str) -> Result<()> {
        self.act("unpause", name, |state, serial| {
            state.shift(serial, &ContainerState::Paused, ContainerState::Running, Action::Unpaused);
        })
    }

    /// An external rename; `AlreadyExists` when the new name is taken.
    pub fn rename_externally(&self, name: &str, new_name: &str) -> Result<()> {
        if self.container(new_name).is_some() {
            return Err(RuntimeError::new(ErrorKind::AlreadyExists, "rename container", new_name));
        }
        self.act("rename", name, |state, serial| state.change_name(serial, new_name))
    }

    /// An external disconnect from a network.
    pub fn disconnect(&self, name: &str, network: &str) -> Result<()> {
        self.act("disconnect", name, |state, serial| {
            if let Some(entry) = state.containers.get_mut(&serial) {
                entry.networks.retain(|joined| joined != network);
            }
            state.publish(serial, Action::Network, Instant::now());
        })
    }

    /// The engine reports a state that this program does not know.
    pub fn set_odd_state(&self, name: &str, word: &str) -> Result<()> {
        self.act("bend", name, |state, serial| {
            state.end(serial, Instant::now(), 0, Cause::Wanted);
            if let Some(entry) = state.containers.get_mut(&serial) {
                entry.state = ContainerState::Unknown(word.to_owned());
            }
        })
    }

    /// Creates a network without labels, if no network has that name.
    pub fn add_network(&self, name: &str) {
        self.lock().networks.entry(name.to_owned()).or_default();
    }

    /// An external removal of a network, connected or not.
    pub fn remove_network(&self, name: &str) {
        self.lock().networks.remove(name);
    }

    /// An external removal of a volume, used or not. A container that used it gets a new one of that name at its start.
    pub fn remove_volume(&self, name: &str) {
        self.lock().volumes.remove(name);
    }

    /// Removes a host directory that containers mount, or creates it again. At first every path exists.
    pub fn set_bind_source(&self, path: &str, is_there: bool) {
        let missing = &mut self.lock().missing_paths;
        if is_there {
            missing.remove(path)
        } else {
            missing.insert(path.to_owned())
        };
    }

    /// An external removal of a local image with all its tags; its containers keep running.
    pub fn remove_image_externally(&self, image: &ImageReference) {
        let registry = &mut self.lock().registry;
        if let Some(id) = registry.local(image).cloned() {
            registry.remove_local(&id);
        }
    }

    /// A process of the host listens on a port.
    pub fn occupy_port(&self, address: IpAddr, protocol: Protocol, port: u16) {
        self.lock().ports.entry((protocol, port)).or_default().push((address, None));
    }

    /// The processes of the host release a port.
    pub fn free_port(&self, protocol: Protocol, port: u16) {
        if let Some(users) = self.lock().ports.get_mut(&(protocol, port)) {
            users.retain(|(_, user)| user.is_some());
        }
    }

    /// Another user runs a container. With the right labels and network it looks like one of the Python program or of
    /// another daemon. `AlreadyExists` when the name is taken.
    pub fn add_stranger(&self, name: &str, labels: BTreeMap<String, String>, networks: &[&str]) -> Result<ContainerId> {
        let mut state = self.lock();
        if state.serial_by_name(name).is_some() {
            return Err(RuntimeError::new(ErrorKind::AlreadyExists, "add container", name));
        }
        let serial = state.next_number();
        let id = ContainerId(hex_digest(&serial.to_be_bytes()));
        let entry = Entry {
            id: id.clone(),
            name: name.to_owned(),
            image_id: content_id(b"an image of somebody else"),
            labels: Arc::new(labels),
            networks: networks.iter().map(|&network| network.to_owned()).collect(),
            spec: None,
            volumes: Vec::new(),
            state: ContainerState::Created,
            started_at: None,
            started: None,
            run: 0,
            failures: 0,
            restarts: 0,
            last_exit: None,
            logs: std::collections::VecDeque::new(),
            logs_first: 0,
            changed: Arc::new(Notify::new()),
        };
        for network in networks {
            state.networks.entry((*network).to_owned()).or_default();
        }
        state.insert(serial, entry);
        let now = Instant::now();
        state.publish(serial, Action::Created, now);
        // A stranger has no ports, so the start cannot fail.
        let _ = state.begin(serial, now);
        Ok(id)
    }

    fn act(&self, what: &'static str, name: &str, act: impl FnOnce(&mut State, Serial)) -> Result<()> {
        let mut state = self.lock();
        let serial = state.serial_by_name(name).ok_or_else(|| RuntimeError::new(ErrorKind::NotFound, what, name))?;
        act(&mut state, serial);
        Ok(())
    }
}

impl State {
    pub(super) fn shift(&mut self, serial: Serial, from: &ContainerState, to: ContainerState, action: Action) {
        if let Some(entry) = self.containers.get_mut(&serial).filter(|entry| entry.state == *from) {
            entry.state = to;
            self.publish(serial, action, Instant::now());
        }
    }
}
