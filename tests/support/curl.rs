//! `curl` as a client for what the small client does not speak: TLS and HTTP/2.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use super::client::Response;
use super::process::run;

/// An answer, and how it came.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `1.1` or `2`.
    pub(crate) version: String,
    /// The answer itself. Header names are in lower case.
    pub(crate) response: Response,
}

/// A way to a TLS listener.
pub(crate) struct Curl<'a> {
    /// The listener.
    pub(crate) address: SocketAddr,
    /// The certificate to trust.
    pub(crate) ca: &'a Path,
    /// `--http1.1` or `--http2`.
    pub(crate) version: &'a str,
}

/// Between the answers of one run, after the body of each; no test body holds it.
const SEPARATOR: &str = "\u{1e}";

impl Curl<'_> {
    /// Asks for the paths one after another over one connection.
    #[track_caller]
    pub(crate) fn get_all(&self, host: &str, paths: &[&str], options: &[&str]) -> Vec<Answer> {
        let port = self.address.port();
        let mut curl = Command::new("curl");
        // Not verbose, no progress; the head of the answer before its body; no proxy of the environment.
        curl.args(["--silent", "--show-error", "--include", "--noproxy", "*", "--max-time", "60", self.version])
            .arg("--cacert")
            .arg(self.ca)
            .args(["--connect-to", &format!("{host}:{port}:{}", self.address)])
            .args(["--write-out", &format!("{SEPARATOR}%{{http_version}}{SEPARATOR}")])
            .args(options)
            .args(paths.iter().map(|path| format!("https://{host}:{port}{path}")));
        let output = run(&mut curl, "install it: apt-get install curl");
        let mut parts = output.split(SEPARATOR);
        let mut answers = Vec::new();
        while let (Some(text), Some(version)) = (parts.next(), parts.next()) {
            answers.push(Answer { version: version.to_owned(), response: parse(text) });
        }
        assert_eq!(answers.len(), paths.len(), "curl got another number of answers:\n{output}");
        answers
    }

    /// Asks for one path.
    #[track_caller]
    pub(crate) fn get(&self, host: &str, path: &str, options: &[&str]) -> Answer {
        self.get_all(host, &[path], options).remove(0)
    }
}

#[track_caller]
fn parse(text: &str) -> Response {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let headers = lines.filter_map(|line| line.split_once(':'));
    Response {
        status: status.unwrap_or_else(|| panic!("no status in {head:?}")),
        headers: headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect(),
        body: body.as_bytes().to_vec(),
    }
}
