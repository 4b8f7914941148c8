//! Random numbers of the tests here: the same ones in every run.

#![expect(clippy::cast_precision_loss, reason = "a fraction has 53 bits")]

use crate::server::correlate::statistics::elementary::ln;

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

    /// The time until something happens that does so at this rate.
    pub fn wait(&mut self, rate: f64) -> f64 {
        -ln(self.fraction()) / rate
    }
}
