//! [`Collection`].

use serde::Serialize;

/// The collection of records that a trigger follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Collection {
    /// Individual enrollments.
    Enrollments,
    /// Registrations of devices.
    Registrations,
}

impl Collection {
    /// Both collections.
    pub const ALL: [Self; 2] = [Self::Enrollments, Self::Registrations];

    /// The trigger's id.
    #[must_use]
    pub fn trigger(self) -> &'static str {
        match self {
            Self::Enrollments => "individual-enrollment-changed",
            Self::Registrations => "registration-status-changed",
        }
    }
}
