//! Traces: when requests came, and how long each was on its node.

use std::io::{BufRead, Read};

use serde::Deserialize;

/// The longest trace, and the longest request, in seconds.
const LONGEST: f64 = 366.0 * 86_400.0;

/// One request of a trace.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Arrival {
    /// Seconds since the beginning.
    pub at: f64,
    /// Seconds that it takes on a node that has nothing else to do.
    pub service: f64,
}

/// Requests, in the order in which they came.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Trace {
    arrivals: Vec<Arrival>,
    end: f64,
}

/// Which lines of an access log count.
#[derive(Debug, Clone, Default)]
pub struct Selected {
    /// The cluster; `None`: any.
    pub cluster: Option<String>,
    /// The role; `None`: any.
    pub role: Option<String>,
}

/// A line of an access log, as far as it matters here. See [`crate::observe::access::Entry`].
#[derive(Debug, Deserialize)]
struct Line {
    time: String,
    cluster: Option<String>,
    role: Option<String>,
    node: Option<String>,
    connect_ms: Option<f64>,
    total_ms: Option<f64>,
}

impl Trace {
    /// A trace of these requests that lasts until `end`, or until the last one if that is later.
    ///
    /// # Errors
    /// A time is negative or not a number, or there is no request.
    pub fn new(mut arrivals: Vec<Arrival>, end: f64) -> Result<Self, String> {
        let sound = |seconds: f64| (0.0..=LONGEST).contains(&seconds);
        if let Some(bad) = arrivals.iter().find(|arrival| !sound(arrival.at) || !sound(arrival.service)) {
            return Err(format!("a request at {} s that takes {} s: allowed are 0 to {LONGEST}", bad.at, bad.service));
        }
        arrivals.sort_by(|a, b| a.at.total_cmp(&b.at));
        let last = arrivals.last().ok_or("no request in it")?.at;
        Ok(Trace { arrivals, end: end.max(last) })
    }

    /// Reads CSV: two columns, arrival and service in seconds. Lines that begin with `#` do not count; a header may be
    /// there. The first arrival need not be at 0.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn from_csv(text: impl Read) -> Result<Self, String> {
        let mut reader =
            csv::ReaderBuilder::new().has_headers(false).comment(Some(b'#')).trim(csv::Trim::All).from_reader(text);
        let mut arrivals = Vec::new();
        for (index, record) in reader.records().enumerate() {
            let record = record.map_err(|error| error.to_string())?;
            let line = record.position().map_or(0, csv::Position::line);
            let number = |column: usize| record.get(column).and_then(|text| text.parse::<f64>().ok());
            match (number(0), number(1)) {
                (Some(at), Some(service)) if record.len() == 2 => arrivals.push(Arrival { at, service }),
                (None, None) if index == 0 => {} // the header
                _ => return Err(format!("line {line}: allowed: two numbers, arrival and service in seconds")),
            }
        }
        Trace::new(arrivals, 0.0)
    }

    /// Reads an access log of the balancer. A request came when its header had been read, and was on its node from when
    /// that was connected to the end. Lines of requests that no node got, and of others than `selected`, do not count.
    ///
    /// # Errors
    /// What is wrong, with the line.
    pub fn from_access_log(log: impl BufRead, selected: &Selected) -> Result<Self, String> {
        let mut requests = Vec::new();
        for (index, line) in log.lines().enumerate() {
            let wrong = |what: &dyn std::fmt::Display| format!("line {}: {what}", index + 1);
            let line = line.map_err(|error| wrong(&error))?;
            if line.trim().is_empty() {
                continue;
            }
            let line: Line = serde_json::from_str(&line).map_err(|error| wrong(&error))?;
            let counts = |wanted: &Option<String>, is: &Option<String>| wanted.is_none() || wanted == is;
            if line.node.is_none() || !counts(&selected.cluster, &line.cluster) || !counts(&selected.role, &line.role) {
                continue;
            }
            let time = humantime::parse_rfc3339(&line.time).map_err(|error| wrong(&error))?;
            let total = line.total_ms.unwrap_or(0.0);
            requests.push((time, (total - line.connect_ms.unwrap_or(0.0)).max(0.0) / 1e3));
        }
        let first = requests.iter().map(|(time, _)| *time).min().ok_or("no request in it that counts")?;
        let since = |time: std::time::SystemTime| time.duration_since(first).unwrap_or_default().as_secs_f64();
        Trace::new(
            requests.iter().map(|(time, service)| Arrival { at: since(*time), service: *service }).collect(),
            0.0,
        )
    }

    /// The requests, in order.
    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    /// When it is over, in seconds.
    pub fn end(&self) -> f64 {
        self.end
    }

    /// The mean time that a request takes, in seconds.
    pub fn mean_service(&self) -> f64 {
        self.arrivals.iter().map(|arrival| arrival.service).sum::<f64>() / self.arrivals.len().max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(text: &str) -> Result<Vec<(f64, f64)>, String> {
        Trace::from_csv(text.as_bytes())
            .map(|trace| trace.arrivals().iter().map(|arrival| (arrival.at, arrival.service)).collect())
    }

    #[test]
    fn csv_has_two_columns() {
        let good = Ok(vec![(0.0, 1.0), (1.5, 0.25)]);
        assert_eq!(csv("arrival,service\n1.5, 0.25\n# later\n0,1\n"), good);
        assert_eq!(csv("1.5,0.25\n0,1"), good);
        let rows = [
            ("", "no request"),
            ("arrival,service\n", "no request"),
            ("0,1\na,b\n", "line 2: allowed"),
            ("0,1\n1\n", "record 1 (line: 2"),
            ("0,1,2\n", "line 1: allowed"),
            ("0,x\n", "line 1: allowed"),
            ("-1,1\n", "a request at -1 s"),
            ("0,NaN\n", "takes NaN s"),
            ("0,inf\n", "takes inf s"),
        ];
        for (text, expected) in rows {
            let error = csv(text).unwrap_err();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn access_logs_say_when_and_how_long() {
        let line = |second: u64, cluster: &str, node: &str| {
            let entry = crate::observe::access::Entry {
                time: std::time::UNIX_EPOCH + std::time::Duration::from_millis(second * 1000 + 500),
                cluster: Some(cluster),
                role: Some("worker"),
                node: Some(node).filter(|node| !node.is_empty()),
                connect_ms: Some(std::time::Duration::from_millis(50)),
                total_ms: Some(std::time::Duration::from_millis(300)),
                ..Default::default()
            };
            let mut text = Vec::new();
            entry.write_to(&mut text);
            String::from_utf8(text).unwrap()
        };
        let log = [line(9, "esb", "a"), line(7, "esb", "b"), line(8, "other", "a"), line(6, "esb", "")].concat();
        let selected = Selected { cluster: Some("esb".to_owned()), role: Some("worker".to_owned()) };
        let trace = Trace::from_access_log(log.as_bytes(), &selected).unwrap();
        let expected = [Arrival { at: 0.0, service: 0.25 }, Arrival { at: 2.0, service: 0.25 }];
        assert_eq!((trace.arrivals(), trace.end(), trace.mean_service()), (&expected[..], 2.0, 0.25));
        let any = Trace::from_access_log(log.as_bytes(), &Selected::default()).unwrap();
        assert_eq!(any.arrivals().len(), 3);
        let none = Selected { role: Some("manager".to_owned()), ..selected };
        assert!(Trace::from_access_log(log.as_bytes(), &none).unwrap_err().contains("no request"));
        assert!(Trace::from_access_log(&b"\n{}\n"[..], &none).unwrap_err().starts_with("line 2: "));
    }
}
