//! Where a reader begins: the selector filter of a receiver link.
//!
//! ```text
//! selector = "amqp.annotation." name [ SP ] op [ SP ] value
//! name     = "x-opt-offset" | "x-opt-sequence-number" | "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc"
//! op       = ">" | ">="
//! value    = "'" text "'" | digits
//! ```
//!
//! The forms are those of Microsoft's clients: with spaces around the operator (Python, JavaScript), without spaces
//! (Rust), and with the old name of the enqueued time and an unquoted number (Azure CLI).

/// A selector, parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// All retained events.
    Earliest,
    /// Only events that are enqueued from now on.
    Latest,
    /// Events after an offset and, if `inclusive`, the event at that offset.
    Offset { offset: i64, inclusive: bool },
    /// Events after a sequence number and, if `inclusive`, the event with that number.
    Sequence { number: i64, inclusive: bool },
    /// Events enqueued after this time (milliseconds since the Unix epoch) and, if `inclusive`, at this time.
    Time { millis: i64, inclusive: bool },
}

/// What is wrong with a selector.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the selector \"{0}\" is not supported")]
pub(crate) struct SelectorError(String);

impl std::str::FromStr for Start {
    type Err = SelectorError;

    fn from_str(selector: &str) -> Result<Self, Self::Err> {
        parse(selector).ok_or_else(|| SelectorError(selector.to_owned()))
    }
}

fn parse(selector: &str) -> Option<Start> {
    let rest = selector.trim().strip_prefix("amqp.annotation.")?;
    let (name, rest) = rest.split_at(rest.find(['>', ' '])?);
    let rest = rest.trim_start().strip_prefix('>')?;
    let (rest, inclusive) = rest.strip_prefix('=').map_or((rest, false), |rest| (rest, true));
    let value = rest.trim();
    let quoted = value.strip_prefix('\'').and_then(|value| value.strip_suffix('\''));
    let value = quoted.unwrap_or(value).trim();
    if value == "@latest" {
        return Some(Start::Latest);
    }
    let number: i64 = value.parse().ok()?;
    match name {
        "x-opt-offset" if number < 0 => Some(Start::Earliest),
        "x-opt-offset" => Some(Start::Offset { offset: number, inclusive }),
        "x-opt-sequence-number" => Some(Start::Sequence { number, inclusive }),
        "x-opt-enqueued-time" | "x-opt-enqueuedtimeutc" => Some(Start::Time { millis: number, inclusive }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_that_clients_write_is_read() {
        let forms = [
            ("amqp.annotation.x-opt-offset > '-1'", Start::Earliest),
            ("amqp.annotation.x-opt-offset >'-1'", Start::Earliest),
            ("amqp.annotation.x-opt-offset > '@latest'", Start::Latest),
            ("amqp.annotation.x-opt-offset>='120'", Start::Offset { offset: 120, inclusive: true }),
            ("amqp.annotation.x-opt-sequence-number > '7'", Start::Sequence { number: 7, inclusive: false }),
            ("amqp.annotation.x-opt-sequence-number >'7'", Start::Sequence { number: 7, inclusive: false }),
            ("amqp.annotation.x-opt-sequence-number >= '7'", Start::Sequence { number: 7, inclusive: true }),
            (
                "amqp.annotation.x-opt-enqueued-time > '1700000000000'",
                Start::Time { millis: 1_700_000_000_000, inclusive: false },
            ),
            (
                "amqp.annotation.x-opt-enqueuedtimeutc > 1700000000000",
                Start::Time { millis: 1_700_000_000_000, inclusive: false },
            ),
        ];
        for (text, start) in forms {
            assert_eq!(text.parse(), Ok(start), "{text}");
        }
        for text in [
            "",
            "x",
            "amqp.annotation.x-opt-offset",
            "amqp.annotation.x-opt-offset < '1'",
            "amqp.annotation.x-opt-offset > 'abc'",
            "amqp.annotation.x-opt-publisher > '1'",
        ] {
            assert!(text.parse::<Start>().is_err(), "{text}");
        }
    }
}
