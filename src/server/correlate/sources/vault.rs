//! The vault: exact state for as many keys as there is room for.
//!
//! Set-associative: a key can be in one bucket only, which holds eight. So finding, admitting and
//! choosing whom to give up look at eight entries at most, however large the table is, and nothing
//! ever grows or is moved about. Buckets get their memory when they are first used.
//!
//! Who may stay is a matter of strength, never of recency: whoever wants in when the bucket is
//! full must be stronger than its weakest entry on probation. A flood of sources seen once can
//! therefore drive out sources seen once, and nobody else.

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

    /// When it was last seen.
    fn last_seen(&self) -> Timestamp;
}

/// A table of a fixed number of entries.
#[derive(Debug)]
pub struct Vault<E> {
    buckets: Vec<Option<Box<Bucket<E>>>>,
    len: usize,
}

#[derive(Clone, Debug)]
struct Bucket<E> {
    tags: [u32; WAYS],
    entries: Vec<E>,
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
        Self {
            buckets: vec![None; capacity.div_ceil(WAYS).max(1)],
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
        let entries = self.buckets.get(bucket)?.as_ref()?;
        let tag = hash.tag();
        let mut tagged = entries.tags.iter().zip(&entries.entries).enumerate();
        let found = tagged.find(|(_, (known, entry))| **known == tag && entry.key() == key);
        found.map(|(way, _)| Place { bucket, way })
    }

    /// The entry at a place.
    pub fn get(&self, place: Place) -> Option<&E> {
        self.buckets
            .get(place.bucket)?
            .as_ref()?
            .entries
            .get(place.way)
    }

    /// The entry at a place.
    pub fn get_mut(&mut self, place: Place) -> Option<&mut E> {
        let bucket = self.buckets.get_mut(place.bucket)?.as_mut()?;
        bucket.entries.get_mut(place.way)
    }

    /// Whether the bucket of `hash` has a free place, or one whose entry was last seen before
    /// `expired`.
    pub fn has_room(&self, hash: Hash, expired: Timestamp) -> bool {
        let bucket = self
            .buckets
            .get(self.bucket_of(hash))
            .and_then(Option::as_ref);
        bucket.is_none_or(|bucket| {
            bucket.entries.len() < WAYS || bucket.entries.iter().any(|it| it.last_seen() < expired)
        })
    }

    /// Takes an entry in, in a free place, or in the place of one last seen before `expired`, or
    /// in that of the weakest one if that is weaker than `strength`.
    pub fn admit(&mut self, hash: Hash, entry: E, strength: u32, expired: Timestamp) -> Room<E> {
        let index = self.bucket_of(hash);
        let Some(slot) = self.buckets.get_mut(index) else {
            return Room::None(entry);
        };
        let bucket = slot.get_or_insert_with(|| {
            let (tags, entries) = ([0; WAYS], Vec::new());
            Box::new(Bucket { tags, entries })
        });
        if bucket.entries.len() < WAYS {
            self.len += 1;
            let way = bucket.push(hash.tag(), entry);
            return Room::Free(Place { bucket: index, way });
        }
        match bucket.replaceable(strength, expired) {
            Some(way) => match bucket.replace(way, hash.tag(), entry) {
                Ok(gone) => Room::Made(Place { bucket: index, way }, gone),
                Err(entry) => Room::None(entry),
            },
            None => Room::None(entry),
        }
    }

    /// All entries, in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = &E> {
        self.buckets.iter().flatten().flat_map(|it| &it.entries)
    }

    fn bucket_of(&self, hash: Hash) -> usize {
        hash.reduced_to(self.buckets.len())
    }
}

impl<E: Entry> Bucket<E> {
    fn push(&mut self, tag: u32, entry: E) -> usize {
        let way = self.entries.len();
        // Doubling by hand: a bucket must not reserve more than it can hold.
        if way == self.entries.capacity() {
            self.entries.reserve_exact(way.max(1).min(WAYS - way));
        }
        self.entries.push(entry);
        self.set_tag(way, tag);
        way
    }

    fn replaceable(&self, strength: u32, expired: Timestamp) -> Option<usize> {
        let old = self.entries.iter().position(|it| it.last_seen() < expired);
        old.or_else(|| {
            let weak = self
                .entries
                .iter()
                .enumerate()
                .filter_map(|(way, it)| Some((it.strength()?, it.last_seen(), way)));
            let (weakest, _, way) = weak.min()?;
            (weakest < strength).then_some(way)
        })
    }

    fn replace(&mut self, way: usize, tag: u32, entry: E) -> Result<E, E> {
        self.set_tag(way, tag);
        match self.entries.get_mut(way) {
            Some(known) => Ok(std::mem::replace(known, entry)),
            None => Err(entry),
        }
    }

    fn set_tag(&mut self, way: usize, tag: u32) {
        if let Some(known) = self.tags.get_mut(way) {
            *known = tag;
        }
    }
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
