//! What clients send to keep a session on its member: nothing panics, only what we made leads to a member, and nodes see
//! all cookies but ours.
#![no_main]

use std::sync::LazyLock;

use carbon_elb::affinity::{CookieAffinity, Found, RouteTable, Stripped, without};
use carbon_elb::config::{AffinityCookie, Secret};
use carbon_elb::ids::{Name, Role};
use libfuzzer_sys::fuzz_target;

const OURS: &[u8] = b"CARBON_ELB";

/// The cookie, and what its value is for the first member: a fuzzer cannot find that, so it writes `TOKEN`.
static AFFINITY: LazyLock<(CookieAffinity, String)> = LazyLock::new(|| {
    let [cluster, first, second] = ["esb", "wk-1", "wk-2"].map(|name| Name::parse(name).expect("a name"));
    let keys = [Secret::new(*b"first key"), Secret::new(*b"second key")];
    let affinity =
        CookieAffinity::new(&AffinityCookie::of(Role::Manager), &keys, &cluster, Role::Manager, [&first, &second]);
    let cookie = affinity.set_cookie(Found::Absent, 0, false).expect("a member").to_str().expect("text").to_owned();
    let token = cookie.split_once('=').and_then(|(_, rest)| rest.split_once(';')).expect("a cookie").0.to_owned();
    (affinity, token)
});

static ROUTES: LazyLock<RouteTable> = LazyLock::new(|| RouteTable::new("JSESSIONID", ["wk-1", "wk.2"]));

fuzz_target!(|input: &[u8]| {
    let (affinity, token) = &*AFFINITY;
    let has_token = input.windows(5).any(|window| window == b"TOKEN");
    let header = replace(input, b"TOKEN", token.as_bytes());

    let found = affinity.find([header.as_slice()]);
    match found {
        Found::Known { position, current } => assert!(position == 0 && current && has_token),
        Found::Gone => panic!("nobody has left"),
        Found::Forged | Found::Absent => {}
    }
    let strip = |header: &[u8]| without(header, |name| name == OURS);
    let rest = match strip(&header) {
        Stripped::Unchanged => header.clone(),
        Stripped::Rest(rest) => rest,
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
