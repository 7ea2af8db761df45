//! What a form can offer once an account is linked.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::json_text;
use crate::setters::setters;

/// One entry of a dropdown.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// What goes into the field.
    pub value: String,
    /// What a person sees.
    pub label: String,
    /// A second line, such as a state.
    pub hint: Option<String>,
}

/// A part of a dropdown.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Choices {
    /// The entries.
    pub items: Vec<Choice>,
    /// Asks for more of them; none: that was all.
    pub next: Option<String>,
}

/// What to offer.
///
/// ```
/// use connector_host::interface::discovery::ChoicesRequest;
///
/// let request = ChoicesRequest::new("devices")
///     .with_context(r#"{"kind": "edge"}"#)
///     .with_search("pump")
///     .with_page("next")
///     .with_limit(20);
/// assert_eq!(request.limit, 20);
/// ```
#[derive(Clone, Debug, ComponentType, Lower, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct ChoicesRequest {
    /// The source that a field's `x-options` names.
    pub source: String,
    /// The rest of the form so far, a JSON object.
    #[serde(with = "json_text")]
    pub context: String,
    /// What the person has typed.
    pub search: Option<String>,
    /// `Choices::next` of the part before.
    pub page: Option<String>,
    /// How many at the most; 0: as the connector likes.
    pub limit: u32,
}

impl ChoicesRequest {
    /// The first part of all entries, for a form in which nothing was filled in.
    #[must_use]
    pub fn new(source: impl Into<String>) -> Self {
        Self { source: source.into(), context: "{}".to_owned(), search: None, page: None, limit: 0 }
    }
}

setters! {
    ChoicesRequest {
        into with_context (context: String);
        some with_search (search: String);
        some with_page (page: String);
        value with_limit (limit: u32);
    }
}

/// Which side of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ComponentType, Lower, Serialize, Deserialize)]
#[component(enum)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum Direction {
    /// The configuration or input.
    #[component(name = "input")]
    Input,
    /// The event data or output.
    #[component(name = "output")]
    Output,
}
