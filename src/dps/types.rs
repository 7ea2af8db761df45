//! Ids of the provisioning service.

use crate::error::{Error, Result};

/// A registration id or the id of an enrollment group: up to 128 letters, digits and `- . _ :`, with a letter or digit at
/// both ends (description of `registrationId` in the service API). Case does not matter; the service keeps it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationId(String);

impl RegistrationId {
    /// The rule as a regular expression.
    pub const PATTERN: &'static str = r"^[A-Za-z0-9]([A-Za-z0-9\-._:]{0,126}[A-Za-z0-9])?$";

    /// Reads an id.
    ///
    /// # Errors
    /// `invalid-input` at `pointer`.
    pub fn parse(text: &str, pointer: &str) -> Result<Self> {
        let end = |b: &u8| b.is_ascii_alphanumeric();
        let bytes = text.as_bytes();
        let fine = (1..=128).contains(&bytes.len())
            && bytes.first().is_some_and(end)
            && bytes.last().is_some_and(end)
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(b));
        if fine {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::field(
                pointer,
                "characters",
                "is not an id: up to 128 letters, digits and - . _ : with a letter or digit at both ends",
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
