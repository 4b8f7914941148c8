//! On whose word what a client reports rests, without asking anew for each event.

use crate::event::ClientId;
use crate::event::Timestamp;
use crate::server::correlate::clients::{Clients, Handle, Witness};

/// The witness behind each client, as it was within the last minute.
#[derive(Debug, Default)]
pub struct WitnessCache(Vec<(Minute, Witness)>);

/// Minutes since the Unix epoch.
type Minute = u64;

impl WitnessCache {
    /// The witness behind a client. All clients for which there was no room are one.
    pub fn of(&mut self, client: Handle, now: Timestamp, clients: &Clients) -> Witness {
        let (index, minute) = (client.index(), now.as_micros() / 60_000_000);
        if let Some((asked, witness)) = self.0.get(index) {
            if *asked == minute {
                return *witness;
            }
        }
        let witness = clients
            .bearer(client)
            .map_or(NOBODY, |id| clients.witness(id));
        if index >= self.0.len() {
            self.0.resize(index.saturating_add(1), (0, NOBODY));
        }
        if let Some(known) = self.0.get_mut(index) {
            *known = (minute, witness);
        }
        witness
    }
}

/// Whoever nobody knows.
const NOBODY: Witness = Witness::Client(ClientId([0; 16]));
