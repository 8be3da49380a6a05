//! Calendar days in UTC. Time is an argument: nothing here asks a clock.

use core::fmt;

use serde::{Serialize, Serializer};

/// A day: `2026-02-01`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date {
    year: u16,
    month: u8,
    day: u8,
}

impl Date {
    /// A day that exists, of the years 1 to 9999.
    #[must_use]
    pub fn new(year: u16, month: u8, day: u8) -> Option<Self> {
        let exists = (1..=9999).contains(&year) && day >= 1 && day <= days_in(year, month);
        exists.then_some(Self { year, month, day })
    }

    /// Reads `YYYY-MM-DD` and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = text.as_bytes() else {
            return None;
        };
        let number = |digits: &[u8]| digits.iter().try_fold(0_u16, |n, d| d.is_ascii_digit().then(|| n * 10 + u16::from(d - b'0')));
        let small = |digits: &[u8]| number(digits).and_then(|n| u8::try_from(n).ok());
        Self::new(number(&[y1, y2, y3, y4])?, small(&[m1, m2])?, small(&[d1, d2])?)
    }

    /// Days from another day to this one; negative if the other is later.
    #[must_use]
    pub fn days_since(self, other: Self) -> i64 {
        self.number() - other.number()
    }

    /// The day's number: days since 0000-03-01, counted in years that begin in March, so that a leap day is a year's last.
    fn number(self) -> i64 {
        let (year, month) = (i64::from(self.year), i64::from(self.month));
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        year * 365 + year / 4 - year / 100 + year / 400 + (month * 153 + 2) / 5 + i64::from(self.day) - 1
    }
}

fn days_in(year: u16, month: u8) -> u8 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 => 28 + u8::from(leap),
        _ => 0,
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl Serialize for Date {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn days_are_counted_over_leap_days_and_years() {
        let days = |a: &str, b: &str| Date::parse(a).unwrap().days_since(Date::parse(b).unwrap());
        for (later, earlier, count) in [
            ("2026-02-01", "2026-02-01", 0),
            ("2026-03-01", "2026-02-28", 1),
            ("2024-03-01", "2024-02-28", 2),
            ("2027-01-01", "2026-01-01", 365),
            ("2001-01-01", "2000-01-01", 366),
            ("1901-01-01", "1900-01-01", 365),
            ("1970-01-01", "0001-01-01", 719_162),
        ] {
            assert_eq!((days(later, earlier), days(earlier, later)), (count, -count), "{later} {earlier}");
        }
    }

    #[test]
    fn only_days_that_exist_are_read() {
        assert_eq!(Date::parse("2024-02-29").unwrap().to_string(), "2024-02-29");
        for text in
            ["2023-02-29", "1900-02-29", "2026-13-01", "2026-1-01", "2026-00-10", "2026-01-00", "x026-01-01", "2026-01-011", ""]
        {
            assert_eq!(Date::parse(text), None, "{text}");
        }
    }
}
