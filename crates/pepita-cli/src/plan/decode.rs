//! [`Decoder`]: takes typed values out of TOML tables and remembers what was wrong where.
//!
//! Every function returns `None` for a value that is not as expected, after noting why; the
//! caller carries on with what is left, so that one run of the program shows every mistake.

use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::diagnostic::Diagnostics;
use super::suggest;
use crate::units::UnitError;

/// A value with the place where it stands.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;

/// Reads one document.
#[derive(Debug)]
pub(super) struct Decoder<'a> {
    text: &'a str,
    problems: Vec<(usize, String)>,
}

impl<'a> Decoder<'a> {
    pub(super) fn new(text: &'a str) -> Self {
        Self {
            text,
            problems: Vec::new(),
        }
    }

    /// The document's top table, empty where its syntax is broken.
    pub(super) fn document(&mut self) -> DeTable<'a> {
        let (table, errors) = DeTable::parse_recoverable(self.text);
        // What follows the first error of syntax is mostly its consequence.
        if let Some(error) = errors.first() {
            let start = error.span().map_or(0, |span| span.start);
            self.problem(start..start, error.message().trim_end().replace('\n', "; "));
            return DeTable::new();
        }
        table.into_inner()
    }

    /// Notes that something is wrong with what stands at `span`.
    pub(super) fn problem(&mut self, span: Range<usize>, message: impl Into<String>) {
        self.problems.push((span.start, message.into()));
    }

    /// Whether everything up to here was right.
    pub(super) fn is_clean(&self) -> bool {
        self.problems.is_empty()
    }

    /// Fails with what was noted, if anything was.
    pub(super) fn finish(self, path: &Path) -> Result<(), Diagnostics> {
        match self.problems.is_empty() {
            true => Ok(()),
            false => Err(Diagnostics::new(path, self.text, self.problems)),
        }
    }

    /// Notes every key of `table` that is not in `known`; `place` names the table.
    pub(super) fn only_keys(&mut self, table: &DeTable<'_>, place: &str, known: &[&str]) {
        for key in table.keys() {
            let name = key.get_ref().as_ref();
            if known.contains(&name) {
                continue;
            }
            let hint = match suggest::closest(name, known.iter().copied()) {
                Some(closest) => format!("did you mean `{closest}`?"),
                None => format!("expected one of {}", list(known)),
            };
            self.problem(
                key.span(),
                format!("unknown key `{name}` in {place}; {hint}"),
            );
        }
    }

    /// Notes that `value` of `key` has the wrong type.
    pub(super) fn wrong_type(&mut self, key: &str, value: &Value<'_>, expected: &str) {
        let found = match value.get_ref() {
            DeValue::Integer(_) => "an integer",
            DeValue::Array(_) => "an array",
            other => &format!("a {}", other.type_str()),
        };
        self.problem(
            value.span(),
            format!("`{key}` is {found}; expected {expected}"),
        );
    }

    /// A string.
    pub(super) fn string(
        &mut self,
        key: &str,
        value: &Value<'_>,
        expected: &str,
    ) -> Option<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        if text.is_none() {
            self.wrong_type(key, value, expected);
        }
        text
    }

    /// A boolean.
    pub(super) fn boolean(&mut self, key: &str, value: &Value<'_>) -> Option<bool> {
        let boolean = value.get_ref().as_bool();
        if boolean.is_none() {
            self.wrong_type(key, value, "`true` or `false`");
        }
        boolean
    }

    /// An integer within `range`.
    pub(super) fn integer(
        &mut self,
        key: &str,
        value: &Value<'_>,
        range: std::ops::RangeInclusive<i64>,
    ) -> Option<i64> {
        let (low, high) = (*range.start(), *range.end());
        let expected = match high {
            i64::MAX => format!("an integer of at least {low}"),
            _ => format!("an integer from {low} to {high}"),
        };
        let Some(integer) = value.get_ref().as_integer() else {
            self.wrong_type(key, value, &expected);
            return None;
        };
        let parsed = i64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let valid = parsed.filter(|number| range.contains(number));
        if valid.is_none() {
            let shown = &self.text[value.span()];
            self.problem(
                value.span(),
                format!("`{key}` is {shown}; expected {expected}"),
            );
        }
        valid
    }

    /// A number, with or without a fraction.
    pub(super) fn number(&mut self, key: &str, value: &Value<'_>) -> Option<f64> {
        let parsed = match value.get_ref() {
            DeValue::Float(float) => float.as_str().parse().ok(),
            DeValue::Integer(integer) if integer.radix() == 10 => integer.as_str().parse().ok(),
            _ => None,
        };
        if parsed.is_none() {
            self.wrong_type(key, value, "a number such as `2` or `1.5`");
        }
        parsed
    }

    /// A string that `parse` reads as a duration or a size.
    pub(super) fn unit<T>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        example: &str,
        parse: impl FnOnce(&str) -> Result<T, UnitError>,
    ) -> Option<T> {
        let expected = format!("a string such as `\"{example}\"`");
        let text = self.string(key, value, &expected)?;
        match parse(&text) {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.problem(value.span(), format!("`{key}`: {error}"));
                None
            }
        }
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(
        &mut self,
        key: &str,
        value: &Value<'_>,
        words: &[(&'static str, T)],
    ) -> Option<T> {
        let names: Vec<_> = words.iter().map(|(name, _)| *name).collect();
        let text = self.string(key, value, &format!("one of {}", list(&names)))?;
        let found = words
            .iter()
            .find(|(name, _)| *name == text)
            .map(|(_, word)| *word);
        if found.is_none() {
            let hint = match suggest::closest(&text, names.iter().copied()) {
                Some(closest) => format!("did you mean `{closest}`?"),
                None => format!("expected one of {}", list(&names)),
            };
            self.problem(value.span(), format!("`{key}` is `{text}`; {hint}"));
        }
        found
    }

    /// An array.
    pub(super) fn array<'v, 'i>(
        &mut self,
        key: &str,
        value: &'v Value<'i>,
        expected: &str,
    ) -> Option<&'v DeArray<'i>> {
        let array = value.get_ref().as_array();
        if array.is_none() {
            self.wrong_type(key, value, expected);
        }
        array
    }

    /// A table.
    pub(super) fn table<'v, 'i>(
        &mut self,
        key: &str,
        value: &'v Value<'i>,
        expected: &str,
    ) -> Option<&'v DeTable<'i>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, expected);
        }
        table
    }
}

/// `` `a`, `b` ``.
fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    quoted.join(", ")
}
