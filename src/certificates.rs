//! What listeners show to clients that speak TLS: their certificates and keys, read once for each configuration.

use std::fmt;
use std::sync::Arc;

use ahash::AHashMap;
use pingora::protocols::IO;
use pingora::protocols::tls::SslStream;
use pingora::protocols::tls::server::handshake;
use pingora::tls::error::ErrorStack;
use pingora::tls::hash::hmac_sha256;
use pingora::tls::ssl::{AlpnError, SslAcceptor, SslFiletype, SslMethod, select_next_proto};

use crate::config::{Config, ListenerTls};
use crate::ids::ListenerName;

/// HTTP/2 first, then HTTP/1.1, in the form of RFC 7301.
const PROTOCOLS: &[u8] = b"\x02h2\x08http/1.1";

/// The certificates of all listeners that have one.
#[derive(Debug, Default)]
pub struct Certificates {
    acceptors: AHashMap<ListenerName, Acceptor>,
}

/// Does the handshakes of a listener.
#[derive(Clone)]
pub struct Acceptor {
    acceptor: Arc<SslAcceptor>,
    /// A digest of what the files held.
    digest: Option<[u8; 32]>,
}

/// A certificate or key that cannot be used.
#[derive(Debug)]
struct TlsError {
    file: String,
    what: &'static str,
    source: ErrorStack,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.file, self.what, self.source)
    }
}

impl std::error::Error for TlsError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

impl Certificates {
    /// Reads the files that `config` names. A listener whose files hold what they did in `before` is taken from there:
    /// sessions of TLS go on with the one that they began with.
    ///
    /// # Errors
    /// Every listener whose files cannot be used, one sentence each.
    pub fn load(config: &Config, before: &Certificates) -> Result<Self, Vec<String>> {
        let mut certificates = Certificates::default();
        let mut problems = Vec::new();
        for listener in &config.listeners {
            let Some(tls) = &listener.tls else { continue };
            match Acceptor::load(tls) {
                Ok(read) => {
                    let known = before.of(&listener.name).filter(|known| known.is_same(&read)).cloned();
                    certificates.acceptors.insert(listener.name.clone(), known.unwrap_or(read));
                }
                Err(e) => problems.push(format!("listeners.{}.tls: {e}", listener.name)),
            }
        }
        if problems.is_empty() { Ok(certificates) } else { Err(problems) }
    }

    /// What does the handshakes of a listener; `None` if it speaks clear text.
    pub fn of(&self, listener: &ListenerName) -> Option<&Acceptor> {
        self.acceptors.get(listener)
    }

    /// The listeners of `config` that are in both and show something else than in `before`.
    pub fn changed<'c>(
        &'c self,
        before: &'c Certificates,
        config: &'c Config,
    ) -> impl Iterator<Item = &'c ListenerName> {
        let names = config.listeners.iter().map(|listener| &listener.name);
        names.filter(|name| self.of(name).zip(before.of(name)).is_some_and(|(now, then)| !now.is_same(then)))
    }
}

impl Acceptor {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// A file cannot be read, is not PEM, or the key is not the certificate's.
    fn load(tls: &ListenerTls) -> Result<Self, TlsError> {
        let (certificate, key) = (tls.certificate.display(), tls.key.display());
        let failed = |file: &dyn fmt::Display, what| {
            let file = file.to_string();
            move |source| TlsError { file, what, source }
        };
        // Before they are read for use: if they change in between, they are read once more than needed the next time.
        let digest = digest(tls);
        let mut builder = SslAcceptor::mozilla_intermediate_v5(SslMethod::tls())
            .map_err(failed(&certificate, "cannot set up TLS"))?;
        builder
            .set_certificate_chain_file(&tls.certificate)
            .map_err(failed(&certificate, "is not a certificate chain in PEM form"))?;
        builder
            .set_private_key_file(&tls.key, SslFiletype::PEM)
            .map_err(failed(&key, "is not a private key in PEM form, or not the certificate's"))?;
        builder.check_private_key().map_err(failed(&key, "is not the key of the certificate"))?;
        builder.set_alpn_select_callback(|_, offered| {
            // A client that offers neither is served HTTP/1.1, as if it had offered nothing.
            select_next_proto(PROTOCOLS, offered).ok_or(AlpnError::NOACK)
        });
        Ok(Acceptor { acceptor: Arc::new(builder.build()), digest })
    }

    /// Whether both were made from the same certificate and key.
    pub fn is_same(&self, other: &Acceptor) -> bool {
        self.digest.is_some() && self.digest == other.digest
    }

    /// Does the server's side of a handshake.
    pub(crate) async fn accept<S: IO>(&self, stream: S) -> pingora::Result<SslStream<S>> {
        handshake(&self.acceptor, stream).await
    }
}

/// `None` if one of the files cannot be read.
fn digest(tls: &ListenerTls) -> Option<[u8; 32]> {
    let (certificate, key) = (std::fs::read(&tls.certificate).ok()?, std::fs::read(&tls.key).ok()?);
    hmac_sha256(&certificate, &key).ok()?.first_chunk().copied()
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Acceptor")
    }
}
