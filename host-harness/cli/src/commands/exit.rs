//! How a command ends.

use connector_host::CallError;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Exit {
    /// An argument is wrong, or a file that an argument names cannot be used.
    Usage(anyhow::Error),
    /// The call failed.
    Call(CallError),
    /// Something other than a call failed.
    Failed(anyhow::Error),
    /// The command failed, and the reason was printed already.
    Said,
    /// The reader of standard output has closed it, as `head` does. This counts as success.
    OutputClosed,
}

impl From<CallError> for Exit {
    fn from(error: CallError) -> Self {
        Self::Call(error)
    }
}

/// The result of every command.
pub(crate) type Done<T = ()> = Result<T, Exit>;

/// Turns an error about an argument, or about a file that an argument names, into [`Exit::Usage`].
pub(crate) fn usage(error: impl Into<anyhow::Error>) -> Exit {
    Exit::Usage(error.into())
}
