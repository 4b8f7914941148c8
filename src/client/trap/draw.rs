//! Which traps the settings ask for, and when others take their place.

use std::time::Duration;

use crate::client::trap::choice;
use crate::client::trap::set::{Outcome, TrapSet};
use crate::config::client::ClientSettings;
use crate::config::ports::PortList;
use crate::config::value::Span;
use crate::event::Timestamp;

/// Binds the traps that `seed` draws for the period in which `now` lies, and closes the others.
pub fn draw(
    traps: &mut TrapSet,
    settings: &ClientSettings,
    seed: &[u8; 32],
    now: Timestamp,
) -> Outcome {
    let period = choice::period(now, settings.rotate.map(Span::get));
    let order = match &settings.ports {
        Some(ports) => ports.iter().collect(),
        None => choice::order(&settings.candidates, seed, period),
    };
    let order = order
        .into_iter()
        .filter(|port| !is_excluded(settings, *port));
    traps.bind(order, usize::from(wanted(settings)))
}

/// How many traps there should be.
pub fn wanted(settings: &ClientSettings) -> u16 {
    match &settings.ports {
        Some(_) => u16::try_from(eligible(settings).count()).unwrap_or(u16::MAX),
        None => settings.count.get(),
    }
}

/// The ports that can become traps: those that are listed, else the candidates.
pub fn eligible(settings: &ClientSettings) -> impl Iterator<Item = u16> {
    let listed = settings.ports.iter().flat_map(PortList::iter);
    let candidates = match settings.ports {
        Some(_) => &[],
        None => settings.candidates.as_slice(),
    };
    let candidates = candidates.iter().map(|candidate| candidate.port);
    listed
        .chain(candidates)
        .filter(|port| !is_excluded(settings, *port))
}

/// After how long other candidates are drawn; `None` if the ports are given.
pub fn rotation(settings: &ClientSettings) -> Option<Duration> {
    let every = settings.rotate.filter(|_| settings.ports.is_none());
    every.map(Span::get)
}

fn is_excluded(settings: &ClientSettings, port: u16) -> bool {
    settings
        .exclude_ports
        .as_ref()
        .is_some_and(|excluded| excluded.contains(port))
}
