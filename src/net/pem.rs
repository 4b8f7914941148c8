//! Certificates and keys out of PEM files. The only user of rustls-pemfile.

use std::fmt;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

use rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// The largest PEM file that is read, in bytes: a chain of a few hundred certificates.
const MAX_FILE: u64 = 1 << 20;

/// Why a PEM file is of no use.
#[derive(Debug)]
pub enum PemError {
    /// It cannot be opened or read.
    Unreadable(PathBuf, io::Error),
    /// Something in it starts like PEM and is not.
    Malformed(PathBuf, io::Error),
    /// It holds no certificate.
    NoCertificate(PathBuf),
    /// It holds no private key.
    NoKey(PathBuf),
}

impl fmt::Display for PemError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreadable(path, error) => write!(f, "cannot read {}: {error}", path.display()),
            Self::Malformed(path, error) => write!(f, "{} is not PEM: {error}", path.display()),
            Self::NoCertificate(path) => {
                write!(
                    f,
                    "{} holds no certificate (BEGIN CERTIFICATE)",
                    path.display()
                )
            }
            Self::NoKey(path) => {
                write!(
                    f,
                    "{} holds no private key (BEGIN PRIVATE KEY)",
                    path.display()
                )
            }
        }
    }
}

impl std::error::Error for PemError {}

/// All certificates of a file, in its order; at least one.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, PemError> {
    let certificates = rustls_pemfile::certs(&mut open(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| PemError::Malformed(path.to_owned(), error))?;
    if certificates.is_empty() {
        return Err(PemError::NoCertificate(path.to_owned()));
    }
    Ok(certificates)
}

/// The first private key of a file: PKCS#8, PKCS#1 (RSA) or SEC1 (elliptic curve).
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, PemError> {
    rustls_pemfile::private_key(&mut open(path)?)
        .map_err(|error| PemError::Malformed(path.to_owned(), error))?
        .ok_or_else(|| PemError::NoKey(path.to_owned()))
}

fn open(path: &Path) -> Result<BufReader<io::Take<File>>, PemError> {
    let unreadable = |error| PemError::Unreadable(path.to_owned(), error);
    let file = File::open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_dir() {
        return Err(unreadable(io::ErrorKind::IsADirectory.into()));
    }
    Ok(BufReader::new(file.take(MAX_FILE)))
}
