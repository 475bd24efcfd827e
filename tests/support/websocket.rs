//! A WebSocket client (RFC 6455) of a few lines: short text frames are all that the tests need.

use std::net::SocketAddr;

use super::client::{Client, Request};

/// A fixed key and what a server answers to it: the example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// What a frame is, by its number.
pub(crate) const TEXT: u8 = 1;
/// The end of the conversation.
pub(crate) const CLOSE: u8 = 8;

/// An open WebSocket.
pub(crate) struct WebSocket(Client);

impl WebSocket {
    /// Opens one.
    #[track_caller]
    pub(crate) fn open(address: SocketAddr, host: &str, path: &str) -> WebSocket {
        let mut client = Client::connect(address);
        let response = client.request(
            &Request::get(host, path)
                .header("Connection", "Upgrade")
                .header("Upgrade", "websocket")
                .header("Sec-WebSocket-Version", "13")
                .header("Sec-WebSocket-Key", KEY),
        );
        assert_eq!(response.status, 101, "no upgrade: {}", response.text());
        assert_eq!(response.header("sec-websocket-accept"), Some(ACCEPT), "{response:?}");
        assert!(response.header("upgrade").is_some_and(|value| value.eq_ignore_ascii_case("websocket")));
        WebSocket(client)
    }

    /// Sends a frame of at most 125 bytes, masked as a client has to.
    #[track_caller]
    pub(crate) fn send(&mut self, kind: u8, payload: &[u8]) {
        assert!(payload.len() <= 125, "longer frames have another head");
        let mask = [0x12, 0x34, 0x56, 0x78];
        let mut frame = vec![FIN | kind, MASKED | payload.len() as u8];
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        self.0.send(frame);
    }

    /// Reads a frame of at most 125 bytes: its kind and payload.
    #[track_caller]
    pub(crate) fn receive(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.0.read_bytes(&mut head).unwrap_or_else(|e| panic!("no frame: {e}"));
        assert!(head[0] & FIN != 0 && head[1] <= 125, "not a short, whole, unmasked frame: {head:?}");
        let mut payload = vec![0; usize::from(head[1])];
        self.0.read_bytes(&mut payload).unwrap_or_else(|e| panic!("a frame is cut off: {e}"));
        (head[0] & 0x0f, payload)
    }

    /// Whether the other side has closed the connection.
    #[track_caller]
    pub(crate) fn is_ended(&mut self) -> bool {
        self.0.is_ended()
    }
}
