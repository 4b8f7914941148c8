//! Random numbers of the tests here: the same ones in every run.

#![expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction has 53 bits, and no test waits for longer than there are integers"
)]

use crate::server::correlate::statistics::elementary::{exp, ln};

/// `SplitMix64` of Steele, Lea and Flood, 2014.
#[derive(Clone, Debug)]
pub struct Random(pub u64);

impl Random {
    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number above 0 and at most 1.
    pub fn fraction(&mut self) -> f64 {
        ((self.bits() >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// Whether something of this probability happens.
    pub fn happens(&mut self, probability: f64) -> bool {
        self.fraction() <= probability
    }

    /// How often something of this probability does not happen before it does.
    pub fn failures(&mut self, probability: f64) -> u64 {
        let failures = ln(self.fraction()) / ln((1.0 - probability).max(f64::MIN_POSITIVE));
        failures as u64
    }

    /// A number from the negative binomial distribution with this mean and dispersion, given that
    /// it is not 0.
    pub fn count(&mut self, mean: f64, dispersion: f64) -> u32 {
        let none = chance_of_none(mean, dispersion);
        let mut left = self.fraction() * (1.0 - none);
        let (mut count, mut chance) = (0, none);
        while left > 0.0 && count < 100_000 {
            let next = (dispersion + f64::from(count)) / f64::from(count + 1);
            chance *= next * mean / (dispersion + mean);
            count += 1;
            left -= chance;
        }
        count
    }

    /// The time until something happens that does so at this rate.
    pub fn wait(&mut self, rate: f64) -> f64 {
        -ln(self.fraction()) / rate
    }
}

/// The probability of 0 in the negative binomial distribution with this mean and dispersion.
pub fn chance_of_none(mean: f64, dispersion: f64) -> f64 {
    exp(-dispersion * ln((dispersion + mean) / dispersion))
}
