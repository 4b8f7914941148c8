//! What detectors decide by: statistics of which it is known how often they are wrong.
//!
//! Pure arithmetic on numbers, without any idea of events or alerts. Each file has one question:
//!
//! | file | question | answer |
//! |---|---|---|
//! | [`bursts`] | does this source come more often than a harmless one would? | by chance once in so many days |
//! | [`surge`] | does this port, or this client, see more than it is used to? | by chance once in so many minutes |
//! | [`overlap`] | do these sources share the work? | how likely independent ones met so rarely |
//!
//! All of them take any number whatever, are finite on each, and give the same bits on every
//! machine, so that a replay decides as the live engine did.

pub mod bursts;
mod elementary;
pub mod overlap;
#[cfg(test)]
pub mod random;
pub mod surge;

/// The largest figure there is: what grows beyond it stays there.
pub const MOST: f64 = 1e30;

/// A figure between 0 and [`MOST`]; what is not a number counts as nothing.
pub fn saturate(figure: f64) -> f64 {
    if figure.is_nan() {
        0.0
    } else {
        figure.clamp(0.0, MOST)
    }
}
