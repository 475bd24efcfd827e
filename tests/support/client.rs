//! A small blocking HTTP/1.1 client that shows everything a test may want to see, and sends what no library would.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// No answer takes longer; a test that hangs helps nobody.
const READ_TIMEOUT: Duration = Duration::from_secs(20);

/// An answer as it came.
#[derive(Debug, Clone)]
pub(crate) struct Response {
    /// The status code.
    pub(crate) status: u16,
    /// In the order they came.
    pub(crate) headers: Vec<(String, String)>,
    /// Without the framing of chunks.
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body of a node that answers JSON.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("no JSON ({e}) in answer {}: {}", self.status, self.text()))
    }

    /// What the node received, in the answer of a stub node or of the test's Tomcat application.
    #[track_caller]
    pub(crate) fn echo(&self) -> Echo {
        assert_eq!(self.status, 200, "not an echo: {}", self.text());
        Echo(self.json())
    }

    /// `NAME=VALUE` of the cookie that the answer sets.
    pub(crate) fn cookie(&self) -> Option<&str> {
        self.header("set-cookie").and_then(|cookie| cookie.split(';').next())
    }
}

/// What a node says that it received.
#[derive(Debug)]
pub(crate) struct Echo(Value);

impl Echo {
    /// The id of the node that answered.
    pub(crate) fn node(&self) -> &str {
        self.field("node")
    }

    /// The role of the node that answered.
    pub(crate) fn role(&self) -> &str {
        self.field("role")
    }

    /// A text that the node put in its answer.
    #[track_caller]
    pub(crate) fn field(&self, name: &str) -> &str {
        self.0[name].as_str().unwrap_or_else(|| panic!("no {name} in {}", self.0))
    }

    /// The length of the body that the node received.
    pub(crate) fn body_length(&self) -> u64 {
        self.0["body_length"].as_u64().unwrap_or_else(|| panic!("no body_length in {}", self.0))
    }

    /// Every value that the node received for a header, in order.
    pub(crate) fn received(&self, name: &str) -> Vec<&str> {
        let headers = self.0["headers"].as_array().unwrap_or_else(|| panic!("no headers in {}", self.0));
        let pairs = headers.iter().map(|pair| (pair[0].as_str().unwrap_or(""), pair[1].as_str().unwrap_or("")));
        pairs.filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value).collect()
    }
}

/// One end of a connection: a client's, or a node's (see [`super::node::RawNode`]).
pub(crate) struct Client {
    reader: BufReader<TcpStream>,
    /// Whether the last answer ended the connection.
    pub(crate) closed: bool,
}

impl Client {
    /// Connects.
    pub(crate) fn try_connect(address: SocketAddr) -> io::Result<Client> {
        Client::over(TcpStream::connect(address)?)
    }

    /// Speaks over a connection that is there.
    pub(crate) fn over(stream: TcpStream) -> io::Result<Client> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(READ_TIMEOUT))?;
        stream.set_write_timeout(Some(READ_TIMEOUT))?;
        Ok(Client { reader: BufReader::new(stream), closed: false })
    }

    /// Connects, or fails the test.
    #[track_caller]
    pub(crate) fn connect(address: SocketAddr) -> Client {
        Client::try_connect(address).unwrap_or_else(|e| panic!("cannot connect to {address}: {e}"))
    }

    /// The address of this end.
    pub(crate) fn local_address(&self) -> SocketAddr {
        self.stream().local_addr().expect("a connected socket has an address")
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream().write_all(bytes.as_ref()).unwrap_or_else(|e| panic!("cannot send: {e}"));
    }

    /// The socket itself.
    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    /// Sends a request and reads its answer.
    pub(crate) fn try_request(&mut self, request: &Request<'_>) -> io::Result<Response> {
        self.stream().write_all(&request.to_bytes())?;
        self.read(request.method)
    }

    /// Sends a request and reads its answer, or fails the test.
    #[track_caller]
    pub(crate) fn request(&mut self, request: &Request<'_>) -> Response {
        self.try_request(request).unwrap_or_else(|e| panic!("no answer to {request:?}: {e}"))
    }

    /// `GET path` for `host`.
    #[track_caller]
    pub(crate) fn get(&mut self, host: &str, path: &str) -> Response {
        self.request(&Request::get(host, path))
    }

    /// Reads the answer to a request that [`Client::send`] has sent.
    #[track_caller]
    pub(crate) fn answer(&mut self) -> Response {
        self.read("GET").unwrap_or_else(|e| panic!("no answer: {e}"))
    }

    /// As a node: reads the head of the next request; `None` if the balancer closes the connection instead.
    pub(crate) fn read_request(&mut self) -> io::Result<Option<Received>> {
        if self.reader.fill_buf()?.is_empty() {
            return Ok(None);
        }
        let line = self.read_line()?;
        Ok(Some(Received { line, headers: self.read_fields()? }))
    }

    /// Whether the other side has closed the connection without another byte. Blocks until it does either.
    #[track_caller]
    pub(crate) fn is_ended(&mut self) -> bool {
        match self.reader.fill_buf() {
            Ok(bytes) => bytes.is_empty(),
            Err(e) if e.kind() == ErrorKind::ConnectionReset => true,
            Err(e) => panic!("the other side neither closes nor answers: {e}"),
        }
    }

    /// Reads head and body of an answer, interim answers (1xx) left out.
    pub(crate) fn read(&mut self, method: &str) -> io::Result<Response> {
        let (status, headers) = loop {
            let (status, headers) = self.read_head()?;
            if status == 101 || status >= 200 {
                break (status, headers);
            }
        };
        let mut response = Response { status, headers, body: Vec::new() };
        let says = |name: &str, value: &str| response.header(name).is_some_and(|v| v.eq_ignore_ascii_case(value));
        self.closed = says("connection", "close");
        let chunked = says("transfer-encoding", "chunked");
        let length = response.header("content-length").map(str::parse::<u64>).transpose().map_err(io::Error::other)?;
        if method == "HEAD" || matches!(status, 101 | 204 | 304) {
            return Ok(response);
        }
        if chunked {
            while self.read_chunk(&mut response.body)? {}
        } else if let Some(length) = length {
            let read = self.reader.by_ref().take(length).read_to_end(&mut response.body)?;
            if (read as u64) < length {
                return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("{read} bytes of {length}")));
            }
        } else {
            self.closed = true;
            self.reader.read_to_end(&mut response.body)?;
        }
        Ok(response)
    }

    /// Reads status and headers; the body stays to be read with [`Client::read_chunk`] or [`Client::read_bytes`].
    pub(crate) fn read_head(&mut self) -> io::Result<(u16, Vec<(String, String)>)> {
        let status_line = self.read_line()?;
        let status = status_line
            .strip_prefix("HTTP/1.")
            .and_then(|rest| rest.get(2..5))
            .and_then(|code| code.parse().ok())
            .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("not a status line: {status_line:?}")))?;
        Ok((status, self.read_fields()?))
    }

    /// Appends one chunk to `body`; false after the last one.
    pub(crate) fn read_chunk(&mut self, body: &mut Vec<u8>) -> io::Result<bool> {
        let line = self.read_line()?;
        let size = u64::from_str_radix(line.split(';').next().unwrap_or("").trim(), 16)
            .map_err(|e| io::Error::new(ErrorKind::InvalidData, format!("not a chunk size: {line:?}: {e}")))?;
        if size == 0 {
            self.read_fields()?;
            return Ok(false);
        }
        let read = self.reader.by_ref().take(size).read_to_end(body)?;
        if (read as u64) < size || !self.read_line()?.is_empty() {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, "a chunk is cut off"));
        }
        Ok(true)
    }

    /// Reads exactly so many bytes.
    pub(crate) fn read_bytes(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        self.reader.read_exact(buffer)
    }

    fn read_fields(&mut self) -> io::Result<Vec<(String, String)>> {
        let mut fields = Vec::new();
        loop {
            let line = self.read_line()?;
            if line.is_empty() {
                return Ok(fields);
            }
            let (name, value) = line
                .split_once(':')
                .ok_or_else(|| io::Error::new(ErrorKind::InvalidData, format!("not a header: {line:?}")))?;
            fields.push((name.to_owned(), value.trim().to_owned()));
        }
    }

    fn read_line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        self.reader.read_until(b'\n', &mut line)?;
        if line.pop() != Some(b'\n') {
            return Err(io::Error::new(ErrorKind::UnexpectedEof, format!("closed after {} bytes", line.len())));
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(String::from_utf8_lossy(&line).into_owned())
    }
}

/// The head of a request as a node received it.
#[derive(Debug)]
pub(crate) struct Received {
    /// Such as `GET /services/echo HTTP/1.1`.
    pub(crate) line: String,
    headers: Vec<(String, String)>,
}

impl Received {
    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }
}

fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
}

/// A request to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Request<'a> {
    method: &'a str,
    host: &'a str,
    path: &'a str,
    headers: Vec<(&'a str, &'a str)>,
    body: Option<&'a [u8]>,
}

impl<'a> Request<'a> {
    /// `GET path` for `host`.
    pub(crate) fn get(host: &'a str, path: &'a str) -> Self {
        Request::new("GET", host, path)
    }

    /// Any method, without a body.
    pub(crate) fn new(method: &'a str, host: &'a str, path: &'a str) -> Self {
        Request { method, host, path, headers: Vec::new(), body: None }
    }

    /// Adds a header.
    pub(crate) fn header(mut self, name: &'a str, value: &'a str) -> Self {
        self.headers.push((name, value));
        self
    }

    /// Adds a body, and Content-Length with it.
    pub(crate) fn body(mut self, body: &'a [u8]) -> Self {
        self.body = Some(body);
        self
    }

    /// Sends it over a new connection, which ends with the answer.
    #[track_caller]
    pub(crate) fn send(&self, address: SocketAddr) -> Response {
        Client::connect(address).request(self)
    }

    /// The request in HTTP/1.1.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nHost: {}\r\n", self.method, self.path, self.host);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if let Some(body) = self.body {
            text += &format!("Content-Length: {}\r\n", body.len());
        }
        [text.as_bytes(), b"\r\n", self.body.unwrap_or_default()].concat()
    }
}

/// `GET path` for `host` over a connection of its own.
#[track_caller]
pub(crate) fn get(address: SocketAddr, host: &str, path: &str) -> Response {
    Request::get(host, path).send(address)
}
