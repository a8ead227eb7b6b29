//! Date and time of files that are written.

use std::time::{SystemTime, UNIX_EPOCH};

/// A date `YYYYMMDD` and a time `HHMMSS.FFFFFF`, as files carry them; UTC if it comes from the clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DicomTime {
    /// Eight digits.
    pub date: String,
    /// Six digits, and up to six behind a point.
    pub time: String,
}

impl DicomTime {
    /// What the clock says.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::at(since.as_secs(), since.subsec_micros())
    }

    fn at(seconds: u64, micros: u32) -> Self {
        let [year, month, day] = civil(seconds / 86_400);
        let rest = seconds % 86_400;
        let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
        Self {
            date: format!("{year:04}{month:02}{day:02}"),
            time: format!("{hour:02}{minute:02}{second:02}.{micros:06}"),
        }
    }
}

/// Year, month and day so many days after 1 January 1970, in eras of 400 years that begin in March.
fn civil(days: u64) -> [u64; 3] {
    let days = days + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    [year + 400 * era + later, month, day]
}

#[cfg(test)]
mod tests {
    use super::DicomTime;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let at = |seconds| DicomTime::at(seconds, 5);
        assert_eq!((at(0).date.as_str(), at(0).time.as_str()), ("19700101", "000000.000005"));
        assert_eq!(at(951_782_399).date, "20000228");
        assert_eq!(at(951_782_400).date, "20000229");
        let last = at(1_735_689_599);
        assert_eq!((last.date.as_str(), last.time.as_str()), ("20241231", "235959.000005"));
    }
}
