//! `${VAR}` and `${VAR:-default}` in values, from the environment.

use super::problem::{Problems, Spot, quoted};
use super::tree::{Node, Value};

const SYNTAX: &str = "${NAME}, ${NAME:-default}, or $${ for a literal ${";

/// Where variables come from. Returns `None` for one that is not defined.
pub(crate) type Environment<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// Replaces the variables in all values, never in keys.
///
/// A value with a variable may stand in quotes (inside `{ }` it has to) and still become a number.
pub(crate) fn expand(node: &mut Node, at: &Spot, environment: &Environment<'_>, problems: &mut Problems) {
    match &mut node.value {
        Value::List(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                let at = at.item(index, item.line);
                expand(item, &at, environment, problems);
            }
        }
        Value::Map(entries) => {
            for entry in entries {
                expand(&mut entry.value, &at.key(&entry.key, entry.line), environment, problems);
            }
        }
        Value::Scalar(scalar) if scalar.text.contains("${") => match expand_text(&scalar.text, environment) {
            Ok(text) => {
                scalar.written = Some(std::mem::replace(&mut scalar.text, text));
                scalar.plain = true;
            }
            Err(what) => {
                problems.error(at, what, SYNTAX);
                node.value = Value::Broken;
            }
        },
        Value::Scalar(_) | Value::Broken => {}
    }
}

fn expand_text(text: &str, environment: &Environment<'_>) -> Result<String, String> {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        if let Some(before) = before.strip_suffix('$') {
            expanded.push_str(before);
            expanded.push_str("${");
            rest = after;
            continue;
        }
        expanded.push_str(before);
        let Some((inside, after)) = after.split_once('}') else {
            return Err(format!("{} has a \"${{\" without \"}}\"", quoted(text)));
        };
        expanded.push_str(&variable(inside, environment)?);
        rest = after;
    }
    expanded.push_str(rest);
    Ok(expanded)
}

fn variable(inside: &str, environment: &Environment<'_>) -> Result<String, String> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    if !is_variable_name(name) {
        return Err(format!("{} is not the name of an environment variable", quoted(name)));
    }
    // As in a shell, `:-` also stands in for a variable that is defined as nothing.
    match (environment(name).filter(|value| default.is_none() || !value.is_empty()), default) {
        (Some(value), _) => Ok(value),
        (None, Some(default)) => Ok(default.to_owned()),
        (None, None) => Err(format!("the environment variable {name} is not defined")),
    }
}

fn is_variable_name(name: &str) -> bool {
    let starts_well = name.bytes().next().is_some_and(|b| !b.is_ascii_digit());
    starts_well && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

/// The name of the variable that is all of a text: `${NAME}`.
pub(crate) fn lone_variable(text: &str) -> Option<&str> {
    text.strip_prefix("${").and_then(|text| text.strip_suffix('}')).filter(|name| is_variable_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment(name: &str) -> Option<String> {
        match name {
            "HOST" => Some("esb".to_owned()),
            "EMPTY" => Some(String::new()),
            // What a variable holds is not expanded again.
            "TRICKY" => Some("${HOST}".to_owned()),
            _ => None,
        }
    }

    #[test]
    fn variables_are_replaced() {
        let cases = [
            ("${HOST}", Ok("esb")),
            ("a ${HOST}.${NONE:-x.y}!", Ok("a esb.x.y!")),
            ("${NONE:-}", Ok("")),
            ("${EMPTY}", Ok("")),
            ("${EMPTY:-x}", Ok("x")),
            ("${TRICKY}", Ok("${HOST}")),
            ("$${HOST} $HOST $$", Ok("${HOST} $HOST $$")),
            ("${NONE}", Err("NONE is not defined")),
            ("${HOST", Err("without")),
            ("${}", Err("not the name")),
            ("${1A}", Err("not the name")),
            ("${HOST-x}", Err("not the name")),
        ];
        for (text, expected) in cases {
            match (expand_text(text, &environment), expected) {
                (Ok(text), Ok(expected)) => assert_eq!(text, expected),
                (Err(what), Err(expected)) => assert!(what.contains(expected), "{text}: {what}"),
                (result, _) => panic!("{text}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_text_that_is_one_variable() {
        let cases = [
            ("${KEY}", Some("KEY")),
            ("${KEY:-x}", None),
            ("${KEY}x", None),
            ("x${KEY}", None),
            ("${A}${B}", None),
            ("$${KEY}", None),
            ("${}", None),
            ("KEY", None),
        ];
        for (text, expected) in cases {
            assert_eq!(lone_variable(text), expected, "{text}");
        }
    }
}
