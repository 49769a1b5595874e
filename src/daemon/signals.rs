//! Requests to end, reload or hand over: signals of the operator, and a successor at the lock.

use std::io;

use tokio::sync::mpsc;

use crate::host::{Ending, Signal, Signals, Successors};
use crate::tasks::spawn_detached;

/// Signals that may wait for the daemon.
const SIGNALS_MAX: usize = 8;

/// The signals of a process, and those that a successor requests.
#[derive(Debug)]
pub struct Requests {
    /// The signals, in order.
    pub signals: mpsc::Receiver<Signal>,
    sender: mpsc::Sender<Signal>,
    ending: Ending,
}

impl Requests {
    /// Receives signals from now on, in a task that lives as long as the process.
    pub fn listen() -> io::Result<Self> {
        let mut followed = Signals::listen()?;
        let (sender, signals) = mpsc::channel(SIGNALS_MAX);
        let (requests, ending) = (sender.clone(), Ending::default());
        let shared = ending.clone();
        spawn_detached("signals", async move {
            loop {
                let signal = followed.next().await;
                if signal != Signal::Hangup {
                    shared.begin();
                }
                if requests.send(signal).await.is_err() {
                    return;
                }
            }
        });
        Ok(Self { signals, sender, ending })
    }

    /// Responds to daemons that request the lock, as long as the process lives.
    pub fn answer(&self, successors: Successors) {
        spawn_detached("successors", successors.serve(self.ending.clone(), self.sender.clone()));
    }
}
