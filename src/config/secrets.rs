//! Secrets: out of the environment or out of a file, never out of the configuration file itself.
//!
//! So the effective configuration can name the variable or the file in place of the secret, and still loads again to the
//! same. No problem that is reported here, or by what reads the tree, quotes what a variable held.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::checked::{Secret, SecretSource};
use super::decode::{At, Field, Items, scalar};
use super::expand::lone_variable;
use super::problem::{Problems, Spot};
use super::tree::Node;

/// What secrets of one kind are like.
pub(crate) struct Kind {
    /// The word for one of them.
    word: &'static str,
    /// The fewest characters.
    least: usize,
    /// The most of them.
    count: usize,
    /// The rule for one of them in words.
    pub(crate) rule: &'static str,
    character: fn(char) -> bool,
}

/// Keys of affinity cookies.
pub(crate) const KEY: Kind = Kind {
    word: "key",
    least: 32,
    count: 16,
    rule: "keys of 32 to 1024 characters, none of them a control character or a space at an end",
    character: |c| !c.is_control(),
};

/// Bearer tokens of the admin listener.
pub(crate) const TOKEN: Kind = Kind {
    word: "token",
    least: 16,
    count: 64,
    rule: "tokens of 16 to 1024 ASCII letters, digits, '-', '.', '_', '~', '+', '/' or '='",
    // What a bearer token may have (RFC 6750, 2.1).
    character: |c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | '~' | '+' | '/' | '='),
};

/// The most characters of a secret.
const LONGEST: usize = 1024;
/// A file with secrets is a few lines.
const LARGEST_FILE: u64 = 128 << 10;
/// The permission of all users to read a file.
const READABLE_BY_ALL: u32 = 0o004;

impl Kind {
    /// What is wrong with `text`, without a word of it.
    fn fault(&self, text: &str) -> Option<String> {
        let length = text.chars().count();
        let bad = text.trim() != text || !text.chars().all(self.character);
        if bad {
            return Some(format!("has a character that a {} may not have", self.word));
        }
        (!(self.least..=LONGEST).contains(&length)).then(|| format!("has {length} characters"))
    }
}

/// A reader of one secret: `${NAME}` and nothing else.
pub(crate) fn variable(kind: &'static Kind) -> impl Fn(&Node, &Spot, &mut Problems) -> Option<Secret> + Clone {
    const ALLOWED: &str = "\"${NAME}\" with the name of an environment variable, or a file instead";
    move |node, at, problems| {
        let scalar = scalar(node, at, ALLOWED, problems)?;
        let Some(name) = scalar.written.as_deref().and_then(lone_variable) else {
            problems.error(at, format!("a {} that stands in the configuration file", kind.word), ALLOWED);
            return None;
        };
        if let Some(fault) = kind.fault(&scalar.text) {
            problems.error(at, format!("the environment variable {name} {fault}"), kind.rule);
            return None;
        }
        Some(Secret::from_source(scalar.text.as_bytes(), SecretSource::Variable(name.to_owned())))
    }
}

/// The secrets of a list of variables.
pub(crate) fn of_list(list: &At<Items<Secret>>, kind: &Kind, problems: &mut Problems) -> Vec<Secret> {
    let items = &list.value.items;
    if list.value.complete {
        counted(items.len(), kind, &list.at, String::new(), problems);
    }
    for (index, item) in items.iter().enumerate() {
        if items.iter().take(index).any(|earlier| earlier.value.expose() == item.value.expose()) {
            problems.error(&item.at, "is in the list twice", format!("each {} once", kind.word));
        }
    }
    list.value.values()
}

/// The secrets of a file, one on each line. Empty lines, and what begins with `#`, are left out.
pub(crate) fn of_file(path: PathBuf, at: &Spot, kind: &Kind, problems: &mut Problems) -> Vec<Secret> {
    const ALLOWED: &str = "a readable file; a relative path starts from the folder of the configuration file";
    let shown = path.display().to_string();
    let (text, mode) = match read(&path) {
        Ok(read) => read,
        Err(error) => {
            problems.error(at, format!("{shown} can't be read: {error}"), ALLOWED);
            return Vec::new();
        }
    };
    if mode & READABLE_BY_ALL != 0 {
        problems.warning(at, format!("every user of this machine can read {shown}"));
    }
    let mut secrets: Vec<(usize, &str)> = Vec::new();
    let before = problems.len();
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(fault) = kind.fault(line) {
            problems.error(at, format!("line {number} of {shown} {fault}"), kind.rule);
        } else if let Some((first, _)) = secrets.iter().find(|(_, secret)| *secret == line) {
            let what = format!("line {number} of {shown} is the same as line {first}");
            problems.error(at, what, format!("each {} once", kind.word));
        }
        secrets.push((number, line));
        if secrets.len() > kind.count {
            break;
        }
    }
    // One mistake is one problem.
    if problems.len() == before {
        counted(secrets.len(), kind, at, format!(" in {shown}"), problems);
    }
    let secret = |(_, line): (usize, &str)| Secret::from_source(line.as_bytes(), SecretSource::File(path.clone()));
    secrets.into_iter().map(secret).collect()
}

fn counted(number: usize, kind: &Kind, at: &Spot, place: String, problems: &mut Problems) {
    let (word, most) = (kind.word, kind.count);
    let allowed = format!("1 to {most} {word}s");
    match number {
        0 => problems.error(at, format!("no {word}s{place}"), allowed),
        number if number > most => problems.error(at, format!("more than {most} {word}s{place}"), allowed),
        _ => {}
    }
}

/// The text of a file, and its permissions.
fn read(path: &Path) -> io::Result<(String, u32)> {
    // Opening something like a named pipe would block.
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(io::Error::other(format!("it is larger than {LARGEST_FILE} bytes")));
    }
    let text = String::from_utf8(bytes).map_err(|_| io::Error::other("it is not UTF-8 text"))?;
    Ok((text, mode))
}

/// The secrets of a list of variables or of a file, of which at most one may be given; `names` are their keys.
pub(crate) fn either(
    (list, file): (&Field<Items<Secret>>, &Field<String>),
    names: [&str; 2],
    path: impl Fn(&str) -> PathBuf,
    kind: &Kind,
    problems: &mut Problems,
) -> Vec<Secret> {
    if let (Some(_), Some(file)) = (list.given(), file.given()) {
        let [list, file_name] = names;
        problems.error(&file.at, format!("{list} are given, too"), format!("{list} or {file_name}"));
        return Vec::new();
    }
    match (list.given(), file.given()) {
        (Some(list), _) => of_list(list, kind, problems),
        (None, Some(file)) => of_file(path(&file.value), &file.at, kind, problems),
        (None, None) => Vec::new(),
    }
}
