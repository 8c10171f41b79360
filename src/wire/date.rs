//! IMF-fixdate (RFC 9110 §5.6.7), made once a second.

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
pub type FixDate = [u8; 29];

const DAYS: [&[u8; 3]; 7] = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"];
const MONTHS: [&[u8; 3]; 12] =
    [b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"];

/// A date of the civil calendar, in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Civil {
    /// The year.
    pub year: u64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
}

/// The civil date of a day count since 1970-01-01 (Howard Hinnant's `civil_from_days`).
#[must_use]
pub fn civil_from_days(days: u64) -> Civil {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u8;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u8;
    Civil { year: year_of_era + era * 400 + u64::from(month <= 2), month, day }
}

/// The date of a Unix time in seconds, for years up to 9999.
#[must_use]
pub fn imf_fixdate(unix_seconds: u64) -> FixDate {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    let date = civil_from_days(days);
    let day_name = DAYS.get((days % 7) as usize).copied().unwrap_or(b"Thu");
    let month_name = MONTHS.get(date.month as usize - 1).copied().unwrap_or(b"Jan");
    let two = |number: u64| [b'0' + (number / 10 % 10) as u8, b'0' + (number % 10) as u8];
    let [d1, d2] = two(u64::from(date.day));
    let [[y1, y2], [y3, y4]] = [two(date.year / 100), two(date.year)];
    let [[h1, h2], [m1, m2], [s1, s2]] = [two(second / 3600), two(second / 60 % 60), two(second % 60)];
    let ([w1, w2, w3], [n1, n2, n3]) = (*day_name, *month_name);
    [
        w1, w2, w3, b',', b' ', d1, d2, b' ', n1, n2, n3, b' ', y1, y2, y3, y4, b' ', h1, h2, b':', m1, m2,
        b':', s1, s2, b' ', b'G', b'M', b'T',
    ]
}

/// The date of the current second, kept until the second changes.
#[derive(Debug, Clone)]
pub struct DateCache {
    second: u64,
    text: FixDate,
}

impl DateCache {
    /// The cache at the epoch.
    #[must_use]
    pub fn new() -> Self {
        Self { second: 0, text: imf_fixdate(0) }
    }

    /// The date at a Unix time in milliseconds.
    pub fn at(&mut self, unix_ms: u64) -> &FixDate {
        let second = unix_ms / 1000;
        if second != self.second {
            *self = Self { second, text: imf_fixdate(second) };
        }
        &self.text
    }
}

impl Default for DateCache {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::{DateCache, imf_fixdate};

    #[test]
    fn known_dates_are_written() {
        for (seconds, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_798_761_599, "Thu, 31 Dec 2026 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(imf_fixdate(seconds), *text.as_bytes());
        }
    }

    #[test]
    fn the_cache_follows_the_clock_in_both_directions() {
        let mut cache = DateCache::new();
        for ms in [784_111_777_999, 784_111_778_000, 784_111_777_000, 0] {
            assert_eq!(*cache.at(ms), imf_fixdate(ms / 1000));
        }
    }
}
