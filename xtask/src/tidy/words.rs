//! Words that promise instead of doing, or that tell history: the issues and git hold both.

use super::{Finding, Source};

/// This file lists the words.
const SELF: &str = "xtask/src/tidy/words.rs";

/// Whole words, in any case, in sources and prose.
const WORDS: [(&str, &str); 7] = [
    ("for now", "say what holds, or open an issue"),
    (
        "in a real implementation",
        "write the real one, or leave the item out",
    ),
    ("previously", "history belongs in commits"),
    ("legacy", "name the version or the interface"),
    ("todo", "open an issue"),
    ("fixme", "fix it, or open an issue"),
    ("xxx", "fix it, or open an issue"),
];

/// Code, in Rust sources.
const CODE: [(&str, &str); 3] = [
    ("todo!", "leave the item out until it works"),
    ("unimplemented!", "leave the item out until it works"),
    (
        "#[ignore",
        "skip at run time with a printed reason: SKIPPED: <test>: <reason>",
    ),
];

/// Whether the words are looked for in `path`.
pub(super) fn applies(path: &str) -> bool {
    path != SELF
        && [".rs", ".md", ".toml", ".sh", ".yml"]
            .iter()
            .any(|suffix| path.ends_with(suffix))
}

/// The banned words in `source`.
pub(super) fn check(source: &Source) -> Vec<Finding> {
    if !applies(&source.path) {
        return Vec::new();
    }
    let rust = source.path.ends_with(".rs");
    let mut findings = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let lower = line.to_lowercase();
        let words = WORDS.iter().filter(|(word, _)| has_word(&lower, word));
        // The macro's name is a word of the first list too: one finding a line and cause.
        let code = CODE.iter().filter(|(code, _)| rust && line.contains(code));
        if let Some((word, advice)) = code.chain(words).next() {
            findings.push(Finding::error(
                &source.path,
                index + 1,
                format!("\"{word}\": {advice}"),
            ));
        }
    }
    findings
}

/// Whether `word` stands in `line` with no letter, digit or underscore beside it.
fn has_word(line: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(start, _)| {
        let after = &line[start + word.len()..];
        // A lint's name in a manifest (`todo = "warn"`) is not a promise.
        !line[..start].ends_with(part) && !after.starts_with(part) && !after.starts_with(" = \"")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn lines(path: &str, text: &str, want: &[usize]) {
        let found = check(&Source {
            path: path.into(),
            text: text.into(),
        });
        assert_eq!(
            found.iter().map(|finding| finding.line).collect::<Vec<_>>(),
            want,
            "{found:?}"
        );
    }

    #[test]
    fn a_banned_word_is_found_in_any_case_with_its_line() {
        lines("docs/a.md", "fine\nWorks For Now.\n", &[2]);
        lines("a.rs", "// TODO: more\n// XXX\n", &[1, 2]);
        lines(
            "a.rs",
            "fn f() { todo!() }\n#[ignore = \"slow\"]\n",
            &[1, 2],
        );
    }

    #[test]
    fn a_part_of_a_word_and_a_lint_name_are_fine() {
        lines(
            "a.rs",
            "mktemp(\"fooXXXXXX\"); UBLK_LEGACY_OPCODES; todos",
            &[],
        );
        lines("Cargo.toml", "todo = \"warn\"", &[]);
        lines("Cargo.lock", "TODO", &[]);
        lines(SELF, "TODO", &[]);
    }
}
