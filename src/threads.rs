//! Named threads whose end is noticed.
//!
//! A thread that must live as long as the process reports its end, however it came about, to
//! whoever watches; what the watcher makes of it is the watcher's business.

use std::io;
use std::thread::{Builder, JoinHandle};

use crossbeam_channel::{Receiver, Sender, bounded};

/// The watcher's side: learns which threads have ended, and how.
#[derive(Debug)]
pub struct Watch {
    ended: Sender<End>,
    reports: Receiver<End>,
}

/// The end of a thread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It had nothing more to do.
    Returned(String),
    /// It panicked.
    Panicked(String),
}

impl Watch {
    /// Room for the ends of so many threads as can be running at once.
    pub fn new(threads: usize) -> Self {
        let (ended, reports) = bounded(threads.max(1));
        Self { ended, reports }
    }

    /// Starts a thread called `name` whose end will be reported.
    ///
    /// Errors are the system's: no more threads, or no memory for the stack.
    pub fn spawn(
        &self,
        name: &str,
        work: impl FnOnce() + Send + 'static,
    ) -> io::Result<JoinHandle<()>> {
        let report = Report {
            name: name.to_owned(),
            ended: self.ended.clone(),
        };
        Builder::new().name(name.to_owned()).spawn(move || {
            let report = report;
            work();
            drop(report);
        })
    }

    /// Where the ends of threads arrive.
    pub const fn reports(&self) -> &Receiver<End> {
        &self.reports
    }
}

/// Tells the watcher when dropped, be it by return or by panic.
struct Report {
    name: String,
    ended: Sender<End>,
}

impl Drop for Report {
    fn drop(&mut self) {
        let name = std::mem::take(&mut self.name);
        let end = if std::thread::panicking() {
            End::Panicked(name)
        } else {
            End::Returned(name)
        };
        // A full channel means the watcher has more than enough news already.
        drop(self.ended.try_send(end));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_a_return_and_a_panic_are_reported() {
        let watch = Watch::new(2);
        let calm = watch.spawn("calm", || {}).unwrap();
        let wild = watch.spawn("wild", || panic!("on purpose")).unwrap();
        assert!(calm.join().is_ok());
        assert!(wild.join().is_err());
        let ends: Vec<_> = watch.reports().try_iter().collect();
        assert_eq!(ends.len(), 2);
        assert!(ends.contains(&End::Returned("calm".into())));
        assert!(ends.contains(&End::Panicked("wild".into())));
    }
}
