//! Do these sources share the work?
//!
//! When many strangers scan for the same port, each on his own account, they now and then meet the
//! same client. Those who share out a list of targets among themselves do not: each client is met
//! once. So of a port and a window of time are counted the first contacts H, by source and client,
//! and the distinct clients C that saw them. X = H - C is how often a client was met that another
//! source had met before. Where independent sources would have had many such overlaps and there
//! are none, the sources are one scanner.
//!
//! # The statistic
//!
//! Of N clients that own the port, H contacts that hit at random leave each one out with the
//! probability (1 - 1/N)ᴴ, so that
//!
//! ```text
//! E[X] = H - N (1 - (1 - 1/N)ᴴ)
//! P    = Σ exp(-E[X]) E[X]ˣ / x!   over x = 0 … X
//! ```
//!
//! by Poisson's distribution ([`at_most`]). In a small fleet X scatters much less than that, and P
//! is too large by orders of magnitude. There [`chance`] adds up contact by contact how likely it is
//! to meet one of the clients that were met before, which is exact.
//!
//! A source meets a client but once, so its own contacts cannot overlap. If sources have several
//! each, h₁, h₂, …, clients are left out with the probability Π (1 - hᵢ/N) instead, and fewer
//! overlaps are expected, if not many fewer.
//!
//! # What is known of it
//!
//! The number of clients that nobody met is distributed like a sum of independent yes-or-no
//! variables, for sources with several contacts as well (Vatutin and Mikhailov, *Limit theorems for
//! the number of empty cells in an equiprobable scheme for group allocation of particles*, 1982),
//! and so is X up to a constant. Such a sum scatters less than Poisson's distribution of the same mean
//! (Hoeffding, *On the distribution of the number of successes in independent trials*, 1956).
//! So in the lower tail P is never too small: independent sources get P ≤ α with a probability of
//! at most α, for few clients too and for far more contacts than clients, where it has no power.
//! Clients of which some are hard to reach make overlaps more frequent, and P larger.
//!
//! It supposes that a source's targets are no neighbours. One that sweeps over adjacent clients
//! overlaps with another either much or not at all: two contacts each make ln P wrong by a
//! quarter, three by nearly a half, and more by more. So count one contact of each source, or at
//! least none of sources with more than two or three, which have alarms of their own.
//!
//! # Example
//!
//! With 10,000 clients, 522 sources that meet as many different ones have P = 1e-6: 13 overlaps
//! would have been expected. With 100 clients it takes 49 sources, and with 20 of them 19, which
//! by Poisson's distribution would be 30 and never happen.

use std::f64::consts::PI;

use crate::server::correlate::statistics::elementary::{exp, ln};
use crate::server::correlate::statistics::saturate;

/// How many overlaps are expected of so many contacts, each of another source, with so many
/// clients that own the port.
pub fn expected(contacts: f64, owners: f64) -> f64 {
    let owners = saturate(owners).max(1.0);
    let contacts = saturate(contacts);
    overlaps(contacts, owners, contacts * ln(1.0 - 1.0 / owners))
}

/// How many overlaps are expected if the sources have so many contacts each.
#[cfg(test)]
pub fn expected_of(contacts: impl IntoIterator<Item = f64>, owners: f64) -> f64 {
    let owners = saturate(owners).max(1.0);
    let (mut all, mut ln_left_out) = (0.0, 0.0);
    for contacts in contacts {
        let contacts = saturate(contacts).min(owners);
        all += contacts;
        ln_left_out += ln(1.0 - contacts / owners);
    }
    overlaps(all, owners, ln_left_out)
}

fn overlaps(contacts: f64, owners: f64, ln_left_out: f64) -> f64 {
    saturate(contacts - owners * (1.0 - exp(ln_left_out)))
}

/// How likely it is that so many contacts, each of another source, have so few overlaps, with so
/// many clients that own the port. It is exact where P may be small and that costs little, and
/// elsewhere what [`at_most`] says, which is no less.
pub fn chance(contacts: u64, overlaps: u64, owners: u64) -> f64 {
    let mean = expected(count(contacts), count(owners));
    let steps = contacts.saturating_mul(overlaps.saturating_add(1));
    if steps > MAX_STEPS || 2.0 * count(overlaps) > mean {
        return at_most(overlaps, mean);
    }
    let owners = count(owners).max(1.0);
    // How likely 0, 1, … overlaps are after the contacts so far.
    let mut chances = vec![1.0];
    chances.extend((0..overlaps).map(|_| 0.0));
    for before in 0..contacts {
        let mut one_more = 0.0;
        for (overlaps, chance) in (0..).zip(&mut chances) {
            let met = count(before.saturating_sub(overlaps)) / owners;
            let overlap = *chance * met.min(1.0);
            *chance += one_more - overlap;
            one_more = overlap;
        }
    }
    probability(chances.iter().sum())
}

/// A tenth of a millisecond or so.
const MAX_STEPS: u64 = 100_000;

/// Means up to which probabilities are computed. Above, they would take too long.
const MOST: f64 = 1e9;

/// How likely so many overlaps or fewer are, if their number is Poisson's with this mean. For a
/// mean above 1e9 it is 1, which proves nothing.
pub fn at_most(overlaps: u64, mean: f64) -> f64 {
    let mean = saturate(mean);
    let most = count(overlaps);
    if mean > MOST || most > 2.0 * MOST || mean <= 0.0 {
        1.0
    } else if most <= mean {
        // From the most likely term down, each a part of the one before.
        let (mut sum, mut term, mut at) = (1.0, 1.0, most);
        while at > 0.0 && term > sum * NEGLIGIBLE {
            term *= at / mean;
            sum += term;
            at -= 1.0;
        }
        probability(exp(ln_chance(most, mean)) * sum)
    } else {
        // What is left out, from the most likely term up.
        let (mut sum, mut term, mut at) = (1.0, 1.0, most + 1.0);
        while term > sum * NEGLIGIBLE {
            at += 1.0;
            term *= mean / at;
            sum += term;
        }
        probability(1.0 - exp(ln_chance(most + 1.0, mean)) * sum)
    }
}

const NEGLIGIBLE: f64 = 1e-17;

fn probability(figure: f64) -> f64 {
    saturate(figure).min(1.0)
}

/// The logarithm of the probability of just `n` by Poisson's distribution.
///
/// exp(-mean) · meanⁿ/n! itself is a product of numbers that are far too large and far too small.
/// With Stirling's formula for n! they cancel before they are computed (Loader, *Fast and accurate
/// computation of binomial probabilities*, 2000).
fn ln_chance(n: f64, mean: f64) -> f64 {
    if n < 1.0 {
        -mean
    } else {
        -stirling_error(n) - deviance(n, mean) - 0.5 * ln(2.0 * PI * n)
    }
}

/// ln n! - ln(√(2πn) (n/e)ⁿ)
fn stirling_error(n: f64) -> f64 {
    if n < 16.0 {
        let (mut factorial, mut factor) = (1.0, 1.0);
        while factor < n {
            factor += 1.0;
            factorial *= factor;
        }
        ln(factorial) - 0.5 * ln(2.0 * PI * n) - n * ln(n) + n
    } else {
        let square = n * n;
        let series = 1.0 / 360.0 - (1.0 / 1260.0 - 1.0 / (1680.0 * square)) / square;
        (1.0 / 12.0 - series / square) / n
    }
}

/// n ln(n/mean) + mean - n
fn deviance(n: f64, mean: f64) -> f64 {
    let part = (n - mean) / (n + mean);
    if part.abs() > 0.1 {
        return n * ln(n / mean) + mean - n;
    }
    // ln(n/mean) = 2 artanh(part), whose first term cancels with mean - n but for this.
    let mut sum = (n - mean) * part;
    let mut power = 2.0 * n * part;
    let mut odd = 1.0;
    while power.abs() > NEGLIGIBLE * sum.abs() {
        power *= part * part;
        odd += 2.0;
        sum += power / odd;
    }
    sum
}

#[expect(
    clippy::cast_precision_loss,
    reason = "whoever can count that far does not care for the last one"
)]
fn count(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::correlate::statistics::random::Random;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Poisson's distribution term by term.
    fn directly(overlaps: u64, mean: f64) -> f64 {
        let mut term = (-mean).exp();
        let mut sum = term;
        for x in 1..=overlaps {
            term *= mean / count(x);
            sum += term;
        }
        sum
    }

    proptest! {
        #[test]
        fn at_most_is_the_sum_of_its_terms(overlaps in 0..300_u64, mean in 0.001..200.0_f64) {
            let (found, wanted) = (at_most(overlaps, mean), directly(overlaps, mean));
            prop_assert!((found - wanted).abs() <= 1e-12 * wanted, "{found} {wanted}");
        }

        /// P(n) - P(n-1) is the term of n, and P falls as the mean rises.
        #[test]
        fn at_most_holds_together_for_large_means(
            mean in 1.0..1e6_f64, deviations in -6.0..6.0_f64,
        ) {
            let n = (mean + deviations * mean.sqrt()).max(1.0).round();
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "small")]
            let overlaps = n as u64;
            let (below, at) = (at_most(overlaps - 1, mean), at_most(overlaps, mean));
            let term = exp(ln_chance(n, mean));
            prop_assert!((at - below - term).abs() <= 1e-10 * at, "{below} {at} {term}");
            prop_assert!(at_most(overlaps, mean * 1.01) <= at);
            prop_assert!((0.0..=1.0).contains(&at));
        }

        #[test]
        fn sources_with_one_contact_each_are_a_special_case(
            contacts in 0..400_u32, owners in 1..500_u32,
        ) {
            let owners = f64::from(owners);
            let each = expected_of((0..contacts).map(|_| 1.0), owners);
            let together = expected(contacts.into(), owners);
            prop_assert!((each - together).abs() < 1e-9 * (1.0 + together), "{each} {together}");
        }

        #[test]
        fn no_input_makes_nonsense(bits in any::<[u64; 3]>()) {
            let [a, b, c] = bits.map(f64::from_bits);
            for mean in [expected(a, b), expected_of([a, b, c], b)] {
                prop_assert!((0.0..=1e30).contains(&mean));
            }
            prop_assert!((0.0..=1.0).contains(&chance(bits[0], bits[1], bits[2])));
            prop_assert!((0.0..=1.0).contains(&chance(bits[0] >> 48, bits[1] >> 60, bits[2])));
            for mean in [a, 2.0 * MOST, MOST] {
                prop_assert!((0.0..=1.0).contains(&at_most(bits[2], mean)));
            }
        }
    }

    #[test]
    fn known_values() {
        let close = |found: f64, wanted: f64| (found / wanted - 1.0).abs() < 1e-9;
        assert!(close(at_most(0, 20.0), (-20.0_f64).exp()));
        // Throws of a die: 6 of them leave 6 (5/6)^6 faces out.
        assert!(close(expected(6.0, 6.0), 6.0 * (5.0_f64 / 6.0).powi(6)));
        assert!(close(expected(9.0, 1.0), 8.0));
        assert!(close(expected_of([3.0, 1.0], 4.0), 0.75));
        assert!(
            expected_of([500.0], 10_000.0) < 1e-9,
            "its own never overlap"
        );
        let median = at_most(1_000_000, 1e6);
        assert!((median - 0.5).abs() < 0.001, "{median}");
    }

    #[test]
    fn the_contacts_that_are_needed_without_an_overlap() {
        let first = |p: &dyn Fn(u64) -> f64| (1..1000).find(|contacts| p(*contacts) <= 1e-6);
        for (owners, exact, approximate) in [
            (20, Some(19), Some(30)),
            (50, Some(33), Some(43)),
            (100, Some(49), Some(58)),
            (1000, Some(163), Some(172)),
            (10_000, Some(522), Some(531)),
        ] {
            let found = first(&|contacts| chance(contacts, 0, owners));
            let poisson = first(&|contacts| at_most(0, expected(count(contacts), count(owners))));
            println!("{owners} clients: {found:?} contacts, {poisson:?} by Poisson");
            assert_eq!((found, poisson), (exact, approximate));
        }
        assert!(
            chance(800, 8, 10_000) <= 1e-6,
            "a few overlaps do not hide it"
        );
        assert!(chance(9, 0, 9) > 1e-6, "a fleet may be too small");
    }

    /// All ways in which contacts can meet clients.
    fn by_enumeration(contacts: u32, overlaps: u64, owners: u64) -> f64 {
        let ways = owners.pow(contacts);
        let few = |way: &u64| {
            let clients: BTreeSet<_> = (0..contacts)
                .map(|contact| way / owners.pow(contact) % owners)
                .collect();
            u64::from(contacts) - u64::try_from(clients.len()).unwrap() <= overlaps
        };
        count((0..ways).filter(few).map(|_| 1).sum()) / count(ways)
    }

    #[test]
    fn the_chance_is_that_of_all_ways() {
        for (contacts, owners) in [(1, 1), (3, 2), (5, 3), (6, 4), (5, 6), (4, 9)] {
            let mean = expected(contacts.into(), count(owners));
            for overlaps in (0..10).filter(|overlaps| 2.0 * count(*overlaps) <= mean) {
                let found = chance(contacts.into(), overlaps, owners);
                let wanted = by_enumeration(contacts, overlaps, owners);
                assert!((found - wanted).abs() < 1e-12, "{found} {wanted}");
            }
        }
    }

    /// What so many independent sources look like, each with so many contacts at random: P by the
    /// exact chance, if it is one contact each, and by Poisson's distribution.
    fn independent(sources: u64, contacts: usize, owners: u64, random: &mut Random) -> [f64; 2] {
        let mut clients = BTreeSet::new();
        let mut all = 0;
        for _ in 0..sources {
            let mut own = BTreeSet::new();
            while own.len() < contacts {
                own.insert(random.bits() % owners);
            }
            all += contacts;
            clients.extend(own);
        }
        let overlaps = u64::try_from(all - clients.len()).unwrap();
        let each = f64::from(u32::try_from(contacts).unwrap());
        let mean = expected_of((0..sources).map(|_| each), count(owners));
        let poisson = at_most(overlaps, mean);
        let exact = if contacts == 1 {
            chance(sources, overlaps, owners)
        } else {
            poisson
        };
        [exact, poisson]
    }

    /// `VFT_WINDOWS` asks for more than the few that fit into every run.
    #[test]
    fn independent_sources_get_small_probabilities_no_more_often_than_these_say() {
        let asked = std::env::var("VFT_WINDOWS");
        let windows = asked.map_or(2000, |windows| {
            windows.parse().expect("a number of windows")
        });
        let mut random = Random(3);
        for (sources, contacts, owners) in [
            (5, 1, 9),
            (9, 1, 9),
            (9, 2, 9),
            (200, 1, 9),
            (30, 1, 100),
            (50, 3, 100),
            (400, 1, 100),
            (60, 1, 1000),
            (60, 3, 1000),
        ] {
            let found: Vec<_> = (0..windows)
                .map(|_| independent(sources, contacts, owners, &mut random))
                .collect();
            for alpha in [0.2, 0.05, 0.01, 0.001] {
                let below = |way: usize| {
                    let below = found.iter().filter(|found| found[way] <= alpha);
                    count(below.map(|_| 1).sum())
                };
                let mean = alpha * f64::from(windows);
                let [exact, poisson] = [below(0), below(1)];
                println!(
                    "{sources} sources with {contacts} of {owners}: P <= {alpha} in {} and {}",
                    exact / f64::from(windows),
                    poisson / f64::from(windows)
                );
                let allowed = mean + 4.0 * mean.sqrt();
                assert!(exact <= allowed && poisson <= allowed, "{exact} {poisson}");
            }
        }
    }
}
