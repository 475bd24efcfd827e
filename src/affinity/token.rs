//! What our own cookie holds: which member a session is on, so that only we can tell and only we can make it.
//!
//! For each key, a member has one token, 36 letters of base64url: a *tag* of 72 bits and a *seal* of 144 bits.
//!
//! ```text
//! tag  = HMAC-SHA256(key, "…/tag"  ‖ cluster ‖ role ‖ id of the member)
//! seal = HMAC-SHA256(key, "…/seal" ‖ cluster ‖ role ‖ tag)
//! ```
//!
//! The tag stands for the member without telling its id, and the seal tells a tag that we made from one that we did not.
//! So a member that has left can be told from a forgery: it has a good seal on a tag that no member has. Without the seal,
//! both would only be unknown.
//!
//! A request costs one look-up of the whole token in a table and computes nothing; the seal is computed only for tokens
//! that are not in the table, and for few of them in a request. The look-up need not be free of timing differences. Its
//! hash has a random key of this process, so that a client cannot steer which entry its value is compared with; the
//! comparison could tell only about a token that the client would have to guess 216 bits of. And a token is no
//! credential: it gives nobody more than a member which the client would have come to by trying often enough.

use ahash::AHashMap;
use pingora::tls::hash::hmac_sha256;
use smallvec::SmallVec;

use super::Found;
use crate::config::Secret;
use crate::ids::{ClusterName, NodeId, Role};

/// Bytes of the tag. Two members of a pool of a thousand have the same one with a chance of 1 in 10^16.
const TAG: usize = 9;
/// Bytes of the seal.
const SEAL: usize = 18;
/// Letters of the tag, and of both, which are more: a token can be split behind its tag.
const TAG_TEXT: usize = TAG / 3 * 4;
const TEXT: usize = (TAG + SEAL) / 3 * 4;
/// Unknown tokens of one request whose seal is computed; further ones count as forged.
const MOST_SEALS: usize = 4;

/// A token as it stands in a cookie: letters of base64url, which need no escaping anywhere.
pub type TokenText = [u8; TEXT];

/// The tokens of a pool's members.
pub struct TokenTable {
    issuer: Issuer,
    keys: Vec<Secret>,
    positions: AHashMap<TokenText, Entry>,
    /// By position: made with the first key.
    current: Vec<Option<TokenText>>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    position: usize,
    current: bool,
}

/// Whose tokens are made: those of another cluster or role are forgeries here.
#[derive(Debug)]
struct Issuer {
    cluster: ClusterName,
    role: Role,
}

impl TokenTable {
    /// The tokens of `members`, whose positions are those in the iterator. Tokens are made with the first key and read
    /// with any; without keys nothing is made or read.
    pub fn new<'m>(
        keys: &[Secret],
        cluster: &ClusterName,
        role: Role,
        members: impl IntoIterator<Item = &'m NodeId>,
    ) -> Self {
        let issuer = Issuer { cluster: cluster.clone(), role };
        let (mut positions, mut current) = (AHashMap::new(), Vec::new());
        for (position, member) in members.into_iter().enumerate() {
            let mut tokens = keys.iter().map(|key| issuer.token(key, member));
            let first = tokens.next().flatten();
            for (token, is_current) in tokens.flatten().map(|token| (token, false)).chain(first.map(|t| (t, true))) {
                positions.insert(token, Entry { position, current: is_current });
            }
            current.push(first);
        }
        TokenTable { issuer, keys: keys.to_vec(), positions, current }
    }

    /// The token for new sessions on the member at a position. `None` if there is no such member or no key.
    pub fn token(&self, position: usize) -> Option<&TokenText> {
        self.current.get(position)?.as_ref()
    }

    /// What the values of a request's cookies tell: the first one that a member has, wherever it stands. Without one,
    /// whether some other was a member's once.
    pub fn find<'v>(&self, values: impl IntoIterator<Item = &'v [u8]>) -> Found {
        let mut unknown = SmallVec::<[&TokenText; MOST_SEALS]>::new();
        let mut found = Found::Absent;
        for value in values {
            let Ok(token) = <&TokenText>::try_from(value) else {
                found = found.or(Found::Forged);
                continue;
            };
            if let Some(&Entry { position, current }) = self.positions.get(token) {
                return Found::Known { position, current };
            }
            found = found.or(Found::Forged);
            if unknown.len() < MOST_SEALS {
                unknown.push(token);
            }
        }
        // Only now: a member that is there is found without computing anything.
        let is_ours = |token: &&TokenText| self.keys.iter().any(|key| self.issuer.has_sealed(key, token));
        if unknown.iter().any(is_ours) { found.or(Found::Gone) } else { found }
    }
}

impl Issuer {
    /// `None` if the library fails, which it does only for lack of memory. Such a member's sessions are not held.
    fn token(&self, key: &Secret, member: &NodeId) -> Option<TokenText> {
        let tag: [u8; TAG] = self.authenticate(key, "tag", member.as_str().as_bytes())?;
        let mut token = [0; TEXT];
        let (tag_text, seal_text) = token.split_at_mut(TAG_TEXT);
        write_base64url(&tag, tag_text);
        write_base64url(&self.seal(key, tag_text)?, seal_text);
        Some(token)
    }

    /// Whether a token has the seal that its tag would get.
    fn has_sealed(&self, key: &Secret, token: &TokenText) -> bool {
        let (tag_text, seal_text) = token.split_at(TAG_TEXT);
        let Some(seal) = self.seal(key, tag_text) else { return false };
        let mut expected = [0; TEXT - TAG_TEXT];
        write_base64url(&seal, &mut expected);
        // All of it is compared, wherever the first difference is.
        expected.iter().zip(seal_text).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
    }

    fn seal(&self, key: &Secret, tag_text: &[u8]) -> Option<[u8; SEAL]> {
        self.authenticate(key, "seal", tag_text)
    }

    /// The begin of a MAC. No name has a zero byte in it, and `subject` comes last, so different arguments are
    /// different messages.
    fn authenticate<const N: usize>(&self, key: &Secret, purpose: &str, subject: &[u8]) -> Option<[u8; N]> {
        let mut message = SmallVec::<[u8; 256]>::new();
        for part in ["carbon-elb affinity 1", purpose, self.cluster.as_str(), self.role.as_str()] {
            message.extend_from_slice(part.as_bytes());
            message.push(0);
        }
        message.extend_from_slice(subject);
        hmac_sha256(key.expose(), &message).ok()?.first_chunk().copied()
    }
}

/// Writes `bytes`, whose number is a multiple of three, as letters of RFC 4648, 5: four for three of them.
fn write_base64url(bytes: &[u8], text: &mut [u8]) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    for (bytes, letters) in bytes.chunks_exact(3).zip(text.chunks_exact_mut(4)) {
        let group = bytes.iter().fold(0, |group, &byte| group << 8 | usize::from(byte));
        for (letter, shift) in letters.iter_mut().zip([18, 12, 6, 0]) {
            *letter = LETTERS[group >> shift & 63]; // there are 64 of them
        }
    }
}

impl std::fmt::Debug for TokenTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let TokenTable { issuer, keys, current, .. } = self;
        f.debug_struct("TokenTable")
            .field("issuer", issuer)
            .field("keys", keys)
            .field("members", &current.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Name;

    fn name(text: &str) -> Name {
        Name::parse(text).unwrap()
    }

    fn table_of(keys: &[&str], cluster: &str, role: Role, members: &[&str]) -> TokenTable {
        let keys: Vec<_> = keys.iter().map(|key| Secret::new(key.as_bytes())).collect();
        let members: Vec<_> = members.iter().map(|member| name(member)).collect();
        TokenTable::new(&keys, &name(cluster), role, &members)
    }

    fn table(keys: &[&str], members: &[&str]) -> TokenTable {
        table_of(keys, "esb", Role::Worker, members)
    }

    fn known(position: usize) -> Found {
        Found::Known { position, current: true }
    }

    #[test]
    fn every_balancer_with_the_same_key_finds_the_member_wherever_it_stands() {
        let (one, other) = (table(&["k"], &["a", "b", "c"]), table(&["k"], &["c", "b"]));
        let find = |table: &TokenTable, token: &TokenText| table.find([token.as_slice()]);
        assert_eq!(find(&one, one.token(1).unwrap()), known(1));
        assert_eq!(find(&other, one.token(2).unwrap()), known(0));
        assert_eq!(find(&one, other.token(1).unwrap()), known(1));
        assert_eq!(one.token(3), None);
        assert_eq!(one.find([]), Found::Absent);
    }

    /// Sessions must survive an upgrade of the balancer.
    #[test]
    fn tokens_stay_the_same_from_version_to_version() {
        let token = *table(&["a key of 16 byte"], &["wk-1"]).token(0).unwrap();
        assert_eq!(std::str::from_utf8(&token).unwrap(), "l8AvkiO6W7r8uUlr28ikrFHAUxSapS8jAKmv");
    }

    #[test]
    fn a_member_that_left_is_told_from_a_forgery() {
        let before = table(&["k"], &["a", "b"]);
        let after = table(&["k"], &["a"]);
        let gone = *before.token(1).unwrap();
        assert_eq!(after.find([gone.as_slice()]), Found::Gone);

        let foreign = [
            table(&["other"], &["a"]),
            table_of(&["k"], "other", Role::Worker, &["a"]),
            table_of(&["k"], "esb", Role::Manager, &["a"]),
        ];
        for table in &foreign {
            assert_eq!(after.find([table.token(0).unwrap().as_slice()]), Found::Forged, "{table:?}");
        }
        for at in 0..TEXT {
            let mut changed = gone;
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            assert_eq!(after.find([changed.as_slice()]), Found::Forged, "{at}");
        }
        for length in (0..TEXT).chain([TEXT + 1, 4000]) {
            let text: Vec<u8> = gone.iter().copied().cycle().take(length).collect();
            assert_eq!(after.find([text.as_slice()]), Found::Forged, "{length}");
        }
        assert_eq!(after.find([[0xff; TEXT].as_slice()]), Found::Forged);
    }

    #[test]
    fn keys_are_rotated() {
        let old = table(&["old"], &["a", "b"]);
        let both = table(&["new", "old"], &["a", "b"]);
        let new = table(&["new"], &["a", "b"]);
        let token = |table: &TokenTable| *table.token(1).unwrap();
        assert_eq!(token(&both), token(&new), "made with the first");
        assert_eq!(both.find([token(&old).as_slice()]), Found::Known { position: 1, current: false });
        assert_eq!(both.find([token(&new).as_slice()]), known(1));
        assert_eq!(new.find([token(&old).as_slice()]), Found::Forged, "nobody knows that key any more");
        let gone = table(&["old"], &["c"]);
        assert_eq!(both.find([token_at(&gone, 0).as_slice()]), Found::Gone, "of a member and a key of the past");
        let none = table(&[], &["a"]);
        assert_eq!((none.token(0), none.find([token(&old).as_slice()])), (None, Found::Forged));
    }

    fn token_at(table: &TokenTable, position: usize) -> TokenText {
        *table.token(position).unwrap()
    }

    #[test]
    fn a_live_member_wins_over_the_dead_and_those_over_forgeries() {
        let now = table(&["k"], &["a", "b"]);
        let gone = token_at(&table(&["k"], &["x"]), 0);
        let (a, b) = (token_at(&now, 0), token_at(&now, 1));
        let forged = [b'A'; TEXT];
        let find = |values: &[&[u8]]| now.find(values.iter().copied());
        assert_eq!(find(&[b"", &forged, &gone, &b, &a]), known(1));
        assert_eq!(find(&[&a, &b]), known(0));
        assert_eq!(find(&[&forged, &gone]), Found::Gone);
        assert_eq!(find(&[&gone, b"x"]), Found::Gone);
        assert_eq!(find(&[b"x", &forged]), Found::Forged);
        let flood = vec![forged.as_slice(); 100];
        assert_eq!(find(&[&flood[..], &[&gone]].concat()), Found::Forged, "so many seals are not computed");
        assert_eq!(find(&[&flood[..], &[&b]].concat()), known(1));
    }

    #[test]
    fn letters_are_those_of_rfc_4648() {
        for (bytes, expected) in [(b"foobar".as_slice(), "Zm9vYmFy"), (&[0xfb, 0xff, 0xbf], "-_-_"), (b"", "")] {
            let mut text = vec![0; bytes.len() / 3 * 4];
            write_base64url(bytes, &mut text);
            assert_eq!(text, expected.as_bytes());
        }
    }

    #[test]
    fn nothing_tells_the_key_or_the_member() {
        let table = table(&["secret"], &["wk-1"]);
        assert!(!format!("{table:?}").contains("secret"));
        assert!(!String::from_utf8_lossy(table.token(0).unwrap()).contains("wk"));
    }
}
