//! Load in the `endpoint-load-metrics` header of an answer: Open Request Cost Aggregation (ORCA).
//!
//! The header holds an `OrcaLoadReport` (`xds/data/orca/v3`), in one of three forms that its first word names:
//!
//! ```text
//! endpoint-load-metrics: TEXT cpu_utilization=0.3, mem_utilization=0.8, named_metrics.queue=12
//! endpoint-load-metrics: JSON {"cpu_utilization": 0.3, "mem_utilization": 0.8}
//! endpoint-load-metrics: BIN <protobuf in base64>
//! ```
//!
//! The first two are read. Text may also stand without its word, as in the first versions of the format, and may have a
//! colon in place of the equals sign, which Envoy reads. What is not asked for here (other metrics, named ones) is passed
//! over, whatever its value.

use std::fmt;

use serde::Deserialize;

/// The header's name.
pub const HEADER: &str = "endpoint-load-metrics";

/// Bytes of a value that are read. Reports of real nodes have some hundred.
pub const LONGEST: usize = 4096;

/// The load of a node.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Share of what the node can do that it does: 0 is idle and 1 full. It may be more than 1.
    pub utilisation: f32,
}

/// Why a report is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// It is longer than [`LONGEST`].
    TooLong,
    /// It has the binary form.
    Binary,
    /// Its text is no UTF-8, or something in it is not `name=value`.
    Text,
    /// Its JSON is none, or has something else than a number where one is due.
    Json,
    /// A number is none, or is negative, infinite, or not a number.
    Number,
    /// It gives a utilisation twice.
    Twice,
    /// It says nothing of the node's utilisation.
    NoUtilisation,
}

/// The fields of `OrcaLoadReport` that are asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    // Printers of protobuf write either name.
    #[serde(alias = "applicationUtilization")]
    application_utilization: Option<f64>,
    #[serde(alias = "cpuUtilization")]
    cpu_utilization: Option<f64>,
}

/// Reads the value of a header. The text form is read without allocating.
///
/// What the application says of itself goes before what the processor says, unless it is 0, which in protobuf is the same
/// as not said.
///
/// # Errors
/// If it is malformed, or says nothing of the node's utilisation. It is not read in part then.
pub fn parse(value: &[u8]) -> Result<Load, Unreadable> {
    if value.len() > LONGEST {
        return Err(Unreadable::TooLong);
    }
    let value = value.trim_ascii();
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (word, rest) = value.split_at(end);
    match word {
        b"TEXT" => text(rest)?.load(),
        b"JSON" => serde_json::from_slice::<Report>(rest).map_err(|_| Unreadable::Json)?.load(),
        b"BIN" => Err(Unreadable::Binary),
        _ => text(value)?.load(),
    }
}

impl Report {
    fn load(self) -> Result<Load, Unreadable> {
        let checked = |field: Option<f64>| field.map(utilisation).transpose();
        let (application, cpu) = (checked(self.application_utilization)?, checked(self.cpu_utilization)?);
        let said = application.filter(|share| *share > 0.0).or(cpu).or(application);
        Ok(Load { utilisation: said.ok_or(Unreadable::NoUtilisation)? })
    }
}

fn text(report: &[u8]) -> Result<Report, Unreadable> {
    let report = std::str::from_utf8(report).map_err(|_| Unreadable::Text)?;
    let mut read = Report::default();
    // An empty element of a list is none (RFC 9110, 5.6.1).
    for metric in report.split(',').map(str::trim).filter(|metric| !metric.is_empty()) {
        let (name, value) = metric.split_once(['=', ':']).ok_or(Unreadable::Text)?;
        let field = match name.trim_end() {
            "application_utilization" => &mut read.application_utilization,
            "cpu_utilization" => &mut read.cpu_utilization,
            "" => return Err(Unreadable::Text),
            _ => continue,
        };
        let number = value.trim_start().parse().map_err(|_| Unreadable::Number)?;
        if field.replace(number).is_some() {
            return Err(Unreadable::Twice);
        }
    }
    Ok(read)
}

fn utilisation(number: f64) -> Result<f32, Unreadable> {
    let narrow = number as f32; // what is too large becomes infinite, and is refused
    if number >= 0.0 && narrow.is_finite() { Ok(narrow.abs()) } else { Err(Unreadable::Number) }
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Unreadable::TooLong => "too long",
            Unreadable::Binary => "the binary form is not read",
            Unreadable::Text => "not a list of name=value",
            Unreadable::Json => "no JSON of a report",
            Unreadable::Number => "a utilisation is no number from 0 up",
            Unreadable::Twice => "a utilisation is there twice",
            Unreadable::NoUtilisation => "says nothing of the utilisation",
        })
    }
}

impl std::error::Error for Unreadable {}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reports_are_read() {
        use Unreadable::*;
        for (value, expected) in [
            ("TEXT cpu_utilization=0.3, mem_utilization=0.8, rps_fractional=10.0, eps=1, named_metrics.x=0.4", Ok(0.3)),
            ("TEXT cpu_utilization=0.3,application_utilization=0.5", Ok(0.5)),
            ("TEXT application_utilization=0.5,cpu_utilization=0.3", Ok(0.5)),
            ("TEXT application_utilization=0,cpu_utilization=0.3", Ok(0.3)),
            ("TEXT application_utilization=0", Ok(0.0)),
            ("TEXT cpu_utilization=0", Ok(0.0)),
            ("TEXT cpu_utilization=1.5", Ok(1.5)),
            ("TEXT cpu_utilization=3e-1", Ok(0.3)),
            (" TEXT\t cpu_utilization = 0.25 ,, ", Ok(0.25)),
            ("TEXT cpu_utilization:0.3, rps_fractional:10", Ok(0.3)),
            ("cpu_utilization=0.3,mem_utilization=0.8", Ok(0.3)),
            ("cpu_utilization:0.3", Ok(0.3)),
            ("TEXT named_metrics.cpu_utilization=9,cpu_utilization=0.3", Ok(0.3)),
            ("TEXT named_metrics.a=x,later=,cpu_utilization=0.3", Ok(0.3)),
            ("TEXT cpu_utilization=0.3, cpu_utilization=0.3", Err(Twice)),
            ("TEXT cpu_utilization=NaN", Err(Number)),
            ("TEXT cpu_utilization=inf", Err(Number)),
            ("TEXT cpu_utilization=1e39", Err(Number)),
            ("TEXT cpu_utilization=1e999", Err(Number)),
            ("TEXT cpu_utilization=-0.1", Err(Number)),
            ("TEXT cpu_utilization=0.3, application_utilization=-1", Err(Number)),
            ("TEXT cpu_utilization=", Err(Number)),
            ("TEXT cpu_utilization=0,3", Err(Text)),
            ("TEXT cpu_utilization=0.3 0.4", Err(Number)),
            ("TEXT cpu_utilization", Err(Text)),
            ("TEXT =1", Err(Text)),
            ("TEXT mem_utilization=0.8", Err(NoUtilisation)),
            ("TEXT CPU_utilization=0.8", Err(NoUtilisation)),
            ("TEXT", Err(NoUtilisation)),
            ("", Err(NoUtilisation)),
            ("TEXTcpu_utilization=0.3", Err(NoUtilisation)),
            ("JSON {\"cpu_utilization\": 0.3, \"mem_utilization\": 0.8}", Ok(0.3)),
            ("JSON {\"cpuUtilization\":0.3,\"applicationUtilization\":0.5}", Ok(0.5)),
            ("JSON {\"cpu_utilization\":0,\"named_metrics\":{\"a\":{\"b\":[1,\"x\"]}}}", Ok(0.0)),
            ("JSON {\"cpu_utilization\":null}", Err(NoUtilisation)),
            ("JSON {}", Err(NoUtilisation)),
            ("JSON {\"cpu_utilization\":-1}", Err(Number)),
            ("JSON {\"cpu_utilization\":1e39}", Err(Number)),
            ("JSON {\"cpu_utilization\":\"0.3\"}", Err(Json)),
            ("JSON {\"cpu_utilization\":NaN}", Err(Json)),
            ("JSON {\"cpu_utilization\":1,\"cpu_utilization\":1}", Err(Json)),
            ("JSON {\"cpu_utilization\":1,\"cpuUtilization\":1}", Err(Json)),
            ("JSON {\"cpu_utilization\":0.3} x", Err(Json)),
            ("JSON {\"cpu_utilization\":0.3", Err(Json)),
            ("JSON", Err(Json)),
            ("BIN CZqZmZmZmdk/", Err(Binary)),
        ] {
            assert_eq!(parse(value.as_bytes()).map(|load| load.utilisation), expected, "{value}");
        }
        assert_eq!(parse(b"TEXT cpu_utilization=0.3,x=\xff"), Err(Text));
        let zero = parse(b"TEXT cpu_utilization=-0").unwrap().utilisation;
        assert!(zero.is_sign_positive());
    }

    #[test]
    fn reports_have_a_limit() {
        let report = |length: usize| {
            let report = "TEXT cpu_utilization=0.3,x=";
            format!("{report}{}", "1".repeat(length - report.len()))
        };
        assert_eq!(parse(report(LONGEST).as_bytes()), Ok(Load { utilisation: 0.3 }));
        assert_eq!(parse(report(LONGEST + 1).as_bytes()), Err(Unreadable::TooLong));
        let deep = format!("JSON {{\"x\":{}", "[".repeat(LONGEST - 10));
        assert_eq!(parse(deep.as_bytes()), Err(Unreadable::Json));
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn what_is_believed_is_a_share(value in vec(any::<u8>(), 0..64), form in 0..3_usize, number in any::<f64>()) {
            let _ = parse(&value);
            let prefix = ["TEXT cpu_utilization=", "JSON {\"cpu_utilization\":", "cpu_utilization="][form];
            let value = format!("{prefix}{number}{}", ["", "}", ""][form]);
            match parse(value.as_bytes()) {
                Ok(load) => prop_assert!(load.utilisation >= 0.0 && load.utilisation == number as f32),
                Err(_) => prop_assert!(!(0.0..=f64::from(f32::MAX)).contains(&number), "{}", value),
            }
        }
    }
}
