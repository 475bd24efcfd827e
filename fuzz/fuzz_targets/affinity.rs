//! What clients send to keep a session on its member: nothing panics, only what we made leads to a member, and nodes see
//! all cookies but ours.
#![no_main]

use std::sync::LazyLock;

use carbon_elb::affinity::{CookieAffinity, Found, RouteTable, Stripped, without};
use carbon_elb::config::{AffinityCookie, Secret};
use carbon_elb::ids::{Name, Role};
use libfuzzer_sys::fuzz_target;

const OURS: &[u8] = b"CARBON_ELB";

/// What leads to a member.
struct Token {
    text: String,
    position: usize,
    /// Whether the first key made it.
    current: bool,
}

/// The cookie, and all that it may be. A fuzzer cannot guess one, so it writes `TOKEN` for the first; but it sees what is
/// compared, and so it does find the others after a while.
static AFFINITY: LazyLock<(CookieAffinity, Vec<Token>)> = LazyLock::new(|| {
    let [cluster, first, second] = ["esb", "wk-1", "wk-2"].map(|name| Name::parse(name).expect("a name"));
    let [new, old] = ["first key", "second key"].map(|key| Secret::new(key.as_bytes().to_vec()));
    let with_keys = |keys: &[Secret]| {
        CookieAffinity::new(&AffinityCookie::of(Role::Manager), keys, &cluster, Role::Manager, [&first, &second])
    };
    let both = with_keys(&[new.clone(), old.clone()]);
    let before = with_keys(&[old]);
    let tokens = [(&both, true), (&before, false)].into_iter().flat_map(|(affinity, current)| {
        [0, 1].map(|position| {
            let cookie = affinity.set_cookie(Found::Absent, position, false).expect("a member").to_str().expect("text");
            let value = cookie.split_once('=').and_then(|(_, rest)| rest.split_once(';')).expect("a cookie").0;
            Token { text: value.to_owned(), position, current }
        })
    });
    let tokens = tokens.collect();
    (both, tokens)
});

static ROUTES: LazyLock<RouteTable> = LazyLock::new(|| RouteTable::new("JSESSIONID", ["wk-1", "wk.2"]));

fuzz_target!(|input: &[u8]| {
    let (affinity, tokens) = &*AFFINITY;
    let header = replace(input, b"TOKEN", tokens[0].text.as_bytes());
    let has = |token: &&Token| header.windows(token.text.len()).any(|window| window == token.text.as_bytes());

    let found = affinity.find([header.as_slice()]);
    match found {
        Found::Known { position, current } => {
            let leads_there = |token: &Token| (token.position, token.current) == (position, current);
            assert!(tokens.iter().filter(has).any(leads_there));
        }
        Found::Gone => panic!("nobody has left"),
        Found::Forged | Found::Absent => {}
    }
    let strip = |header: &[u8]| without(header, |name| name == OURS);
    let rest = match strip(&header) {
        Stripped::Unchanged => header.clone(),
        Stripped::Rest(rest) => rest.to_vec(),
        Stripped::Nothing => Vec::new(),
    };
    assert_eq!(affinity.find([rest.as_slice()]), Found::Absent, "{}", rest.escape_ascii());
    assert_eq!(strip(&rest), Stripped::Unchanged);
    assert_eq!(others(&header), others(&rest));

    let (cookies, path) = input.split_at(input.iter().position(|byte| *byte == b'/').unwrap_or(input.len()));
    let found = ROUTES.find([cookies], path);
    assert!(found != Found::Forged && found.position().is_none_or(|position| position < 2));
});

fn replace(text: &[u8], from: &[u8], to: &[u8]) -> Vec<u8> {
    let mut replaced = Vec::new();
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        match rest.strip_prefix(from) {
            Some(behind) => {
                replaced.extend_from_slice(to);
                rest = behind;
            }
            None => {
                replaced.push(*first);
                rest = behind;
            }
        }
    }
    replaced
}

/// All cookies that are not called as ours, but for empty ones.
fn others(header: &[u8]) -> Vec<&[u8]> {
    let cookies = header.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
    let name = |cookie: &&[u8]| cookie.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii() != OURS;
    cookies.filter(|cookie| !cookie.is_empty()).filter(name).collect()
}
