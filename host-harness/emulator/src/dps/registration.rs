//! Registration records.

use serde::{Serialize, Serializer};
use time::OffsetDateTime;

use crate::clock::rfc3339;

/// A registration record, as DPS keeps it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct RegistrationState {
    /// The registration id, as the device wrote it.
    pub registration_id: String,
    /// When the device first registered.
    #[serde(serialize_with = "as_text")]
    pub created_date_time_utc: OffsetDateTime,
    /// The hub to which the device was assigned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub assigned_hub: Option<String>,
    /// The device id in that hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<String>,
    /// `assigned`, `failed` or `disabled`.
    pub status: &'static str,
    /// How the device was assigned: `initialAssignment`, `deviceDataMigrated`, `deviceDataReset`,
    /// `reprovisionedToInitialAssignment`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub substatus: Option<&'static str>,
    /// The six-digit code of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_code: Option<u32>,
    /// What failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_message: Option<String>,
    /// When the record last changed.
    #[serde(serialize_with = "as_text")]
    pub last_updated_date_time_utc: OffsetDateTime,
    /// The record's ETag, with its quotes.
    pub etag: String,
}

fn as_text<S: Serializer>(time: &OffsetDateTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

/// A registration record and where it comes from.
#[derive(Debug)]
pub(crate) struct Registration {
    pub(crate) state: RegistrationState,
    /// The group through which the device registered, in lower case; none for an individual enrollment.
    pub(crate) group: Option<String>,
    /// The id of the registration operation that wrote this state.
    pub(crate) operation: String,
}
