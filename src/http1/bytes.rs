//! Which bytes may stand where (RFC 9110, 5.6.2 and 5.5; RFC 3986).

/// A byte of a token: of a method, or of the name of a field.
const TOKEN: u8 = 1;
/// A visible byte of a request target: ASCII without controls, space and `#`.
const TARGET: u8 = 2;
/// A byte of a field's value: visible ASCII, space, tab, and what is not ASCII.
const VALUE: u8 = 4;

/// One for each byte, so that none is out of bounds.
const KINDS: [u8; 256] = {
    let mut kinds = [0; 256];
    let mut byte = 0;
    while byte < kinds.len() {
        kinds[byte] = kind(byte as u8); // below 256 by the loop's condition
        byte += 1;
    }
    kinds
};

const fn kind(byte: u8) -> u8 {
    let token = byte.is_ascii_alphanumeric()
        || matches!(
            byte,
            b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        );
    let target = byte.is_ascii_graphic() && byte != b'#';
    let value = matches!(byte, b'\t' | b' '..=b'~' | 0x80..);
    ((token as u8) * TOKEN) | ((target as u8) * TARGET) | ((value as u8) * VALUE)
}

/// A byte of a token (RFC 9110, 5.6.2): of a method, or of the name of a field.
pub fn is_token(byte: u8) -> bool {
    KINDS[usize::from(byte)] & TOKEN != 0
}

pub(super) fn is_target(byte: u8) -> bool {
    KINDS[usize::from(byte)] & TARGET != 0
}

/// A byte of a host, a port or what is between (RFC 3986, 3.2.2), without the comma, which some take for a list.
pub(super) fn is_host(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+;=:[]".contains(&byte)
}

pub(super) fn is_value(byte: u8) -> bool {
    KINDS[usize::from(byte)] & VALUE != 0
}

/// Whether every byte may stand in a field's value. Eight bytes at a time: values are most of a header.
pub(super) fn all_value(bytes: &[u8]) -> bool {
    let (words, rest) = bytes.as_chunks::<8>();
    words.iter().all(|word| is_plain(u64::from_ne_bytes(*word)) || word.iter().copied().all(is_value))
        && rest.iter().copied().all(is_value)
}

/// Whether all eight bytes are visible ASCII or space. Says no to some that are fine; those are looked at one by one.
fn is_plain(word: u64) -> bool {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let not_ascii = word & HIGH;
    // A borrow reaches the high bit of each byte below 0x20, and of no other before the first of these.
    let below_space = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
    let delete = word ^ (ONES * 0x7f);
    let is_delete = delete.wrapping_sub(ONES) & !delete & HIGH;
    not_ascii | below_space | is_delete == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_where_they_belong() {
        assert!(b"GET!#$%&'*+-.^_`|~09azAZ".iter().copied().all(is_token));
        assert!(!b" \t\r\n\0\x7f()<>@,;:\\\"/[]?={}\x80\xff".iter().copied().any(is_token));
        assert!(b"/a?b=c%20;d\"<>\\^`{|}[]".iter().copied().all(is_target));
        assert!(!b" \t\r\n\0\x1f\x7f#\x80\xff".iter().copied().any(is_target));
        assert!(b"a b\tc\x80\xff#\"".iter().copied().all(is_value));
        assert!(!b"\r\n\0\x01\x1f\x7f".iter().copied().any(is_value));
    }

    #[test]
    fn eight_at_a_time_are_as_one_by_one() {
        // Every byte at every place of a word, and in the rest behind it.
        for byte in 0..=255 {
            for place in 0..19 {
                for filler in [b' ', b'~', b'a', b'\t', 0xff] {
                    let mut bytes = [filler; 19];
                    bytes[place] = byte;
                    assert_eq!(all_value(&bytes), bytes.iter().copied().all(is_value), "{byte} at {place}");
                }
            }
        }
    }
}
