//! The balancer in this process, with the operator's ordinary configuration, between a client and nodes that allocate
//! nothing once they run.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;

use carbon_elb::app::App;
use carbon_elb::config;

use crate::support::{PATIENCE, TempDir};

const CONFIG: &str = include_str!("../../benches/load/conf/carbon-elb-ordinary.yaml");

/// What every node answers.
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nServer: WSO2 Carbon Server\r\nDate: Mon, 06 Jul 2026 09:00:00 GMT\r\n\
    Content-Type: application/json;charset=UTF-8\r\nVary: Accept-Encoding\r\nContent-Length: 16\r\n\r\n0123456789abcdef";
const BODY: &[u8] = b"0123456789abcdef";
const END_OF_HEADER: &[u8] = b"\r\n\r\n";

/// The largest header that client and nodes can read.
const MOST: usize = 8 * 1024;

/// A running balancer. It ends with the process.
pub(crate) struct Stage {
    address: SocketAddr,
    // Holds the access log.
    _dir: TempDir,
}

impl Stage {
    /// Starts nodes and balancer.
    #[track_caller]
    pub(crate) fn start() -> Stage {
        let dir = TempDir::new("stage");
        let port = start_nodes();
        let text = CONFIG
            .replace("${BENCH_PORT}", "0")
            .replace("${BENCH_ADMIN_PORT}", "0")
            .replace("${BENCH_NODE_PORT}", &port.to_string())
            .replace("${BENCH_ACCESS_LOG}", &dir.path().join("access.log").display().to_string())
            // One probe at the start, and none while requests are counted.
            .replace("interval: 5s", "interval: 1h");
        let loaded = config::parse(&text, Path::new(".")).unwrap_or_else(|problems| panic!("{problems}"));
        let app = App::balancer(loaded.config).unwrap_or_else(|e| panic!("{e}"));
        let web = app.open().iter().find(|open| open.name == "web").expect("there is a listener `web`");
        let address = web.address;
        std::thread::spawn(|| app.run());
        Stage { address, _dir: dir }
    }
}

/// Starts the four nodes of the configuration, which have one port in common.
#[track_caller]
fn start_nodes() -> u16 {
    // The port may be in use at one of the other addresses.
    let listeners = (0..100).find_map(|_| {
        let first = TcpListener::bind("127.0.0.1:0").ok()?;
        let port = first.local_addr().ok()?.port();
        let others = (2..=4)
            .map(|last| TcpListener::bind(SocketAddr::from(([127, 0, 0, last], port))).ok())
            .collect::<Option<Vec<_>>>()?;
        Some((port, first, others))
    });
    let (port, first, others) = listeners.expect("there is a port that is free at four addresses");
    for listener in others.into_iter().chain([first]) {
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                std::thread::spawn(move || answer(connection));
            }
        });
    }
    port
}

/// Answers each request on a connection, until the balancer closes it.
fn answer(mut connection: TcpStream) -> std::io::Result<()> {
    let mut buffer = [0; MOST];
    loop {
        let mut filled = 0;
        while !buffer[..filled].ends_with(END_OF_HEADER) {
            match connection.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                read => filled += read,
            }
        }
        connection.write_all(ANSWER)?;
    }
}

/// A client with one connection and a session.
pub(crate) struct Client {
    connection: TcpStream,
    request: Vec<u8>,
}

impl Client {
    /// Connects, and gets a session.
    #[track_caller]
    pub(crate) fn new(stage: &Stage) -> Client {
        let connection = TcpStream::connect(stage.address).expect("the balancer listens");
        connection.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        let cookies = "JSESSIONID=8A5B6C7D8E9F00112233445566778899; theme=dark";
        let mut client = Client { connection, request: request(cookies) };
        let answer = String::from_utf8(client.exchange().to_vec()).expect("the header is text");
        let own = answer.lines().find_map(|line| line.strip_prefix("Set-Cookie: ")?.split(';').next());
        client.request = request(&format!("{cookies}; {}", own.expect("the balancer sets a cookie")));
        client
    }

    /// Asks once.
    #[track_caller]
    pub(crate) fn ask(&mut self) {
        self.exchange();
    }

    /// Asks once, and returns the answer.
    #[track_caller]
    fn exchange(&mut self) -> Answer {
        self.connection.write_all(&self.request).expect("the balancer reads");
        let mut answer = Answer { bytes: [0; MOST], length: 0 };
        while !answer.ends_with(BODY) {
            let read = self.connection.read(&mut answer.bytes[answer.length..]).expect("the balancer answers");
            assert_ne!(read, 0, "the balancer broke off: {}", String::from_utf8_lossy(&answer));
            answer.length += read;
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&answer));
        answer
    }
}

/// An answer without memory of its own.
struct Answer {
    bytes: [u8; MOST],
    length: usize,
}

impl std::ops::Deref for Answer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

fn request(cookies: &str) -> Vec<u8> {
    format!(
        "GET /services/Echo?n=1 HTTP/1.1\r\nHost: esb.example.com\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n\
         Accept: application/json\r\nAccept-Encoding: gzip, deflate\r\nAccept-Language: en\r\nCookie: {cookies}\r\n\r\n"
    )
    .into_bytes()
}
