//! What is sent is worth sending.

use std::collections::HashSet;

use crate::support::corpus::ordinary::ordinary;
use crate::support::corpus::{bases, mutated};
use crate::support::http2::status;

#[test]
fn the_lists_are_distinct_and_the_same_every_time() {
    let long = mutated(1, 20_000);
    assert_eq!(long.iter().collect::<HashSet<_>>().len(), long.len());
    assert_eq!(mutated(1, 5_000), long[..5_000], "a short list is the begin of a long one");
    assert_ne!(mutated(2, 5_000), long[..5_000]);
    let bases: HashSet<_> = bases().into_iter().collect();
    assert!(long.iter().all(|target| !bases.contains(target)), "each of them is mutated");

    let ordinary = ordinary();
    assert_eq!(ordinary.iter().collect::<HashSet<_>>().len(), ordinary.len());
    println!("{} ordinary URLs", ordinary.len());
    assert!(ordinary.len() >= 1_500, "only {} ordinary URLs", ordinary.len());
}

#[test]
fn every_kind_of_mutation_occurs_often() {
    let targets = mutated(1, 6_000);
    let with = |part: &[u8]| targets.iter().filter(|target| target.windows(part.len()).any(|w| w == part)).count();
    for part in [
        &b"//"[..],
        b"/./",
        b"/../",
        b"..;",
        b";",
        b"\\",
        b"\0",
        b"\n",
        b"\xff",
        b"%2f",
        b"%2F",
        b"%5c",
        b"%2e",
        b"%00",
        b"%25",
        b"%c0%a",
        b"%3b",
        b"?",
        b"#",
        b"/t/",
        b"/services/echo/..",
        b"http://",
    ] {
        assert!(with(part) >= 20, "{} is in {} targets only", part.escape_ascii(), with(part));
    }
    assert!(targets.iter().filter(|target| std::str::from_utf8(target).is_err()).count() >= 50);
}

/// The client's own reading of answers, which no server would show to be wrong.
#[test]
fn a_status_is_read_in_every_form() {
    // From the examples of RFC 7541, appendix C: "302" plain and in Huffman code, "307" in Huffman code, 200 indexed.
    for (block, expected) in [
        (&[0x88][..], Some(200)),
        (&[0x20, 0x8d], Some(404)),
        (&[0x48, 3, b'3', b'0', b'2'], Some(302)),
        (&[0x48, 0x82, 0x64, 0x02], Some(302)),
        (&[0x48, 0x83, 0x64, 0x0e, 0xff], Some(307)),
        (&[0x0f, 0x00], None),
    ] {
        assert_eq!(status(block), expected, "{block:x?}");
    }
}
