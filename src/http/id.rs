//! Ids in the paths of requests.
//!
//! An id that a person gives is checked before anything is sent, by the type of its service. An id that a service gave out
//! is opaque: the service knows its own rules, which its documents need not agree on, so nothing of it is judged here.
//! Either stands percent-encoded in a path, and so cannot lead out of its segment.

/// An id that a path can hold as one of its segments.
pub trait PathId {
    /// The id as the service knows it.
    fn as_str(&self) -> &str;
}

/// An id from an answer of a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GivenId(String);

impl GivenId {
    /// None for what no path can name: nothing, and the segments `.` and `..`, which servers take for steps, also where
    /// they are percent-encoded.
    pub fn new(text: &str) -> Option<Self> {
        (!matches!(text, "" | "." | "..")).then(|| Self(text.to_owned()))
    }
}

impl PathId for GivenId {
    fn as_str(&self) -> &str {
        &self.0
    }
}
