//! Why the store refuses a reader.

/// Why a reader cannot begin, or must give up its partition. The texts are the service's own.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum EventHubError {
    /// The start position lies after the newest event.
    #[error("The supplied {what} '{given}' is invalid. The last {what} in the system is '{last}'")]
    Beyond {
        /// The kind of position: `offset` or `sequence number`.
        what: &'static str,
        given: i64,
        last: i64,
    },
    /// A reader without an epoch came to a partition that another reader reads with an epoch.
    #[error(
        "At least one receiver for the endpoint is created with epoch of '{highest}', and so non-epoch receiver is not \
         allowed. Either reconnect with a higher epoch, or make sure all epoch receivers are closed or disconnected."
    )]
    EpochNeeded { highest: i64 },
    /// A reader's epoch is lower than that of another reader.
    #[error(
        "A receiver with a higher epoch '{highest}' already exists. A new receiver with epoch {epoch} cannot be created. \
         Make sure you are creating receiver with increasing epoch value to ensure connectivity, or ensure all old epoch \
         receivers are closed or disconnected."
    )]
    EpochTooLow { epoch: i64, highest: i64 },
    /// The partition already has the largest allowed number of readers without an epoch.
    #[error(
        "Exceeded the maximum number of allowed receivers per partition in a consumer group which is {limit}. List of \
         connected receivers - {}.",
        .names.join(", ")
    )]
    TooManyReaders { limit: usize, names: Vec<String> },
    /// Another reader has taken over the partition.
    #[error(
        "New receiver '{newer}' with higher epoch of '{epoch}' is created hence current receiver '{older}' {old_epoch} is \
         getting disconnected. If you are recreating the receiver, make sure a higher epoch is used."
    )]
    Displaced {
        newer: String,
        epoch: i64,
        older: String,
        /// `with epoch '…'` or `without epoch`.
        old_epoch: String,
    },
}
