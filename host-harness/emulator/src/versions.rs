//! Versions of the services' APIs, and how an older version treats members that came after it.
//!
//! | API | version | what it added |
//! |---|---|---|
//! | hub | 2024-03-31 | `attributes` of devices, modules and twins |
//! | hub | 2026-11-01-preview | `adrDeviceProperties`, `deviceResourceId`, `armSyncStatus` of devices; `policyResourceId` and `x509CaValidation` in `authentication` |
//! | DPS | 2026-11-01 | `namespaceName`, `certificateAuthorityName`, `certificatePolicyName` of enrollments |
//!
//! Sources: the clients that the Azure CLI's IoT extension generates, and the published description of the DPS API.
//! Some of the hub's members of 2026-11-01-preview exist since 2025-08-01-preview; that version is not accepted here.

use std::fmt;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::error::{ErrorCode, ServiceError, invalid};

const HUB: &[&str] = &["2020-09-30", "2021-04-12", "2024-03-31", "2026-11-01-preview"];
const DPS: &[&str] = &["2019-03-31", "2021-10-01", "2026-11-01"];

/// The newest version of the service API that a hub accepts; it accepts the older ones as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[allow(non_camel_case_types, reason = "the names are dates")]
pub enum HubApi {
    /// 2021-04-12.
    V2021_04_12,
    /// 2024-03-31.
    V2024_03_31,
    /// 2026-11-01-preview.
    #[default]
    V2026_11_01_preview,
}

/// The newest version of the service API that a provisioning service accepts; it accepts the older ones as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum DpsApi {
    /// 2021-10-01.
    V2021_10_01,
    /// 2026-11-01.
    #[default]
    V2026_11_01,
}

impl HubApi {
    const ALL: [Self; 3] = [Self::V2021_04_12, Self::V2024_03_31, Self::V2026_11_01_preview];

    /// The value of `api-version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2021_04_12 => "2021-04-12",
            Self::V2024_03_31 => "2024-03-31",
            Self::V2026_11_01_preview => "2026-11-01-preview",
        }
    }

    pub(crate) fn accepted_versions(self) -> &'static [&'static str] {
        up_to(HUB, self.as_str())
    }
}

impl DpsApi {
    const ALL: [Self; 2] = [Self::V2021_10_01, Self::V2026_11_01];

    /// The value of `api-version`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2021_10_01 => "2021-10-01",
            Self::V2026_11_01 => "2026-11-01",
        }
    }

    pub(crate) fn accepted_versions(self) -> &'static [&'static str] {
        up_to(DPS, self.as_str())
    }
}

fn up_to(versions: &'static [&'static str], newest: &str) -> &'static [&'static str] {
    let count = versions.iter().take_while(|version| **version <= newest).count();
    &versions[..count]
}

impl fmt::Display for HubApi {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl fmt::Display for DpsApi {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for HubApi {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("the version must be one of {}", Self::ALL.map(Self::as_str).join(", "));
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(known)
    }
}

impl FromStr for DpsApi {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = || format!("the version must be one of {}", Self::ALL.map(Self::as_str).join(", "));
        Self::ALL.into_iter().find(|version| version.as_str() == text).ok_or_else(known)
    }
}

/// What a PUT at an API version does to members that the version does not know. No document states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OlderPut {
    /// The PUT clears these members, which is the worst case for a client.
    #[default]
    Clears,
    /// The PUT leaves these members unchanged.
    Keeps,
}

/// The API version at which a request is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct At {
    version: &'static str,
    older_put: OlderPut,
}

impl At {
    /// For changes that the emulator makes by itself.
    pub(crate) const INTERNAL: Self = Self { version: "9999", older_put: OlderPut::Keeps };

    pub(crate) fn new(version: &'static str, older_put: OlderPut) -> Self {
        Self { version, older_put }
    }

    pub(crate) fn has_attributes(self) -> bool {
        self.version >= "2024-03-31"
    }

    pub(crate) fn has_registry(self) -> bool {
        self.version >= "2026-11-01-preview"
    }

    pub(crate) fn has_certificates(self) -> bool {
        self.version >= "2026-11-01"
    }

    /// A member's value after a PUT: `given` if the version knows the member (`known`), otherwise the old value or
    /// nothing.
    pub(crate) fn replace<T>(self, known: bool, given: Option<T>, old: Option<T>) -> Option<T> {
        match (known, self.older_put) {
            (true, _) => given,
            (false, OlderPut::Keeps) => old,
            (false, OlderPut::Clears) => None,
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for At {
    type Rejection = ServiceError;

    /// The version comes from the request's extensions, where the guard has put it.
    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ServiceError> {
        let at = parts.extensions.get::<Self>().copied();
        at.ok_or_else(|| ServiceError::new(ErrorCode::SERVER_ERROR, "the request has no version"))
    }
}

/// Refuses members that only Device Registry and Resource Manager write. Whether the hub refuses them is not known; a
/// refusal is the worst case for a client.
pub(crate) fn refuse_owned(owned: &[(&str, bool)]) -> Result<(), ServiceError> {
    match owned.iter().find(|(_, given)| *given) {
        Some((name, _)) => Err(invalid(format!("{name} is written by Device Registry only"))),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_accepts_its_newest_version_and_the_older_ones() {
        assert_eq!(HubApi::V2024_03_31.accepted_versions(), ["2020-09-30", "2021-04-12", "2024-03-31"]);
        assert_eq!(HubApi::default().accepted_versions(), HUB);
        assert_eq!(DpsApi::V2021_10_01.accepted_versions(), ["2019-03-31", "2021-10-01"]);
        assert_eq!(DpsApi::default().accepted_versions(), DPS);
        for version in HubApi::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        for version in DpsApi::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!("2016-02-03".parse::<HubApi>().is_err() && "".parse::<DpsApi>().is_err());
    }

    #[test]
    fn members_belong_to_versions() {
        let at = |version| At::new(version, OlderPut::Clears);
        assert!(!at("2021-04-12").has_attributes() && at("2024-03-31").has_attributes());
        assert!(!at("2024-03-31").has_registry() && at("2026-11-01-preview").has_registry());
        assert!(!at("2021-10-01").has_certificates() && at("2026-11-01").has_certificates());
        assert_eq!(at("2021-10-01").replace(false, Some(1), Some(2)), None);
        assert_eq!(At::new("2021-10-01", OlderPut::Keeps).replace(false, Some(1), Some(2)), Some(2));
        assert_eq!(at("2026-11-01").replace(true, Some(1), Some(2)), Some(1));
    }
}
