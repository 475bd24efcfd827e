//! Request targets as raw bytes over HTTP/1.1.

use std::io::{self, Write as _};
use std::net::SocketAddr;

use super::boundary::Answer;
use super::client::{Client, Response};

/// Sends the targets one after another, over one connection as long as the server keeps it open.
pub(crate) fn send(address: SocketAddr, host: &str, targets: &[&[u8]]) -> Vec<Answer> {
    let mut connection = None;
    targets.iter().map(|target| ask(&mut connection, address, host, target)).collect()
}

fn ask(connection: &mut Option<Client>, address: SocketAddr, host: &str, target: &[u8]) -> Answer {
    let request = [b"GET ", target, b" HTTP/1.1\r\nHost: ", host.as_bytes(), b"\r\n\r\n"].concat();
    // What ends a line may be answered more than once, and the second answer is not for the next request.
    let alone = target.iter().any(|b| matches!(b, b'\r' | b'\n'));
    if alone {
        *connection = None;
    }
    let used = connection.is_some();
    let mut answer = exchange(connection, address, &request);
    if answer.is_err() && used {
        // The server may have closed the connection after the answer before this.
        answer = exchange(connection, address, &request);
    }
    if alone {
        *connection = None;
    }
    answer.map(|Response { status, body, .. }| Answer { status, body }).unwrap_or_default()
}

/// Keeps the connection if it can take another request.
fn exchange(connection: &mut Option<Client>, address: SocketAddr, request: &[u8]) -> io::Result<Response> {
    let mut client = match connection.take() {
        Some(client) => client,
        None => Client::connect(address),
    };
    client.stream().write_all(request)?;
    let response = client.read("GET")?;
    if !client.closed {
        *connection = Some(client);
    }
    Ok(response)
}
