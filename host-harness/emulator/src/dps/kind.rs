//! The two kinds of enrollments and their ids.

use crate::error::{ErrorCode, ServiceError};
use crate::journal::ChangeKind;

/// The two kinds of enrollments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Individual,
    Group,
}

impl Kind {
    pub(crate) fn id_member(self) -> &'static str {
        match self {
            Self::Individual => "registrationId",
            Self::Group => "enrollmentGroupId",
        }
    }

    pub(crate) fn bad_id(self) -> ErrorCode {
        match self {
            Self::Individual => ErrorCode::INVALID_REGISTRATION_ID,
            Self::Group => ErrorCode::INVALID_ENROLLMENT_GROUP_ID,
        }
    }

    pub(crate) fn missing(self, id: &str) -> ServiceError {
        match self {
            Self::Individual => {
                ServiceError::new(ErrorCode::ENROLLMENT_NOT_FOUND, format!("Enrollment {id} not found"))
            }
            Self::Group => {
                ServiceError::new(ErrorCode::ENROLLMENT_GROUP_NOT_FOUND, format!("Enrollment group {id} not found"))
            }
        }
    }

    pub(crate) fn conflict(self, id: &str) -> ServiceError {
        let (code, what) = match self {
            Self::Individual => (ErrorCode::ENROLLMENT_CONFLICT, "Enrollment"),
            Self::Group => (ErrorCode::ENROLLMENT_GROUP_CONFLICT, "Enrollment group"),
        };
        ServiceError::new(code, format!("{what} {id} already exists. Use an If-Match header to update it"))
    }

    pub(crate) fn changes(self) -> [ChangeKind; 3] {
        match self {
            Self::Individual => {
                [ChangeKind::EnrollmentCreated, ChangeKind::EnrollmentUpdated, ChangeKind::EnrollmentDeleted]
            }
            Self::Group => [
                ChangeKind::EnrollmentGroupCreated,
                ChangeKind::EnrollmentGroupUpdated,
                ChangeKind::EnrollmentGroupDeleted,
            ],
        }
    }
}

/// Ids of DPS are case-insensitive.
pub(crate) fn key(id: &str) -> String {
    id.to_ascii_lowercase()
}

/// Checks an id: 1 to 128 letters, digits and `: . _ -`. The first character must be a letter or digit, as the API's
/// description says. The last may also be a dash, as the articles on the service say.
pub(crate) fn check_id(kind: Kind, id: &str) -> Result<(), ServiceError> {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b":._-".contains(&byte);
    let bytes = id.as_bytes();
    let begins = bytes.first().is_some_and(u8::is_ascii_alphanumeric);
    let ends = bytes.last().is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'-');
    if bytes.len() <= 128 && begins && ends && bytes.iter().copied().all(inner) {
        return Ok(());
    }
    let member = kind.id_member();
    Err(ServiceError::new(
        kind.bad_id(),
        format!(
            "{member} '{id}' must have 1 to 128 ASCII letters, digits or any of ':', '.', '_', '-', with a letter or digit \
             first and a letter, digit or '-' last"
        ),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_begin_with_a_letter_or_digit_and_may_end_in_a_dash() {
        for good in ["a", "A-b.c_d:e", "0", "a-"] {
            assert!(check_id(Kind::Individual, good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a.", ".a", "a b", "ä", &"a".repeat(129)] {
            let error = check_id(Kind::Group, bad).expect_err(bad);
            assert_eq!(error.code(), ErrorCode::INVALID_ENROLLMENT_GROUP_ID);
        }
    }
}
