//! Members from a file that is looked at again and again.
//!
//! What is compared is what the file holds, not when it was written: that finds a file that was replaced, a link that was
//! set to another one, and a volume that was mounted over it, and asks nothing of the file system.

use std::sync::Arc;

use super::report::Reporter;
use super::track::Failure;
use crate::config::{self, FileSource, MemberRules, Problem};

/// What a file held at one look, or why it could not be read.
type Look = Result<Vec<u8>, Problem>;

/// What was seen of a file. Pure.
#[derive(Debug, Default)]
struct Looks {
    /// What was judged last.
    judged: Option<Look>,
    /// Something else that was seen at the last look.
    pending: Option<Look>,
}

impl Looks {
    /// Takes in a look. Returns what is to be judged: the first look, and then whatever is the same at two looks in a
    /// row. A file that is being written, not replaced, may look whole when it is not, and would take members away.
    fn take(&mut self, look: Look) -> Option<&Look> {
        let known = self.judged.as_ref() == Some(&look);
        let settled = self.judged.is_none() || self.pending.as_ref() == Some(&look);
        if known || !settled {
            self.pending = (!known).then_some(look);
            return None;
        }
        self.pending = None;
        Some(self.judged.insert(look))
    }
}

/// Tells what the file holds until nobody wants to know any more.
pub(super) async fn follow(source: FileSource, rules: MemberRules, mut reporter: Reporter) {
    let path = Arc::new(source.path);
    let mut looks = Looks::default();
    loop {
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || config::read(&path))
        };
        // It does not panic; what remains is that the runtime ends.
        let Ok(look) = read.await else { return };
        match looks.take(look) {
            None => reporter.note_good(),
            Some(look) => {
                let answer = judge(look, &rules).map_err(|detail| Failure {
                    // Each bad version is news.
                    reason: format!("{}: {detail}", path.display()),
                    detail: String::new(),
                });
                if reporter.tell(answer).await.is_err() {
                    return;
                }
            }
        }
        // The rhythm that the operator has set: looking works on every file system and with every way to replace a file.
        tokio::time::sleep(source.every).await;
    }
}

/// The members that a file holds, or its problems on one line.
fn judge(look: &Look, rules: &MemberRules) -> Result<Vec<config::Node>, String> {
    /// A log line is no report; `check` tells them all.
    const SHOWN: usize = 3;
    let bytes = look.as_ref().map_err(|problem| problem.to_string())?;
    config::members(bytes, rules).map_err(|problems| {
        let shown: Vec<String> = problems.iter().take(SHOWN).map(ToString::to_string).collect();
        let more = problems.len().saturating_sub(SHOWN);
        let more = if more > 0 { format!("; and {more} more") } else { String::new() };
        format!("{}{more}", shown.join("; "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn held(text: &str) -> Look {
        Ok(text.as_bytes().to_vec())
    }

    fn gone() -> Look {
        config::read(std::path::Path::new("/nowhere/at/all")).map(|_| Vec::new())
    }

    #[test]
    fn what_is_new_counts_when_it_has_stayed_for_two_looks() {
        let mut looks = Looks::default();
        let rows = [
            (held("a"), true),  // the first look
            (held("a"), false), // known
            (held("b"), false), // new: half written?
            (held("bc"), false),
            (held("bc"), true),
            (gone(), false), // between two versions?
            (held("bc"), false),
            (gone(), false), // seen before, but not just now
            (gone(), true),
            (gone(), false),
            (held("bc"), false),
            (held("bc"), true),
            (held("d"), false),
            (held("bc"), false), // taken back
            (held("d"), false),
            (held("d"), true),
        ];
        for (row, (look, judged)) in rows.into_iter().enumerate() {
            let expected = judged.then(|| look.clone());
            assert_eq!(looks.take(look).cloned(), expected, "row {row}");
        }
    }
}
