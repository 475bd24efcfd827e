//! What nobody may see, and where it came from.

use std::path::PathBuf;

use serde::Serialize;

/// Bytes that nobody may see: neither `Debug` nor the effective configuration shows them.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret {
    bytes: Box<[u8]>,
    source: SecretSource,
}

/// Where a secret came from; the effective configuration shows this in its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretSource {
    /// Made by the program.
    Program,
    /// The environment variable of this name.
    Variable(String),
    /// A line of this file.
    File(PathBuf),
}

impl Secret {
    /// Keeps `bytes` to itself.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        Secret { bytes: bytes.into(), source: SecretSource::Program }
    }

    /// The same from a source that is known.
    pub(crate) fn from_source(bytes: impl Into<Box<[u8]>>, source: SecretSource) -> Self {
        Secret { bytes: bytes.into(), source }
    }

    /// The bytes, for whoever computes with them.
    pub fn expose(&self) -> &[u8] {
        &self.bytes
    }

    /// The file that it came from.
    pub(crate) fn file(&self) -> Option<&PathBuf> {
        match &self.source {
            SecretSource::File(path) => Some(path),
            SecretSource::Variable(_) | SecretSource::Program => None,
        }
    }

    pub(crate) fn source(&self) -> &SecretSource {
        &self.source
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl Serialize for Secret {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_shows_it() {
        let secret = Secret::new(*b"hunter2");
        assert_eq!(secret.expose(), b"hunter2");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert!(!format!("{secret:?}").contains("104"), "as numbers");
        assert!(!serde_yaml::to_string(&secret).unwrap().contains("hunter2"));
    }
}
