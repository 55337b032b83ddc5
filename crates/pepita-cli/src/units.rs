//! Durations and sizes as people write them: `5s`, `1m30s`, `256MiB`.

use std::fmt::Write as _;
use std::time::Duration;

/// What is wrong with a duration or a size, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {what}: {why}; expected {expected}")]
pub(crate) struct UnitError {
    text: String,
    what: &'static str,
    why: &'static str,
    expected: &'static str,
}

const DURATION_UNITS: [(&str, u64); 6] = [
    ("ns", 1),
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60 * 1_000_000_000),
    ("h", 3_600 * 1_000_000_000),
];

/// Reads one or more numbers with a unit: `250ms`, `1.5s`, `1m30s`, `2h`.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, UnitError> {
    let refuse = |why| UnitError {
        text: text.to_owned(),
        what: "a duration",
        why,
        expected: "a number with a unit, such as `250ms`, `5s`, `1m30s` or `2h`",
    };
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refuse("it is empty"));
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let (number, after) = split_number(rest).ok_or_else(|| refuse("a number is missing"))?;
        let unit_len = after
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_len);
        if unit.is_empty() {
            return Err(refuse("the unit is missing"));
        }
        let nanos = lookup(&DURATION_UNITS, unit).ok_or_else(|| refuse("the unit is unknown"))?;
        let value = scaled(number, nanos).ok_or_else(|| refuse("the number is too large"))?;
        total = total
            .checked_add(Duration::from_nanos(value))
            .ok_or_else(|| refuse("the number is too large"))?;
        rest = after.trim_start();
    }
    Ok(total)
}

const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

/// Reads a number of bytes with its unit: `4096B`, `256MiB`, `1.5GB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, UnitError> {
    let refuse = |why| UnitError {
        text: text.to_owned(),
        what: "a size",
        why,
        expected: "a number with a unit, such as `512KiB`, `256MiB`, `1.5GiB` or `4096B`",
    };
    let text = text.trim();
    let (number, unit) = split_number(text).ok_or_else(|| refuse("a number is missing"))?;
    let unit = unit.trim_start();
    let bytes = match unit {
        "" => return Err(refuse("the unit is missing")),
        "K" | "k" | "M" | "G" | "T" => {
            return Err(refuse("the unit could mean powers of 1000 or of 1024"));
        }
        _ => lookup(&SIZE_UNITS, unit).ok_or_else(|| refuse("the unit is unknown"))?,
    };
    scaled(number, bytes).ok_or_else(|| refuse("the number is too large"))
}

fn lookup(table: &[(&str, u64)], unit: &str) -> Option<u64> {
    table
        .iter()
        .find(|(name, _)| *name == unit)
        .map(|(_, value)| *value)
}

/// Splits `1.5GiB` into `1.5` and `GiB`.
fn split_number(text: &str) -> Option<(&str, &str)> {
    let end = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, rest) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (is_digits(whole) && is_digits(fraction)).then_some((number, rest))
}

/// `number` times `unit`, rounded down, in integers so that no digit is lost.
fn scaled(number: &str, unit: u64) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let whole = whole.parse::<u64>().ok()?.checked_mul(unit)?;
    // More than 18 digits of a fraction cannot change a value below 2^64 by one.
    let fraction = &fraction[..fraction.len().min(18)];
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let numerator = fraction.parse::<u128>().unwrap_or(0) * u128::from(unit);
    whole.checked_add(u64::try_from(numerator / scale).ok()?)
}

/// A duration for people: `820 µs`, `45 ms`, `1.24 s`, `3 min 12 s`, `2 h 5 min`.
pub(crate) fn show_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 if duration.as_micros() < 1_000 => format!("{} µs", duration.as_micros()),
        0 => format!("{} ms", duration.as_millis()),
        1..60 => format!("{:.2} s", duration.as_secs_f64()),
        60..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds / 60 % 60),
    }
}

/// A size for people: `812 B`, `1.5 KiB`, `256 MiB`.
pub(crate) fn show_size(bytes: u64) -> String {
    let mut unit = 0;
    let mut whole = bytes;
    let mut tenths = 0;
    while whole >= 1024 && unit < 4 {
        tenths = whole % 1024 * 10 / 1024;
        whole /= 1024;
        unit += 1;
    }
    let name = ["B", "KiB", "MiB", "GiB", "TiB"][unit];
    let mut text = whole.to_string();
    if whole < 100 && tenths > 0 {
        let _ = write!(text, ".{tenths}");
    }
    text + " " + name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn duration(text: &str, want: Result<Duration, &str>) {
        match (parse_duration(text), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{text:?}"),
            (Err(error), Err(want)) => {
                assert!(error.to_string().contains(want), "{text:?}: {error}");
            }
            (got, want) => panic!("{text:?}: {got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn a_duration_is_numbers_with_units() {
        duration("250ms", Ok(Duration::from_millis(250)));
        duration("5s", Ok(Duration::from_secs(5)));
        duration("1.5s", Ok(Duration::from_millis(1500)));
        duration("1m30s", Ok(Duration::from_secs(90)));
        duration(" 1h 2m 3s ", Ok(Duration::from_secs(3723)));
        duration("0s", Ok(Duration::ZERO));
        duration("0.000000001s", Ok(Duration::from_nanos(1)));
        duration("10us", Ok(Duration::from_micros(10)));
    }

    #[test]
    fn what_is_not_a_duration_says_why() {
        duration("", Err("it is empty"));
        duration("5", Err("the unit is missing"));
        duration("s", Err("a number is missing"));
        duration("-5s", Err("a number is missing"));
        duration("5 parsecs", Err("the unit is missing"));
        duration("5x", Err("the unit is unknown"));
        duration("1.s", Err("a number is missing"));
        duration("1.2.3s", Err("a number is missing"));
        duration("99999999999999999999h", Err("too large"));
        duration("18446744073709551615h", Err("too large"));
    }

    #[track_caller]
    fn size(text: &str, want: Result<u64, &str>) {
        match (parse_size(text), want) {
            (Ok(got), Ok(want)) => assert_eq!(got, want, "{text:?}"),
            (Err(error), Err(want)) => {
                assert!(error.to_string().contains(want), "{text:?}: {error}");
            }
            (got, want) => panic!("{text:?}: {got:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn a_size_is_a_number_with_an_unambiguous_unit() {
        size("4096B", Ok(4096));
        size("1kB", Ok(1000));
        size("512 KiB", Ok(512 << 10));
        size("256MiB", Ok(256 << 20));
        size("1.5GiB", Ok(3 << 29));
        size("2TB", Ok(2_000_000_000_000));
        size("1", Err("the unit is missing"));
        size("1K", Err("powers of 1000 or of 1024"));
        size("1mib", Err("the unit is unknown"));
        size("", Err("a number is missing"));
        size("99999999TiB", Err("too large"));
    }

    #[test]
    fn values_are_shown_as_people_write_them() {
        assert_eq!(show_duration(Duration::from_micros(820)), "820 µs");
        assert_eq!(show_duration(Duration::from_millis(45)), "45 ms");
        assert_eq!(show_duration(Duration::from_millis(1240)), "1.24 s");
        assert_eq!(show_duration(Duration::from_secs(192)), "3 min 12 s");
        assert_eq!(show_duration(Duration::from_secs(7500)), "2 h 5 min");
        assert_eq!(show_size(812), "812 B");
        assert_eq!(show_size(1536), "1.5 KiB");
        assert_eq!(show_size(256 << 20), "256 MiB");
    }
}
