//! Settings that make sense, and are hardly meant: warned of at each start, and by `vft check`.

use log::warn;

use crate::config::secret::Secret;
use crate::config::server::ServerSettings;

/// Warns of a secret that can be guessed. It is not shown.
pub fn warn_of_secret(secret: Option<&Secret>) {
    if let Some(weakness) = secret.and_then(Secret::weakness) {
        warn!(
            "the secret can be guessed: {weakness}; make one with `head -c 24 /dev/urandom | base64`"
        );
    }
}

/// Warns of entries of the allow-list that leave nothing to alert of.
pub fn warn_of_muted(settings: &ServerSettings) {
    for network in settings.muted_altogether() {
        let family = match network {
            ipnet::IpNet::V4(_) => "IPv4",
            ipnet::IpNet::V6(_) => "IPv6",
        };
        warn!(
            "allow: the entry for {network} mutes every source of {family}; name ports, clients or \
             a smaller network"
        );
    }
}
