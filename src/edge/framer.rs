//! What of an HTTP/1 connection is handed on to the framework: one checked request at a time, and not a byte more.

use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};

use bytes::{Buf, BytesMut};
use pingora::protocols::Stream;
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

use super::exchange::Exchange;
use super::spare;
use crate::http1::{Chunks, Fault, Framing, Head, HeadLimits, HeadScanner, Rewrite};

/// Stands between the stream and the framework.
#[derive(Debug)]
pub(super) struct Framer {
    limits: HeadLimits,
    /// Received and not handed on.
    buffer: BytesMut,
    scanner: HeadScanner,
    /// A header that is complete and waits for the first chunk behind it.
    head: Option<Head>,
    /// Whether the client may be waiting for `100 Continue`: it asked for it, and nothing of the body is there.
    awaits_continue: bool,
    phase: Phase,
}

/// What is handed on.
#[derive(Debug)]
enum Phase {
    /// Nothing: a header is waited for.
    Waiting,
    /// So many bytes at the beginning of the buffer.
    Head { left: usize, then: Framing },
    /// So many bytes of a body.
    Length(u64),
    /// A body in chunks.
    Chunked(Chunks),
    /// Nothing: the request is complete.
    Complete,
    /// Nothing any more.
    Broken,
}

impl Framer {
    pub(super) fn new(limits: HeadLimits) -> Self {
        Framer {
            limits,
            buffer: BytesMut::new(),
            scanner: HeadScanner::new(limits),
            head: None,
            awaits_continue: false,
            phase: Phase::Waiting,
        }
    }

    /// Whether some bytes of a next request are there.
    pub(super) fn has_begun(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// Whether a body is being handed on.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.phase, Phase::Length(_) | Phase::Chunked(_))
    }

    /// Whether the client may be waiting for an interim answer rather than be slow.
    pub(super) fn awaits_continue(&self) -> bool {
        self.awaits_continue
    }

    /// Whether all of the request was handed on, so that another one may follow.
    pub(super) fn is_complete(&self) -> bool {
        matches!(self.phase, Phase::Complete | Phase::Length(0))
    }

    /// What was received of a next request, for the log.
    pub(super) fn received(&self) -> &[u8] {
        &self.buffer
    }

    /// Waits for the next request.
    pub(super) fn next(&mut self) {
        self.scanner = HeadScanner::new(self.limits);
        self.head = None;
        self.phase = Phase::Waiting;
    }

    /// Whether the next request may be handed on, or must be waited for.
    pub(super) fn head_complete(&mut self, exchange: &Exchange) -> Result<bool, Fault> {
        if self.head.is_none() {
            self.head = self.scanner.scan(&self.buffer)?;
        }
        let Some(head) = &self.head else { return Ok(false) };
        // Nothing of a request whose first chunk is malformed should reach a node.
        if head.framing == Framing::Chunked && !head.expects_continue {
            let mut chunks = Chunks::new(self.limits.header);
            chunks.scan(self.buffer.get(head.len..).unwrap_or_default())?;
            if !chunks.has_begun() {
                return Ok(false);
            }
            // How much is allowed is known when it is decided where the request goes.
            exchange.announce(chunks.announced());
        }
        let framing = head.framing;
        self.awaits_continue = head.expects_continue;
        let left = match self.head.take() {
            Some(Head { skip, len, rewrite: Some(rewrite), .. }) => self.rewrite(skip, len, &rewrite),
            Some(Head { skip, len, rewrite: None, .. }) => {
                self.buffer.advance(skip);
                len - skip
            }
            None => 0,
        };
        self.phase = Phase::Head { left, then: framing };
        Ok(true)
    }

    /// Takes scheme and authority out of the target. Returns how long the header is then.
    fn rewrite(&mut self, skip: usize, len: usize, rewrite: &Rewrite) -> usize {
        let old = self.buffer.split_to(len);
        let (before, behind) = (old.get(skip..rewrite.cut.start), old.get(rewrite.cut.end..));
        let mut new = BytesMut::with_capacity(len + self.buffer.len());
        new.extend_from_slice(before.unwrap_or_default());
        if rewrite.slash {
            new.extend_from_slice(b"/");
        }
        new.extend_from_slice(behind.unwrap_or_default());
        let left = new.len();
        new.extend_from_slice(&self.buffer);
        self.buffer = new;
        left
    }

    /// Reads more of a header, or of whatever the client sends.
    pub(super) fn poll_more(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if self.buffer.capacity() == 0 {
            self.buffer = spare::take();
        }
        self.buffer.reserve(spare::SIZE);
        let outcome = pin!(stream.read_buf(&mut self.buffer)).poll(context);
        if self.buffer.is_empty() {
            // A connection that says nothing holds no memory for what it might say.
            spare::give_back(std::mem::take(&mut self.buffer));
        }
        outcome
    }

    /// Hands on what belongs to the request; `Err` with a fault told to `exchange` if that cannot be.
    pub(super) fn poll_read(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        exchange: &Exchange,
    ) -> Poll<io::Result<()>> {
        if exchange.is_upgraded() {
            return self.poll_tunnel(stream, context, out);
        }
        match &mut self.phase {
            Phase::Head { left, then } => {
                let taken = move_bytes(&mut self.buffer, out, *left);
                *left -= taken;
                if *left == 0 {
                    self.phase = match then {
                        Framing::Length(length) => Phase::Length(*length),
                        Framing::Chunked => Phase::Chunked(Chunks::new(self.limits.header)),
                    };
                }
                Poll::Ready(Ok(()))
            }
            Phase::Length(0) | Phase::Complete => self.poll_end(stream, context),
            Phase::Length(_) | Phase::Chunked(_) => self.poll_body(stream, context, out, exchange),
            // The framework reads no header that was not announced, and nothing after an error.
            Phase::Waiting | Phase::Broken => Poll::Ready(Ok(())),
        }
    }

    /// Once a request is complete, only the end of the connection is told. What comes of a next request waits.
    fn poll_end(&mut self, stream: &mut Stream, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.has_begun() {
            // Nothing wakes the reader now. It need not be: the answer is on its way, and ends the request.
            return Poll::Pending;
        }
        match ready!(self.poll_more(stream, context))? {
            0 => Poll::Ready(Ok(())),
            _ => Poll::Pending,
        }
    }

    fn poll_body(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
        exchange: &Exchange,
    ) -> Poll<io::Result<()>> {
        let before = out.filled().len();
        if self.buffer.is_empty() {
            ready!(Pin::new(stream).poll_read(context, out))?;
        } else {
            move_bytes(&mut self.buffer, out, usize::MAX);
        }
        self.awaits_continue = false;
        let piece = out.filled().get(before..).unwrap_or_default();
        match self.phase.take(piece, exchange) {
            Ok(taken) => {
                // What is behind the body comes before what is still in the buffer.
                if let Some(behind) = piece.get(taken..).filter(|behind| !behind.is_empty()) {
                    let rest = std::mem::take(&mut self.buffer);
                    self.buffer.reserve(behind.len() + rest.len());
                    self.buffer.extend_from_slice(behind);
                    self.buffer.extend_from_slice(&rest);
                }
                out.set_filled(before + taken);
                Poll::Ready(Ok(()))
            }
            Err(fault) => {
                out.set_filled(before);
                self.phase = Phase::Broken;
                exchange.break_off(fault);
                Poll::Ready(Err(io::ErrorKind::InvalidData.into()))
            }
        }
    }

    fn poll_tunnel(
        &mut self,
        stream: &mut Stream,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.buffer.is_empty() {
            return Pin::new(stream).poll_read(context, out);
        }
        move_bytes(&mut self.buffer, out, usize::MAX);
        Poll::Ready(Ok(()))
    }
}

impl Phase {
    /// How much of a piece belongs to the body; goes on behind it.
    fn take(&mut self, piece: &[u8], exchange: &Exchange) -> Result<usize, Fault> {
        match self {
            Phase::Length(left) => {
                let taken = usize::try_from(*left).map_or(piece.len(), |left| left.min(piece.len()));
                *left -= taken as u64; // at most `left`
                Ok(taken)
            }
            Phase::Chunked(chunks) => {
                let scanned = chunks.scan(piece)?;
                if !exchange.announce(chunks.announced()) {
                    return Err(Fault::BodyTooLarge);
                }
                if scanned.ended {
                    *self = Phase::Complete;
                }
                Ok(scanned.taken)
            }
            _ => Ok(0),
        }
    }
}

/// Moves up to `most` bytes.
fn move_bytes(from: &mut BytesMut, to: &mut ReadBuf<'_>, most: usize) -> usize {
    let count = from.len().min(to.remaining()).min(most);
    to.put_slice(from.get(..count).unwrap_or_default());
    from.advance(count);
    count
}
