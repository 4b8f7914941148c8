//! Measured values in order.

/// Values, smallest first.
pub struct Figures(Vec<f64>);

impl Figures {
    /// Of at least one value.
    pub fn new(values: impl IntoIterator<Item = f64>) -> Self {
        let mut values: Vec<_> = values.into_iter().collect();
        assert!(!values.is_empty(), "nothing was measured");
        values.sort_by(f64::total_cmp);
        Self(values)
    }

    /// The least value that so many percent of all do not exceed: 0 for the smallest, 50 for the
    /// median, 100 for the largest.
    pub fn percentile(&self, percent: usize) -> f64 {
        let position = (self.0.len() * percent).div_ceil(100);
        self.0[position.max(1) - 1]
    }
}
