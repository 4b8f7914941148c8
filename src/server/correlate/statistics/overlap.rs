//! stub
/// e
pub fn expected(contacts: f64, owners: f64) -> f64 {
    contacts - owners * (1.0 - (contacts * (1.0 - 1.0 / owners).ln()).exp())
}
/// a
pub fn at_most(overlaps: u64, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = term;
    for n in 1..=overlaps {
        term *= mean / n as f64;
        sum += term;
    }
    sum
}
