//! Durations, counts and rates as people write them, both ways: `500ms`, `2m`, `20k`.

/// Why a text is no quantity.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no {expected}")]
pub(crate) struct NoQuantity {
    text: String,
    expected: &'static str,
}

fn no(text: &str, expected: &'static str) -> NoQuantity {
    NoQuantity { text: text.to_owned(), expected }
}

/// The number that `text` begins with, and what follows it.
fn number(text: &str) -> Option<(f64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '_').unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let value: f64 = digits.replace('_', "").parse().ok()?;
    value.is_finite().then_some((value, unit))
}

/// A duration in nanoseconds: a number with `ns`, `us`, `ms`, `s`, `m` or `h`; seconds without a unit.
pub(crate) fn duration_ns(text: &str) -> Result<u64, NoQuantity> {
    let fault = || no(text, "duration such as 500ms, 30s or 2m");
    let (value, unit) = number(text).ok_or_else(fault)?;
    let factor = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "" | "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => return Err(fault()),
    };
    let ns = value * factor;
    if ns < 9e18 { Ok(ns.round() as u64) } else { Err(fault()) }
}

/// A rate or another number that need not be whole: `20000`, `20k`, `1.5M`; `/s` may follow.
pub(crate) fn rate(text: &str) -> Result<f64, NoQuantity> {
    let fault = || no(text, "number such as 20000, 20k or 1.5M");
    let (value, unit) = number(text.strip_suffix("/s").unwrap_or(text)).ok_or_else(fault)?;
    let factor = match unit {
        "" => 1.0,
        "k" | "K" => 1e3,
        "m" | "M" => 1e6,
        _ => return Err(fault()),
    };
    Ok(value * factor)
}

/// A whole number, `k` and `M` allowed.
pub(crate) fn count(text: &str) -> Result<u64, NoQuantity> {
    let value = rate(text)?;
    if value.fract() == 0.0 && value < 1e15 { Ok(value as u64) } else { Err(no(text, "whole number")) }
}

/// A duration with three or four figures and its unit: `812 µs`, `1.94 ms`, `12.3 s`.
pub(crate) fn show_ns(ns: u64) -> String {
    let value = ns as f64;
    let (scaled, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (value / 1e3, "µs"),
        1_000_000..1_000_000_000 => (value / 1e6, "ms"),
        _ => (value / 1e9, "s"),
    };
    let places = match scaled {
        100.0.. => 0,
        10.0.. => 1,
        _ => 2,
    };
    format!("{scaled:.places$} {unit}")
}

/// A whole number with its thousands apart: `1,234,567`.
pub(crate) fn show_count(value: u64) -> String {
    let digits = value.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// A number of things: `1 thread`, `2,000 connections`.
pub(crate) fn several(count: usize, name: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{} {name}{plural}", show_count(count as u64))
}

/// A rate: whole from 100 on, with one or two places below.
pub(crate) fn show_rate(value: f64) -> String {
    match value {
        100.0.. => show_count(value.round() as u64),
        10.0.. => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// Bytes in powers of 1,024: `12.3 MiB`.
pub(crate) fn show_bytes(bytes: f64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes;
    let mut chosen = "B";
    for unit in UNITS {
        chosen = unit;
        if value < 1024.0 {
            break;
        }
        if unit != "TiB" {
            value /= 1024.0;
        }
    }
    if chosen == "B" { format!("{value:.0} B") } else { format!("{value:.1} {chosen}") }
}

/// A share in per cent: `0.03 %`, `12.3 %`.
pub(crate) fn show_share(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 1.0 { format!("{percent:.1} %") } else { format!("{percent:.2} %") }
}

#[cfg(test)]
mod tests {
    use super::{count, duration_ns, rate, show_bytes, show_count, show_ns, show_rate, show_share};

    #[test]
    fn durations_have_units_and_seconds_need_none() {
        for (text, ns) in
            [("30s", 30_000_000_000), ("1.5", 1_500_000_000), ("250us", 250_000), ("2m", 120_000_000_000)]
        {
            assert_eq!(duration_ns(text), Ok(ns), "{text}");
        }
        for text in ["", "s", "5 s", "-1s", "1d", "1e400s", "..s", "99999999999999h"] {
            assert!(duration_ns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_have_thousands_and_millions() {
        assert_eq!((rate("20k"), rate("1.5M/s"), rate("7")), (Ok(20e3), Ok(1.5e6), Ok(7.0)));
        assert_eq!((count("64"), count("2k")), (Ok(64), Ok(2000)));
        assert!(count("1.5").is_err() && rate("fast").is_err());
    }

    #[test]
    fn what_is_shown_is_short() {
        let shown: Vec<String> = [999, 1_234, 56_780, 812_400, 1_944_000, 12_340_000_000].map(show_ns).into();
        assert_eq!(shown, ["999 ns", "1.23 µs", "56.8 µs", "812 µs", "1.94 ms", "12.3 s"]);
        assert_eq!((show_count(1_234_567), show_count(999)), ("1,234,567".to_owned(), "999".to_owned()));
        assert_eq!((show_bytes(512.0), show_bytes(3e6)), ("512 B".to_owned(), "2.9 MiB".to_owned()));
        assert_eq!((show_rate(19_999.6), show_rate(12.34)), ("20,000".to_owned(), "12.3".to_owned()));
        assert_eq!(
            (show_share(0.0), show_share(0.000_3), show_share(0.5)),
            ("0.0 %".into(), "0.03 %".into(), "50.0 %".into())
        );
    }
}
