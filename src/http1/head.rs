//! The header of a request, line by line as it comes in.

use super::bytes::{is_host, is_token};
use super::target::{Absolute, Rewrite};
use super::{Fault, field, target};

/// How much a header may hold.
#[derive(Debug, Clone, Copy)]
pub struct HeadLimits {
    /// Bytes of the target.
    pub target: usize,
    /// Bytes of all.
    pub header: usize,
    /// Number of fields.
    pub fields: usize,
}

/// How the body of a request is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// By a length; 0 if the header says nothing of a body.
    Length(u64),
    /// By chunks.
    Chunked,
}

/// A header that may be passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Bytes to drop in front of it: an empty line.
    pub skip: usize,
    /// Bytes up to the end of the empty line behind it, `skip` included.
    pub len: usize,
    /// How the body is delimited.
    pub framing: Framing,
    /// How its target must be rewritten before it is passed on.
    pub rewrite: Option<Rewrite>,
    /// Whether the client waits for an interim answer before it sends the body.
    pub expects_continue: bool,
}

/// Reads a header that comes in pieces: each line is looked at once, when it is complete.
#[derive(Debug)]
pub struct HeadScanner {
    limits: HeadLimits,
    /// Where the next line begins.
    line: usize,
    /// Up to where no end of that line is.
    searched: usize,
    skip: usize,
    started: bool,
    fields: usize,
    http10: bool,
    absolute: Option<Absolute>,
    /// Where the value of `Host` stands.
    host: Option<std::ops::Range<usize>>,
    length: Option<u64>,
    chunked: bool,
    upgrade: bool,
    expects_continue: bool,
}

impl HeadScanner {
    /// For a header of which nothing was read.
    pub fn new(limits: HeadLimits) -> Self {
        HeadScanner {
            limits,
            line: 0,
            searched: 0,
            skip: 0,
            started: false,
            fields: 0,
            http10: false,
            absolute: None,
            host: None,
            length: None,
            chunked: false,
            upgrade: false,
            expects_continue: false,
        }
    }

    /// Takes in what has been received so far, from the first byte of the header on; each call must have all of it.
    /// `None`: more must come.
    ///
    /// # Errors
    /// The header is refused, whatever may follow.
    pub fn scan(&mut self, received: &[u8]) -> Result<Option<Head>, Fault> {
        while let Some(found) = received.get(self.searched..).and_then(|rest| memchr::memchr(b'\n', rest)) {
            let end = self.searched + found;
            self.searched = end + 1;
            if end >= self.limits.header + self.skip {
                return Err(self.too_large());
            }
            let line = received.get(self.line..end).unwrap_or_default();
            if !self.started && line.len() > self.longest_request_line() {
                // As if it had come in pieces, below.
                return Err(Fault::TargetTooLong);
            }
            let line = line.strip_suffix(b"\r").ok_or(Fault::LineEnding)?;
            let at = std::mem::replace(&mut self.line, end + 1);
            match (self.started, line.is_empty()) {
                (false, true) if self.skip == 0 => self.skip = self.line,
                (false, true) => return Err(Fault::EmptyLines),
                (false, false) => self.request_line(line, at)?,
                (true, false) => self.field(line, at)?,
                (true, true) => return self.complete(received).map(Some),
            }
        }
        self.searched = received.len();
        if received.len() - self.skip > self.limits.header {
            return Err(self.too_large());
        }
        if !self.started && received.len() - self.skip > self.longest_request_line() {
            return Err(Fault::TargetTooLong);
        }
        Ok(None)
    }

    /// Bytes of the longest request line that can be accepted, without its line feed.
    fn longest_request_line(&self) -> usize {
        LONGEST_METHOD + b" ".len() + self.limits.target + b" HTTP/1.1\r".len()
    }

    fn too_large(&self) -> Fault {
        // `limits.target` is below `limits.header`.
        if self.started { Fault::HeaderTooLarge } else { Fault::TargetTooLong }
    }

    fn request_line(&mut self, line: &[u8], at: usize) -> Result<(), Fault> {
        self.started = true;
        if line.contains(&b'\r') {
            return Err(Fault::LineEnding);
        }
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let (Some(method), Some(target), Some(version)) = (words.next(), words.next(), words.next()) else {
            return Err(Fault::RequestLine);
        };
        if method.is_empty() || method.len() > LONGEST_METHOD || !method.iter().copied().all(is_token) {
            return Err(Fault::Method);
        }
        self.http10 = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if [major, minor].iter().all(|b| b.is_ascii_digit()) => {
                return Err(Fault::Version);
            }
            _ => return Err(Fault::RequestLine),
        };
        if matches!(method, b"CONNECT" | b"TRACE") {
            return Err(Fault::MethodNotImplemented);
        }
        if target.len() > self.limits.target {
            return Err(Fault::TargetTooLong);
        }
        if target == b"*" && method != b"OPTIONS" {
            return Err(Fault::Target);
        }
        self.absolute = target::check(target, at + method.len() + 1)?;
        Ok(())
    }

    fn field(&mut self, line: &[u8], at: usize) -> Result<(), Fault> {
        self.fields += 1;
        if self.fields > self.limits.fields {
            return Err(Fault::TooManyFields);
        }
        let (name, value) = field::parse(line).map_err(|fault| match fault {
            Fault::FieldValue if line.contains(&b'\r') => Fault::LineEnding,
            fault => fault,
        })?;
        // The lengths of names that matter here; most names have another.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(line, value, at),
            6 if name.eq_ignore_ascii_case(b"expect") => self.expect(value),
            7 if name.eq_ignore_ascii_case(b"upgrade") => self.upgrade(value),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(value),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(value),
            _ => Ok(()),
        }
    }

    fn host(&mut self, line: &[u8], value: &[u8], at: usize) -> Result<(), Fault> {
        if self.host.is_some() {
            return Err(Fault::HostRepeated);
        }
        if !value.iter().copied().all(is_host) {
            return Err(Fault::Authority);
        }
        // What was trimmed behind the value; what precedes it is the rest.
        let behind = line.iter().rev().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
        let behind = if value.is_empty() { 0 } else { behind };
        let end = at + line.len() - behind;
        self.host = Some(end - value.len()..end);
        Ok(())
    }

    fn expect(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.expects_continue || !value.eq_ignore_ascii_case(b"100-continue") {
            return Err(Fault::Expectation);
        }
        self.expects_continue = true;
        Ok(())
    }

    /// One protocol that is known: `websocket`, or `h2c`, which is not passed on, so that nobody can upgrade behind the
    /// balancer's back.
    fn upgrade(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.upgrade || ![&b"websocket"[..], b"h2c"].iter().any(|known| value.eq_ignore_ascii_case(known)) {
            return Err(Fault::Upgrade);
        }
        self.upgrade = true;
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::ContentLength);
        }
        self.length = Some(field::length(value)?);
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Result<(), Fault> {
        if self.chunked || self.http10 {
            return Err(Fault::Framing);
        }
        if !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Fault::TransferCoding);
        }
        self.chunked = true;
        Ok(())
    }

    /// What can only be told when all fields are there.
    fn complete(&mut self, received: &[u8]) -> Result<Head, Fault> {
        if self.host.is_none() && !self.http10 {
            return Err(Fault::HostMissing);
        }
        let framing = match (self.chunked, self.length) {
            (true, Some(_)) => return Err(Fault::Framing),
            (true, None) => Framing::Chunked,
            (false, length) => Framing::Length(length.unwrap_or(0)),
        };
        if self.upgrade && framing != Framing::Length(0) {
            return Err(Fault::Upgrade);
        }
        let rewrite = match self.absolute.take() {
            None => None,
            Some(Absolute { authority, rewrite }) => {
                // RFC 9112 lets the target win. Two readers may still see two hosts, so they must agree.
                let host = self.host.clone().and_then(|host| received.get(host));
                let authority = received.get(authority).unwrap_or_default();
                if !host.is_some_and(|host| host.eq_ignore_ascii_case(authority)) {
                    return Err(Fault::Authority);
                }
                Some(rewrite)
            }
        };
        let expects_continue = self.expects_continue && !self.http10;
        Ok(Head { skip: self.skip, len: self.line, framing, rewrite, expects_continue })
    }
}

/// No registered method is longer than half of this.
const LONGEST_METHOD: usize = 40;

#[cfg(test)]
mod tests;
