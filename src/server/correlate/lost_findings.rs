//! Findings that opened no incident, because there was no place: how many, and who holds the
//! places.

use crate::event::Timestamp;
use crate::server::alert::{Detector, Measure, Severity, Statistic, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::clients::Witness;
use crate::server::correlate::incident::Incident;
use crate::server::correlate::incidents::Key;

/// What has been said of findings that were lost.
#[derive(Debug, Default)]
pub struct LostFindings {
    /// How many there were when this was last looked at.
    counted: u64,
    /// How many of them alerts have spoken of.
    told: u64,
    /// How many alerts that were, of the incident that is open.
    alerts: u32,
    /// Who held most places when the last of them had been told.
    holders: String,
}

/// It is the fleet that is not looked after while findings are lost.
const KEY: Key = Key::Health(Detector::Degraded, Subject::Fleet);

impl Correlator {
    /// Complains at once if findings were lost since this was last looked at.
    pub fn look_for_lost_findings(&mut self, now: Timestamp) {
        let lost = self.incidents.turnover().unopened;
        if lost == self.health.lost.counted {
            return;
        }
        if !self.detectors.degraded.enabled {
            self.health.lost.counted = lost;
            return;
        }
        let alerts = self.incidents.get(KEY).map(Incident::alerts);
        if alerts != Some(self.health.lost.alerts) {
            self.health.lost.told = self.health.lost.counted;
            self.health.lost.alerts = alerts.unwrap_or(0);
            self.health.lost.holders = self.holders();
        }
        self.health.lost.counted = lost;
        let statistic = Statistic {
            detector: Detector::Degraded,
            measure: Measure::Share {
                value: (lost - self.health.lost.told) as f64,
                threshold: 0.0,
            },
        };
        self.complain(Subject::Fleet, statistic, None, now);
        if let Some(incident) = self.incidents.get_mut(KEY) {
            incident.found = Severity::High;
            incident.restate(self.health.lost.remark());
        }
    }

    /// Who holds most of the places, in words. Looks at all who hold any.
    fn holders(&self) -> String {
        let places = self.incidents.places();
        let (bound, share) = (places.bound(), places.share_of_witness());
        let mut holders = Vec::new();
        if let Some((witness, count)) = places.busiest_witness() {
            let who = self.reporter(witness);
            holders.push(format!("reports of {who} hold {count} of {bound} places"));
        }
        let network = places.busiest_network();
        if let Some((network, count)) =
            network.filter(|(_, count)| *count > places.share_of_network() / 2)
        {
            holders.push(format!("sources in {network} hold {count}"));
        }
        let holders = holders.join(", ");
        format!("{holders}; {share} is the most that one of them can hold (`limits.incidents`)")
    }

    /// The client, or one of the clients, on whose word incidents rest.
    fn reporter(&self, witness: Witness) -> String {
        let example = self.incidents.places().example(witness);
        let incident = example.and_then(|key| self.incidents.get(key));
        let client = incident.and_then(|incident| {
            let clients = incident.clients.keys();
            let meant = clients.filter(|id| self.clients.witness(*id) == witness);
            meant.min()
        });
        let name = client.map_or_else(|| "a client".to_owned(), |id| self.clients.name(id));
        match witness {
            Witness::Address(address) => format!("{name} at {address}"),
            Witness::Client(_) => name,
        }
    }
}

impl LostFindings {
    fn remark(&self) -> String {
        let lost = self.counted - self.told;
        let findings = if lost == 1 { "finding" } else { "findings" };
        let since = if self.alerts == 0 {
            ""
        } else {
            " since the last alert"
        };
        format!(
            "{lost} {findings} opened no incident{since}, for want of a place: {}",
            self.holders
        )
    }
}
