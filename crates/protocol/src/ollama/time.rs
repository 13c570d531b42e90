//! Seconds since 1970 as RFC 3339 in UTC.

/// With a fraction, as some readers insist on; without this crate knowing a calendar's library.
pub(super) fn rfc3339(seconds: u64) -> String {
    // No year has more than four digits: what is later is no time that anybody meant.
    let seconds = seconds.min(253_402_300_799);
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = date(days);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.000000Z")
}

/// Year, month and day, by the days since 1970. Years are counted from March here, so that a leap day is a year's last,
/// and in turns of 400 years, which all have the same length (H. Hinnant, "chrono-compatible low-level date algorithms").
fn date(days: u64) -> (u64, u64, u64) {
    let since_0000 = days + 719_468;
    let (turn, day_of_turn) = (since_0000 / 146_097, since_0000 % 146_097);
    let year_of_turn = (day_of_turn - day_of_turn / 1460 + day_of_turn / 36_524 - day_of_turn / 146_096) / 365;
    let day_of_year = day_of_turn - (365 * year_of_turn + year_of_turn / 4 - year_of_turn / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (turn * 400 + year_of_turn + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_those_of_the_calendar() {
        let check = |seconds: u64, expected: &str| assert_eq!(rfc3339(seconds), expected);
        check(0, "1970-01-01T00:00:00.000000Z");
        check(951_782_400, "2000-02-29T00:00:00.000000Z");
        check(1_078_012_800, "2004-02-29T00:00:00.000000Z");
        check(1_709_251_199, "2024-02-29T23:59:59.000000Z");
        check(1_795_884_206, "2026-11-28T16:43:26.000000Z");
        check(4_107_542_400, "2100-03-01T00:00:00.000000Z");
        check(u64::MAX, "9999-12-31T23:59:59.000000Z");
    }
}
