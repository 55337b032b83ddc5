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
        let lines = Lines::of(text);
        let mut list: Vec<_> = list
            .into_iter()
            .map(|(offset, message)| {
                let (line, column) = lines.position(offset);
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

/// Where the lines of a text begin.
#[derive(Debug)]
pub(super) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(super) fn of(text: &'a str) -> Self {
        let ends = text.match_indices('\n');
        let starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1));
        Self {
            text,
            starts: starts.collect(),
        }
    }

    /// The line of a byte offset, from 1.
    pub(super) fn line(&self, offset: usize) -> usize {
        self.starts.partition_point(|start| *start <= offset)
    }

    /// Line and column of a byte offset, both counted from 1; a column is a character.
    fn position(&self, offset: usize) -> (usize, usize) {
        let line = self.line(offset);
        let start = self.starts[line - 1];
        let before = &self.text.as_bytes()[start..offset.min(self.text.len())];
        (line, String::from_utf8_lossy(before).chars().count() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let text = "ab\n\u{e4}\u{f6}x\n";
        let lines = Lines::of(text);
        assert_eq!(lines.position(0), (1, 1));
        assert_eq!(lines.position(2), (1, 3));
        assert_eq!(lines.position(3), (2, 1));
        assert_eq!(lines.position(7), (2, 3));
        assert_eq!(lines.position(text.len()), (3, 1));
        assert_eq!(lines.position(999), (3, 1));
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
