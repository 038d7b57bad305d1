//! The parts of the Gregorian calendar needed for time stamps.

/// Days from 1970-01-01 to a date, for years from 0.
pub(super) fn days(year: i64, month: i64, day: i64) -> i64 {
    // Years begin in March here, so that the leap day is the last.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let day_of_year = (153 * m + 2) / 5 + day - 1;
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + day_of_year - 719_468
}

/// The year of a day, counted from 1970-01-01.
pub(super) fn year_of(day: i64) -> i64 {
    // 400 years have 146097 days; the estimate is off by at most one.
    let year = 1970 + (day * 400).div_euclid(146_097);
    match day {
        day if day < days(year, 1, 1) => year - 1,
        day if day >= days(year + 1, 1, 1) => year + 1,
        _ => year,
    }
}

pub(super) fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

/// Days of a month, from 1, in a year; 0 for an invalid month.
pub(super) fn month_days(year: i64, month: i64) -> i64 {
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_years_agree() {
        assert_eq!(days(1970, 1, 1), 0);
        assert_eq!(days(2000, 2, 29), 11_016);
        assert_eq!(days(2024, 11, 20), 20_047);
        let mut day = days(1969, 1, 1);
        for year in 1969..2420 {
            for month in 1..=12 {
                assert_eq!(days(year, month, 1), day);
                for _ in 0..month_days(year, month) {
                    assert_eq!(year_of(day), year);
                    day += 1;
                }
            }
        }
    }
}
