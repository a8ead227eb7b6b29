use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since 1970.
pub(crate) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |passed| passed.as_secs_f64())
}

/// A moment as calendar fields, in universal time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moment {
    pub(crate) date: [u64; 3],
    pub(crate) time: [u64; 3],
    pub(crate) micros: u64,
}

impl Moment {
    /// From seconds since 1970 (proleptic Gregorian calendar, leap years counted from March).
    pub(crate) fn from_seconds(seconds: f64) -> Self {
        let whole = seconds.max(0.0) as u64;
        let micros = ((seconds.max(0.0) - whole as f64) * 1e6) as u64;
        let (days, rest) = (whole / 86_400, whole % 86_400);
        let shifted = days + 719_468;
        let (era, day) = (shifted / 146_097, shifted % 146_097);
        let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
        let day_of_year = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day_of_year + 2) / 153;
        let day_of_month = day_of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + u64::from(month <= 2);
        Self { date: [year, month, day_of_month], time: [rest / 3600, rest / 60 % 60, rest % 60], micros }
    }
}

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ([y, m, d], [hour, minute, second]) = (self.date, self.time);
        write!(f, "{y:04}-{m:02}-{d:02} {hour:02}:{minute:02}:{second:02}.{:06}", self.micros)
    }
}

#[cfg(test)]
mod tests {
    use super::Moment;

    #[test]
    fn known_moments() {
        assert_eq!(Moment::from_seconds(0.0).to_string(), "1970-01-01 00:00:00.000000");
        assert_eq!(Moment::from_seconds(951_782_400.5).to_string(), "2000-02-29 00:00:00.500000");
        assert_eq!(Moment::from_seconds(1_709_251_199.0).to_string(), "2024-02-29 23:59:59.000000");
        assert_eq!(Moment::from_seconds(4_107_542_400.0).to_string(), "2100-03-01 00:00:00.000000");
    }
}
