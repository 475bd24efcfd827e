//! Buffers for bytes that are on their way. Most connections are silent most of the time, so a buffer belongs to its thread,
//! and to a connection only while it has something to hold.

use std::cell::RefCell;

use bytes::BytesMut;

/// Bytes that a buffer has room for when it is taken.
pub(super) const SIZE: usize = 4096;

/// Buffers that a thread keeps for later.
const KEPT: usize = 64;

thread_local! {
    static SPARE: RefCell<Vec<BytesMut>> = const { RefCell::new(Vec::new()) };
}

/// An empty buffer with room for [`SIZE`] bytes.
pub(super) fn take() -> BytesMut {
    let mut buffer = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
    // One that bytes were taken from in front gets its room back so, without an allocation.
    buffer.reserve(SIZE);
    buffer
}

/// Keeps a buffer for later, unless there are enough, or it has grown.
pub(super) fn give_back(mut buffer: BytesMut) {
    buffer.clear();
    SPARE.with_borrow_mut(|spare| {
        if spare.len() < KEPT && (1..=2 * SIZE).contains(&buffer.capacity()) {
            spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use bytes::Buf;

    use super::*;

    #[test]
    fn a_buffer_is_used_again_with_all_its_room() {
        let mut first = take();
        let place = first.as_ptr();
        first.extend_from_slice(&[7; SIZE]);
        first.advance(SIZE - 1);
        give_back(first);
        let again = take();
        assert_eq!((again.as_ptr(), again.len(), again.capacity() >= SIZE), (place, 0, true));
    }

    #[test]
    fn only_so_many_are_kept_and_none_that_has_grown() {
        let taken: Vec<_> = (0..KEPT + 8).map(|_| take()).collect();
        taken.into_iter().for_each(give_back);
        give_back(BytesMut::with_capacity(1 << 20));
        give_back(BytesMut::new());
        SPARE.with_borrow(|spare| {
            assert!(spare.len() == KEPT && spare.iter().all(|buffer| buffer.capacity() < 1 << 20))
        });
    }
}
