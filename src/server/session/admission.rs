//! Who becomes a client of the fleet, and how fast: identities are free.
//!
//! A client that the server knows is no concern of this. One that it does not know takes a token
//! out of a bucket (the token bucket, as networks have it) that all newcomers share, and one out of
//! its address's own, which holds and gets a twentieth. An IPv6 address shares its bucket with its
//! /64. The buckets are large and fill slowly, so that a roll-out is in at once, and whoever makes
//! identities for the sake of it gets no more than a roll-out would.
//!
//! Who finds a bucket empty is told when to come again: each one later by a token than the one
//! before, so that there is a token for each when it comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::config::server::{Limits, NewClients};
use crate::event::{Timestamp, neighbourhood};
use crate::server::session::refusal::Refusal;

/// What an address has of everything is one part of so many.
const SHARE: f64 = 20.0;

/// A server that is open lets in so many times as many as one that is slow.
const OPEN: f64 = 10.0;

/// The first day of a fleet, in which a server is open unless it is told otherwise.
const FIRST_DAY: Duration = Duration::from_secs(86_400);

/// The shortest and the longest wait that a newcomer is told. Clients wait no longer than that.
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);

/// When there are more addresses, those whose bucket is full are looked for and forgotten.
const FEW: usize = 1024;

/// How fast newcomers come in, of a server that is slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Newcomers a minute, for as long as they come.
    pub per_minute: f64,
    /// Newcomers at once after a pause.
    pub burst: f64,
}

impl Pace {
    /// As the settings have it.
    pub fn of(limits: &Limits) -> Self {
        Self {
            per_minute: limits.new_clients_per_minute.into(),
            burst: limits.new_clients_burst.into(),
        }
    }

    fn times(self, factor: f64) -> Self {
        Self {
            per_minute: self.per_minute * factor,
            burst: self.burst * factor,
        }
    }

    /// Tokens that are earned in a span.
    fn earned(self, span: Duration) -> f64 {
        span.as_secs_f64() * self.per_minute / 60.0
    }

    /// How long one is to wait before whom so many others wait: all of them are told the least, and a
    /// token more than the one before, or they would come at once.
    fn turn(self, before: f64) -> Duration {
        let token = 60.0 / self.per_minute;
        let seconds = SHORTEST.as_secs_f64().max(token) + before * token;
        Duration::from_secs_f64(seconds.min(LONGEST.as_secs_f64()))
    }
}

/// Lets newcomers in.
#[derive(Debug)]
pub struct Admission(Mutex<Inner>);

#[derive(Debug)]
struct Inner {
    asked: Option<NewClients>,
    pace: Pace,
    all: Option<Bucket>,
    addresses: HashMap<IpAddr, Bucket>,
    /// With so many, it is time to look for those that need not be remembered.
    many: usize,
}

/// Tokens, and who waits for them.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    /// How many were told to come again whose time has not come.
    waiting: f64,
    at: Instant,
}

impl Bucket {
    const fn full(pace: Pace, now: Instant) -> Self {
        Self {
            tokens: pace.burst,
            waiting: 0.0,
            at: now,
        }
    }

    /// Fills it with what was earned.
    fn fill(&mut self, pace: Pace, now: Instant) {
        let earned = pace.earned(now.saturating_duration_since(self.at));
        self.tokens = (self.tokens + earned).min(pace.burst);
        self.waiting = (self.waiting - earned).max(0.0);
        self.at = now;
    }

    /// How long another one that finds it empty is to wait.
    fn wait(&mut self, pace: Pace) -> Duration {
        let turn = pace.turn(self.waiting);
        self.waiting = (self.waiting + 1.0).min(pace.earned(LONGEST).max(1.0));
        turn
    }
}

impl Admission {
    /// Full buckets. What was `asked` for holds; without it, the fleet's age decides.
    pub fn new(asked: Option<NewClients>, pace: Pace) -> Self {
        Self(Mutex::new(Inner {
            asked,
            pace,
            all: None,
            addresses: HashMap::new(),
            many: FEW,
        }))
    }

    /// Takes up other settings.
    pub fn reload(&self, asked: Option<NewClients>, pace: Pace) {
        let mut inner = self.lock();
        if inner.pace != pace {
            // Whoever raises the burst wants it now.
            inner.all = None;
            inner.addresses.clear();
        }
        (inner.asked, inner.pace) = (asked, pace);
    }

    /// Lets a newcomer at `address` in, or says why not. The fleet's first client came at `founded`,
    /// and the time of day is `wall`.
    pub fn admit(
        &self,
        address: IpAddr,
        founded: Option<Timestamp>,
        wall: Timestamp,
        now: Instant,
    ) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let first_day = founded.is_none_or(|founded| wall.since(founded) < FIRST_DAY);
        let pace = match inner.asked {
            Some(NewClients::Closed) => return Err(Refusal::NoNewClients),
            Some(NewClients::Open) => inner.pace.times(OPEN),
            None if first_day => inner.pace.times(OPEN),
            Some(NewClients::Slow) | None => inner.pace,
        };
        inner.take(neighbourhood(address), pace, now)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn take(&mut self, address: IpAddr, pace: Pace, now: Instant) -> Result<(), Refusal> {
        let theirs = pace.times(1.0 / SHARE);
        let known = self.addresses.get(&address).copied();
        let mut of_address = known.unwrap_or_else(|| Bucket::full(theirs, now));
        of_address.fill(theirs, now);
        if of_address.tokens < 1.0 {
            let wait = of_address.wait(theirs);
            // Only who has taken a token is here, so there are no more of these than tokens.
            self.addresses.insert(address, of_address);
            return Err(Refusal::NewClient(wait));
        }
        let all = self.all.get_or_insert_with(|| Bucket::full(pace, now));
        all.fill(pace, now);
        if all.tokens < 1.0 {
            return Err(Refusal::NewClient(all.wait(pace)));
        }
        all.tokens -= 1.0;
        of_address.tokens -= 1.0;
        self.addresses.insert(address, of_address);
        if self.addresses.len() > self.many {
            self.addresses.retain(|_, bucket| {
                bucket.fill(theirs, now);
                bucket.tokens < theirs.burst
            });
            self.many = FEW.max(2 * self.addresses.len());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
