//! The date and time that templates see.

use std::fmt::Write as _;

/// A local date and time, without a zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Moment {
    /// The year.
    pub year: i32,
    /// The month, from 1.
    pub month: u8,
    /// The day of the month, from 1.
    pub day: u8,
    /// The hour, from 0 to 23.
    pub hour: u8,
    /// The minute.
    pub minute: u8,
    /// The second.
    pub second: u8,
    /// Millionths of a second.
    pub microsecond: u32,
}

const DAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

impl Moment {
    /// The moment so many seconds after 1970 began, as a clock in UTC shows it.
    pub fn from_unix(seconds: i64) -> Self {
        let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        // Days from civil dates: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        Self {
            year: (year_of_era + era * 400 + i64::from(month <= 2)) as i32,
            month: month as u8,
            day: (of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            hour: (rest / 3_600) as u8,
            minute: (rest / 60 % 60) as u8,
            second: (rest % 60) as u8,
            microsecond: 0,
        }
    }

    /// Now, as a clock in UTC shows it.
    pub fn now_utc() -> Self {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        Self { microsecond: since.subsec_micros(), ..Self::from_unix(since.as_secs() as i64) }
    }

    fn day_of_year(&self) -> u32 {
        const BEFORE: [u32; 12] = [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334];
        let leap = (self.year % 4 == 0 && self.year % 100 != 0) || self.year % 400 == 0;
        let month = usize::from(self.month.clamp(1, 12)) - 1;
        BEFORE[month] + u32::from(self.day) + u32::from(leap && month > 1)
    }

    /// The day of the week, with Sunday 0 (Sakamoto's method).
    fn weekday(&self) -> u32 {
        const SHIFT: [i32; 12] = [0, 3, 2, 5, 0, 3, 5, 1, 4, 6, 2, 4];
        let year = if self.month < 3 { self.year - 1 } else { self.year };
        let month = usize::from(self.month.clamp(1, 12)) - 1;
        (year + year / 4 - year / 100 + year / 400 + SHIFT[month] + i32::from(self.day)).rem_euclid(7) as u32
    }

    /// The year and week of ISO 8601.
    fn iso_week(&self) -> (i32, u32) {
        let weekday = (self.weekday() + 6) % 7;
        let week = (self.day_of_year() + 9 - weekday) / 7;
        if week == 0 {
            let last = Self { year: self.year - 1, month: 12, day: 31, ..*self };
            return (self.year - 1, last.iso_week().1);
        }
        let first_of_next = Self { year: self.year + 1, month: 1, day: 1, ..*self };
        if week == 53 && (first_of_next.weekday() + 6) % 7 <= 3 {
            return (self.year + 1, 1);
        }
        (self.year, week)
    }

    /// The moment as C's `strftime` writes it in the C locale.
    pub fn format(&self, format: &str) -> String {
        let mut out = String::with_capacity(format.len() + 16);
        let mut chars = format.chars();
        while let Some(char) = chars.next() {
            if char != '%' {
                out.push(char);
                continue;
            }
            let begin = chars.as_str();
            let mut flag = None;
            let mut kind = chars.next();
            if let Some(found @ ('-' | '_' | '0' | '^' | '#')) = kind {
                flag = Some(found);
                kind = chars.next();
            }
            if !kind.is_some_and(|kind| self.directive(&mut out, kind, flag)) {
                out.push('%');
                out.push_str(&begin[..begin.len() - chars.as_str().len()]);
            }
        }
        out
    }

    /// Writes one directive; false for those that do not exist.
    fn directive(&self, out: &mut String, kind: char, flag: Option<char>) -> bool {
        let number = |out: &mut String, value: i64, width: usize, pad: char| {
            let pad = match flag {
                Some('-') => None,
                Some('_') => Some(' '),
                Some('0') => Some('0'),
                _ => Some(pad),
            };
            let text = value.to_string();
            if let Some(pad) = pad {
                out.extend(std::iter::repeat_n(pad, width.saturating_sub(text.len())));
            }
            out.push_str(&text);
        };
        let word = |out: &mut String, text: &str| match flag {
            Some('^') => out.push_str(&text.to_uppercase()),
            _ => out.push_str(text),
        };
        let day = DAYS[self.weekday() as usize];
        let month = MONTHS[usize::from(self.month.clamp(1, 12)) - 1];
        let twelve = i64::from((self.hour + 11) % 12 + 1);
        match kind {
            'a' => word(out, &day[..3]),
            'A' => word(out, day),
            'b' | 'h' => word(out, &month[..3]),
            'B' => word(out, month),
            'c' => out.push_str(&self.format("%a %b %e %H:%M:%S %Y")),
            'C' => number(out, i64::from(self.year / 100), 2, '0'),
            'd' => number(out, i64::from(self.day), 2, '0'),
            'D' | 'x' => out.push_str(&self.format("%m/%d/%y")),
            'e' => number(out, i64::from(self.day), 2, ' '),
            'f' => {
                let _ = write!(out, "{:06}", self.microsecond);
            }
            'F' => out.push_str(&self.format("%Y-%m-%d")),
            'g' => number(out, i64::from(self.iso_week().0 % 100), 2, '0'),
            'G' => number(out, i64::from(self.iso_week().0), 4, '0'),
            'H' => number(out, i64::from(self.hour), 2, '0'),
            'I' => number(out, twelve, 2, '0'),
            'j' => number(out, i64::from(self.day_of_year()), 3, '0'),
            'k' => number(out, i64::from(self.hour), 2, ' '),
            'l' => number(out, twelve, 2, ' '),
            'm' => number(out, i64::from(self.month), 2, '0'),
            'M' => number(out, i64::from(self.minute), 2, '0'),
            'n' => out.push('\n'),
            'p' if flag == Some('#') => out.push_str(if self.hour < 12 { "am" } else { "pm" }),
            'p' => out.push_str(if self.hour < 12 { "AM" } else { "PM" }),
            'P' => out.push_str(if self.hour < 12 { "am" } else { "pm" }),
            'r' => out.push_str(&self.format("%I:%M:%S %p")),
            'R' => out.push_str(&self.format("%H:%M")),
            'S' => number(out, i64::from(self.second), 2, '0'),
            't' => out.push('\t'),
            'T' | 'X' => out.push_str(&self.format("%H:%M:%S")),
            'u' => number(out, i64::from((self.weekday() + 6) % 7 + 1), 1, '0'),
            'U' => number(out, i64::from((self.day_of_year() + 6 - self.weekday()) / 7), 2, '0'),
            'V' => number(out, i64::from(self.iso_week().1), 2, '0'),
            'w' => number(out, i64::from(self.weekday()), 1, '0'),
            'W' => number(out, i64::from((self.day_of_year() + 6 - (self.weekday() + 6) % 7) / 7), 2, '0'),
            'y' => number(out, i64::from(self.year % 100), 2, '0'),
            'Y' => number(out, i64::from(self.year), 1, '0'),
            // A time without a zone has neither.
            'z' | 'Z' => {}
            '%' => out.push('%'),
            _ => return false,
        }
        true
    }
}
