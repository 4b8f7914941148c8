//! How many networks of sources each witness alone has reported within the hour.
//!
//! This is linear counting (Whang, Vander-Zanden and Taylor 1990) with a name in each cell instead
//! of a bit. A network, an IPv4 /24 or an IPv6 /48, falls into one of 65,536 cells by its hash. The
//! first witness that reports it has the cell; when another one reports a network that falls there,
//! nobody has it any more. A count is never too high. With `n` networks of all witnesses within the
//! hour it is too low by `n` / 65,536 of itself on average (6 % at 4,000), because two networks
//! meet in a cell by chance. The hashes depend on a secret, so nobody can choose networks that
//! meet.

use std::net::IpAddr;

use crate::server::alert::Network;
use crate::server::correlate::sources::hash::Secret;
use crate::server::correlate::sources::suspect::Key;

/// Cells, and what each witness has of them.
#[derive(Debug)]
pub struct ExclusiveNetworks {
    secret: Secret,
    cells: Vec<Cell>,
    /// By the witnesses' numbers within the hour.
    counts: Vec<u32>,
    sum: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Free,
    Of(u32),
    Shared,
}

/// How many cells there are.
pub const CELLS: usize = 1 << 16;

impl ExclusiveNetworks {
    /// Nobody has reported anything. Which cell a network has depends on the secret.
    pub const fn new(secret: Secret) -> Self {
        Self {
            secret,
            cells: Vec::new(),
            counts: Vec::new(),
            sum: 0,
        }
    }

    /// Forgets everything: another hour begins.
    pub fn clear(&mut self) {
        self.cells.clear();
        self.counts.clear();
        self.sum = 0;
    }

    /// Takes in that a witness has reported a source; says whether it has a cell more for it.
    pub fn add(&mut self, witness: u32, source: IpAddr) -> bool {
        if self.cells.is_empty() {
            self.cells.resize(CELLS, Cell::Free);
        }
        let hash = self.secret.hash(Key::network(Network::of(source)).number());
        let Some(cell) = self.cells.get_mut(hash.reduced_to(CELLS)) else {
            return false;
        };
        match *cell {
            Cell::Free => {
                *cell = Cell::Of(witness);
                self.sum += 1;
                *count(&mut self.counts, witness) += 1;
                true
            }
            Cell::Of(other) if other != witness => {
                *cell = Cell::Shared;
                self.sum -= 1;
                *count(&mut self.counts, other) -= 1;
                false
            }
            Cell::Of(_) | Cell::Shared => false,
        }
    }

    /// How many networks this witness alone has reported.
    pub fn of(&self, witness: u32) -> u32 {
        let place = usize::try_from(witness).unwrap_or(usize::MAX);
        self.counts.get(place).copied().unwrap_or(0)
    }

    /// How many networks some witness alone has reported.
    pub const fn sum(&self) -> u32 {
        self.sum
    }
}

/// A witness's count.
#[expect(
    clippy::indexing_slicing,
    reason = "the list has just been made long enough"
)]
fn count(counts: &mut Vec<u32>, witness: u32) -> &mut u32 {
    let place = usize::try_from(witness).unwrap_or(0);
    if counts.len() <= place {
        counts.resize(place + 1, 0);
    }
    &mut counts[place]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn a_count_is_never_too_high_and_hardly_too_low(
            secret: [u8; 16],
            sizes in prop::collection::vec(0..3000_u32, 1..5),
            shared in 0..500_u32,
        ) {
            let mut counter = ExclusiveNetworks::new(Secret(secret));
            let mut reported = BTreeMap::<u32, BTreeSet<u32>>::new();
            let mut first = 0;
            for (witness, size) in (0..).zip(&sizes) {
                let own = first..first + size;
                for network in own.chain(1 << 20..(1 << 20) + shared) {
                    counter.add(witness, IpAddr::from(((10 << 24) + (network << 8)).to_be_bytes()));
                    reported.entry(witness).or_default().insert(network);
                }
                first += size;
            }
            let all = reported.values().flatten().collect::<BTreeSet<_>>().len() as f64;
            for (witness, networks) in &reported {
                let others = |network: &u32| {
                    reported.iter().any(|(other, theirs)| other != witness && theirs.contains(network))
                };
                let alone = networks.iter().filter(|network| !others(network)).count();
                let counted = counter.of(*witness) as usize;
                prop_assert!(counted <= alone, "{counted} of {alone}");
                // Twice what is to be expected, and room for chance in small numbers.
                let least = alone as f64 * (1.0 - 2.0 * all / CELLS as f64) - 20.0;
                prop_assert!(counted as f64 >= least, "{counted} of {alone}");
            }
        }
    }
}
