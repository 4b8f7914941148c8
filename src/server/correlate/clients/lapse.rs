//! Which clients are forgotten: those that came, never reported a hit, and are gone.
//!
//! Identities are free, so whoever has the secret can make thousands that come once. They must not
//! stay. A client is remembered for as long as it was there: a day at least and 31 days at most. Of
//! those that are gone and never reported, a tenth of all places is kept, for those that came
//! first.
//!
//! A client that has reported is not forgotten, because its progress is what makes a hit count
//! once. Only when there is no room for another client, the one that was not heard from for longest
//! goes.

use std::time::Duration;

use crate::event::{ClientId, Timestamp};
use crate::server::correlate::clients::{Client, Clients, Farewell};

/// How often such clients are looked for: it is a walk over all of them.
const PAUSE: Duration = Duration::from_secs(600);

/// The least and the most that a client is remembered for.
const DAY: Duration = Duration::from_secs(86_400);
const MONTH: Duration = Duration::from_secs(31 * 86_400);

/// Of so many places one may be taken by a client that is gone and never reported.
const SHARE: usize = 10;

impl Clients {
    /// Forgets clients that are gone and never reported, if it is time to look for them. `now` is
    /// that of the steady clock.
    pub fn lapse(&mut self, now: Timestamp) {
        if now.since(self.lapsed) < PAUSE && now >= self.lapsed {
            return;
        }
        self.lapsed = now;
        let clients = self.known.iter().map(|(id, (_, client))| (*id, client));
        let gone = clients.filter(|(_, it)| self.is_gone(it, now));
        let mut gone: Vec<_> = gone
            .filter(|(_, it)| it.progress == 0)
            .map(|(id, it)| (it.since, id))
            .collect();
        gone.sort_unstable();
        let room = (self.bound / SHARE).max(1);
        let due = |(place, (_, id)): (usize, &(Timestamp, ClientId))| {
            let over = self.get(*id).is_some_and(|it| is_over(it, now));
            (over || place >= room).then_some(*id)
        };
        let due: Vec<_> = gone.iter().enumerate().filter_map(due).collect();
        for id in due {
            self.forget(id);
        }
    }

    /// The clients that were forgotten since this was last asked.
    pub fn take_forgotten(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.forgotten)
    }

    fn is_gone(&self, client: &Client, now: Timestamp) -> bool {
        client.farewell == Farewell::Said || now.since(client.heard) > self.patience
    }
}

/// Whether a client was away for longer than it is remembered for.
fn is_over(client: &Client, now: Timestamp) -> bool {
    now.since(client.seen) > client.lived().clamp(DAY, MONTH)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(90);

    fn id(number: u64) -> ClientId {
        ClientId((u128::from(number) + 1).to_be_bytes())
    }

    fn at(day: u64) -> Timestamp {
        Timestamp::from_micros((day + 1) * 86_400_000_000)
    }

    fn come(clients: &mut Clients, number: u64, now: Timestamp) {
        let _room = clients.welcome(id(number), "web", now);
    }

    #[test]
    fn who_came_once_is_forgotten_after_a_day_and_who_has_reported_never() {
        let mut clients = Clients::new(1000, PATIENCE);
        come(&mut clients, 1, at(0));
        come(&mut clients, 2, at(0));
        clients.advance(id(2), 1, 1);
        clients.lapse(at(1));
        assert_eq!(clients.take_forgotten(), []);
        clients.lapse(at(1).after(PAUSE));
        assert_eq!(clients.take_forgotten(), [id(1)]);
        clients.lapse(at(1000));
        assert!(clients.get(id(2)).is_some() && clients.len() == 1);
    }

    #[test]
    fn who_was_there_for_long_is_remembered_for_as_long_but_no_longer_than_a_month() {
        let mut clients = Clients::new(1000, PATIENCE);
        for (number, last) in [(1, 10), (2, 300)] {
            come(&mut clients, number, at(0));
            clients.heard(id(number), at(last));
        }
        clients.lapse(at(20));
        assert_eq!(clients.take_forgotten(), []);
        clients.lapse(at(21));
        assert_eq!(clients.take_forgotten(), [id(1)]);
        clients.lapse(at(331));
        assert_eq!(clients.take_forgotten(), []);
        clients.lapse(at(332));
        assert_eq!(clients.take_forgotten(), [id(2)]);
    }

    #[test]
    fn of_many_that_came_once_those_that_came_first_stay_and_who_is_there_takes_no_place() {
        let mut clients = Clients::new(1000, PATIENCE);
        for number in 0..300 {
            come(
                &mut clients,
                number,
                at(0).after(Duration::from_secs(number)),
            );
        }
        let now = at(0).after(Duration::from_secs(400));
        (200..300).for_each(|number| clients.heard(id(number), now));
        clients.lapse(now);
        let forgotten = clients.take_forgotten();
        assert_eq!(forgotten, (100..200).map(id).collect::<Vec<_>>());
        assert_eq!(clients.len(), 200);
    }
}
