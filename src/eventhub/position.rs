//! Where in a partition to begin, as the selector filter that says so.

/// A place in a partition. Events are numbered without gaps; offsets are opaque text and only good for coming back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StartPosition {
    /// The oldest event that is retained.
    Earliest,
    /// The next event that is enqueued after the link is attached.
    Latest,
    /// Events enqueued from this moment on, in milliseconds since the Unix epoch.
    EnqueuedTime {
        /// The moment.
        ms: i64,
        /// Whether those of the very moment count.
        inclusive: bool,
    },
    /// Events from this offset on.
    Offset {
        /// An offset that an event had.
        offset: String,
        /// Whether that event counts.
        inclusive: bool,
    },
    /// Events from this sequence number on.
    SequenceNumber {
        /// The number.
        number: i64,
        /// Whether that event counts.
        inclusive: bool,
    },
}

impl StartPosition {
    /// The filter's expression (as `_utils.py` of Microsoft's Python client writes it).
    pub fn selector(&self) -> String {
        let write = |annotation: &str, inclusive: bool, value: &str| {
            // A quote inside of a text is written twice, as in SQL; none of the service's own offsets has one.
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
