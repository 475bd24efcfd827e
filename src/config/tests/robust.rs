//! Whatever the file contains, the loader answers with problems.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

/// What may stand in a configuration, and what may not.
const TOKENS: &[&str] = &[
    "listeners",
    "clusters",
    "admin",
    "server",
    "bind",
    "role",
    "product",
    "hosts",
    "nodes",
    "worker",
    "manager",
    "id",
    "host",
    "roles",
    "weight",
    "endpoints",
    "servlet",
    "passthrough",
    "tls",
    "health",
    "pools",
    "tenants",
    "partitions",
    "affinity",
    "cookie",
    "route",
    "hash",
    "off",
    "20%",
    "1-100",
    "dual",
    "esb",
    "is",
    "both",
    ": ",
    ":",
    "\n",
    "\n  ",
    "\n    ",
    "\n- ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    ", ",
    "\"",
    "'",
    "&a ",
    "*a",
    "!!x ",
    "? ",
    "|",
    ">",
    "#",
    "---",
    "...",
    "%YAML 1.2",
    "\t",
    "~",
    "null",
    "true",
    "0",
    "-1",
    "443",
    "99999999999999999999",
    "15s",
    "\"*\"",
    "*.a",
    "127.0.0.1:0",
    "0.0.0.0:443",
    "[::]:443",
    "10.0.0.0/8",
    "${",
    "${PORT}",
    "${KEY}",
    "$${",
    "}",
    "\\",
    "\u{feff}",
    "\0",
    "\u{85}",
    "é",
    "\r",
    "<<",
];

/// Loads, and if that succeeds, what was loaded can be printed and loaded again.
fn survive(text: &str) {
    match parse_text(text) {
        Ok(loaded) => {
            let printed = effective(&loaded.config);
            let again = parse_text(&printed).unwrap_or_else(|problems| panic!("{problems}\n{printed}"));
            assert_eq!(again.config, loaded.config, "{printed}");
        }
        Err(problems) => {
            assert!(problems.has_errors(), "refused without an error");
            assert!(problems.iter().all(|problem| !problem.to_string().contains('\n')), "{problems}");
        }
    }
}

/// [`EVERYTHING`], without files.
fn everything() -> String {
    let changes = [
        ("tls: { certificate: edge.crt, key: edge.key }", ""),
        ("ca: carbon.pem, ", ""),
        ("token_file: tokens", "tokens: ['${TOKEN}']"),
    ];
    changes.iter().fold(EVERYTHING.to_owned(), |text, (replace, by)| text.replace(replace, by))
}

/// A few characters of `text` replaced.
fn changed(text: &str, changes: Vec<(prop::sample::Index, usize, &str)>) -> String {
    let mut text: Vec<char> = text.chars().collect();
    for (at, remove, insert) in changes {
        let at = at.index(text.len());
        let end = text.len().min(at + remove);
        text.splice(at..end, insert.chars());
    }
    text.into_iter().collect()
}

#[test]
fn what_is_changed_below_is_good() {
    assert!(parse_text(refused::GOOD).is_ok() && parse_text(&everything()).is_ok());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes(bytes in vec(any::<u8>(), 0..200)) {
        survive(&String::from_utf8_lossy(&bytes));
    }

    #[test]
    fn random_tokens(tokens in vec(select(TOKENS), 0..60)) {
        survive(&tokens.concat());
    }

    #[test]
    fn a_good_file_with_a_few_changes(changes in vec((any::<prop::sample::Index>(), 0..12_usize, select(TOKENS)), 1..6)) {
        survive(&changed(refused::GOOD, changes));
    }

    #[test]
    fn a_full_file_with_a_few_changes(changes in vec((any::<prop::sample::Index>(), 0..12_usize, select(TOKENS)), 1..4)) {
        survive(&changed(&everything(), changes));
    }

    #[test]
    fn a_good_file_with_lines_moved(swaps in vec((any::<prop::sample::Index>(), any::<prop::sample::Index>()), 1..4)) {
        let mut lines: Vec<&str> = refused::GOOD.lines().collect();
        for (a, b) in swaps {
            let (a, b) = (a.index(lines.len()), b.index(lines.len()));
            lines.swap(a, b);
        }
        survive(&lines.join("\n"));
    }
}
