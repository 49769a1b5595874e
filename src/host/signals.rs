//! Signals that the daemon answers. Says which one came; what follows from it is the daemon's business.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// A signal that came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: systemd, or `kill`.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGHUP: look again.
    Hangup,
    /// SIGUSR2: a successor is about to start; end and leave the nodes to it.
    HandOver,
}

/// The signals from now on; from then on they no longer end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    hand_over: unix::Signal,
    unused: unix::Signal,
}

impl Signals {
    /// Begins to listen; needs a running tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            hand_over: unix::signal(SignalKind::user_defined2())?,
            unused: unix::signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next one. Cancel-safe: a signal that came meanwhile is told by the next call. Several of one kind
    /// may be told as one. SIGUSR1 is none of them: it is logged and changes nothing.
    pub async fn next(&mut self) -> Signal {
        loop {
            tokio::select! {
                biased;
                _ = self.terminate.recv() => return Signal::Terminate,
                _ = self.interrupt.recv() => return Signal::Interrupt,
                _ = self.hangup.recv() => return Signal::Hangup,
                _ = self.hand_over.recv() => return Signal::HandOver,
                _ = self.unused.recv() => {
                    tracing::warn!("SIGUSR1 is ignored; SIGHUP reads the configuration, SIGUSR2 hands over to a successor");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;
    use std::time::Duration;

    use super::*;

    fn kill(signal: &str) {
        let done = Command::new("kill").args([signal, &std::process::id().to_string()]).status();
        assert!(done.expect("kill is installed").success());
    }

    #[tokio::test]
    async fn each_signal_is_told_as_what_it_is() {
        let mut signals = Signals::listen().expect("signals can be had");
        // It would end this process, were it not followed.
        kill("-USR1");
        let cases = [
            ("-TERM", Signal::Terminate),
            ("-INT", Signal::Interrupt),
            ("-HUP", Signal::Hangup),
            ("-USR2", Signal::HandOver),
        ];
        for (name, expected) in cases {
            kill(name);
            let told = tokio::time::timeout(Duration::from_secs(60), signals.next()).await;
            assert_eq!(told.expect("the signal arrives in time"), expected);
        }
    }
}
