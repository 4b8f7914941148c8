//! PEM files in, rustls configurations out; and which certificates a client trusts.
//!
//! `--cert` of a client names what users have. That is often the server's own certificate as
//! `openssl req -x509` makes it, with the CA flag set, which path building refuses as the end of
//! a chain even where it is the anchor. So a certificate that equals one of the file's byte for
//! byte is trusted as it is, and anything else must chain up to one of the file's certificates.
//! The proof that the peer holds the key is always checked by rustls.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, ServerConfig,
    SignatureScheme,
};

use crate::net::certificate::{self, Summary};
use crate::net::pem::{self, PemError};

/// Why TLS cannot be set up from the files given.
#[derive(Debug)]
pub enum TlsError {
    /// A file is of no use.
    Pem(PemError),
    /// The certificate and the key are not a pair.
    KeyMismatch,
    /// The certificate or the key is of a kind rustls does not know.
    Unsupported(Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pem(error) => error.fmt(f),
            Self::KeyMismatch => f.write_str("the key does not belong to the certificate"),
            Self::Unsupported(error) => {
                write!(f, "the certificate or the key cannot be used: {error}")
            }
        }
    }
}

impl std::error::Error for TlsError {}

impl From<PemError> for TlsError {
    fn from(error: PemError) -> Self {
        Self::Pem(error)
    }
}

/// A server's side of TLS, with what its certificate says of itself.
#[derive(Debug)]
pub struct Served {
    /// For accepting connections.
    pub config: Arc<ServerConfig>,
    /// Of the certificate that is shown to clients.
    pub summary: Option<Summary>,
}

/// Reads a server's certificate, with the chain behind it if the file has one, and its key.
pub fn serve(cert: &Path, key: &Path) -> Result<Served, TlsError> {
    let chain = pem::certificates(cert)?;
    let key = pem::private_key(key)?;
    let summary = chain.first().and_then(certificate::summary);
    let mut config = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unsupported)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| match error {
            Error::InconsistentKeys(_) => TlsError::KeyMismatch,
            other => TlsError::Unsupported(other),
        })?;
    // A session lasts for days, so there is nothing to resume; and an idle connection on which
    // nothing unasked arrives is one on which a closing peer can be noticed.
    config.send_tls13_tickets = 0;
    Ok(Served {
        config: Arc::new(config),
        summary,
    })
}

/// A client's side of TLS, with what the trusted certificates say of themselves.
#[derive(Debug)]
pub struct Trusting {
    /// For making connections.
    pub config: Arc<ClientConfig>,
    /// Of each certificate in the file that can be read.
    pub summaries: Vec<Summary>,
}

/// Reads the certificates to trust: a server's own, a CA's, a chain, or several of these.
pub fn trust(cert: &Path) -> Result<Trusting, TlsError> {
    let pinned = pem::certificates(cert)?;
    let summaries = pinned.iter().filter_map(certificate::summary).collect();
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(pinned.iter().cloned());
    let chains = if roots.is_empty() {
        None
    } else {
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
            .build()
            .ok()
    };
    let config = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unsupported)?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trust { pinned, chains }))
        .with_no_client_auth();
    Ok(Trusting {
        config: Arc::new(config),
        summaries,
    })
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

#[derive(Debug)]
struct Trust {
    pinned: Vec<CertificateDer<'static>>,
    chains: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Trust {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            return check_name_of_pinned(end_entity, server_name);
        }
        let spell_out = |error| name_the_names(error, end_entity, server_name);
        match &self.chains {
            Some(chains) => chains
                .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
                .map_err(spell_out),
            None => Err(CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".to_owned()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = ring::default_provider().signature_verification_algorithms;
        verify_tls13_signature(message, cert, dss, &algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        ring::default_provider()
            .signature_verification_algorithms
            .supported_schemes()
    }
}

/// A pinned certificate without any name is good for whatever name leads to it: it is the very
/// one the operator handed out. One that has names is good for these.
fn check_name_of_pinned(
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
) -> Result<ServerCertVerified, Error> {
    if certificate::summary(certificate).is_some_and(|summary| summary.names.is_empty()) {
        return Ok(ServerCertVerified::assertion());
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, server_name)
        .map(|()| ServerCertVerified::assertion())
        .map_err(|error| name_the_names(error, certificate, server_name))
}

/// An error about a name, with the certificate's names as people write them.
fn name_the_names(
    error: Error,
    certificate: &CertificateDer<'_>,
    server_name: &ServerName<'_>,
) -> Error {
    match error {
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => CertificateError::NotValidForNameContext {
            expected: server_name.to_owned(),
            presented: certificate::summary(certificate).map_or_else(Vec::new, |it| it.names),
        }
        .into(),
        other => other,
    }
}
