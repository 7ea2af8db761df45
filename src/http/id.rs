//! Ids in the paths of requests.
//!
//! An id from a person is checked by the service's id type before anything is sent. An id from a service is opaque: the
//! service's own rules may differ from its documents, so such an id is not checked. Both kinds are percent-encoded in a
//! path, and so cannot leave their segment.

/// An id that can be one segment of a path.
pub trait PathId {
    /// The id in the service's own spelling.
    fn as_str(&self) -> &str;
}

/// An id from an answer of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenId(String);

impl GivenId {
    /// None for ids that no path can contain: the empty text, and the segments `.` and `..`, which servers resolve as
    /// steps even if they are percent-encoded.
    pub fn new(text: &str) -> Option<Self> {
        (!matches!(text, "" | "." | "..")).then(|| Self(text.to_owned()))
    }
}

impl PathId for GivenId {
    fn as_str(&self) -> &str {
        &self.0
    }
}
