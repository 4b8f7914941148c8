//! `vft cert`: a self-signed certificate and key.

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;
use std::time::Duration;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose};
use time::OffsetDateTime;

use crate::cli::CertArgs;
use crate::clock;
use crate::command::print;
use crate::config::value::Endpoint;
use crate::event::Timestamp;
use crate::exit::{Failure, Kind};

/// A certificate and its key as PEM.
#[derive(Debug)]
pub struct SelfSigned {
    /// To hand out to clients.
    pub cert: String,
    /// To keep.
    pub key: String,
}

/// Makes the files.
pub fn run(args: &CertArgs) -> Result<(), Failure> {
    for name in &args.name {
        // What cannot be written in a client's --server has no place in a certificate.
        if name.parse::<IpAddr>().is_err() && !is_host_name(name) {
            return Err(
                Failure::new(Kind::Usage, format!("`{name}` is not a name of a host"))
                    .hint("--name takes host names and addresses, without a port"),
            );
        }
    }
    let made = self_signed(&args.name, args.days)?;
    let (cert, key) = (args.out.join("cert.pem"), args.out.join("key.pem"));
    let present = [&cert, &key].into_iter().find(|path| path.exists());
    if let (Some(path), false) = (present, args.force) {
        let what = format!("{} is there already", path.display());
        return Err(Failure::new(Kind::Runtime, what)
            .hint("--force replaces it; clients must then get the new certificate"));
    }
    fs::create_dir_all(&args.out).map_err(|error| unwritable(&args.out, &error))?;
    write(&key, 0o600, &made.key)?;
    write(&cert, 0o644, &made.cert)?;
    print(&format!(
        "{}: give it to every client (--cert), and to the server\n\
         {}: for the server alone (--key)\n",
        cert.display(),
        key.display()
    ))
}

/// A certificate for these names and addresses, valid from yesterday for so many days.
pub fn self_signed(names: &[String], days: u16) -> Result<SelfSigned, Failure> {
    let failed = |error: rcgen::Error| {
        Failure::new(
            Kind::Usage,
            format!("cannot make a certificate for {names:?}: {error}"),
        )
        .hint("--name takes host names and addresses")
    };
    let key = KeyPair::generate().map_err(failed)?;
    let mut params = CertificateParams::new(names).map_err(failed)?;
    let common = names.first().map_or("vft", String::as_str);
    params.distinguished_name.push(DnType::CommonName, common);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = Timestamp::from(clock::wall());
    params.not_before = date(now.before(DAY));
    params.not_after = date(now.after(DAY * u32::from(days)));
    let cert = params.self_signed(&key).map_err(failed)?;
    Ok(SelfSigned {
        cert: cert.pem(),
        key: key.serialize_pem(),
    })
}

fn is_host_name(name: &str) -> bool {
    name.parse::<Endpoint>()
        .is_ok_and(|endpoint| endpoint.host == name)
}

const DAY: Duration = Duration::from_secs(86_400);

/// The time to the second, as rcgen wants it.
fn date(time: Timestamp) -> OffsetDateTime {
    let seconds = i64::try_from(time.as_micros() / 1_000_000).unwrap_or(i64::MAX);
    OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

fn write(path: &Path, mode: u32, text: &str) -> Result<(), Failure> {
    // A new file, so that it never has wider permissions than these, not even for a moment.
    let unfinished = path.with_extension("pem.new");
    let written = || -> io::Result<()> {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&unfinished)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&unfinished, path)
    };
    written().map_err(|error| unwritable(path, &error))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    let what = format!("cannot write {}: {error}", path.display());
    Failure::new(Kind::Runtime, what).hint("name a folder you can write to with --out")
}
