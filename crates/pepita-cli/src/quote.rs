//! Words as a POSIX shell would have to be given them.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Quotes `word` so that a shell reads it back as one word with exactly these bytes.
pub(crate) fn quote(word: &OsStr) -> std::ffi::OsString {
    let bytes = word.as_bytes();
    if !bytes.is_empty() && bytes.iter().all(|&byte| is_plain(byte)) {
        return word.to_owned();
    }
    let mut quoted = Vec::with_capacity(bytes.len() + 2);
    quoted.push(b'\'');
    for &byte in bytes {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            byte => quoted.push(byte),
        }
    }
    quoted.push(b'\'');
    std::ffi::OsString::from_vec(quoted)
}

/// Joins words into one line that a shell would split into the same words.
pub(crate) fn join<W: AsRef<OsStr>>(words: impl IntoIterator<Item = W>) -> std::ffi::OsString {
    let mut line = std::ffi::OsString::new();
    for (index, word) in words.into_iter().enumerate() {
        if index > 0 {
            line.push(" ");
        }
        line.push(quote(word.as_ref()));
    }
    line
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"%+,-./:=@_".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quoted_word_is_read_back_by_a_shell_unchanged() {
        for word in [
            "plain",
            "",
            "two words",
            "it's",
            "$HOME `x` \"y\" \\",
            "*?[a]",
            "a\nb",
            "~",
        ] {
            let script = format!(
                "printf %s {}",
                quote(OsStr::new(word)).into_string().unwrap()
            );
            let output = std::process::Command::new("/bin/sh")
                .args(["-c", &script])
                .output();
            assert_eq!(output.unwrap().stdout, word.as_bytes(), "{script}");
        }
    }

    #[test]
    fn only_words_that_need_it_are_quoted() {
        assert_eq!(
            join(["gzip", "-9", "a b", "c/d.txt"]),
            "gzip -9 'a b' c/d.txt"
        );
        assert_eq!(quote(OsStr::new("=x")), "=x");
    }
}
