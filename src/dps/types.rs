//! Ids of the Device Provisioning Service.

use crate::error::{Error, Result};
use crate::http::PathId;

/// A registration id or the id of an enrollment group: up to 128 letters, digits and `- . _ :`. The service ignores
/// upper and lower case when it compares ids, and keeps the spelling.
///
/// Microsoft's documents disagree about the first and last character. The API's description of `registrationId`
/// requires a letter or digit for both. The articles on DPS require a letter, a digit or `-` at the end and do not
/// mention the first character. An id that one of them allows is sent, and the service decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrationId(String);

impl RegistrationId {
    /// The rule as a regular expression.
    pub const PATTERN: &'static str = r"^[A-Za-z0-9\-._:]{0,127}[A-Za-z0-9\-]$";
    /// The rule in words.
    pub const RULE: &'static str =
        "must have up to 128 letters, digits and - . _ : with a letter, a digit or - at the end";

    /// Reads an id.
    ///
    /// # Errors
    /// `invalid-input` at `pointer`.
    pub fn parse(text: &str, pointer: &str) -> Result<Self> {
        let bytes = text.as_bytes();
        let fine = (1..=128).contains(&bytes.len())
            && bytes.last().is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'-')
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"-._:".contains(b));
        if fine { Ok(Self(text.to_owned())) } else { Err(Error::field(pointer, "characters", Self::RULE)) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PathId for RegistrationId {
    fn as_str(&self) -> &str {
        &self.0
    }
}

/// The two kinds of enrollments. They have the same operations, at different paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The enrollment of one device.
    Individual,
    /// The enrollment of all devices that prove that they belong to a group.
    Group,
}

impl Kind {
    /// The first segment of the path, which is also the member with the enrollments of a bulk request.
    pub fn collection(self) -> &'static str {
        match self {
            Self::Individual => "enrollments",
            Self::Group => "enrollmentGroups",
        }
    }

    /// The member with the id.
    pub fn id_member(self) -> &'static str {
        match self {
            Self::Individual => "registrationId",
            Self::Group => "enrollmentGroupId",
        }
    }

    /// One of this kind, in words for a person.
    pub fn noun(self) -> &'static str {
        match self {
            Self::Individual => "individual enrollment",
            Self::Group => "enrollment group",
        }
    }
}

#[cfg(test)]
mod tests {
    use regex_lite::Regex;

    use super::*;

    #[test]
    fn what_one_document_allows_goes_out() {
        let pattern = Regex::new(RegistrationId::PATTERN).expect("a pattern");
        let longest = "a".repeat(128);
        for text in
            ["a", "7", "-", "press-17", "PRESS:17._x", "press-", "press--", "-press", ".press", ":a", "_-", &longest]
        {
            assert!(RegistrationId::parse(text, "/id").is_ok() && pattern.is_match(text), "{text:?}");
        }
        let too_long = "a".repeat(129);
        for text in ["", ".", "..", "press.", "press_", "press:", "a b", "a/b", "a\n", "a%", "ä", "a#", &too_long] {
            assert!(RegistrationId::parse(text, "/id").is_err() && !pattern.is_match(text), "{text:?}");
        }
    }
}
