//! The reply of a node's agent, as HAProxy understands it (its `agent-check`): one line of words that say how the node
//! is, how much it can take, and whether its administrator wants it to be asked.
//!
//! Words stand between spaces, tabs and commas, in any order; letters have no case. If several are of one kind, the last
//! counts. What the line does not speak of stays as the node said last ([`AgentState::apply`]).

use std::fmt;

use crate::member::AdminState;

/// Bytes of a reply that are read.
pub const LONGEST: usize = 1024;

/// Percent of its configured weight that a node may ask for. From the least weight (1) it leads to the greatest (256).
const GREATEST_WEIGHT: u32 = 25_600;

/// What a reply says. `None`: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reply {
    /// `75%`: share of the configured weight, in percent, at most 25600.
    pub weight: Option<u32>,
    /// `ready`, `drain` or `maint`.
    pub wanted: Option<AdminState>,
    /// `up`: true. `down`, `stopped` or `fail`: false.
    pub up: Option<bool>,
    /// `maxconn:30`: requests in flight that the node wants to have at most; `usize::MAX` for 0, which to HAProxy is no
    /// limit.
    pub max_in_flight: Option<usize>,
    /// What stands behind `#`, if the reply says whether the node is up. Without control characters.
    pub description: Option<String>,
    /// The first word that is none of the above, for the log: printable ASCII. The others count all the same.
    pub unknown: Option<String>,
}

/// The reply is not a whole line: it ended too early, or is longer than [`LONGEST`]. Its last word may be cut off
/// (`maxconn:3` of 30), so nothing in it is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Incomplete;

impl fmt::Display for Incomplete {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no whole line")
    }
}

impl std::error::Error for Incomplete {}

/// What a node has said up to now, in one reply or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AgentState {
    /// Percent of the configured weight.
    pub weight: u32,
    /// What its administrator wants.
    pub wanted: AdminState,
    /// Whether it is up.
    pub up: bool,
    /// Requests in flight that it wants to have at most, instead of its configured limit; `None`: it did not say.
    pub max_in_flight: Option<usize>,
}

impl Default for AgentState {
    fn default() -> Self {
        AgentState { weight: 100, wanted: AdminState::Ready, up: true, max_in_flight: None }
    }
}

impl AgentState {
    /// Takes in a reply. Returns whether that changed something.
    pub fn apply(&mut self, reply: &Reply) -> bool {
        let before = *self;
        *self = AgentState {
            weight: reply.weight.unwrap_or(before.weight),
            wanted: reply.wanted.unwrap_or(before.wanted),
            up: reply.up.unwrap_or(before.up),
            max_in_flight: reply.max_in_flight.or(before.max_in_flight),
        };
        *self != before
    }

    /// Takes in that nothing has been heard for long. How much the node could take has changed since, so what is
    /// configured holds again; what somebody has decided (that it is down, or is to be left alone) still holds. Returns
    /// whether that changed something.
    pub fn forget_load(&mut self) -> bool {
        let before = *self;
        let AgentState { weight, max_in_flight, .. } = AgentState::default();
        *self = AgentState { weight, max_in_flight, ..before };
        *self != before
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let up = if self.up { "up" } else { "down" };
        write!(f, "{up}, {}, {}% of its weight", self.wanted.as_str(), self.weight)?;
        match self.max_in_flight {
            None => Ok(()),
            Some(usize::MAX) => write!(f, ", any number in flight"),
            Some(limit) => write!(f, ", at most {limit} in flight"),
        }
    }
}

/// Checks in a row without a reply after which a node's report of its load is forgotten.
const SILENCE: u32 = 3;

/// Whether an agent answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Contact {
    /// Checks in a row without a reply.
    missed: u32,
}

/// A change of whether an agent answers, for the caller to log or to act on once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Heard {
    /// The first check without a reply.
    Nothing,
    /// The third in a row: see [`AgentState::forget_load`].
    NothingForLong,
    /// A reply after checks without one.
    Again,
}

impl Contact {
    /// Takes in whether a check brought a reply.
    pub fn record(&mut self, replied: bool) -> Option<Heard> {
        let before = self.missed;
        self.missed = if replied { 0 } else { before.saturating_add(1).min(SILENCE) };
        match (before, self.missed) {
            (1.., 0) => Some(Heard::Again),
            (0, 1) => Some(Heard::Nothing),
            (before, SILENCE) if before < SILENCE => Some(Heard::NothingForLong),
            _ => None,
        }
    }
}

/// Reads what an agent sent, up to the first end of a line (CR or LF); what follows does not count.
///
/// # Errors
/// If there is no end of a line in the first [`LONGEST`] bytes.
pub fn parse(received: &[u8]) -> Result<Reply, Incomplete> {
    let end = received.iter().take(LONGEST).position(|byte| matches!(byte, b'\r' | b'\n')).ok_or(Incomplete)?;
    let mut rest = received.get(..end).unwrap_or_default();
    let mut reply = Reply::default();
    loop {
        let start = rest.iter().position(|byte| !is_separator(byte)).unwrap_or(rest.len());
        rest = rest.get(start..).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        // Only at the begin of a word; within one it is a letter like others.
        if let Some(description) = rest.strip_prefix(b"#") {
            reply.description = Some(printable(description)).filter(|text| !text.is_empty() && reply.up.is_some());
            break;
        }
        let (word, behind) = rest.split_at(rest.iter().position(is_separator).unwrap_or(rest.len()));
        if reply.read(word).is_none() && reply.unknown.is_none() {
            reply.unknown = Some(word.escape_ascii().to_string());
        }
        rest = behind;
    }
    Ok(reply)
}

impl Reply {
    /// `None` if the word says nothing.
    fn read(&mut self, word: &[u8]) -> Option<()> {
        let lower = word.to_ascii_lowercase();
        match lower.as_slice() {
            b"up" => self.up = Some(true),
            b"down" | b"stopped" | b"fail" => self.up = Some(false),
            b"ready" => self.wanted = Some(AdminState::Ready),
            b"drain" => self.wanted = Some(AdminState::Draining),
            b"maint" => self.wanted = Some(AdminState::Maintenance),
            word => {
                if let Some(digits) = word.strip_suffix(b"%") {
                    self.weight = Some(number(digits)?.try_into().ok().filter(|weight| *weight <= GREATEST_WEIGHT)?);
                } else {
                    let limit = number(word.strip_prefix(b"maxconn:")?)?;
                    self.max_in_flight = Some(if limit == 0 { usize::MAX } else { limit });
                }
            }
        }
        Some(())
    }
}

fn is_separator(byte: &u8) -> bool {
    matches!(byte, b' ' | b'\t' | b',')
}

/// Digits and nothing else.
fn number(digits: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(digits).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    text.parse().ok()
}

/// For a log line: what is no UTF-8 is replaced, and control characters are left out.
fn printable(text: &[u8]) -> String {
    let text: String = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
    text.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    use super::*;

    fn read(line: &str) -> Reply {
        parse(format!("{line}\n").as_bytes()).unwrap()
    }

    #[test]
    fn words_are_understood() {
        let none = Reply::default;
        let unknown = |word: &str| Reply { unknown: Some(word.to_owned()), ..none() };
        let weight = |percent| Reply { weight: Some(percent), ..none() };
        let wanted = |wanted| Reply { wanted: Some(wanted), ..none() };
        let up = |up| Reply { up: Some(up), ..none() };
        let limit = |limit| Reply { max_in_flight: Some(limit), ..none() };
        for (line, expected) in [
            ("", none()),
            (" ,\t ", none()),
            ("75%", weight(75)),
            ("0%", weight(0)),
            ("25600%", weight(25_600)),
            ("75%,50%", weight(50)), // the last one
            ("25601%", unknown("25601%")),
            ("99999999999999999999%", unknown("99999999999999999999%")),
            ("%", unknown("%")),
            ("-5%", unknown("-5%")),
            ("+5%", unknown("+5%")),
            ("7.5%", unknown("7.5%")),
            ("75", unknown("75")),
            ("75%%", unknown("75%%")),
            ("ready", wanted(AdminState::Ready)),
            ("DRAIN", wanted(AdminState::Draining)),
            ("Maint", wanted(AdminState::Maintenance)),
            ("drain ready", wanted(AdminState::Ready)),
            ("up", up(true)),
            ("Down", up(false)),
            ("stopped", up(false)),
            ("FAIL", up(false)),
            ("down up", up(true)),
            ("maxconn:30", limit(30)),
            ("MaxConn:30", limit(30)),
            ("maxconn:0", limit(usize::MAX)),
            ("maxconn:", unknown("maxconn:")),
            ("maxconn:-1", unknown("maxconn:-1")),
            ("maxconn: 30", unknown("maxconn:")),
            ("uptime", unknown("uptime")),
            ("wat up huh", Reply { unknown: Some("wat".to_owned()), ..up(true) }),
            ("\x1b[1m\"", unknown("\\x1b[1m\\\"")),
            ("down#why", unknown("down#why")), // as HAProxy
            ("#why", none()),
            ("75% # why", weight(75)), // no state, no reason
            ("down #", up(false)),
        ] {
            assert_eq!(read(line), expected, "{line:?}");
        }
        assert_eq!(
            read("75%,maxconn:30,maint\tdown  #  disk, 99% full \x07#1"),
            Reply {
                weight: Some(75),
                wanted: Some(AdminState::Maintenance),
                up: Some(false),
                max_in_flight: Some(30),
                description: Some("disk, 99% full #1".to_owned()),
                unknown: None,
            }
        );
        assert_eq!(parse(b"down # \xff\n").unwrap().description.as_deref(), Some("\u{fffd}"));
    }

    #[test]
    fn only_a_whole_line_counts() {
        let up = Ok(Reply { up: Some(true), ..Reply::default() });
        assert_eq!(parse(b"up\r\ndown\n"), up);
        assert_eq!(parse(b"up\ndo"), up);
        assert_eq!(parse(b"\nup\n"), Ok(Reply::default()));
        for cut in [b"".as_slice(), b"up", b"maxconn:3"] {
            assert_eq!(parse(cut), Err(Incomplete));
        }
        let line = |length: usize| [&b" ".repeat(length - 3)[..], b"up\n"].concat();
        assert_eq!(parse(&line(LONGEST)), up);
        assert_eq!(parse(&line(LONGEST + 1)), Err(Incomplete));
    }

    #[test]
    fn what_a_reply_does_not_speak_of_stays() {
        let mut state = AgentState::default();
        assert!(!state.apply(&read("up ready 100%")) && !state.apply(&read("")));
        assert!(state.apply(&read("50% maxconn:9")));
        assert!(state.apply(&read("drain")) && !state.apply(&read("drain")));
        assert!(state.apply(&read("down #x")));
        let expected = AgentState { weight: 50, wanted: AdminState::Draining, up: false, max_in_flight: Some(9) };
        assert_eq!(state, expected);
        assert!(state.apply(&read("up")));
        assert_eq!(state, AgentState { up: true, ..expected });
    }

    #[test]
    fn what_is_forgotten_is_how_much_the_node_can_take() {
        let mut state = AgentState::default();
        assert!(!state.forget_load());
        state.apply(&read("50% maxconn:9 drain down"));
        assert_eq!(state.to_string(), "down, draining, 50% of its weight, at most 9 in flight");
        assert!(state.forget_load() && !state.forget_load());
        assert_eq!(state, AgentState { up: false, wanted: AdminState::Draining, ..AgentState::default() });
        assert_eq!(state.to_string(), "down, draining, 100% of its weight");
        state.apply(&read("maxconn:0"));
        assert_eq!(state.to_string(), "down, draining, 100% of its weight, any number in flight");
        assert!(state.forget_load());
    }

    #[test]
    fn silence_is_told_once() {
        // `+` is a reply; what is told then: `n`othing heard, nothing for `l`ong, heard `a`gain.
        for (checks, expected) in
            [("++++", "...."), ("-+", "na"), ("+--++", ".n.a."), ("-----++-", "n.l..a.n"), ("--+--+---+", "n.an.an.la")]
        {
            let mut contact = Contact::default();
            let told = checks.chars().map(|check| match contact.record(check == '+') {
                None => '.',
                Some(Heard::Nothing) => 'n',
                Some(Heard::NothingForLong) => 'l',
                Some(Heard::Again) => 'a',
            });
            assert_eq!(told.collect::<String>(), expected, "{checks}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_last_word_of_a_kind_counts_wherever_it_stands(
            words in vec(select(vec!["up", "down", "ready", "drain", "1%", "2%", "maxconn:1", "maxconn:2", "x"]), 0..10),
            separator in select(vec![" ", ",", "\t", " , "]),
            noise in vec(any::<u8>(), 0..40),
        ) {
            let _ = parse(&noise);
            let reply = read(&words.join(separator));
            let last = |of: [&str; 2]| words.iter().rev().find_map(|word| of.iter().position(|known| known == word));
            prop_assert_eq!(reply.up, last(["down", "up"]).map(|index| index == 1));
            prop_assert_eq!(reply.wanted, last(["ready", "drain"]).map(|index| [AdminState::Ready, AdminState::Draining][index]));
            prop_assert_eq!(reply.weight, last(["1%", "2%"]).map(|index| [1, 2][index]));
            prop_assert_eq!(reply.max_in_flight, last(["maxconn:1", "maxconn:2"]).map(|index| index + 1));
            prop_assert_eq!(reply.unknown.is_some(), words.contains(&"x"));
        }
    }
}
