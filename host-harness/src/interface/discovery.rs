//! Values and schemas that a form can offer after an account is linked.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::json_text;
use crate::setters::setters;

/// One entry of a dropdown.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Choice {
    /// The value that is written into the field.
    pub value: String,
    /// The text that a person sees.
    pub label: String,
    /// A second line of text, such as a state.
    pub hint: Option<String>,
}

/// One part of a dropdown's entries.
#[derive(Clone, Debug, ComponentType, Lift, Serialize, Deserialize)]
#[component(record)]
#[serde(rename_all = "camelCase")]
pub struct Choices {
    /// The entries.
    pub items: Vec<Choice>,
    /// The value of `page` that requests the next part. None: there are no more entries.
    pub next: Option<String>,
}

/// A request for the entries of a dropdown.
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
    /// The other values of the form so far, as a JSON object.
    #[serde(with = "json_text")]
    pub context: String,
    /// The text that the person has typed.
    pub search: Option<String>,
    /// `Choices::next` of the previous part.
    pub page: Option<String>,
    /// The largest number of entries to return; 0 leaves the number to the connector.
    pub limit: u32,
}

impl ChoicesRequest {
    /// Requests the first part of all entries, for a form without any values.
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

/// The input or the output side of an operation.
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
