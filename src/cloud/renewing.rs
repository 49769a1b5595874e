//! A cached value with a limited lifetime. One caller renews it for all that wait (single-flight).

use std::future::Future;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// A value with a limited lifetime, measured on the monotonic clock.
pub(crate) trait Lease: Clone {
    /// Whether it can be used without a renewal.
    fn is_fresh(&self) -> bool;

    /// Whether it can still be used if the renewal fails.
    fn is_usable(&self) -> bool;
}

/// Caches one [`Lease`]. Concurrent callers share one renewal and its failure.
#[derive(Debug)]
pub(crate) struct Renewing<T, E> {
    slot: Mutex<Slot<T, E>>,
    /// Held during a renewal, which makes it single-flight. A dropped caller releases it.
    flight: tokio::sync::Mutex<()>,
    failure_ttl: Duration,
}

#[derive(Debug)]
struct Slot<T, E> {
    value: Option<T>,
    is_rejected: bool,
    failure: Option<(Instant, E)>,
}

impl<T: Lease, E: Clone> Renewing<T, E> {
    /// Empty. A failed renewal is the result of all calls within `failure_ttl` after it.
    pub(crate) fn new(failure_ttl: Duration) -> Self {
        let slot = Slot { value: None, is_rejected: false, failure: None };
        Self { slot: Mutex::new(slot), flight: tokio::sync::Mutex::new(()), failure_ttl }
    }

    /// The value. Calls `renew` with the old value if there is none or it is not fresh.
    ///
    /// `renew` must have a time limit; there is none here.
    pub(crate) async fn get<N, F>(&self, renew: N) -> Result<T, E>
    where
        N: FnOnce(Option<T>) -> F,
        F: Future<Output = Result<T, E>>,
    {
        let requested_at = Instant::now();
        if let Some(result) = self.cached(requested_at) {
            return result;
        }
        let _flight = self.flight.lock().await;
        if let Some(result) = self.cached(requested_at) {
            return result;
        }
        let old = self.slot().value.clone();
        let renewed = renew(old).await;
        self.store(renewed)
    }

    /// Makes the next `get` renew if `is_same` is true for the value. A value that was renewed meanwhile is kept.
    pub(crate) fn reject(&self, is_same: impl FnOnce(&T) -> bool) {
        let mut slot = self.slot();
        if slot.value.as_ref().is_some_and(is_same) {
            slot.is_rejected = true;
            // The failure is from before the rejection.
            slot.failure = None;
        }
    }

    /// Changes the cached value.
    pub(crate) fn update(&self, change: impl FnOnce(&mut T)) {
        self.slot().value.as_mut().map(change);
    }

    /// Drops the value.
    pub(crate) fn clear(&self) {
        self.slot().value = None;
    }

    /// Applies `read` to the cached value, fresh or not.
    pub(crate) fn inspect<R>(&self, read: impl FnOnce(&T) -> R) -> Option<R> {
        self.slot().value.as_ref().map(read)
    }

    fn cached(&self, requested_at: Instant) -> Option<Result<T, E>> {
        let slot = self.slot();
        if let Some(value) = slot.value.as_ref().filter(|value| !slot.is_rejected && value.is_fresh()) {
            return Some(Ok(value.clone()));
        }
        // A renewal that failed while this caller waited is also this caller's failure.
        let (failed_at, error) = slot.failure.as_ref()?;
        let applies = *failed_at > requested_at || requested_at.duration_since(*failed_at) < self.failure_ttl;
        if !applies {
            return None;
        }
        Some(slot.still_usable().map_or_else(|| Err(error.clone()), Ok))
    }

    fn store(&self, renewed: Result<T, E>) -> Result<T, E> {
        let mut slot = self.slot();
        match renewed {
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

    async fn get(
        cell: &Renewing<Ticket, &'static str>,
        renewals: &AtomicUsize,
        ok: bool,
    ) -> Result<usize, &'static str> {
        let ticket = cell
            .get(|_| async {
                tokio::time::sleep(Duration::from_secs(1)).await;
                let number = renewals.fetch_add(1, Ordering::SeqCst) + 1;
                if ok { Ok(Ticket(number, Instant::now() + Duration::from_secs(60))) } else { Err("no") }
            })
            .await;
        ticket.map(|ticket| ticket.0)
    }

    #[tokio::test(start_paused = true)]
    async fn many_callers_share_one_renewal_and_one_failure() {
        for ok in [true, false] {
            let (cell, renewals) = (Arc::new(Renewing::new(Duration::ZERO)), AtomicUsize::new(0));
            let results = futures_util::future::join_all((0..20).map(|_| get(&cell, &renewals, ok))).await;
            assert_eq!(renewals.load(Ordering::SeqCst), 1);
            let expected = if ok { Ok(1) } else { Err("no") };
            assert!(results.iter().all(|result| *result == expected), "{results:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_value_is_used_while_the_renewal_fails() {
        let (cell, renewals) = (Renewing::new(Duration::ZERO), AtomicUsize::new(0));
        assert_eq!(get(&cell, &renewals, true).await, Ok(1));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(get(&cell, &renewals, false).await, Ok(1), "usable for 10 s more");
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(get(&cell, &renewals, false).await, Err("no"));
        assert_eq!(get(&cell, &renewals, true).await, Ok(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejected_value_is_never_returned_again() {
        let (cell, renewals) = (Renewing::new(Duration::ZERO), AtomicUsize::new(0));
        assert_eq!(get(&cell, &renewals, true).await, Ok(1));
        cell.reject(|ticket| ticket.0 == 7);
        assert_eq!(get(&cell, &renewals, true).await, Ok(1), "it was another one");
        cell.reject(|ticket| ticket.0 == 1);
        assert_eq!(get(&cell, &renewals, false).await, Err("no"));
        assert_eq!(get(&cell, &renewals, true).await, Ok(3));
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_is_cached_for_its_time() {
        let (cell, renewals) = (Renewing::new(Duration::from_secs(30)), AtomicUsize::new(0));
        assert_eq!(get(&cell, &renewals, false).await, Err("no"));
        tokio::time::advance(Duration::from_secs(29)).await;
        assert_eq!(get(&cell, &renewals, true).await, Err("no"));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert_eq!(get(&cell, &renewals, true).await, Ok(2));
    }
}
