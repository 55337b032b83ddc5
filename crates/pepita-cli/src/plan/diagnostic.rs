//! [`Diagnostics`]: what is wrong with a plan, and where.

use std::fmt;
use std::path::{Path, PathBuf};

/// Everything that is wrong with one file, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Diagnostics {
    path: PathBuf,
    list: Vec<Diagnostic>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Diagnostic {
    line: usize,
    column: usize,
    message: String,
}

impl Diagnostics {
    /// The messages at byte offsets of `text`, the content of the file at `path`.
    pub(super) fn new(path: &Path, text: &str, list: Vec<(usize, String)>) -> Self {
        let mut list: Vec<_> = list
            .into_iter()
            .map(|(offset, message)| {
                let (line, column) = position(text, offset);
                Diagnostic {
                    line,
                    column,
                    message,
                }
            })
            .collect();
        list.sort();
        list.dedup();
        Self {
            path: path.to_owned(),
            list,
        }
    }

    /// A single message.
    pub(super) fn one(path: &Path, text: &str, offset: usize, message: &str) -> Self {
        Self::new(path, text, vec![(offset, message.to_owned())])
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.display();
        for (
            index,
            Diagnostic {
                line,
                column,
                message,
            },
        ) in self.list.iter().enumerate()
        {
            let separator = if index > 0 { "\n" } else { "" };
            write!(f, "{separator}{path}:{line}:{column}: {message}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Line and column of a byte offset, both counted from 1; a column is a character.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let line_start = before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(0, |at| at + 1);
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = String::from_utf8_lossy(&before[line_start..])
        .chars()
        .count()
        + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "ab\n\u{e4}\u{f6}x\n";
        assert_eq!(position(text, 0), (1, 1));
        assert_eq!(position(text, 3), (2, 1));
        assert_eq!(position(text, 7), (2, 3));
        assert_eq!(position(text, text.len()), (3, 1));
        assert_eq!(position(text, 999), (3, 1));
    }

    #[test]
    fn messages_come_in_the_order_of_the_file() {
        let list = vec![
            (3, "second".to_owned()),
            (0, "first".to_owned()),
            (3, "second".to_owned()),
        ];
        let shown = Diagnostics::new(Path::new("a.toml"), "ab\ncd", list).to_string();
        assert_eq!(shown, "a.toml:1:1: first\na.toml:2:1: second");
    }
}
