//! What to say when `--` is missing before a command.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use clap::{Command, CommandFactory};

use crate::cli::Cli;
use crate::quote;

/// The command line as it was meant, if the words of `pepita run` that follow the options are a
/// command without `--` before it; `args` begins with the name of the program.
pub(crate) fn missing_dashes(args: &[OsString]) -> Option<String> {
    let (start, end) = bare_words(args)?;
    let words = &args[start..end];
    let is_file = words[0].as_bytes().ends_with(b".toml");
    if is_file && !words.iter().any(|word| word == ":::") {
        return None;
    }
    let mut line = String::from("pepita");
    for (index, word) in args.iter().enumerate().skip(1) {
        if index == start {
            line += " --";
        }
        line = line + " " + &shown(word);
    }
    Some(format!("put `--` before the command: {line}"))
}

/// Where the command begins and ends. `None` if there is none, or `--` stands before it.
fn bare_words(args: &[OsString]) -> Option<(usize, usize)> {
    let cli = Cli::command();
    let run = cli.find_subcommand("run")?;
    let is_run = |word: &OsString| word == "run";
    let mut at = args.iter().skip(1).position(is_run)? + 2;
    while let Some(word) = args.get(at) {
        let bytes = word.as_bytes();
        match bytes {
            b"--" => return None,
            [b'-', _, ..] if takes_next(run, &cli, bytes) => at += 2,
            [b'-', _, ..] => at += 1,
            _ => return Some((at, args.len())),
        }
    }
    None
}

/// Whether the value of this option, or group of short ones, is the next word.
fn takes_next(run: &Command, cli: &Command, word: &[u8]) -> bool {
    let options = || run.get_arguments().chain(cli.get_arguments());
    if let Some(long) = word.strip_prefix(b"--") {
        return options().any(|option| {
            let is_it = option
                .get_long()
                .is_some_and(|name| name.as_bytes() == long);
            is_it && option.get_action().takes_values()
        });
    }
    for (index, &byte) in word.iter().enumerate().skip(1) {
        let letter = char::from(byte);
        let takes_value = options().any(|option| {
            let letters = option.get_short_and_visible_aliases().unwrap_or_default();
            letters.contains(&letter) && option.get_action().takes_values()
        });
        if takes_value {
            return index + 1 == word.len();
        }
    }
    false
}

/// A word as one would type it: placeholders need no quotes.
fn shown(word: &OsStr) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"%+,-./:=@_{}".contains(byte);
    match !word.is_empty() && word.as_bytes().iter().all(is_plain) {
        true => word.to_string_lossy().into_owned(),
        false => quote::quote(word).to_string_lossy().into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(line: &str, want: Option<&str>) {
        let args: Vec<_> = line.split(' ').map(OsString::from).collect();
        let want = want.map(|line| format!("put `--` before the command: {line}"));
        assert_eq!(missing_dashes(&args), want, "{line}");
    }

    #[test]
    fn the_command_begins_at_the_first_word_that_belongs_to_no_option() {
        check(
            "pepita run echo {} ::: a",
            Some("pepita run -- echo {} ::: a"),
        );
        check("pepita run -j 4 echo", Some("pepita run -j 4 -- echo"));
        check(
            "pepita run -P4 -ka list echo",
            Some("pepita run -P4 -ka list -- echo"),
        );
        check(
            "pepita run --retries 2 gzip -9",
            Some("pepita run --retries 2 -- gzip -9"),
        );
        check(
            "pepita --json run --shell ::: x",
            Some("pepita --json run --shell -- ::: x"),
        );
        check(
            "pepita run f.toml ::: a",
            Some("pepita run -- f.toml ::: a"),
        );
        check("pepita run -- echo ::: a", None);
        check("pepita run f.toml --what", None);
        check("pepita run --what", None);
        check("pepita doctor echo", None);
    }
}
