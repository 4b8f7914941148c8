//! Hits that are expected: counted and shown, and without further consequence.

use crate::config::server::Allow;
use crate::event::Timestamp;
use crate::server::correlate::sighting::Sighting;

/// The allow-list with what each entry has hidden.
#[derive(Debug)]
pub struct AllowList(Vec<(Allow, u64)>);

impl AllowList {
    /// The entries of the settings.
    pub fn new(entries: &[Allow]) -> Self {
        Self(entries.iter().map(|entry| (entry.clone(), 0)).collect())
    }

    /// Whether an entry covers the sighting, seen by a client of this name.
    pub fn covers(&self, sighting: &Sighting, client: &str) -> bool {
        self.0
            .iter()
            .any(|(entry, _)| covers(entry, sighting, client))
    }

    /// Whether an entry covers the sighting, seen by a client of this name. The first one that
    /// does counts it.
    pub fn hides(&mut self, sighting: &Sighting, client: &str) -> bool {
        let covering = self
            .0
            .iter_mut()
            .find(|(entry, _)| covers(entry, sighting, client));
        covering.is_some_and(|(_, hidden)| {
            *hidden = hidden.saturating_add(sighting.count.into());
            true
        })
    }

    /// Each entry with the number of hits it has hidden.
    pub fn iter(&self) -> impl Iterator<Item = (&Allow, u64)> {
        self.0.iter().map(|(entry, hidden)| (entry, *hidden))
    }

    /// Whether there are no entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn covers(entry: &Allow, sighting: &Sighting, client: &str) -> bool {
    let until = entry.until.map(|until| until.0.as_microsecond());
    let valid = until.is_none_or(|until| before(sighting.at, until));
    valid
        && entry.network.0.contains(&sighting.source)
        && entry
            .ports
            .as_ref()
            .is_none_or(|ports| ports.contains(sighting.port))
        && (entry.clients.is_empty() || entry.clients.iter().any(|name| name == client))
}

fn before(at: Timestamp, micros: i64) -> bool {
    u64::try_from(micros).is_ok_and(|end| at.as_micros() < end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ClientId;
    use crate::server::correlate::clients::Handle;

    fn list(toml: &str) -> AllowList {
        let settings: crate::config::server::ServerSettings = toml::from_str(toml).unwrap();
        AllowList::new(&settings.allow)
    }

    fn sighting(source: &str, port: u16) -> Sighting {
        Sighting {
            at: Timestamp::from_micros(1_795_000_000_000_000), // 2026-11-18
            source: source.parse().unwrap(),
            client: ClientId([0; 16]),
            port,
            count: 2,
            handle: Handle(1),
        }
    }

    #[test]
    fn an_entry_covers_its_network_ports_and_clients_only() {
        let mut list = list(
            "[[allow]]\nnetwork = \"192.0.2.0/24\"\nports = \"22,80\"\nclients = [\"web-7\"]\n",
        );
        assert!(list.hides(&sighting("192.0.2.9", 22), "web-7"));
        assert!(!list.hides(&sighting("192.0.2.9", 23), "web-7"));
        assert!(!list.hides(&sighting("192.0.2.9", 22), "web-8"));
        assert!(!list.hides(&sighting("198.51.100.9", 22), "web-7"));
        assert_eq!(list.iter().map(|(_, hidden)| hidden).sum::<u64>(), 2);
    }

    #[test]
    fn an_entry_ends() {
        let entry =
            |until: &str| format!("[[allow]]\nnetwork = \"192.0.2.9\"\nuntil = \"{until}\"");
        assert!(!list(&entry("2026-11-01")).hides(&sighting("192.0.2.9", 22), ""));
        assert!(list(&entry("2026-12-01")).hides(&sighting("192.0.2.9", 22), ""));
    }
}
