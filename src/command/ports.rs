//! `vft ports`: what traps are drawn from, and what they catch.

use crate::cli::PortsArgs;
use crate::client::trap::open::{Unfit, open};
use crate::command::print;
use crate::config::candidates;
use crate::exit::Failure;

/// Prints the list.
pub fn run(args: &PortsArgs) -> Result<(), Failure> {
    let total: u32 = candidates::DEFAULT
        .iter()
        .map(|(_, weight, _)| u32::from(*weight))
        .sum();
    let mut text = String::from("PORT   SERVICE        WEIGHT  DRAWN FIRST  HERE\n");
    for (port, weight, service) in candidates::DEFAULT {
        let share = 100.0 * f64::from(weight) / f64::from(total);
        let here = match open(port, &[]) {
            Ok(_) => "free".to_owned(),
            Err(Unfit::Taken) => "taken".to_owned(),
            Err(Unfit::Forbidden) => "needs CAP_NET_BIND_SERVICE".to_owned(),
            Err(other) => other.to_string(),
        };
        text += &format!("{port:<6} {service:<14} {weight:>6}  {share:>9.1} %  {here}\n");
    }
    let candidates = u32::try_from(candidates::DEFAULT.len()).unwrap_or(u32::MAX);
    text += &format!(
        "\n{candidates} candidates, {} traps on each of {} clients. A scan that tries n of these \
         ports on every\nclient, each as likely as the other, touches at least one trap with a \
         chance of:\n",
        args.count, args.clients
    );
    for probes in [1, 2, 3, 5, 10, 20, candidates] {
        let chance = 100.0 * caught(candidates, args.count.into(), probes, args.clients);
        text += &format!("  n = {probes:<3} {chance:>7.3} %\n");
    }
    print(&text)
}

/// The chance that a scan of `probes` distinct candidates on each of `clients` clients touches a
/// trap, if each holds `traps` of them: 1 − (C(U−k, n)/C(U, n))^clients, the hypergeometric chance
/// that one client is missed, to the power of the clients.
fn caught(candidates: u32, traps: u32, probes: u32, clients: u32) -> f64 {
    let missed: f64 = (0..probes.min(candidates))
        .map(|n| f64::from(candidates.saturating_sub(traps + n)) / f64::from(candidates - n))
        .product();
    1.0 - missed.powf(f64::from(clients))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_probe_meets_one_client_with_k_of_u() {
        assert!((caught(48, 5, 1, 1) - 5.0 / 48.0).abs() < 1e-12);
        assert!((caught(48, 5, 48, 1) - 1.0).abs() < 1e-12);
        assert!((caught(48, 48, 1, 1) - 1.0).abs() < 1e-12);
        let one = caught(50, 5, 3, 1);
        assert!((caught(50, 5, 3, 4) - (1.0 - (1.0 - one).powi(4))).abs() < 1e-12);
    }
}
