//! ETags: how they are made, compared and written, for both services.

use axum::http::{HeaderMap, HeaderValue, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::error::{ErrorCode, ServiceError, invalid};
use crate::random;

/// What the `If-Match` header of a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Precondition {
    /// No header: creates the entity, or changes any version of it where the operation allows that.
    None,
    /// `*`: the entity must exist, in any version.
    Any,
    /// The entity must exist in exactly this version.
    Exact(String),
}

/// What a PUT must do after its precondition was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    Create,
    Update,
}

impl Precondition {
    /// Reads `If-Match`. Clients send `"etag"` and `"*"`, but also both without quotes (the Python configuration
    /// client does), so quotes do not matter.
    pub(crate) fn from_headers(headers: &HeaderMap) -> Result<Self, ServiceError> {
        let Some(value) = headers.get(header::IF_MATCH) else { return Ok(Self::None) };
        let text = value.to_str().map_err(|_| invalid("the If-Match header is not ASCII text"))?;
        Ok(Self::from_text(text))
    }

    /// Reads an ETag from a body member, as bulk operations carry it.
    pub(crate) fn from_text(text: &str) -> Self {
        match normalise(text) {
            "*" => Self::Any,
            "" => Self::None,
            etag => Self::Exact(etag.to_owned()),
        }
    }

    /// Refuses with 412001 when the current version is not the requested one.
    pub(crate) fn check(&self, current: &str) -> Result<(), ServiceError> {
        match self {
            Self::Exact(wanted) if wanted != normalise(current) => Err(ServiceError::new(
                ErrorCode::PRECONDITION_FAILED,
                "Precondition failed: the entity has been changed since the ETag given in If-Match was read",
            )),
            _ => Ok(()),
        }
    }

    /// Decides what a PUT does: without `If-Match` it may only create an entity, with any `If-Match` it may only update
    /// one.
    pub(crate) fn decide(
        &self,
        current: Option<&str>,
        conflict: impl FnOnce() -> ServiceError,
        missing: impl FnOnce() -> ServiceError,
    ) -> Result<Write, ServiceError> {
        match (self, current) {
            (Self::None, None) => Ok(Write::Create),
            (Self::None, Some(_)) => Err(conflict()),
            (_, None) => Err(missing()),
            (_, Some(etag)) => self.check(etag).map(|()| Write::Update),
        }
    }
}

/// A new identity ETag, as opaque as the service's own.
pub(crate) fn fresh() -> String {
    STANDARD.encode(random::hex(4))
}

/// A new DPS ETag. DPS keeps the quotes inside the body's member, too.
pub(crate) fn fresh_quoted() -> String {
    format!("\"{}\"", random::uuid())
}

/// A twin's ETag: the big-endian version number in base64 (`AAAAAAAAAAE=` for a new twin).
pub(crate) fn from_version(version: u64) -> String {
    STANDARD.encode(version.to_be_bytes())
}

/// The `ETag` response header: always quoted, whether the body's member is or not.
pub(crate) fn header_value(etag: &str) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{}\"", normalise(etag))).ok()
}

fn normalise(etag: &str) -> &str {
    let etag = etag.trim();
    etag.strip_prefix("W/").unwrap_or(etag).trim_matches('"')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_do_not_matter() {
        assert_eq!(Precondition::from_text("\"*\""), Precondition::Any);
        assert_eq!(Precondition::from_text("*"), Precondition::Any);
        let exact = Precondition::from_text("\"abc\"");
        assert!(exact.check("abc").is_ok());
        assert!(exact.check("\"abc\"").is_ok());
        assert_eq!(exact.check("abd").map_err(|error| error.code().number()), Err(412_001));
    }

    #[test]
    fn a_new_twin_has_the_well_known_etag() {
        assert_eq!(from_version(1), "AAAAAAAAAAE=");
    }
}
