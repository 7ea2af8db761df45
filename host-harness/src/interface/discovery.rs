//! What a form can offer once an account is linked.

use serde::{Deserialize, Serialize};
use wasmtime::component::{ComponentType, Lift, Lower};

use super::json_text;

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
