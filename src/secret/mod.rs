//! Secret texts: a wrapper while they are used, and their removal from texts that are shown.

mod known;
mod members;
mod url;

use std::fmt;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use zeroize::Zeroizing;

#[cfg(test)]
pub(crate) use known::lower_digits;
pub use known::{remember, strike};
pub use members::{CONTAINERS, found, hide, hide_url, keys_of, longest_first};
pub use url::{HIDDEN, without_secrets};

/// All characters except RFC 3986's unreserved ones, as the C# and Node SDKs encode.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// Percent-encodes all characters except the unreserved ones: for the `sr` field of a token, and for a segment of a
/// path.
pub fn percent_encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// A secret text: it cannot be printed or serialised, and its memory is cleared when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text itself, for code that signs with it or sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_print() {
        assert_eq!(format!("{:?}", Secret::new("c2VjcmV0")), "Secret(…)");
    }
}
