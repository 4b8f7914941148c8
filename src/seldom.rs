//! Log lines that somebody else can cause: few, with how many were left out.
//!
//! What strangers can cause is [`Seldom`]: a line a minute of each kind. What clients can cause is
//! [`SharedSeldom`]: more, because there are many clients, but bounded in all, because one can have
//! many identities; and shared among addresses, so that one does not silence the others.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How far apart lines are at least.
const PAUSE: Duration = Duration::from_secs(60);

/// Lines about clients that may be written at once.
const BURST: u32 = 60;

/// How long it takes to earn another one.
const EARN: Duration = Duration::from_secs(1);

/// Keeps one kind of line seldom.
#[derive(Debug, Default)]
pub struct Seldom(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    last: Option<Instant>,
    left_out: u64,
}

/// Keeps one kind of line about clients within bounds: 60 at once, and one a second.
///
/// That is a token bucket. An address that had a line within the last minute gets another only
/// while the bucket is more than half full; the other half is for those who have not.
#[derive(Debug, Default)]
pub struct SharedSeldom(Mutex<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// When the bucket is full again; it is if that was never said.
    full: Option<Instant>,
    /// When each address last had a line, for a minute. The bucket bounds how many there are.
    recent: HashMap<IpAddr, Instant>,
    left_out: u64,
}

/// What to put behind a line: nothing, or how many like it were left out before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeftOut(u64);

impl Seldom {
    /// Whether a line may be written at `now`.
    pub fn line(&self, now: Instant) -> Option<LeftOut> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept
            .last
            .is_some_and(|last| now.saturating_duration_since(last) < PAUSE)
        {
            kept.left_out = kept.left_out.saturating_add(1);
            return None;
        }
        kept.last = Some(now);
        Some(LeftOut(std::mem::take(&mut kept.left_out)))
    }
}

impl SharedSeldom {
    /// Whether a line about a client at this address may be written at `now`.
    pub fn line(&self, address: IpAddr, now: Instant) -> Option<LeftOut> {
        let mut shared = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let had_one = shared.recent.get(&address);
        let had_one = had_one.is_some_and(|last| now.saturating_duration_since(*last) < PAUSE);
        let most = if had_one { BURST / 2 } else { BURST };
        let full = shared.full.map_or(now, |full| full.max(now)) + EARN;
        if full.saturating_duration_since(now) > EARN * most {
            shared.left_out = shared.left_out.saturating_add(1);
            return None;
        }
        shared.full = Some(full);
        let recent = &mut shared.recent;
        recent.retain(|_, last| now.saturating_duration_since(*last) < PAUSE);
        recent.insert(address, now);
        Some(LeftOut(std::mem::take(&mut shared.left_out)))
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            count => write!(f, " ({count} lines like this were left out before)"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use proptest::prelude::*;

    fn host(number: u16) -> IpAddr {
        let [high, low] = number.to_be_bytes();
        [10, 0, high, low].into()
    }

    #[test]
    fn a_flood_is_one_line_a_minute_that_says_how_many() {
        let seldom = Seldom::default();
        let now = clock::monotonic();
        assert_eq!(seldom.line(now), Some(LeftOut(0)));
        for _ in 0..1000 {
            assert_eq!(seldom.line(now + PAUSE / 2), None);
        }
        let later = seldom.line(now + PAUSE).unwrap();
        assert_eq!(
            later.to_string(),
            " (1000 lines like this were left out before)"
        );
    }

    #[test]
    fn an_address_that_causes_lines_all_the_time_does_not_silence_others() {
        let seldom = SharedSeldom::default();
        let now = clock::monotonic();
        let written = (0..1000).filter(|_| seldom.line(host(0), now).is_some());
        assert_eq!(written.count(), 30);
        assert_eq!(seldom.line(host(1), now), Some(LeftOut(970)));
        assert_eq!(seldom.line(host(1), now), None, "it had one just now");
        let others = (2..1000).filter(|number| seldom.line(host(*number), now).is_some());
        assert_eq!(others.count(), 29);
        assert!(seldom.line(host(0), now + EARN).is_none());
        assert!(seldom.line(host(2000), now + EARN).is_some());
        assert!(seldom.line(host(0), now + PAUSE).is_some());
    }

    proptest! {
        #[test]
        fn whoever_causes_them_there_are_sixty_lines_and_one_a_second(
            steps in prop::collection::vec((0..200_u16, 0..2000_u64), 1..500)
        ) {
            let seldom = SharedSeldom::default();
            let start = clock::monotonic();
            let (mut now, mut written) = (start, 0);
            for (number, millis) in steps {
                now += Duration::from_millis(millis / 10);
                written += u64::from(seldom.line(host(number), now).is_some());
                prop_assert!(written <= 60 + (now - start).as_secs());
                prop_assert!(seldom.0.lock().unwrap().recent.len() <= 120);
            }
        }
    }
}
