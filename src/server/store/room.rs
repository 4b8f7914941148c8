//! Room in the queue, and who takes it up: while the disk takes nothing, nobody may fill it alone.
//!
//! An address (IPv6: a /64) may have as many hits waiting as there is room left (a dynamic
//! threshold, as switches share a buffer). So one address gets half of it, two get a third each,
//! and whoever has nothing there finds room whatever the others do. Alerts have a bound of their
//! own.

use std::collections::HashMap;
use std::net::IpAddr;

use crate::event::neighbourhood;
use crate::server::store::record::Change;

/// Hits, and changes, that may wait.
pub const ROOM: usize = 262_144;

/// Alerts that may wait: some 50 MB.
const ALERTS: usize = 16_384;

/// Room that is kept for hits that come soon.
#[derive(Debug)]
#[must_use]
pub struct Reservation {
    origin: IpAddr,
    hits: usize,
}

/// What waits.
#[derive(Debug, Default)]
pub struct Room {
    hits: usize,
    of: HashMap<IpAddr, usize>,
    alerts: usize,
}

impl Room {
    /// Whether no more hits may come from this address now.
    pub fn is_full_for(&self, origin: IpAddr) -> bool {
        let theirs = self.of.get(&neighbourhood(origin)).copied().unwrap_or(0);
        theirs >= ROOM.saturating_sub(self.hits)
    }

    /// Whether nobody's may.
    pub const fn is_full(&self) -> bool {
        self.hits >= ROOM
    }

    /// Keeps room for so many hits from this address, if it may have as many.
    pub fn reserve(&mut self, origin: IpAddr, hits: usize) -> Option<Reservation> {
        if self.is_full_for(origin) {
            return None;
        }
        let reservation = Reservation {
            origin: neighbourhood(origin),
            hits,
        };
        self.hits += hits;
        *self.of.entry(reservation.origin).or_default() += hits;
        Some(reservation)
    }

    /// Gives back what was kept.
    #[expect(clippy::needless_pass_by_value, reason = "it is used up")]
    pub fn release(&mut self, reservation: Reservation) {
        let Reservation { origin, hits } = reservation;
        self.hits = self.hits.saturating_sub(hits);
        if let Some(theirs) = self.of.get_mut(&origin) {
            *theirs = theirs.saturating_sub(hits);
            if *theirs == 0 {
                self.of.remove(&origin);
            }
        }
    }

    /// Takes up room for a change. Alerts for which there is none are taken out of it, and counted.
    /// `None` if nothing is left of it.
    pub fn take(&mut self, mut change: Change, left_out: &mut u64) -> Option<Change> {
        if let Change::Events { alerts, .. } = &mut change {
            let room = ALERTS.saturating_sub(self.alerts);
            let over = alerts.len().saturating_sub(room);
            *left_out += u64::try_from(over).unwrap_or(u64::MAX);
            alerts.truncate(room);
        }
        if matches!(change, Change::Alert(_)) && self.alerts >= ALERTS {
            *left_out += 1;
            return None;
        }
        self.hits += change.weight();
        self.alerts += alerts(&change);
        if let Change::Events { origin, .. } = &change {
            *self.of.entry(neighbourhood(*origin)).or_default() += change.weight();
        }
        Some(change)
    }

    /// Gives back what a change took up.
    pub fn give(&mut self, change: &Change) {
        self.alerts = self.alerts.saturating_sub(alerts(change));
        if let Change::Events { origin, .. } = change {
            self.release(Reservation {
                origin: neighbourhood(*origin),
                hits: change.weight(),
            });
        }
    }
}

/// How many alerts a change holds.
fn alerts(change: &Change) -> usize {
    match change {
        Change::Events { alerts, .. } => alerts.len(),
        Change::Alert(_) => 1,
        Change::Welcome(_)
        | Change::Status { .. }
        | Change::Farewell(_)
        | Change::Delivered(_)
        | Change::Forget(_)
        | Change::Obeyed { .. } => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ClientId, Event, Hit, Probe, Timestamp};
    use crate::server::store::record::AlertRecord;
    use std::num::NonZeroU32;

    fn origin(number: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + number).into()
    }

    fn alert() -> AlertRecord {
        AlertRecord {
            number: 1,
            incident: String::new(),
            action: "open",
            time: Timestamp::default(),
            first_seen: Timestamp::default(),
            last_seen: Timestamp::default(),
            text: String::new(),
            line: String::new(),
        }
    }

    fn events(origin: IpAddr, hits: usize, alerts: usize) -> Change {
        let time = Timestamp::default();
        let event = Event {
            client: ClientId::default(),
            sequence: 1,
            received: time,
            at: time,
            hit: Hit {
                first: time,
                last: time,
                source: [192, 0, 2, 1].into(),
                source_port: 1,
                trap_port: 22,
                probe: Probe::Connect,
                count: NonZeroU32::MIN,
            },
        };
        Change::Events {
            client: ClientId::default(),
            origin,
            events: vec![event; hits],
            alerts: vec![alert(); alerts],
            progress: 1,
            gap: None,
            refused: 0,
            now: time,
        }
    }

    /// How many reports of 1,024 hits each of these addresses gets in, in turn, until none does.
    fn filled(room: &mut Room, addresses: u32) -> Vec<usize> {
        let mut got = vec![0; addresses as usize];
        loop {
            let before = got.clone();
            for (number, got) in (0..).zip(&mut got) {
                if !room.is_full_for(origin(number)) {
                    assert!(room.take(events(origin(number), 1024, 0), &mut 0).is_some());
                    *got += 1;
                }
            }
            if got == before {
                return got;
            }
        }
    }

    #[test]
    fn sessions_of_one_address_that_come_at_once_get_no_more_than_it_may_have() {
        let mut room = Room::default();
        let kept: Vec<_> = (0..256)
            .filter_map(|_| room.reserve(origin(1), 1024))
            .collect();
        assert_eq!(kept.len(), 128);
        assert!(room.reserve(origin(2), 1024).is_some());
        for each in kept {
            room.release(each);
        }
        assert_eq!((room.hits, room.of.len()), (1024, 1));
    }

    #[test]
    fn one_address_gets_half_of_the_room_and_three_a_quarter_each() {
        assert_eq!(filled(&mut Room::default(), 1), [128]);
        assert_eq!(filled(&mut Room::default(), 3), [64, 64, 64]);
    }

    #[test]
    fn whoever_has_nothing_there_finds_room_however_many_others_fill_it() {
        let mut room = Room::default();
        filled(&mut room, 100);
        assert!(!room.is_full() && !room.is_full_for(origin(1000)));
        let neighbours = ["2001:db8::1", "2001:db8::2"].map(|it| it.parse().unwrap());
        let mut room = Room::default();
        while !room.is_full_for(neighbours[0]) {
            room.take(events(neighbours[0], 1024, 0), &mut 0);
        }
        assert!(room.is_full_for(neighbours[1]), "they have one share");
    }

    #[test]
    fn what_was_written_gives_its_room_back() {
        let mut room = Room::default();
        let change = events(origin(1), 1024, 3);
        let taken = room.take(change, &mut 0).unwrap();
        room.give(&taken);
        assert_eq!((room.hits, room.alerts, room.of.len()), (0, 0, 0));
    }

    #[test]
    fn alerts_for_which_there_is_no_room_are_counted_and_the_hits_stay() {
        let (mut room, mut left_out) = (Room::default(), 0);
        let filling = events(origin(1), 1, ALERTS - 1);
        assert!(room.take(filling, &mut left_out).is_some());
        let over = room.take(events(origin(1), 7, 3), &mut left_out).unwrap();
        let Change::Events { events, alerts, .. } = over else {
            panic!("another change")
        };
        assert_eq!((events.len(), alerts.len(), left_out), (7, 1, 2));
        assert!(room.take(Change::Alert(alert()), &mut left_out).is_none());
        assert_eq!(left_out, 3);
    }
}
