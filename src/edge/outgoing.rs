//! What is on its way to a client. Small pieces wait for each other until they are flushed, so that the header and the
//! body of an answer need one system call, and leave in one segment.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use tokio::io::AsyncWrite;

use super::spare;

/// Bytes that were taken in and not yet sent; never more than [`spare::SIZE`].
#[derive(Debug, Default)]
pub(super) struct Outgoing {
    held: BytesMut,
}

impl Outgoing {
    /// Takes in bytes: they wait if they are few, or are sent with what waits.
    pub(super) fn poll_write(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            if self.held.len() + bytes.len() <= spare::SIZE {
                if self.held.is_empty() {
                    self.held = spare::take();
                }
                self.held.extend_from_slice(bytes);
                return Poll::Ready(Ok(bytes.len()));
            }
            if self.held.is_empty() {
                return Pin::new(&mut *stream).poll_write(context, bytes);
            }
            let both = [IoSlice::new(&self.held), IoSlice::new(bytes)];
            let sent = some(ready!(Pin::new(&mut *stream).poll_write_vectored(context, &both))?)?;
            let of_bytes = sent.saturating_sub(self.held.len());
            self.sent(sent - of_bytes);
            if of_bytes > 0 {
                return Poll::Ready(Ok(of_bytes));
            }
        }
    }

    /// Sends what waits.
    pub(super) fn poll_send(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.held.is_empty() {
            let sent = some(ready!(Pin::new(&mut *stream).poll_write(context, &self.held))?)?;
            self.sent(sent);
        }
        Poll::Ready(Ok(()))
    }

    fn sent(&mut self, bytes: usize) {
        self.held.advance(bytes.min(self.held.len()));
        if self.held.is_empty() {
            spare::give_back(std::mem::take(&mut self.held));
        }
    }
}

/// A stream that takes nothing never will.
fn some(sent: usize) -> io::Result<usize> {
    if sent == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(sent) }
}
