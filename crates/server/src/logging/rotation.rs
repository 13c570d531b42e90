//! Which file a line belongs in, and which files are one too many. Knows calendars, no clock and no disk.

use jiff::ZonedDateTime;
use jiff::civil::Date;

/// The day a moment is logged under: days begin at `rotate_hour` on the clock on the wall, so that a day may have 23 or
/// 25 hours.
pub(super) fn day(now: &ZonedDateTime, rotate_hour: u32) -> Date {
    let hour = u32::try_from(now.hour()).unwrap_or(0);
    let today = now.date();
    if hour < rotate_hour { today.yesterday().unwrap_or(today) } else { today }
}

/// The name of a day's file.
pub(super) fn name(day: Date) -> String {
    format!("snug-{day}.log")
}

/// Of the names in a folder those that are ours and not among the newest `retain`.
pub(super) fn surplus(names: Vec<String>, retain: u32) -> Vec<String> {
    let mut days: Vec<Date> = names.iter().filter_map(|name| day_of(name)).collect();
    days.sort_unstable_by(|a, b| b.cmp(a));
    days.into_iter().skip(usize::try_from(retain).unwrap_or(usize::MAX)).map(name).collect()
}

/// The day of a file of ours.
fn day_of(file: &str) -> Option<Date> {
    let day: Date = file.strip_prefix("snug-")?.strip_suffix(".log")?.parse().ok()?;
    // Nothing that is merely read as a date: what is removed must be what was made.
    (name(day) == file).then_some(day)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;

    use super::*;

    /// Berlin with its rules written out: tests must not need the system's zones.
    fn berlin() -> TimeZone {
        TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
    }

    #[track_caller]
    fn check(zone: &TimeZone, rotate_hour: u32, moment: &str, expected: &str) {
        let moment: Timestamp = moment.parse().unwrap();
        assert_eq!(
            name(day(&ZonedDateTime::new(moment, zone.clone()), rotate_hour)),
            expected,
            "{moment} at {rotate_hour}"
        );
    }

    #[test]
    fn a_day_begins_at_its_hour_on_the_wall() {
        let utc = TimeZone::UTC;
        check(&utc, 0, "2025-01-15T00:00:00Z", "snug-2025-01-15.log");
        check(&utc, 0, "2025-01-14T23:59:59.999Z", "snug-2025-01-14.log");
        check(&utc, 6, "2025-01-15T05:59:59Z", "snug-2025-01-14.log");
        check(&utc, 6, "2025-01-15T06:00:00Z", "snug-2025-01-15.log");
        check(&utc, 23, "2025-01-01T22:00:00Z", "snug-2024-12-31.log");
        check(&utc, 23, "2024-03-01T12:00:00Z", "snug-2024-02-29.log");
        check(&berlin(), 0, "2025-01-14T23:00:00Z", "snug-2025-01-15.log");
        check(&berlin(), 0, "2025-07-14T22:00:00Z", "snug-2025-07-15.log");
    }

    #[test]
    fn a_clock_put_forward_skips_the_hour_and_not_the_day() {
        // 2025-03-30: 01:59:59 CET, then 03:00:00 CEST.
        check(&berlin(), 2, "2025-03-30T00:59:59Z", "snug-2025-03-29.log");
        check(&berlin(), 2, "2025-03-30T01:00:00Z", "snug-2025-03-30.log");
        check(&berlin(), 3, "2025-03-30T01:00:00Z", "snug-2025-03-30.log");
    }

    #[test]
    fn a_clock_put_back_does_not_go_back_to_yesterday_s_file() {
        // 2025-10-26: 02:59:59 CEST, then 02:00:00 CET.
        for (hour, moment, expected) in [
            (2, "2025-10-25T23:59:59Z", "snug-2025-10-25.log"),
            (2, "2025-10-26T00:00:00Z", "snug-2025-10-26.log"),
            (2, "2025-10-26T00:59:59Z", "snug-2025-10-26.log"),
            (2, "2025-10-26T01:00:00Z", "snug-2025-10-26.log"),
            (3, "2025-10-26T00:59:59Z", "snug-2025-10-25.log"),
            (3, "2025-10-26T01:59:59Z", "snug-2025-10-25.log"),
            (3, "2025-10-26T02:00:00Z", "snug-2025-10-26.log"),
        ] {
            check(&berlin(), hour, moment, expected);
        }
    }

    /// Whatever the hour and the rules of the zone, days only follow each other: none twice, none left out.
    #[test]
    fn days_follow_each_other_through_a_whole_year() {
        let zones =
            ["CET-1CEST,M3.5.0,M10.5.0/3", "<-01>1<+00>,M3.5.0/0,M10.5.0/1", "<+1030>-10:30<+11>-11,M10.1.0,M4.1.0"];
        let begin: Timestamp = "2025-01-01T00:00:00Z".parse().unwrap();
        for zone in zones.map(|rules| TimeZone::posix(rules).unwrap()) {
            for rotate_hour in [0, 1, 2, 3, 23] {
                let moments = (0..366 * 48).map(|step| begin + jiff::SignedDuration::from_mins(30 * step));
                let mut days: Vec<Date> =
                    moments.map(|moment| day(&ZonedDateTime::new(moment, zone.clone()), rotate_hour)).collect();
                days.dedup();
                assert!(
                    days.windows(2).all(|pair| pair[0].tomorrow().unwrap() == pair[1]),
                    "{zone:?} at {rotate_hour}"
                );
            }
        }
    }

    #[test]
    fn only_our_own_oldest_files_are_too_many() {
        let names = [
            "snug-2025-01-03.log",
            "snug-2025-01-01.log",
            "snug-2024-12-31.log",
            "snug-2025-01-02.log",
            "snug-2025-01-01.log.bak",
            "snug-20241230.log",
            "snug-2024-13-01.log",
            "other-2020-01-01.log",
            "snug.log",
        ];
        let surplus = |retain| surplus(names.map(str::to_owned).to_vec(), retain);
        assert_eq!(surplus(2), ["snug-2025-01-01.log", "snug-2024-12-31.log"]);
        assert_eq!(surplus(1).len(), 3);
        assert!(surplus(4).is_empty() && surplus(3650).is_empty());
    }
}
