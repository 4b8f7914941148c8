//! `exp` and `ln` that give the same bits on every machine.
//!
//! Those of the standard library call the C library of the system, and two of these differ in the
//! last bit now and then. A replay on another machine would then differ too, if rarely. What
//! stands here uses nothing but addition, multiplication, division and rounding, which IEEE 754
//! defines to the last bit. Both are wrong by less than 1e-15 of their value.

use std::f64::consts::{LN_2, SQRT_2};

/// ln 2 in two parts. The first ends in zeros, so that its product with an exponent is exact.
const LN_2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// 1/13!, 1/12!, … 1/1!, 1/0!: the Taylor series of `exp` as far as it matters within ln √2.
const EXP: [f64; 14] = [
    1.0 / 6_227_020_800.0,
    1.0 / 479_001_600.0,
    1.0 / 39_916_800.0,
    1.0 / 3_628_800.0,
    1.0 / 362_880.0,
    1.0 / 40_320.0,
    1.0 / 5_040.0,
    1.0 / 720.0,
    1.0 / 120.0,
    1.0 / 24.0,
    1.0 / 6.0,
    1.0 / 2.0,
    1.0,
    1.0,
];

/// 1/21, 1/19, … 1/3, 1: the series of artanh as far as it matters within ln √2.
const ARTANH: [f64; 11] = [
    1.0 / 21.0,
    1.0 / 19.0,
    1.0 / 17.0,
    1.0 / 15.0,
    1.0 / 13.0,
    1.0 / 11.0,
    1.0 / 9.0,
    1.0 / 7.0,
    1.0 / 5.0,
    1.0 / 3.0,
    1.0,
];

/// e to the power of `x`. Below -700 it is 0, and above 700 what it is at 700, about 1e304; for
/// what is not a number it is 1.
pub fn exp(x: f64) -> f64 {
    if x < -700.0 {
        return 0.0;
    }
    let x = if x.is_nan() { 0.0 } else { x.min(700.0) };
    let exponent = (x / LN_2).round();
    let rest = (x - exponent * LN_2_HIGH) - exponent * LN_2_LOW;
    polynomial(&EXP, rest) * power_of_two(exponent)
}

/// The natural logarithm of `x`, or of the smallest normal number if that is larger or `x` is not
/// a number: never below -709.
pub fn ln(x: f64) -> f64 {
    let bits = x
        .clamp(f64::MIN_POSITIVE, f64::MAX)
        .max(f64::MIN_POSITIVE)
        .to_bits();
    let mantissa = f64::from_bits((bits & MANTISSA) | ONE);
    let exponent = u16::try_from(bits >> MANTISSA_BITS).map_or(0.0, f64::from) - BIAS;
    let (mantissa, exponent) = if mantissa > SQRT_2 {
        (mantissa / 2.0, exponent + 1.0)
    } else {
        (mantissa, exponent)
    };
    let tangent = (mantissa - 1.0) / (mantissa + 1.0);
    let of_mantissa = 2.0 * tangent * polynomial(&ARTANH, tangent * tangent);
    exponent * LN_2_HIGH + (exponent * LN_2_LOW + of_mantissa)
}

const MANTISSA_BITS: u32 = f64::MANTISSA_DIGITS - 1;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
const ONE: u64 = 1.0_f64.to_bits();
const BIAS: f64 = 1023.0;

/// The polynomial with these coefficients, that of the highest power first.
fn polynomial(coefficients: &[f64], x: f64) -> f64 {
    coefficients.iter().fold(0.0, |sum, next| sum * x + next)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number between -1010 and 1010 is asked for"
)]
fn power_of_two(exponent: f64) -> f64 {
    f64::from_bits(((exponent + BIAS) as u64) << MANTISSA_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn close(found: f64, wanted: f64) -> bool {
        (found - wanted).abs() <= 1e-15 * wanted.abs()
    }

    proptest! {
        #[test]
        fn exp_is_that_of_the_standard_library(x in -700.0..700.0_f64) {
            prop_assert!(close(exp(x), x.exp()), "{} {}", exp(x), x.exp());
        }

        #[test]
        fn ln_is_that_of_the_standard_library(x in -700.0..700.0_f64) {
            let x = x.exp();
            prop_assert!(close(ln(x), x.ln()), "{} {}", ln(x), x.ln());
        }

        #[test]
        fn ln_near_one_is_exact_to_the_last_bits(x in 0.7..1.42_f64) {
            prop_assert!(close(ln(x), x.ln()), "{} {}", ln(x), x.ln());
        }

        #[test]
        fn nothing_is_not_a_number(bits in any::<u64>()) {
            let x = f64::from_bits(bits);
            prop_assert!(exp(x).is_finite() && ln(x).is_finite());
        }
    }

    #[test]
    #[expect(clippy::float_cmp, reason = "the bits are what it is about")]
    fn the_bits_are_these() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(ln(1.0), 0.0);
        assert_eq!(exp(f64::NEG_INFINITY), 0.0);
        assert_eq!(exp(f64::NAN), 1.0);
        assert_eq!(exp(1.0).to_bits(), 0x4005_bf0a_8b14_576a);
        assert_eq!(ln(10.0).to_bits(), 0x4002_6bb1_bbb5_5516);
        assert_eq!(ln(-1.0), ln(f64::MIN_POSITIVE));
        assert_eq!(ln(f64::NAN), ln(0.0));
    }
}
