//! Time partitions: which bucket a row falls into, and how its folder is spelled.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Timelike};
use std::fmt;

/// The width of a table's partitions.
#[derive(
    Clone, Copy, PartialEq, Eq, Hash, Debug, Default, serde::Deserialize, serde::Serialize,
)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum PartitionBy {
    /// One folder an hour.
    Hour = 0,
    /// One folder a day.
    #[default]
    Day = 1,
    /// One folder an ISO week, Monday first.
    Week = 2,
    /// One folder a month.
    Month = 3,
    /// One folder a year.
    Year = 4,
}

/// The bucket of a table that a row falls into: its first nanosecond, clamped to what 64 bits hold.
///
/// Ordered by time. Two keys compare only within one table, whose width never changes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct PartitionKey(pub i64);

const HOUR_NS: i64 = 3_600_000_000_000;
const DAY_NS: i64 = 24 * HOUR_NS;

impl PartitionBy {
    /// The width with this number in a file, if there is one.
    pub fn from_byte(byte: u8) -> Option<PartitionBy> {
        Some(match byte {
            0 => PartitionBy::Hour,
            1 => PartitionBy::Day,
            2 => PartitionBy::Week,
            3 => PartitionBy::Month,
            4 => PartitionBy::Year,
            _ => return None,
        })
    }

    /// The bucket that holds the nanosecond `time`.
    pub fn key(self, time: i64) -> PartitionKey {
        PartitionKey(match self {
            PartitionBy::Hour => time.div_euclid(HOUR_NS).saturating_mul(HOUR_NS),
            PartitionBy::Day => time.div_euclid(DAY_NS).saturating_mul(DAY_NS),
            _ => to_nanos(self.start(civil(time))),
        })
    }

    /// The half-open range of nanoseconds `[start, end)` of a bucket. The last bucket of all time
    /// ends at `i64::MAX`, which it includes.
    pub fn range(self, key: PartitionKey) -> (i64, i64) {
        let end = match self {
            PartitionBy::Hour => key.0.saturating_add(HOUR_NS),
            PartitionBy::Day => key.0.saturating_add(DAY_NS),
            _ => {
                let start = self.start(civil(key.0));
                let next = match self {
                    PartitionBy::Week => start.checked_add_days(Days::new(7)),
                    PartitionBy::Month => start.checked_add_months(Months::new(1)),
                    _ => start.checked_add_months(Months::new(12)),
                };
                next.map_or(i64::MAX, to_nanos)
            }
        };
        (key.0, end)
    }

    /// The folder of a bucket in Hive spelling, e.g. `hw_day=2026-11-22`.
    pub fn folder(self, key: PartitionKey) -> String {
        let t = civil(key.0);
        match self {
            PartitionBy::Hour => {
                format!("hw_hour={}-{:02}", t.date().format("%Y-%m-%d"), t.hour())
            }
            PartitionBy::Day => format!("hw_day={}", t.date().format("%Y-%m-%d")),
            PartitionBy::Week => {
                // The clamped first bucket starts mid-week; its ISO week is still its own.
                let week = t.date().iso_week();
                format!("hw_week={}-W{:02}", week.year(), week.week())
            }
            PartitionBy::Month => format!("hw_month={}", t.date().format("%Y-%m")),
            PartitionBy::Year => format!("hw_year={}", t.date().format("%Y")),
        }
    }

    fn start(self, t: NaiveDateTime) -> NaiveDateTime {
        let day = t.date();
        let first = match self {
            PartitionBy::Week => {
                day.checked_sub_days(Days::new(u64::from(day.weekday().num_days_from_monday())))
            }
            PartitionBy::Month => day.with_day(1),
            _ => NaiveDate::from_ymd_opt(day.year(), 1, 1),
        };
        first.unwrap_or(day).and_time(NaiveTime::MIN)
    }
}

impl fmt::Display for PartitionBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PartitionBy::Hour => "HOUR",
            PartitionBy::Day => "DAY",
            PartitionBy::Week => "WEEK",
            PartitionBy::Month => "MONTH",
            PartitionBy::Year => "YEAR",
        })
    }
}

fn civil(nanos: i64) -> NaiveDateTime {
    DateTime::from_timestamp_nanos(nanos).naive_utc()
}

/// Clamped: the bucket that holds `i64::MIN` begins before what 64 bits of nanoseconds reach.
fn to_nanos(t: NaiveDateTime) -> i64 {
    t.and_utc().timestamp_nanos_opt().unwrap_or(if t.year() < 1970 { i64::MIN } else { i64::MAX })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [PartitionBy; 5] = [
        PartitionBy::Hour,
        PartitionBy::Day,
        PartitionBy::Week,
        PartitionBy::Month,
        PartitionBy::Year,
    ];

    #[test]
    fn every_time_lies_in_the_range_of_its_bucket() {
        for by in ALL {
            for time in [i64::MIN, -1, 0, 1, 1_763_769_600_000_000_000, i64::MAX - 1, i64::MAX] {
                let (start, end) = by.range(by.key(time));
                assert!(start <= time && (time < end || end == i64::MAX), "{by} {time}");
                assert_eq!(by.key(start), by.key(time), "{by} {time}");
            }
        }
    }

    #[test]
    fn folders_are_spelled_as_hive_does() {
        let time = 1_763_819_999_000_000_000; // 2025-11-22T13:59:59Z, a Saturday
        let names = ALL.map(|by| by.folder(by.key(time)));
        let expect = [
            "hw_hour=2025-11-22-13",
            "hw_day=2025-11-22",
            "hw_week=2025-W47",
            "hw_month=2025-11",
            "hw_year=2025",
        ];
        assert_eq!(names, expect);
    }
}
