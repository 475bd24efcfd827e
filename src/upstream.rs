//! From a member to what Pingora needs to connect to it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ahash::AHashMap;
use pingora::protocols::ALPN;
use pingora::tls::x509::X509;
use pingora::upstreams::peer::{BasicPeer, HttpPeer, PeerOptions, Scheme};

use crate::config::{Config, NodeHost, UpstreamTls};
use crate::pool::{Member, Pool};

/// Certificates that servers are verified with, as Pingora takes them.
pub(crate) type Authorities = Arc<Box<[X509]>>;

/// The certificate files of all endpoints, read once for each configuration.
#[derive(Default)]
pub struct TrustStore {
    files: AHashMap<PathBuf, File>,
}

/// What a file held.
struct File {
    pem: Vec<u8>,
    authorities: Authorities,
}

impl TrustStore {
    /// Reads the files that `config` names. What is in them that was in `before` is taken from there, so that it can be
    /// told by [`TrustStore::trusts_as`] that it is the same.
    ///
    /// # Errors
    /// Every file that cannot be read or holds no certificate, one sentence each.
    pub fn load(config: &Config, before: &TrustStore) -> Result<Self, Vec<String>> {
        let endpoints = config.clusters.iter().flat_map(|cluster| &cluster.endpoints);
        let files = endpoints.filter_map(|endpoint| endpoint.tls.as_ref()?.ca.as_ref());
        let mut store = TrustStore::default();
        let mut problems = Vec::new();
        for file in files {
            match read_authorities(file, before.files.get(file)) {
                Ok(read) => drop(store.files.insert(file.clone(), read)),
                Err(e) => problems.push(format!("{}: {e}", file.display())),
            }
        }
        if problems.is_empty() { Ok(store) } else { Err(problems) }
    }

    /// Whether nodes that are verified so are verified against the same certificates by both.
    pub fn trusts_as(&self, other: &TrustStore, tls: Option<&UpstreamTls>) -> bool {
        let Some(file) = tls.and_then(|tls| tls.ca.as_ref()) else { return true };
        match (self.files.get(file), other.files.get(file)) {
            (Some(one), Some(other)) => Arc::ptr_eq(&one.authorities, &other.authorities),
            (one, other) => one.is_none() && other.is_none(),
        }
    }

    /// The files that are in both and hold something else than in `before`.
    pub fn changed<'s>(&'s self, before: &'s TrustStore) -> impl Iterator<Item = &'s Path> {
        let other = |(path, file): (&'s PathBuf, &'s File)| {
            let before = before.files.get(path)?;
            (!Arc::ptr_eq(&file.authorities, &before.authorities)).then_some(path.as_path())
        };
        self.files.iter().filter_map(other)
    }

    /// What Pingora needs to connect to a member.
    pub fn peer(&self, pool: &Pool, member: &Member) -> Box<HttpPeer> {
        let mut peer = HttpPeer::new(member.address, false, String::new());
        self.secure(&mut peer, pool.upstream.tls.as_ref(), &member.host);
        // The pool of idle connections would not see other differences between two pools that lead to one address.
        peer.group_key = pool.key;
        let timeouts = &pool.settings.timeouts;
        let options = &mut peer.options;
        options.connection_timeout = Some(timeouts.connect);
        options.total_connection_timeout = Some(timeouts.connect);
        options.read_timeout = Some(timeouts.read);
        options.write_timeout = Some(timeouts.write);
        options.idle_timeout = Some(pool.settings.keepalive.idle);
        Box::new(peer)
    }

    /// Sets scheme, server name and verification; without `tls` the peer is spoken to in clear text.
    pub fn secure(&self, peer: &mut HttpPeer, tls: Option<&UpstreamTls>, host: &NodeHost) {
        peer.options.alpn = ALPN::H1;
        if let Some(tls) = tls {
            peer.scheme = Scheme::HTTPS;
            self.verify(&mut peer.sni, &mut peer.options, tls, host);
        }
    }

    /// The same for a probe that only connects.
    pub fn secure_tcp(&self, peer: &mut BasicPeer, tls: Option<&UpstreamTls>, host: &NodeHost) {
        if let Some(tls) = tls {
            self.verify(&mut peer.sni, &mut peer.options, tls, host);
        }
    }

    fn verify(&self, sni: &mut String, options: &mut PeerOptions, tls: &UpstreamTls, host: &NodeHost) {
        *sni = server_name(tls, host);
        options.verify_cert = tls.verify;
        options.verify_hostname = tls.verify;
        options.ca = tls.ca.as_ref().and_then(|file| self.files.get(file)).map(|file| file.authorities.clone());
    }
}

/// The name that a node's certificate must have.
pub(crate) fn server_name(tls: &UpstreamTls, host: &NodeHost) -> String {
    match (&tls.server_name, host) {
        (Some(name), _) | (None, NodeHost::Name(name)) => name.clone(),
        // Only without verification, which the configuration's check ensures.
        (None, NodeHost::Address(_)) => String::new(),
    }
}

/// The certificates of a file.
pub(crate) fn authorities(file: &Path) -> io::Result<Authorities> {
    read_authorities(file, None).map(|file| file.authorities)
}

fn read_authorities(file: &Path, before: Option<&File>) -> io::Result<File> {
    let pem = std::fs::read(file)?;
    if let Some(before) = before.filter(|before| before.pem == pem) {
        return Ok(File { pem, authorities: before.authorities.clone() });
    }
    let certificates = X509::stack_from_pem(&pem).map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    if certificates.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "holds no certificate in PEM form"));
    }
    Ok(File { pem, authorities: Arc::new(certificates.into_boxed_slice()) })
}

impl std::fmt::Debug for TrustStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.files.keys()).finish()
    }
}
