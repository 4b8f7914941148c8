//! A buffer that puts in order what comes nearly in order.
//!
//! Most of what comes is no earlier than all before it. That makes up a queue, and costs next to
//! nothing; the strays among it wait in a tree. What comes out next is the earlier of both fronts.

use std::collections::{BTreeMap, VecDeque};

use crate::event::Timestamp;

/// Items with the times by which they are ordered. Those of the same time keep their order.
#[derive(Debug)]
pub struct Order<T> {
    bound: usize,
    /// How many items have come.
    came: u64,
    queue: VecDeque<(Place, T)>,
    strays: BTreeMap<Place, T>,
    /// The time of the last item that went.
    last: Timestamp,
    late: u64,
}

/// The time of an item, and how many came before it.
type Place = (Timestamp, u64);

impl<T> Order<T> {
    /// Room for `bound` items; of more the earliest goes, although an earlier one may come.
    pub fn new(bound: usize) -> Self {
        Self {
            bound,
            came: 0,
            queue: VecDeque::new(),
            strays: BTreeMap::new(),
            last: Timestamp::default(),
            late: 0,
        }
    }

    /// Puts an item in.
    pub fn push(&mut self, time: Timestamp, item: T) {
        let place = (time, self.came);
        self.came += 1;
        if time < self.last {
            self.late += 1;
        }
        if self.queue.back().is_none_or(|(last, _)| *last < place) {
            self.queue.push_back((place, item));
        } else {
            self.strays.insert(place, item);
        }
    }

    /// Takes out the earliest item, if its time is not after `horizon` or there is no room.
    pub fn pop(&mut self, horizon: Timestamp) -> Option<T> {
        let is_full = self.queue.len() + self.strays.len() > self.bound;
        let due = |place: Place| is_full || place.0 <= horizon;
        let queued = self.queue.front().map(|(place, _)| *place);
        let stray = self.strays.first_key_value().map(|(place, _)| *place);
        let (place, item) = match (queued, stray) {
            (Some(queued), stray) if stray.is_none_or(|stray| queued < stray) => {
                if !due(queued) {
                    return None;
                }
                self.queue.pop_front()?
            }
            (_, Some(stray)) if due(stray) => self.strays.pop_first()?,
            _ => return None,
        };
        self.last = self.last.max(place.0);
        Some(item)
    }

    /// How many items came when a later one had gone already.
    pub const fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    /// What comes out if the items go in one by one, each with its time as well.
    fn put_in_order(items: &[(u64, u32)], buffer: u64, bound: usize) -> (Vec<(u64, u32)>, u64) {
        let mut order = Order::new(bound);
        let (mut out, mut frontier) = (Vec::new(), Timestamp::default());
        for item in items {
            order.push(at(item.0), *item);
            frontier = frontier.max(at(item.0));
            let horizon = frontier.before(Duration::from_secs(buffer));
            while let Some(item) = order.pop(horizon) {
                out.push(item);
            }
        }
        while let Some(item) = order.pop(Timestamp::from_micros(u64::MAX)) {
            out.push(item);
        }
        (out, order.late())
    }

    #[test]
    fn what_comes_later_than_the_buffer_goes_at_once_and_is_counted() {
        let items = [(100, 0), (111, 1), (99, 2), (112, 3)];
        let (out, late) = put_in_order(&items, 10, 100);
        assert_eq!(
            out.iter().map(|item| item.1).collect::<Vec<_>>(),
            [0, 2, 1, 3]
        );
        assert_eq!(late, 1);
    }

    #[test]
    fn a_full_buffer_gives_way() {
        let items = [(5, 0), (4, 1), (3, 2), (2, 3), (1, 4)];
        let (out, late) = put_in_order(&items, 1000, 2);
        assert_eq!(
            out.iter().map(|item| item.1).collect::<Vec<_>>(),
            [2, 3, 4, 1, 0]
        );
        assert_eq!(late, 2);
    }

    proptest! {
        #[test]
        fn a_shuffle_within_the_buffer_is_undone(
            items in prop::collection::vec((0..1000_u64, 0..30_u64), 0..200)
        ) {
            // Each item is delayed by less than the buffer, and they come in the order of that.
            let mut delayed: Vec<_> = items.iter().map(|(time, delay)| (time + delay, *time)).collect();
            delayed.sort_unstable();
            let numbered: Vec<_> = delayed.iter().map(|(_, time)| *time).zip(0..).collect();
            let (out, late) = put_in_order(&numbered, 30, usize::MAX);
            let mut expected = numbered;
            expected.sort_unstable(); // by time, then by the order in which they came
            prop_assert_eq!(out, expected);
            prop_assert_eq!(late, 0);
        }

        #[test]
        fn everything_comes_out_once_whatever_the_bound(
            items in prop::collection::vec(0..50_u64, 0..100), bound in 0..10_usize, buffer in 0..60_u64
        ) {
            let numbered: Vec<_> = items.into_iter().zip(0..).collect();
            let (mut out, late) = put_in_order(&numbered, buffer, bound);
            let sorted = out.is_sorted_by_key(|item| item.0);
            prop_assert!(late > 0 || sorted, "{:?}", out);
            out.sort_by_key(|item| item.1);
            prop_assert_eq!(out, numbered);
        }
    }
}
