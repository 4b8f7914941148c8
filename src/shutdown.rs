//! The stop token, and how blocked calls are woken.
//!
//! Whoever blocks where no deadline would end it (an `accept`, a read from an idle session)
//! leaves a waker with the token; [`Stop::request`] sets the flag first and then calls every
//! waker once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

type Waker = Box<dyn Fn() + Send>;

/// A token that everybody who works holds, and that says when to stop.
#[derive(Clone, Default)]
pub struct Stop {
    inner: Arc<Inner>,
}

#[derive(Default)]
struct Inner {
    requested: AtomicBool,
    wakers: Mutex<Wakers>,
    woken: Condvar,
}

#[derive(Default)]
struct Wakers {
    next: u64,
    left: BTreeMap<u64, Waker>,
}

impl Stop {
    /// A token that nobody has asked to stop.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks everybody to stop. Doing so again changes nothing.
    pub fn request(&self) {
        let wakers = self.inner.lock();
        if self.inner.requested.swap(true, Ordering::SeqCst) {
            return;
        }
        for wake in wakers.left.values() {
            wake();
        }
        self.inner.woken.notify_all();
    }

    /// Whether a stop was asked for.
    pub fn is_requested(&self) -> bool {
        self.inner.requested.load(Ordering::SeqCst)
    }

    /// Waits for `span`, or less if a stop is asked for; says whether one was.
    pub fn wait(&self, span: Duration) -> bool {
        let wakers = self.inner.lock();
        let waited = self
            .inner
            .woken
            .wait_timeout_while(wakers, span, |_| !self.is_requested());
        drop(waited);
        self.is_requested()
    }

    /// Has `wake` called once when a stop is asked for, at once if it was already. The waker
    /// must not block. It is forgotten when what is returned is dropped.
    pub fn on_request(&self, wake: impl Fn() + Send + 'static) -> Registration {
        let mut wakers = self.inner.lock();
        if self.is_requested() {
            wake();
        }
        let key = wakers.next;
        wakers.next += 1;
        wakers.left.insert(key, Box::new(wake));
        Registration {
            stop: self.clone(),
            key,
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Wakers> {
        self.wakers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Stop").field(&self.is_requested()).finish()
    }
}

/// A waker's place with the token; dropping it takes the waker back.
#[derive(Debug)]
pub struct Registration {
    stop: Stop,
    key: u64,
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.stop.inner.lock().left.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicU32;

    #[test]
    fn wakers_are_called_once_and_only_while_registered() {
        let stop = Stop::new();
        let calls = Arc::new(AtomicU32::new(0));
        let count = |calls: &Arc<AtomicU32>| {
            let calls = Arc::clone(calls);
            move || {
                calls.fetch_add(1, Ordering::SeqCst);
            }
        };
        let kept = stop.on_request(count(&calls));
        drop(stop.on_request(count(&calls)));
        stop.request();
        stop.request();
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        let late = stop.on_request(count(&calls));
        assert_eq!(calls.load(Ordering::SeqCst), 2);
        drop((kept, late));
    }

    #[test]
    fn waiting_ends_early_when_asked_to_stop() {
        let stop = Stop::new();
        assert!(!stop.wait(Duration::ZERO));
        stop.request();
        assert!(stop.wait(Duration::from_secs(3600)));
    }
}
