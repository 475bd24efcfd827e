//! A chunked body (RFC 9112, 7.1), byte by byte as it comes in.

use super::Fault;
use super::bytes::{is_token, is_value};

/// Bytes of one chunk's extension. Nobody uses them for anything that is longer.
const LONGEST_EXTENSION: usize = 4096;

/// Sixteen digits are 64 bits.
const MOST_DIGITS: u8 = 16;

/// Where in a chunked body the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// In the size of a chunk, behind so many digits.
    Size { digits: u8 },
    /// In the space between a size and its extension, behind so many bytes.
    SizeSpace { bytes: usize },
    /// In an extension, behind so many bytes.
    Extension { bytes: usize, quoted: Quoted },
    /// Before the line feed of a size.
    SizeEnd,
    /// In the data, with so many bytes to come.
    Data { left: u64 },
    /// Behind the data.
    DataEnd,
    /// Before the line feed behind the data.
    DataLineFeed,
    /// At the beginning of a trailer, or of the empty line.
    Trailer,
    /// In the name of a trailer.
    TrailerName,
    /// In the value of a trailer.
    TrailerValue,
    /// Before the line feed of a trailer.
    TrailerLineFeed,
    /// Before the last line feed.
    LastLineFeed,
    /// Behind the body.
    End,
}

/// Whether a byte of an extension is in quotes, where the line cannot end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quoted {
    No,
    Yes,
    /// Behind a backslash.
    Escaped,
}

impl Quoted {
    fn next(self, byte: u8) -> Self {
        match (self, byte) {
            (Quoted::No, b'"') | (Quoted::Escaped, _) => Quoted::Yes,
            (Quoted::Yes, b'"') => Quoted::No,
            (Quoted::Yes, b'\\') => Quoted::Escaped,
            (quoted, _) => quoted,
        }
    }
}

/// What a piece of a body is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scanned {
    /// Bytes that belong to the body.
    pub taken: usize,
    /// Whether it ends with them.
    pub ended: bool,
}

/// Follows a chunked body.
#[derive(Debug, Clone)]
pub struct Chunks {
    state: State,
    size: u64,
    announced: u64,
    begun: bool,
    trailers: usize,
    most_trailers: usize,
}

impl Chunks {
    /// At the beginning of a body, whose trailers may have so many bytes in total.
    pub fn new(most_trailers: usize) -> Self {
        Chunks { state: State::Size { digits: 0 }, size: 0, announced: 0, begun: false, trailers: 0, most_trailers }
    }

    /// Whether the size of the first chunk is complete.
    pub fn has_begun(&self) -> bool {
        self.begun
    }

    /// The sizes of all chunks whose size is known, in total. At most `u64::MAX`.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// Takes in the next piece.
    ///
    /// # Errors
    /// The framing is malformed.
    pub fn scan(&mut self, piece: &[u8]) -> Result<Scanned, Fault> {
        let mut taken = 0;
        while self.state != State::End {
            let Some(&byte) = piece.get(taken) else { return Ok(Scanned { taken, ended: false }) };
            if let State::Data { left } = self.state {
                let here = (piece.len() - taken) as u64; // a usize of 64 bits at most
                let data = left.min(here);
                taken += data as usize; // at most `here`, which came from a usize
                self.state = if data == left { State::DataEnd } else { State::Data { left: left - data } };
                continue;
            }
            self.state = self.next(byte)?;
            taken += 1;
        }
        Ok(Scanned { taken, ended: true })
    }

    fn next(&mut self, byte: u8) -> Result<State, Fault> {
        match (self.state, byte) {
            (State::Size { digits }, byte) => self.size(digits, byte),
            (State::SizeSpace { bytes }, b' ' | b'\t') if bytes < LONGEST_EXTENSION => {
                Ok(State::SizeSpace { bytes: bytes + 1 })
            }
            (State::SizeSpace { bytes }, b';') => Ok(State::Extension { bytes, quoted: Quoted::No }),
            (State::Extension { quoted: Quoted::No, .. }, b'\r') => Ok(State::SizeEnd),
            (State::Extension { bytes, quoted }, byte) if is_value(byte) && bytes < LONGEST_EXTENSION => {
                Ok(State::Extension { bytes: bytes + 1, quoted: quoted.next(byte) })
            }
            (State::SizeEnd, b'\n') => {
                self.begun = true;
                let size = std::mem::take(&mut self.size);
                self.announced = self.announced.saturating_add(size);
                Ok(if size == 0 { State::Trailer } else { State::Data { left: size } })
            }
            (State::DataEnd, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::Size { digits: 0 }),
            (State::Trailer, b'\r') => Ok(State::LastLineFeed),
            (State::LastLineFeed, b'\n') => Ok(State::End),
            (State::Trailer | State::TrailerName | State::TrailerValue | State::TrailerLineFeed, byte) => {
                self.trailer(byte)
            }
            (State::LastLineFeed, _) => Err(Fault::Trailer),
            _ => Err(Fault::Chunk),
        }
    }

    fn size(&mut self, digits: u8, byte: u8) -> Result<State, Fault> {
        match byte {
            b'\r' if digits > 0 => Ok(State::SizeEnd),
            b';' if digits > 0 => Ok(State::Extension { bytes: 0, quoted: Quoted::No }),
            // Nothing but an extension may follow (RFC 9112, 7.1.1).
            b' ' | b'\t' if digits > 0 => Ok(State::SizeSpace { bytes: 1 }),
            _ => {
                let digit = char::from(byte).to_digit(16).filter(|_| digits < MOST_DIGITS).ok_or(Fault::Chunk)?;
                self.size = self.size << 4 | u64::from(digit);
                Ok(State::Size { digits: digits + 1 })
            }
        }
    }

    fn trailer(&mut self, byte: u8) -> Result<State, Fault> {
        self.trailers += 1;
        if self.trailers > self.most_trailers {
            return Err(Fault::TrailerTooLarge);
        }
        match (self.state, byte) {
            (State::Trailer | State::TrailerName, byte) if is_token(byte) => Ok(State::TrailerName),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerValue, byte) if is_value(byte) => Ok(State::TrailerValue),
            (State::TrailerLineFeed, b'\n') => Ok(State::Trailer),
            _ => Err(Fault::Trailer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scan(body: &[u8]) -> Result<Scanned, Fault> {
        Chunks::new(64).scan(body)
    }

    #[test]
    fn bodies_end_where_they_should() {
        for (body, taken) in [
            ("0\r\n\r\n", 5),
            ("5\r\nhello\r\n0\r\n\r\n", 15),
            ("5;a=b;c=\"d e\"\r\nhello\r\n0;x\r\n\r\n", 29),
            ("00000000000000a\r\n0123456789\r\n0\r\n\r\n", 34),
            ("1\r\n\r\r\n0\r\n\r\n", 11), // data that looks like an end
            ("0\r\nX-Sum: 1\r\nY:\r\n\r\n", 19),
            ("0\r\n\r\nGET / HTTP/1.1\r\n", 5), // what follows is the next request's
        ] {
            assert_eq!(scan(body.as_bytes()), Ok(Scanned { taken, ended: true }), "{body:?}");
            for end in 0..taken {
                let part = scan(&body.as_bytes()[..end]);
                assert_eq!(part, Ok(Scanned { taken: end, ended: false }), "{end} bytes of {body:?}");
            }
            // In two pieces, wherever it is cut, and byte by byte.
            for cut in 0..taken {
                let mut chunks = Chunks::new(64);
                chunks.scan(&body.as_bytes()[..cut]).unwrap();
                let rest = chunks.scan(&body.as_bytes()[cut..]).unwrap();
                assert_eq!(rest, Scanned { taken: taken - cut, ended: true }, "{body:?} cut at {cut}");
            }
        }
    }

    #[test]
    fn malformed_chunks_are_refused() {
        let long_extension = format!("5;{}", "x".repeat(5_000));
        let long_trailer = format!("0\r\nX: {}", "x".repeat(100));
        for (body, fault) in [
            ("\r\n", Fault::Chunk),
            ("x", Fault::Chunk),
            ("0x5\r\n", Fault::Chunk),
            ("+5\r\n", Fault::Chunk),
            ("-5\r\n", Fault::Chunk),
            (" 5\r\n", Fault::Chunk),
            ("5 \r\n", Fault::Chunk),
            ("5\n", Fault::Chunk),
            ("5\r5", Fault::Chunk),
            ("5;a\nb", Fault::Chunk),
            ("5;a\0b", Fault::Chunk),
            ("5;a\rb", Fault::Chunk),
            ("5;a\x7f", Fault::Chunk),
            ("00000000000000005", Fault::Chunk), // 17 digits
            ("fffffffffffffffff", Fault::Chunk),
            ("5;a=\"\r\n", Fault::Chunk), // quotes that do not end
            ("5;a=\"\\\"\r\n", Fault::Chunk),
            ("5\r\nhelloo", Fault::Chunk), // longer than it says
            ("5\r\nhello\n", Fault::Chunk),
            ("5\r\nhello\rx", Fault::Chunk),
            (&long_extension, Fault::Chunk),
            ("0\r\n\n", Fault::Trailer),
            ("0\r\n\rx", Fault::Trailer),
            ("0\r\n: x", Fault::Trailer),
            ("0\r\nX y: z", Fault::Trailer),
            ("0\r\nX : z", Fault::Trailer),
            ("0\r\n X: z", Fault::Trailer),
            ("0\r\nX\r\n", Fault::Trailer),
            ("0\r\nX: z\n", Fault::Trailer),
            ("0\r\nX: \0", Fault::Trailer),
            (&long_trailer, Fault::TrailerTooLarge),
        ] {
            assert_eq!(scan(body.as_bytes()), Err(fault), "{body:?}");
        }
    }

    #[test]
    fn space_may_precede_an_extension() {
        for body in ["5 ;a\r\nhello\r\n0\r\n\r\n", "5\t \t;\ta = \"\\\"b;\"\r\nhello\r\n0 ;b\r\n\r\n"] {
            assert_eq!(scan(body.as_bytes()), Ok(Scanned { taken: body.len(), ended: true }), "{body:?}");
        }
    }

    #[test]
    fn a_body_has_begun_when_its_first_size_is_there() {
        let mut chunks = Chunks::new(64);
        for (piece, begun) in
            [("5", false), (";a", false), ("\r", false), ("\n", true), ("hello", true), ("\r\n", true)]
        {
            chunks.scan(piece.as_bytes()).unwrap();
            assert_eq!(chunks.has_begun(), begun, "after {piece:?}");
        }
    }
}
