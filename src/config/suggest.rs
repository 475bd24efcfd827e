//! Which of the allowed words an operator may have meant.

/// The allowed word nearest to `word`, if it is near enough to be a slip of the finger.
pub(crate) fn nearest<'a>(word: &str, allowed: &[&'a str]) -> Option<&'a str> {
    const LONGEST: usize = 40;
    if word.len() > LONGEST {
        return None;
    }
    let limit = if word.len() <= 4 { 1 } else { 2 };
    let lower = word.to_ascii_lowercase();
    let with_distance = allowed.iter().map(|candidate| (distance(&lower, candidate), *candidate));
    with_distance.filter(|(distance, _)| *distance <= limit).min_by_key(|(distance, _)| *distance).map(|(_, word)| word)
}

/// How many characters must be inserted, removed or replaced, or neighbours exchanged.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    // `i` and `j` are from 1 to the lengths of `a` and `b`, and each row is longer than `b` by one; what looks two back is
    // behind its condition.
    let mut before = vec![0; b.len() + 1];
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replace = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replace.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_near_words_are_suggested() {
        let allowed = ["weight", "host", "roles", "id", "ports"];
        let cases = [
            ("wieght", Some("weight")),
            ("Weight", Some("weight")),
            ("role", Some("roles")),
            ("hosts", Some("host")),
            ("port", Some("ports")),
            ("colour", None),
            ("", None),
            ("äöü", None),
        ];
        for (word, expected) in cases {
            assert_eq!(nearest(word, &allowed), expected, "{word}");
        }
        assert_eq!(nearest(&"w".repeat(100_000), &allowed), None);
    }
}
