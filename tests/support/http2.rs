//! Request targets as raw bytes over HTTP/2 and TLS: a client of its own, as every library refuses what these tests send.
//!
//! RFC 9113 and RFC 7541 as far as is needed: each header field is sent as a literal, without indexing and without
//! Huffman coding, and of an answer only the status, the body and the end are looked at.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use pingora::tls::ssl::{Ssl, SslContext, SslMethod, SslStream};

use super::boundary::Answer;

/// No answer takes longer.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// Streams at a time.
const BATCH: usize = 16;
/// Streams of a connection. The server counts streams that it had to reset, and ends the connection after too many.
const STREAMS: u32 = 512;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

// Kinds of frames.
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

// Their flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const PADDED: u8 = 8;
const PRIORITY: u8 = 32;

/// Sends the targets, several at a time over one connection. What the server ends a connection for is sent again, alone:
/// the others that were on the same connection are not answered otherwise.
pub(crate) fn send(address: SocketAddr, host: &str, targets: &[&[u8]]) -> Vec<Answer> {
    let mut answers: Vec<Option<Answer>> = vec![None; targets.len()];
    // Known to end the connection: a field that is no text cannot be decoded there, and the table that both sides keep of
    // fields would no longer be the same.
    let (together, mut alone): (Vec<usize>, Vec<usize>) =
        (0..targets.len()).partition(|&i| std::str::from_utf8(targets[i]).is_ok());
    let mut connection: Option<Connection> = None;
    for batch in together.chunks(BATCH) {
        let open = connection.take().filter(Connection::has_room);
        let mut open = open.unwrap_or_else(|| Connection::open(address));
        let wanted: Vec<&[u8]> = batch.iter().map(|&i| targets[i]).collect();
        for (&i, answer) in batch.iter().zip(open.ask(host, &wanted)) {
            match answer {
                Some(answer) => answers[i] = Some(answer),
                None => alone.push(i),
            }
        }
        connection = Some(open);
    }
    for i in alone {
        answers[i] = Connection::open(address).ask(host, &[targets[i]]).pop().flatten();
    }
    answers.into_iter().map(Option::unwrap_or_default).collect()
}

struct Connection {
    stream: SslStream<TcpStream>,
    /// The next stream of ours; odd.
    next: u32,
    /// Whether the server has said, or shown, that it takes no more.
    ended: bool,
}

struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

impl Connection {
    #[track_caller]
    fn open(address: SocketAddr) -> Connection {
        Connection::try_open(address).unwrap_or_else(|e| panic!("no HTTP/2 connection to {address}: {e}"))
    }

    fn try_open(address: SocketAddr) -> io::Result<Connection> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_nodelay(true)?;
        tcp.set_read_timeout(Some(READ_TIMEOUT))?;
        tcp.set_write_timeout(Some(READ_TIMEOUT))?;
        // Not a connector, which would read all certificates of the system for each connection. Whom these tests talk to
        // is beyond doubt: nothing is verified.
        let mut tls = SslContext::builder(SslMethod::tls()).map_err(io::Error::other)?;
        tls.set_alpn_protos(b"\x02h2").map_err(io::Error::other)?;
        let tls = Ssl::new(&tls.build()).map_err(io::Error::other)?;
        let stream = tls.connect(tcp).map_err(|e| io::Error::other(e.to_string()))?;
        if stream.ssl().selected_alpn_protocol() != Some(b"h2") {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        let mut connection = Connection { stream, next: 1, ended: false };
        // SETTINGS_HEADER_TABLE_SIZE 0: the server indexes nothing either. SETTINGS_ENABLE_PUSH 0. The windows as large as
        // they can be: nothing is ever given back.
        let settings = [&[0, 1, 0, 0, 0, 0][..], &[0, 2, 0, 0, 0, 0], &[0, 4, 0x7f, 0xff, 0xff, 0xff]].concat();
        let mut hello = PREFACE.to_vec();
        hello.extend(frame(SETTINGS, 0, 0, &settings));
        hello.extend(frame(WINDOW_UPDATE, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()));
        connection.stream.write_all(&hello)?;
        Ok(connection)
    }

    fn has_room(&self) -> bool {
        !self.ended && self.next < 2 * STREAMS
    }

    /// Asks for all targets at once and waits for the end of all streams. `None` for those that have none because the
    /// connection ended.
    fn ask(&mut self, host: &str, targets: &[&[u8]]) -> Vec<Option<Answer>> {
        let first = self.next;
        let numbers = (first..).step_by(2).take(targets.len());
        let mut requests = Vec::new();
        for (number, target) in numbers.clone().zip(targets) {
            requests.extend(frame(HEADERS, END_STREAM | END_HEADERS, number, &fields(host, target)));
            self.next = number + 2;
        }
        let mut streams: HashMap<u32, (Answer, bool)> = HashMap::new();
        let exchanged = self.stream.write_all(&requests).and_then(|()| {
            while numbers.clone().any(|number| !streams.get(&number).is_some_and(|(_, ended)| *ended)) {
                let frame = self.read_frame()?;
                self.take_in(frame, &mut streams)?;
            }
            Ok(())
        });
        self.ended |= exchanged.is_err();
        let ended = |number| streams.remove(&number).and_then(|(answer, ended)| ended.then_some(answer));
        numbers.map(ended).collect()
    }

    fn take_in(&mut self, frame: Frame, streams: &mut HashMap<u32, (Answer, bool)>) -> io::Result<()> {
        match (frame.kind, frame.flags & ACK) {
            (SETTINGS, 0) => return self.stream.write_all(&self::frame(SETTINGS, ACK, 0, &[])),
            (PING, 0) => return self.stream.write_all(&self::frame(PING, ACK, 0, &frame.payload)),
            _ => {}
        }
        let (answer, ended) = streams.entry(frame.stream).or_default();
        match frame.kind {
            HEADERS => {
                // Trailers have no status.
                if let Some(status) = status(unpadded(&frame)) {
                    answer.status = status;
                }
                *ended |= frame.flags & END_STREAM != 0;
            }
            DATA => {
                answer.body.extend_from_slice(unpadded(&frame));
                *ended |= frame.flags & END_STREAM != 0;
            }
            RST_STREAM => *ended = true,
            // GOAWAY: the end of the connection follows, after the answers to what was taken.
            _ => {}
        }
        Ok(())
    }

    fn read_frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 9];
        self.stream.read_exact(&mut head)?;
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l1, l2, l3]) as usize];
        self.stream.read_exact(&mut payload)?;
        Ok(Frame { kind, flags, stream: u32::from_be_bytes([s1 & 0x7f, s2, s3, s4]), payload })
    }
}

/// A frame in bytes.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `GET target` in HPACK.
fn fields(host: &str, target: &[u8]) -> Vec<u8> {
    // Fields of the static table: `:method: GET` and `:scheme: https`; the names `:authority` (1) and `:path` (4).
    let mut block = vec![0x82, 0x87, 0x01];
    literal(&mut block, host.as_bytes());
    block.push(0x04);
    literal(&mut block, target);
    block
}

/// A string literal without Huffman coding (RFC 7541, 5.2), its length with a prefix of seven bits (5.1).
fn literal(block: &mut Vec<u8>, text: &[u8]) {
    let low = |value: usize| u8::try_from(value & 0x7f).expect("seven bits");
    if text.len() < 0x7f {
        block.push(low(text.len()));
    } else {
        block.push(0x7f);
        let mut rest = text.len() - 0x7f;
        while rest >= 0x80 {
            block.push(0x80 | low(rest));
            rest >>= 7;
        }
        block.push(low(rest));
    }
    block.extend_from_slice(text);
}

/// The payload of a frame without padding and priority.
fn unpadded(frame: &Frame) -> &[u8] {
    let mut payload = &frame.payload[..];
    if frame.flags & PADDED != 0 {
        let (&padding, rest) = payload.split_first().expect("a padded frame tells its padding");
        payload = &rest[..rest.len() - usize::from(padding)];
    }
    if frame.kind == HEADERS && frame.flags & PRIORITY != 0 {
        payload = &payload[5..];
    }
    payload
}

/// The status at the begin of a block of fields, behind updates of the table's size.
pub(crate) fn status(block: &[u8]) -> Option<u16> {
    let begin = block.iter().position(|byte| byte & 0xe0 != 0x20)?;
    match block[begin..] {
        // The static table, 8 to 14.
        [index @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)]),
        // A literal with the name from there, in its three kinds: plain, or in Huffman code.
        [0x08 | 0x18 | 0x48, 3, a, b, c, ..] => std::str::from_utf8(&[a, b, c]).ok()?.parse().ok(),
        [0x08 | 0x18 | 0x48, length, ref text @ ..] if length & 0x80 != 0 => {
            digits(text.get(..usize::from(length & 0x7f))?)
        }
        _ => None,
    }
}

/// A number in the Huffman code of RFC 7541, appendix B: `0` to `2` take five bits, the other digits six.
fn digits(text: &[u8]) -> Option<u16> {
    let bits = text.iter().fold(0_u32, |bits, &byte| bits << 8 | u32::from(byte));
    let mut left = 8 * u32::try_from(text.len()).ok()?;
    let mut number = 0;
    for _ in 0..3 {
        let at = |length: u32| left.checked_sub(length).map(|shift| bits >> shift & ((1 << length) - 1));
        let (digit, length) = match (at(5)?, at(6)) {
            (digit @ 0..=2, _) => (digit, 5),
            (_, Some(code @ 0x19..=0x1f)) => (code - 0x19 + 3, 6),
            _ => return None,
        };
        number = 10 * number + u16::try_from(digit).ok()?;
        left -= length;
    }
    Some(number)
}
