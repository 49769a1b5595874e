//! Signals that the daemon handles. Reports which one arrived; the daemon decides about the effect.

use std::io;

use tokio::signal::unix::{self, SignalKind};

/// A received signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM: systemd, or `kill`.
    Terminate,
    /// SIGINT: Ctrl-C.
    Interrupt,
    /// SIGHUP: reload and compare everything.
    Hangup,
    /// SIGUSR2: a successor is about to start; end and leave the nodes running.
    HandOver,
}

/// Receives signals; from its creation on they do not end the process by themselves.
#[derive(Debug)]
pub struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    hangup: unix::Signal,
    hand_over: unix::Signal,
    unused: unix::Signal,
}

impl Signals {
    /// Starts to receive signals; needs a running tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self {
            terminate: unix::signal(SignalKind::terminate())?,
            interrupt: unix::signal(SignalKind::interrupt())?,
            hangup: unix::signal(SignalKind::hangup())?,
            hand_over: unix::signal(SignalKind::user_defined2())?,
            unused: unix::signal(SignalKind::user_defined1())?,
        })
    }

    /// Waits for the next signal. Cancel-safe: the next call reports a signal that arrived meanwhile. Several signals
    /// of one kind may be reported as one. SIGUSR1 is logged and ignored.
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
    async fn each_signal_is_reported_as_itself() {
        let mut signals = Signals::listen().expect("signals can be had");
        // Without a handler it would end this process.
        kill("-USR1");
        let cases = [
            ("-TERM", Signal::Terminate),
            ("-INT", Signal::Interrupt),
            ("-HUP", Signal::Hangup),
            ("-USR2", Signal::HandOver),
        ];
        for (name, expected) in cases {
            kill(name);
            let received = tokio::time::timeout(Duration::from_secs(60), signals.next()).await;
            assert_eq!(received.expect("the signal arrives in time"), expected);
        }
    }
}
