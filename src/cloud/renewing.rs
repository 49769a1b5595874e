//! A value that grows old and is then made anew by one caller for all who wait. Knows nothing of what it holds.

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Something that is good for a while. Ages are measured on the monotonic clock, which does not jump.
pub(crate) trait Lease: Clone {
    /// Whether it can be used without thinking of the next one.
    fn is_fresh(&self) -> bool;

    /// Whether it can still be used while a new one cannot be had.
    fn is_usable(&self) -> bool;
}

/// Holds one [`Lease`]. Callers that ask at the same time share one renewal, its failure too.
#[derive(Debug)]
pub(crate) struct Renewing<T, E> {
    slot: Mutex<Slot<T, E>>,
    /// Held across a renewal on purpose: it is what makes it single-flight, and a caller that is dropped frees it.
    flight: tokio::sync::Mutex<()>,
    failure_kept: Duration,
}

#[derive(Debug)]
struct Slot<T, E> {
    value: Option<T>,
    is_rejected: bool,
    failure: Option<(Instant, E)>,
}

impl<T: Lease, E: Clone> Renewing<T, E> {
    /// Holds nothing yet. A failed renewal is the answer to everybody who asks within `failure_kept` after it.
    pub(crate) fn new(failure_kept: Duration) -> Self {
        let slot = Slot { value: None, is_rejected: false, failure: None };
        Self { slot: Mutex::new(slot), flight: tokio::sync::Mutex::new(()), failure_kept }
    }

    /// The value, made by `make` when there is none or it has grown old. `make` is given the old one.
    ///
    /// Bounded only by `make`: it must have a limit of its own.
    pub(crate) async fn get<M, F>(&self, make: M) -> Result<T, E>
    where
        M: FnOnce(Option<T>) -> F,
        F: Future<Output = Result<T, E>>,
    {
        let asked_at = Instant::now();
        if let Some(answer) = self.present(asked_at) {
            return answer;
        }
        let _flight = self.flight.lock().await;
        if let Some(answer) = self.present(asked_at) {
            return answer;
        }
        let old = self.slot().value.clone();
        let made = make(old).await;
        self.keep(made)
    }

    /// Makes the next `get` renew if the value is the one that `is_same` recognizes; whoever was faster is not undone.
    pub(crate) fn reject(&self, is_same: impl FnOnce(&T) -> bool) {
        let mut slot = self.slot();
        if slot.value.as_ref().is_some_and(is_same) {
            slot.is_rejected = true;
            // It was about another moment.
            slot.failure = None;
        }
    }

    /// Changes the value that is held.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        self.slot().value.as_mut().map(change);
    }

    /// Drops the value.
    pub(crate) fn forget(&self) {
        self.slot().value = None;
    }

    /// What `look` finds in the value that is held, whatever its age.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.slot().value.as_ref().map(look)
    }

    fn present(&self, asked_at: Instant) -> Option<Result<T, E>> {
        let slot = self.slot();
        if let Some(value) = slot.value.as_ref().filter(|value| !slot.is_rejected && value.is_fresh()) {
            return Some(Ok(value.clone()));
        }
        // A renewal that failed while we waited for it has failed for us too.
        let (failed_at, error) = slot.failure.as_ref()?;
        let answers_us = *failed_at > asked_at || asked_at.duration_since(*failed_at) < self.failure_kept;
        if !answers_us {
            return None;
        }
        Some(slot.still_usable().map_or_else(|| Err(error.clone()), Ok))
    }

    fn keep(&self, made: Result<T, E>) -> Result<T, E> {
        let mut slot = self.slot();
        match made {
            Ok(value) => {
                *slot = Slot { value: Some(value.clone()), is_rejected: false, failure: None };
                Ok(value)
            }
            Err(error) => {
                slot.failure = Some((Instant::now(), error.clone()));
                slot.still_usable().ok_or(error)
            }
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot<T, E>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Lease, E> Slot<T, E> {
    fn still_usable(&self) -> Option<T> {
        self.value.clone().filter(|value| !self.is_rejected && value.is_usable())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[derive(Debug, Clone, PartialEq)]
    struct Ticket(usize, Instant);

    impl Lease for Ticket {
        fn is_fresh(&self) -> bool {
            Instant::now() < self.1
        }
        fn is_usable(&self) -> bool {
            Instant::now() < self.1 + Duration::from_secs(10)
        }
    }

    async fn ask(cell: &Renewing<Ticket, &'static str>, made: &AtomicUsize, ok: bool) -> Result<usize, &'static str> {
        let ticket = cell
            .get(|_| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let number = made.fetch_add(1, Ordering::SeqCst) + 1;
                if ok { Ok(Ticket(number, Instant::now() + Duration::from_secs(60))) } else { Err("no") }
            })
            .await;
        ticket.map(|ticket| ticket.0)
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_renewal_and_one_failure() {
        for ok in [true, false] {
            let (cell, made) = (Arc::new(Renewing::new(Duration::ZERO)), AtomicUsize::new(0));
            let answers = futures_util::future::join_all((0..20).map(|_| ask(&cell, &made, ok))).await;
            assert_eq!(made.load(Ordering::SeqCst), 1);
            let expected = if ok { Ok(1) } else { Err("no") };
            assert!(answers.iter().all(|answer| *answer == expected), "{answers:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_value_serves_while_a_new_one_cannot_be_had() {
        let (cell, made) = (Renewing::new(Duration::ZERO), AtomicUsize::new(0));
        assert_eq!(ask(&cell, &made, true).await, Ok(1));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(ask(&cell, &made, false).await, Ok(1), "usable for 10 s more");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(ask(&cell, &made, false).await, Err("no"));
        assert_eq!(ask(&cell, &made, true).await, Ok(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_value_is_never_handed_out_again() {
        let (cell, made) = (Renewing::new(Duration::ZERO), AtomicUsize::new(0));
        assert_eq!(ask(&cell, &made, true).await, Ok(1));
        cell.reject(|ticket| ticket.0 == 7);
        assert_eq!(ask(&cell, &made, true).await, Ok(1), "it was another one");
        cell.reject(|ticket| ticket.0 == 1);
        assert_eq!(ask(&cell, &made, false).await, Err("no"));
        assert_eq!(ask(&cell, &made, true).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_kept_failure_answers_for_its_time() {
        let (cell, made) = (Renewing::new(Duration::from_secs(30)), AtomicUsize::new(0));
        assert_eq!(ask(&cell, &made, false).await, Err("no"));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(ask(&cell, &made, true).await, Err("no"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(ask(&cell, &made, true).await, Ok(2));
    }
}
