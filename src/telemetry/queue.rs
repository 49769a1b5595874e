//! The queue of lines to the outputs. A separate thread writes them, because a write can block: a hung file system, a
//! stopped terminal, a journal that does not read. Logging never waits; when the queue is full, lines are dropped and
//! counted.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Lines that may wait: at most about 64 MB with the longest lines, commonly under 1 MB.
const LINES_MAX: usize = 4096;

/// A bounded queue with one reader. Its lock is never held during a write.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<String>,
    dropped: u64,
    writing: bool,
}

impl Queue {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), changed: Condvar::new() })
    }

    pub(super) fn push(&self, line: String) {
        let mut state = self.lock();
        if state.lines.len() < LINES_MAX {
            state.lines.push_back(line);
        } else {
            state.dropped += 1;
        }
        drop(state);
        self.changed.notify_all();
    }

    /// Passes each line to `write`, with the number of lines dropped before it. Never returns.
    pub(super) fn drain(&self, mut write: impl FnMut(&str, u64)) {
        loop {
            let waiting = |state: &mut State| state.lines.is_empty();
            let mut state = self.changed.wait_while(self.lock(), waiting).unwrap_or_else(PoisonError::into_inner);
            let line = state.lines.pop_front().unwrap_or_default();
            let dropped = std::mem::take(&mut state.dropped);
            state.writing = true;
            drop(state);
            write(&line, dropped);
            self.lock().writing = false;
            self.changed.notify_all();
        }
    }

    /// Waits until all lines are written, at most `time_max`. Returns whether they are.
    pub(super) fn flush(&self, time_max: Duration) -> bool {
        let unwritten = |state: &mut State| state.writing || !state.lines.is_empty();
        let waited = self.changed.wait_timeout_while(self.lock(), time_max, unwritten);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const WAIT_MAX: Duration = Duration::from_secs(60);

    #[test]
    fn lines_arrive_in_order_and_flush_waits_for_them() {
        let queue = Queue::new();
        let (sender, receiver) = mpsc::channel();
        let reader = Arc::clone(&queue);
        std::thread::spawn(move || reader.drain(|line, _| sender.send(line.to_owned()).unwrap_or(())));
        for number in 0..100 {
            queue.push(number.to_string());
        }
        assert!(queue.flush(WAIT_MAX));
        let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(receiver.try_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_hanging_write_blocks_no_caller_and_drops_are_counted() {
        let queue = Queue::new();
        let (go, hang) = mpsc::channel::<()>();
        let (sender, receiver) = mpsc::channel();
        let reader = Arc::clone(&queue);
        std::thread::spawn(move || {
            reader.drain(|_, dropped| {
                let _ = sender.send(dropped);
                let _ = hang.recv();
            })
        });
        queue.push("hangs".into());
        assert_eq!(receiver.recv_timeout(WAIT_MAX), Ok(0));
        for _ in 0..LINES_MAX + 7 {
            queue.push(String::new());
        }
        assert!(!queue.flush(Duration::from_millis(10)));
        drop(go);
        assert!(queue.flush(WAIT_MAX));
        assert_eq!(receiver.recv_timeout(WAIT_MAX), Ok(7));
        assert_eq!(receiver.try_iter().sum::<u64>(), 0);
    }
}
