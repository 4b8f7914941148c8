//! What operators want to know of a certificate: when it ends, and for which names it is.

use std::net::IpAddr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

use crate::sanitize;

/// The longest list of names that is spelt out.
const MAX_NAMES: usize = 16;

/// What a certificate says of itself, as far as it can be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// The last second it is valid, in seconds since the Unix epoch.
    pub not_after: i64,
    /// Its names and addresses: the subject's alternative names (SAN).
    pub names: Vec<String>,
}

/// Reads a certificate; `None` if it is not X.509.
pub fn summary(certificate: &CertificateDer<'_>) -> Option<Summary> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let names = match parsed.subject_alternative_name() {
        Ok(Some(san)) => san
            .value
            .general_names
            .iter()
            .filter_map(name)
            .take(MAX_NAMES)
            .collect(),
        _ => Vec::new(),
    };
    Some(Summary {
        not_after: parsed.validity().not_after.timestamp(),
        names,
    })
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(dns) => Some(sanitize::line(dns, 253)),
        GeneralName::IPAddress(bytes) => ip(bytes).map(|address| address.to_string()),
        _ => None,
    }
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return Some(v4.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from)
}
