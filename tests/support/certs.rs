//! Certificates made for one test run with `openssl`.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::process::run;

const INSTALL: &str = "install it: apt-get install openssl";

/// A self-signed certificate and its key, in PEM files.
#[derive(Debug, Clone)]
pub(crate) struct Certificate {
    /// The certificate.
    pub(crate) certificate: PathBuf,
    /// The private key.
    pub(crate) key: PathBuf,
}

impl Certificate {
    /// Makes `NAME.crt` and `NAME.key` in `dir`, valid for the alternative names (`DNS:…,IP:…`).
    #[track_caller]
    pub(crate) fn self_signed(dir: &Path, name: &str, alternative_names: &str) -> Certificate {
        let made = Certificate { certificate: dir.join(format!("{name}.crt")), key: dir.join(format!("{name}.key")) };
        let mut openssl = Command::new("openssl");
        openssl
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-days", "2", "-subj", &format!("/CN={name}")])
            .args(["-addext", &format!("subjectAltName={alternative_names}")])
            .arg("-out")
            .arg(&made.certificate)
            .arg("-keyout")
            .arg(&made.key);
        run(&mut openssl, INSTALL);
        made
    }

    /// Writes certificate and key as the kind of key store that Java reads.
    #[track_caller]
    pub(crate) fn to_pkcs12(&self, store: &Path, password: &str) {
        let mut openssl = Command::new("openssl");
        openssl
            .args(["pkcs12", "-export", "-name", "node", "-passout", &format!("pass:{password}")])
            .arg("-in")
            .arg(&self.certificate)
            .arg("-inkey")
            .arg(&self.key)
            .arg("-out")
            .arg(store);
        run(&mut openssl, INSTALL);
    }
}

/// The common name in the certificate that a server shows to a new connection.
#[track_caller]
pub(crate) fn served_name(address: std::net::SocketAddr) -> String {
    let shown = run(
        Command::new("sh").args(["-c", &format!("openssl s_client -connect {address} </dev/null 2>/dev/null")]),
        INSTALL,
    );
    let subject = shown.lines().find_map(|line| line.strip_prefix("subject=")).unwrap_or_default();
    subject.rsplit("CN").next().unwrap_or_default().trim_matches([' ', '=']).to_owned()
}

/// A client that agrees on HTTP/2 over TLS and sends what it is given, byte by byte. To be ended by who has started it.
pub(crate) fn openssl_client(address: std::net::SocketAddr) -> std::process::Child {
    use std::process::Stdio;
    Command::new("openssl")
        .args(["s_client", "-quiet", "-alpn", "h2", "-connect", &address.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("openssl is installed")
}
