//! The services' clock and how they write times.

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime};

/// The service's clock.
pub(crate) fn now() -> OffsetDateTime {
    OffsetDateTime::now_utc()
}

/// The service's clock under a skew fault.
pub(crate) fn skewed(seconds: i64) -> OffsetDateTime {
    now().saturating_add(Duration::seconds(seconds))
}

/// The services' time format: seven digits of a second, UTC.
pub(crate) fn rfc3339(time: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:7]Z");
    time.to_offset(time::UtcOffset::UTC).format(FORMAT).unwrap_or_else(|_| NEVER.to_owned())
}

pub(crate) fn time_or_never(time: Option<OffsetDateTime>) -> String {
    time.map_or_else(|| NEVER.to_owned(), rfc3339)
}

/// What the services write for "has not happened yet".
pub(crate) const NEVER: &str = "0001-01-01T00:00:00Z";

/// Milliseconds since the Unix epoch.
pub(crate) fn milliseconds(time: OffsetDateTime) -> i64 {
    i64::try_from(time.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX)
}

/// A time in the form of HTTP headers.
pub(crate) fn http_date(time: OffsetDateTime) -> String {
    const FORMAT: &[BorrowedFormatItem<'_>] =
        format_description!("[weekday repr:short], [day] [month repr:short] [year] [hour]:[minute]:[second] GMT");
    time.format(FORMAT).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_imf_fixdates() {
        assert_eq!(http_date(OffsetDateTime::UNIX_EPOCH), "Thu, 01 Jan 1970 00:00:00 GMT");
    }
}
