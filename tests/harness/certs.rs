//! Certificates as users have them.

use std::process::Command;

use crate::harness::Sandbox;

/// What `openssl req -x509` makes (a certificate with the CA flag set), for this name. Returns
/// the files' names: certificate, key.
pub fn openssl(sandbox: &Sandbox, prefix: &str, name: &str) -> (String, String) {
    let (cert, key) = (format!("{prefix}-cert.pem"), format!("{prefix}-key.pem"));
    let san = if name.parse::<std::net::IpAddr>().is_ok() {
        format!("subjectAltName=IP:{name}")
    } else {
        format!("subjectAltName=DNS:{name}")
    };
    let subject = format!("/CN={name}");
    command(
        sandbox,
        &[
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-keyout", &key,
            "-out", &cert, "-subj", &subject, "-addext", &san,
        ],
    );
    (cert, key)
}

/// The same without any subject alternative name, as older instructions have it.
pub fn openssl_without_san(sandbox: &Sandbox, prefix: &str) -> (String, String) {
    let (cert, key) = (format!("{prefix}-cert.pem"), format!("{prefix}-key.pem"));
    command(
        sandbox,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "30",
            "-keyout",
            &key,
            "-out",
            &cert,
            "-subj",
            "/CN=vft.example.net",
        ],
    );
    (cert, key)
}

/// A certificate for this address signed by a CA. Returns the files' names: CA certificate,
/// server certificate, key.
pub fn ca_signed(sandbox: &Sandbox, address: &str) -> (String, String, String) {
    let (ca, ca_key) = openssl(sandbox, "ca", "ca.example.net");
    let request = [
        "req",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "leaf-key.pem",
        "-out",
        "leaf.csr",
        "-subj",
        "/CN=leaf",
    ];
    command(sandbox, &request);
    let extensions = sandbox.file(
        "leaf.ext",
        &format!("subjectAltName=IP:{address}\nbasicConstraints=CA:FALSE\n"),
    );
    command(
        sandbox,
        &[
            "x509",
            "-req",
            "-in",
            "leaf.csr",
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "30",
            "-extfile",
            extensions.to_str().unwrap(),
            "-out",
            "leaf-cert.pem",
        ],
    );
    (ca, "leaf-cert.pem".to_owned(), "leaf-key.pem".to_owned())
}

fn command(sandbox: &Sandbox, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(sandbox.path(""))
        .output()
        .expect("openssl is installed");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
