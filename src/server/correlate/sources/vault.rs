//! The vault: exact state for as many keys as there is room for.
//!
//! Set-associative: a key can be in one bucket only, which holds eight. So finding, admitting and
//! choosing whom to give up look at eight entries at most, however large the table is, and nothing
//! ever grows or is moved about. Buckets get their memory when they are first used.
//!
//! Who may stay is a matter of strength, never of recency: whoever wants in when the bucket is
//! full must be stronger than its weakest entry on probation. A flood of sources seen once can
//! therefore drive out sources seen once, and nobody else.

use std::hint::black_box;

use crate::event::Timestamp;
use crate::server::correlate::sources::hash::Hash;

/// Entries in a bucket.
const WAYS: usize = 8;

/// What the vault keeps.
pub trait Entry {
    /// What it is found by.
    type Key: Copy + Eq;

    /// What it is found by.
    fn key(&self) -> Self::Key;

    /// How much would be lost with it; `None` if it must not be given up for another.
    fn strength(&self) -> Option<u32>;

    /// When it was last seen; that never becomes earlier.
    fn last_seen(&self) -> Timestamp;
}

type Bucket<E> = [Option<E>; WAYS];

/// A table of a fixed number of entries. What is needed to see that a key is not there lies apart
/// from the entries, close together.
#[derive(Debug)]
pub struct Vault<E> {
    /// Of each bucket, 16 bits of the hash of what is in each place, 0 if it is free; and a time
    /// before which none of its entries was last seen, in microseconds. Zeros, so that no memory
    /// is used before it is needed.
    heads: Vec<([u16; WAYS], u64)>,
    buckets: Vec<Option<Box<Bucket<E>>>>,
    len: usize,
}

/// Where an entry is; holds until the vault is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    bucket: usize,
    way: usize,
}

/// Whether there is room for a key.
#[derive(Debug)]
pub enum Room<E> {
    /// There was.
    Free(Place),
    /// Now there is: this one had to go.
    Made(Place, E),
    /// There is none; the entry comes back.
    None(E),
}

impl<E: Entry + Clone> Vault<E> {
    /// Room for `capacity` entries, or a few more.
    pub fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(WAYS).max(1);
        Self {
            heads: vec![([0; WAYS], 0); buckets],
            buckets: vec![None; buckets],
            len: 0,
        }
    }

    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.len
    }

    /// How many entries there can be.
    pub fn capacity(&self) -> usize {
        self.buckets.len().saturating_mul(WAYS)
    }

    /// Where the entry of `key` is.
    pub fn find(&self, hash: Hash, key: E::Key) -> Option<Place> {
        let bucket = self.bucket_of(hash);
        let tag = tag(hash);
        let (tags, _) = self.heads.get(bucket)?;
        // All are compared before any is looked at, which processors do in one go.
        let same = tags.map(|known| known == tag);
        if same == [false; WAYS] {
            return None;
        }
        let tagged = (0..WAYS).zip(same).filter(|(_, same)| *same);
        let mut places = tagged.map(|(way, _)| Place { bucket, way });
        places.find(|place| self.get(*place).is_some_and(|it| it.key() == key))
    }

    /// Reads what is needed to find a key.
    pub fn foresee(&self, hash: Hash) {
        let bucket = self.bucket_of(hash);
        black_box(
            self.heads
                .get(bucket)
                .map(|(tags, oldest)| (tags[0], *oldest)),
        );
        black_box(self.buckets.get(bucket).map(Option::is_some));
    }

    /// The entry at a place.
    pub fn get(&self, place: Place) -> Option<&E> {
        let bucket = self.buckets.get(place.bucket)?.as_deref()?;
        bucket.get(place.way)?.as_ref()
    }

    /// The entry at a place.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut E> {
        let bucket = self.buckets.get_mut(place.bucket)?.as_deref_mut()?;
        bucket.get_mut(place.way)?.as_mut()
    }

    /// Whether the bucket of `hash` has a free place, or one whose entry was last seen before
    /// `expired`.
    pub fn has_room(&mut self, hash: Hash, expired: Timestamp) -> bool {
        let bucket = self.bucket_of(hash);
        let Some((tags, oldest)) = self.heads.get_mut(bucket) else {
            return false;
        };
        if tags.contains(&0) {
            return true;
        }
        // What cannot have expired is not looked at: this is asked for every newcomer.
        if *oldest >= expired.as_micros() {
            return false;
        }
        let entries = self.buckets.get(bucket).into_iter().flatten();
        let entries = entries.flat_map(|bucket| bucket.iter().flatten());
        let seen = entries.map(Entry::last_seen).min();
        *oldest = seen.unwrap_or_default().as_micros();
        *oldest < expired.as_micros()
    }

    /// Takes an entry in, in a free place, or in the place of one last seen before `expired`, or
    /// in that of the weakest one if that is weaker than `strength`.
    pub fn admit(&mut self, hash: Hash, entry: E, strength: u32, expired: Timestamp) -> Room<E> {
        let bucket = self.bucket_of(hash);
        let (Some((tags, oldest)), Some(entries)) =
            (self.heads.get_mut(bucket), self.buckets.get_mut(bucket))
        else {
            return Room::None(entry);
        };
        let entries = entries.get_or_insert_with(|| Box::new([const { None }; WAYS]));
        let free = tags.iter().position(|tag| *tag == 0);
        let Some(way) = free.or_else(|| replaceable(entries, strength, expired)) else {
            return Room::None(entry);
        };
        let (Some(slot), Some(known)) = (entries.get_mut(way), tags.get_mut(way)) else {
            return Room::None(entry);
        };
        *known = tag(hash);
        *oldest = entry.last_seen().as_micros().min(*oldest);
        let place = Place { bucket, way };
        if let Some(gone) = slot.replace(entry) {
            Room::Made(place, gone)
        } else {
            self.len += 1;
            Room::Free(place)
        }
    }

    /// All entries, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        let buckets = self.buckets.iter().flatten();
        buckets.flat_map(|bucket| bucket.iter().flatten())
    }

    fn bucket_of(&self, hash: Hash) -> usize {
        hash.reduced_to(self.buckets.len())
    }
}

fn tag(hash: Hash) -> u16 {
    hash.tag().max(1)
}

/// Which entry of a full bucket gives way: one last seen before `expired`, or the weakest one.
fn replaceable<E: Entry>(bucket: &Bucket<E>, strength: u32, expired: Timestamp) -> Option<usize> {
    let entries = || (0..WAYS).zip(bucket.iter().flatten());
    let old = entries().find(|(_, it)| it.last_seen() < expired);
    old.map(|(way, _)| way).or_else(|| {
        let weak = entries().filter_map(|(way, it)| Some((it.strength()?, it.last_seen(), way)));
        let (weakest, _, way) = weak.min()?;
        (weakest < strength).then_some(way)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::correlate::sources::hash::Secret;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[derive(Clone, Debug, PartialEq)]
    struct Seen(u128, u32, u64);

    impl Entry for Seen {
        type Key = u128;
        fn key(&self) -> u128 {
            self.0
        }
        fn strength(&self) -> Option<u32> {
            (self.1 < 3).then_some(self.1)
        }
        fn last_seen(&self) -> Timestamp {
            Timestamp::from_micros(self.2)
        }
    }

    fn admit(vault: &mut Vault<Seen>, seen: Seen, expired: u64) -> Room<Seen> {
        let hash = Secret::default().hash(seen.0);
        let strength = seen.1;
        vault.admit(hash, seen, strength, Timestamp::from_micros(expired))
    }

    fn find(vault: &Vault<Seen>, key: u128) -> Option<&Seen> {
        vault.get(vault.find(Secret::default().hash(key), key)?)
    }

    #[test]
    fn a_flood_of_the_weak_drives_out_nobody_stronger() {
        let mut vault = Vault::new(64);
        for key in 0..20 {
            let _room = admit(&mut vault, Seen(key, 2, 5), 0);
        }
        let kept: Vec<_> = (0..20).filter(|key| find(&vault, *key).is_some()).collect();
        for key in 100..10_000 {
            let _room = admit(&mut vault, Seen(key, 1, 9), 0);
        }
        assert!(kept.iter().all(|key| find(&vault, *key).is_some()));
        assert!(kept.len() >= 18, "{kept:?}");
        assert_eq!(vault.len(), 64);
    }

    #[test]
    fn keys_with_the_same_tag_are_told_apart() {
        let hash = |key| Secret::default().hash(key);
        let same = |key: &u128| tag(hash(*key)) == tag(hash(0));
        let other = (1..1_000_000).find(same).unwrap();
        let mut vault = Vault::new(8);
        let _room = admit(&mut vault, Seen(0, 1, 5), 0);
        assert_eq!(find(&vault, other), None);
        let _room = admit(&mut vault, Seen(other, 1, 5), 0);
        assert_eq!(find(&vault, 0), Some(&Seen(0, 1, 5)));
        assert_eq!(find(&vault, other), Some(&Seen(other, 1, 5)));
    }

    #[test]
    fn the_old_give_way_however_strong() {
        let mut vault = Vault::new(8);
        for key in 0..8 {
            let _room = admit(&mut vault, Seen(key, 9, 5), 0);
        }
        assert!(matches!(
            admit(&mut vault, Seen(8, 9, 50), 5),
            Room::None(_)
        ));
        assert!(matches!(
            admit(&mut vault, Seen(8, 1, 50), 6),
            Room::Made(..)
        ));
    }

    proptest! {
        /// Whatever is found is what was last put there, and nothing goes without a word.
        #[test]
        fn it_is_a_map_that_says_whom_it_gives_up(
            entries in prop::collection::vec((0..60_u128, 1..5_u32, 0..100_u64), 1..300),
        ) {
            let mut vault = Vault::new(24);
            let mut model = BTreeMap::new();
            for (key, strength, at) in entries {
                let hash = Secret::default().hash(key);
                let seen = Seen(key, strength, at);
                if let Some(place) = vault.find(hash, key) {
                    *vault.get_mut(place).unwrap() = seen.clone();
                    model.insert(key, seen);
                    continue;
                }
                match admit(&mut vault, seen.clone(), 20) {
                    Room::Free(_) => drop(model.insert(key, seen)),
                    Room::Made(_, gone) => {
                        prop_assert_eq!(model.remove(&gone.0), Some(gone));
                        model.insert(key, seen);
                    }
                    Room::None(back) => prop_assert_eq!(back, seen),
                }
            }
            prop_assert_eq!(vault.len(), model.len());
            prop_assert_eq!(vault.iter().count(), model.len());
            for (key, seen) in model {
                prop_assert_eq!(find(&vault, key), Some(&seen));
            }
        }
    }
}
