//! Notifies systemd (`sd_notify(3)`). Reads no environment: the configuration has the socket's name, so crates that
//! read the environment do not fit.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use crate::config::SystemdEnvironment;
use crate::text::sanitize;

/// The connection to systemd; does nothing without one. Sends never wait and never fail the caller, because a service
/// must also work under a manager that does not listen.
#[derive(Debug)]
pub struct Notifier {
    socket: Option<UnixDatagram>,
}

impl Notifier {
    /// Connects to the socket of `NOTIFY_SOCKET`: an absolute path, or `@` and an abstract name. `None`: no systemd.
    pub fn connect(name: Option<&str>) -> io::Result<Self> {
        let Some(name) = name else { return Ok(Self { socket: None }) };
        let address = match name.strip_prefix('@') {
            Some(abstract_name) => SocketAddr::from_abstract_name(abstract_name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        let socket = UnixDatagram::unbound()?;
        socket.set_nonblocking(true)?;
        socket.connect_addr(&address)?;
        Ok(Self { socket: Some(socket) })
    }

    /// The start or a reload is complete.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// A reload begins; [`Notifier::ready`] ends it.
    pub fn reloading(&self) {
        self.send("RELOADING=1");
    }

    /// The daemon is ending.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// The daemon is alive; due within every [`watchdog_interval`].
    pub fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// One line for `systemctl status`. Control characters become spaces: a line break would begin another message.
    pub fn status(&self, text: &str) {
        self.send(&format!("STATUS={}", sanitize(text)));
    }

    fn send(&self, message: &str) {
        let Some(socket) = &self.socket else { return };
        if let Err(error) = socket.send(message.as_bytes()) {
            tracing::debug!(%error, "systemd cannot be notified");
        }
    }
}

/// Interval of [`Notifier::alive`]: half of systemd's limit, as `sd_watchdog_enabled(3)` recommends. `None` without a
/// watchdog, or if it watches another process.
pub fn watchdog_interval(systemd: &SystemdEnvironment, process_id: u32) -> Option<Duration> {
    let ours = systemd.watchdog_pid.is_none_or(|watched| watched == process_id);
    systemd.watchdog.filter(|_| ours).map(|limit| limit / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(60);

    fn receive(socket: &UnixDatagram) -> String {
        socket.set_read_timeout(Some(WAIT_MAX)).expect("the timeout is not zero");
        let mut buffer = [0; 1024];
        let length = socket.recv(&mut buffer).expect("a message arrives in time");
        String::from_utf8(buffer[..length].to_vec()).expect("messages are text")
    }

    #[test]
    fn messages_reach_a_socket_in_the_file_system() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let systemd = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier::connect(path.to_str()).expect("the socket is there");
        notifier.status("pulling 2 images\nREADY=1");
        notifier.ready();
        notifier.alive();
        notifier.reloading();
        notifier.stopping();
        let expected = ["STATUS=pulling 2 images READY=1", "READY=1", "WATCHDOG=1", "RELOADING=1", "STOPPING=1"];
        assert_eq!(expected.map(|_| receive(&systemd)), expected);
    }

    #[test]
    fn messages_reach_an_abstract_socket() {
        let name = format!("managed-app-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        let systemd = UnixDatagram::bind_addr(&address).expect("a socket");
        Notifier::connect(Some(&format!("@{name}"))).expect("the socket is there").ready();
        assert_eq!(receive(&systemd), "READY=1");
    }

    #[test]
    fn a_manager_that_is_absent_or_does_not_listen_changes_nothing() {
        Notifier::connect(None).expect("nothing to connect to").ready();
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        assert!(Notifier::connect(path.to_str()).is_err());
        let systemd = UnixDatagram::bind(&path).expect("a socket");
        let notifier = Notifier::connect(path.to_str()).expect("the socket is there");
        for _ in 0..5000 {
            notifier.alive();
        }
        drop(systemd);
        notifier.alive();
    }

    #[test]
    fn watchdog_is_notified_twice_per_interval() {
        let watched = |watchdog, watchdog_pid| SystemdEnvironment { watchdog, watchdog_pid, ..Default::default() };
        let limit = Some(Duration::from_secs(30));
        let half = Some(Duration::from_secs(15));
        assert_eq!(watchdog_interval(&watched(limit, None), 7), half);
        assert_eq!(watchdog_interval(&watched(limit, Some(7)), 7), half);
        assert_eq!(watchdog_interval(&watched(limit, Some(8)), 7), None);
        assert_eq!(watchdog_interval(&watched(None, Some(7)), 7), None);
    }
}
