//! Values of headers that are made anew for each request: parts of a buffer of the thread, so that only every hundredth of
//! them asks for memory.

use std::cell::RefCell;

use bytes::BytesMut;
use http::HeaderValue;
use http::header::InvalidHeaderValue;

/// Bytes of a buffer. A value keeps its buffer, so this is also what the smallest of them can keep from being used again.
const SIZE: usize = 4096;

thread_local! {
    static ROOM: RefCell<BytesMut> = RefCell::new(BytesMut::new());
}

/// A header's value with a copy of `bytes`.
///
/// # Errors
///
/// If a header cannot have such a value: control characters.
pub(crate) fn value(bytes: &[u8]) -> Result<HeaderValue, InvalidHeaderValue> {
    if bytes.len() > SIZE {
        return HeaderValue::from_bytes(bytes);
    }
    let copy = ROOM.with_borrow_mut(|room| {
        if room.capacity() < bytes.len() {
            // The same buffer again, if none of its values is left.
            room.reserve(SIZE);
        }
        room.extend_from_slice(bytes);
        room.split().freeze()
    });
    HeaderValue::from_maybe_shared(copy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_what_was_asked_for_however_many_are_kept() {
        let texts: Vec<String> = (0..10_000).map(|number| number.to_string().repeat(1 + number % 7)).collect();
        let values: Vec<_> = texts.iter().map(|text| value(text.as_bytes()).unwrap()).collect();
        assert!(values.iter().zip(&texts).all(|(value, text)| value == text));
    }

    #[test]
    fn short_and_long_ones_and_those_that_cannot_be() {
        assert_eq!(value(b"").unwrap(), "");
        let long = "x".repeat(3 * SIZE);
        assert_eq!(value(long.as_bytes()).unwrap(), long.as_str());
        for bad in [&b"a\nb"[..], b"\0", b"a\x7f"] {
            assert!(value(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_buffer_is_used_again_when_no_value_needs_it() {
        let places: std::collections::BTreeSet<_> =
            (0..1_000).map(|_| value(&[b'x'; SIZE / 4]).unwrap().as_bytes().as_ptr()).collect();
        assert!(places.len() <= 8, "{} places for values that are dropped at once", places.len());
    }
}
