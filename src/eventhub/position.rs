//! A start position in a partition, and the selector filter for it.

/// A position in a partition. Sequence numbers have no gaps; offsets are opaque text, and can only be used to return to
/// an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// The oldest retained event.
    Earliest,
    /// The next event that is enqueued after the link is attached.
    Latest,
    /// Events enqueued from this moment on, in milliseconds since the Unix epoch.
    EnqueuedTime {
        /// The moment.
        ms: i64,
        /// Whether events of exactly this moment are included.
        inclusive: bool,
    },
    /// Events from this offset on.
    Offset {
        /// The offset of an event.
        offset: String,
        /// Whether that event is included.
        inclusive: bool,
    },
    /// Events from this sequence number on.
    SequenceNumber {
        /// The sequence number of an event.
        number: i64,
        /// Whether that event is included.
        inclusive: bool,
    },
}

impl StartPosition {
    /// The filter expression (in the format of `_utils.py` in Microsoft's Python client).
    pub fn selector(&self) -> String {
        let write = |annotation: &str, inclusive: bool, value: &str| {
            // As in SQL, a quote in a text is written twice. No offset of the service contains a quote.
            let value = value.replace('\'', "''");
            format!("amqp.annotation.{annotation} {} '{value}'", if inclusive { ">=" } else { ">" })
        };
        match self {
            Self::Earliest => write("x-opt-offset", false, "-1"),
            Self::Latest => write("x-opt-offset", false, "@latest"),
            Self::EnqueuedTime { ms, inclusive } => write("x-opt-enqueued-time", *inclusive, &ms.to_string()),
            Self::Offset { offset, inclusive } => write("x-opt-offset", *inclusive, offset),
            Self::SequenceNumber { number, inclusive } => {
                write("x-opt-sequence-number", *inclusive, &number.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_those_of_microsofts_clients() {
        let cases = [
            (StartPosition::Earliest, "amqp.annotation.x-opt-offset > '-1'"),
            (StartPosition::Latest, "amqp.annotation.x-opt-offset > '@latest'"),
            (
                StartPosition::EnqueuedTime { ms: 1_700_000_000_000, inclusive: false },
                "amqp.annotation.x-opt-enqueued-time > '1700000000000'",
            ),
            (
                StartPosition::SequenceNumber { number: 123, inclusive: true },
                "amqp.annotation.x-opt-sequence-number >= '123'",
            ),
            (
                StartPosition::Offset { offset: "x' OR '1".into(), inclusive: false },
                "amqp.annotation.x-opt-offset > 'x'' OR ''1'",
            ),
        ];
        for (position, selector) in cases {
            assert_eq!(position.selector(), selector);
        }
    }
}
