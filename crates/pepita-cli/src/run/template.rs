//! [`Template`]: a command with placeholders, as GNU parallel writes them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::quote;

/// A command into which one argument at a time is put.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    words: Vec<Vec<Part>>,
    shell: Shell,
}

/// Whether a command is run by a shell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shell {
    /// Run directly: what is put in stays one word, whatever it holds.
    No,
    /// One line for `/bin/sh -c`, into which arguments are put quoted.
    Sh,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Literal(Vec<u8>),
    Put(Placeholder),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placeholder {
    Whole,
    NoExtension,
    FileName,
    Directory,
    FileNameNoExtension,
    Sequence,
    /// The argument itself as shell code.
    Code,
}

const PLACEHOLDERS: [(&[u8], Placeholder); 6] = [
    (b"{}", Placeholder::Whole),
    (b"{.}", Placeholder::NoExtension),
    (b"{/}", Placeholder::FileName),
    (b"{//}", Placeholder::Directory),
    (b"{/.}", Placeholder::FileNameNoExtension),
    (b"{#}", Placeholder::Sequence),
];

impl Template {
    /// Reads the words of a command. Without a placeholder the argument goes to its end; without
    /// a word at all, which only a shell can make sense of, the argument is the command.
    pub(crate) fn new(words: &[OsString], shell: Shell) -> Self {
        let mut words: Vec<_> = words.iter().map(|word| split(word.as_bytes())).collect();
        let has_placeholder = words
            .iter()
            .flatten()
            .any(|part| matches!(part, Part::Put(_)));
        if words.is_empty() {
            words.push(vec![Part::Put(Placeholder::Code)]);
        } else if !has_placeholder {
            words.push(vec![Part::Put(Placeholder::Whole)]);
        }
        Self { words, shell }
    }

    /// The words of the command for `argument`, the job of number `sequence`.
    pub(crate) fn expand(&self, argument: &OsStr, sequence: u64) -> Vec<OsString> {
        let argument = argument.as_bytes();
        if self.shell == Shell::No {
            let words = self
                .words
                .iter()
                .map(|word| fill(word, argument, sequence, Shell::No));
            return words.map(OsString::from_vec).collect();
        }
        let words = self
            .words
            .iter()
            .map(|word| fill(word, argument, sequence, Shell::Sh));
        let line = words.collect::<Vec<_>>().join(&b' ');
        vec!["/bin/sh".into(), "-c".into(), OsString::from_vec(line)]
    }

    /// The words of a job as one line: what a shell would have to be given, or is given.
    pub(crate) fn line(&self, words: &[OsString]) -> OsString {
        match (self.shell, words) {
            (Shell::Sh, [_, _, line]) => line.clone(),
            _ => quote::join(words),
        }
    }

    /// Whether every job runs the same program.
    pub(crate) fn has_fixed_program(&self) -> bool {
        let is_literal = |part: &Part| matches!(part, Part::Literal(_));
        self.shell == Shell::Sh
            || self
                .words
                .first()
                .is_some_and(|word| word.iter().all(is_literal))
    }
}

fn split(mut word: &[u8]) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut literal = Vec::new();
    while let Some((&first, rest)) = word.split_first() {
        match PLACEHOLDERS.iter().find(|(name, _)| word.starts_with(name)) {
            Some((name, placeholder)) => {
                if !literal.is_empty() {
                    parts.push(Part::Literal(std::mem::take(&mut literal)));
                }
                parts.push(Part::Put(*placeholder));
                word = &word[name.len()..];
            }
            None => {
                literal.push(first);
                word = rest;
            }
        }
    }
    if !literal.is_empty() || parts.is_empty() {
        parts.push(Part::Literal(literal));
    }
    parts
}

fn fill(word: &[Part], argument: &[u8], sequence: u64, shell: Shell) -> Vec<u8> {
    let mut filled = Vec::new();
    for part in word {
        let put = match part {
            Part::Literal(bytes) => {
                filled.extend_from_slice(bytes);
                continue;
            }
            Part::Put(Placeholder::Code) => {
                filled.extend_from_slice(argument);
                continue;
            }
            Part::Put(Placeholder::Sequence) => &*sequence.to_string().into_bytes(),
            Part::Put(Placeholder::Whole) => argument,
            Part::Put(Placeholder::NoExtension) => without_extension(argument),
            Part::Put(Placeholder::FileName) => file_name(argument),
            Part::Put(Placeholder::Directory) => directory(argument),
            Part::Put(Placeholder::FileNameNoExtension) => without_extension(file_name(argument)),
        };
        match shell {
            Shell::No => filled.extend_from_slice(put),
            Shell::Sh => filled.extend_from_slice(quote::quote(OsStr::from_bytes(put)).as_bytes()),
        }
    }
    filled
}

/// Cuts off the last `.` and what follows it, if that holds no `/` (Perl: `s:\.[^/.]+$::`).
fn without_extension(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| matches!(byte, b'.' | b'/')) {
        Some(at) if path[at] == b'.' && at + 1 < path.len() => &path[..at],
        _ => path,
    }
}

/// What follows the last `/` (Perl: `s:.*/::`).
fn file_name(path: &[u8]) -> &[u8] {
    let start = path
        .iter()
        .rposition(|&byte| byte == b'/')
        .map_or(0, |at| at + 1);
    &path[start..]
}

/// As `dirname(1)`.
fn directory(path: &[u8]) -> &[u8] {
    let trim = |path: &[u8]| {
        path.iter()
            .rposition(|&byte| byte != b'/')
            .map_or(0, |at| at + 1)
    };
    let stem = &path[..trim(path)];
    if stem.is_empty() {
        return if path.is_empty() { b"." } else { b"/" };
    }
    match stem.iter().rposition(|&byte| byte == b'/') {
        None => b".",
        Some(at) => match trim(&stem[..at]) {
            0 => b"/",
            end => &stem[..end],
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(words: &[&str], shell: Shell, argument: &str, want: &[&str]) {
        let words: Vec<_> = words.iter().map(OsString::from).collect();
        let got = Template::new(&words, shell).expand(OsStr::new(argument), 7);
        assert_eq!(got, want, "{words:?} of {argument:?}");
    }

    #[test]
    fn placeholders_mean_what_they_mean_to_gnu_parallel() {
        let all = ["{}", "{.}", "{/}", "{//}", "{/.}", "{#}"];
        check(
            &all,
            Shell::No,
            "a/b.tar.gz",
            &["a/b.tar.gz", "a/b.tar", "b.tar.gz", "a", "b.tar", "7"],
        );
        check(
            &all,
            Shell::No,
            "plain",
            &["plain", "plain", "plain", ".", "plain", "7"],
        );
        check(
            &all,
            Shell::No,
            "a.d/b",
            &["a.d/b", "a.d/b", "b", "a.d", "b", "7"],
        );
        check(
            &all,
            Shell::No,
            "/x.c",
            &["/x.c", "/x", "x.c", "/", "x", "7"],
        );
        check(
            &all,
            Shell::No,
            "a//b/",
            &["a//b/", "a//b/", "", "a", "", "7"],
        );
        check(&all, Shell::No, "", &["", "", "", ".", "", "7"]);
        check(&all, Shell::No, "x.", &["x.", "x.", "x.", ".", "x.", "7"]);
    }

    #[test]
    fn a_command_without_a_placeholder_gets_the_argument_at_its_end() {
        check(&["echo", "-n"], Shell::No, "a b", &["echo", "-n", "a b"]);
        check(
            &["echo", "{.", "{x}"],
            Shell::No,
            "a",
            &["echo", "{.", "{x}", "a"],
        );
    }

    #[test]
    fn an_argument_stays_one_word_and_is_not_expanded_again() {
        check(
            &["cp", "{}", "{}.bak"],
            Shell::No,
            "a b",
            &["cp", "a b", "a b.bak"],
        );
        check(&["echo", "<{}{#}>"], Shell::No, "{#}", &["echo", "<{#}7>"]);
    }

    #[test]
    fn for_a_shell_arguments_are_quoted_and_the_rest_is_code() {
        check(
            &["wc -l {} | sort"],
            Shell::Sh,
            "it's",
            &["/bin/sh", "-c", "wc -l 'it'\\''s' | sort"],
        );
        check(
            &["echo", "$HOME"],
            Shell::Sh,
            "$x",
            &["/bin/sh", "-c", "echo $HOME '$x'"],
        );
        check(
            &[],
            Shell::Sh,
            "echo $x | wc",
            &["/bin/sh", "-c", "echo $x | wc"],
        );
    }
}
