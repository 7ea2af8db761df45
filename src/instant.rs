//! Moments in time as RFC 3339 texts.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// The years that RFC 3339 can write, 0000 to 9999, in milliseconds since the Unix epoch.
const WRITABLE: std::ops::RangeInclusive<i64> = -62_167_219_200_000..=253_402_300_799_999;

/// Reads a moment, to the nanosecond. White space around it is ignored, and a space may stand for the `T`.
pub fn parse(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text.trim(), &Rfc3339).ok()
}

/// Reads a moment as milliseconds since the Unix epoch, rounded down.
pub fn parse_ms(text: &str) -> Option<i64> {
    i64::try_from(parse(text)?.unix_timestamp_nanos().div_euclid(1_000_000)).ok()
}

/// Milliseconds since the Unix epoch as RFC 3339 in UTC, with three fractional digits. A moment outside the years 0000
/// to 9999 becomes the nearest moment within them.
pub fn rfc3339(ms: i64) -> String {
    let ms = ms.clamp(*WRITABLE.start(), *WRITABLE.end());
    // Not from nanoseconds: they need 128 bits, which WebAssembly divides slowly.
    let time = OffsetDateTime::from_unix_timestamp(ms.div_euclid(1_000)).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let mut text = String::with_capacity("0000-00-00T00:00:00.000Z".len());
    let mut put = |number: u32, digits: u32, after: char| {
        for place in (0..digits).rev() {
            text.push(char::from(b'0' + (number / 10_u32.pow(place) % 10) as u8));
        }
        text.push(after);
    };
    put(year.unsigned_abs(), 4, '-');
    put(u8::from(month).into(), 2, '-');
    put(day.into(), 2, 'T');
    put(hour.into(), 2, ':');
    put(minute.into(), 2, ':');
    put(second.into(), 2, '.');
    put(ms.rem_euclid(1_000) as u32, 3, 'Z');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back() {
        for (text, ms) in [
            ("1970-01-01T00:00:00.000Z", 0),
            ("2026-05-04T07:30:00.250Z", 1_777_879_800_250),
            ("2000-02-29T23:59:59.999Z", 951_868_799_999),
            ("1969-12-31T23:59:59.999Z", -1),
            ("0000-01-01T00:00:00.000Z", *WRITABLE.start()),
            ("9999-12-31T23:59:59.999Z", *WRITABLE.end()),
        ] {
            assert_eq!(rfc3339(ms), text);
            assert_eq!(parse_ms(text), Some(ms));
        }
        assert_eq!(rfc3339(i64::MAX), "9999-12-31T23:59:59.999Z");
        assert_eq!(rfc3339(i64::MIN), "0000-01-01T00:00:00.000Z");
    }

    #[test]
    fn forms_that_mean_the_same() {
        for text in ["2026-05-04T07:30:00.25Z", " 2026-05-04 07:30:00.250+00:00 ", "2026-05-04t09:30:00.2500009+02:00"]
        {
            assert_eq!(parse_ms(text), Some(1_777_879_800_250), "{text}");
        }
        for text in [
            "",
            "yesterday",
            "2026-05-04",
            "2026-13-04T00:00:00Z",
            "2026-02-30T00:00:00Z",
            "2026-05-04T24:00:00Z",
            "2026-05-04T00:00:00",
            "2026-05-04T00:00:00.Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
