//! The trait of an action, and code that several actions share.

pub mod change;
pub mod keys;
pub mod paging;
pub mod removal;

use serde_json::Value;

use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::ActionDescriptor;
use crate::error::{Error, ErrorCode, Result};
use crate::form;
use crate::session::Session;

/// An action of the connector.
pub trait Action: Sync {
    /// The action's id. It is separate from the descriptor, because every call compares the ids of all actions.
    fn id(&self) -> &'static str;

    /// The action's descriptor.
    fn descriptor(&self) -> ActionDescriptor;

    /// Runs the action. `input` has been checked against the declared schema.
    ///
    /// # Errors
    /// The service's errors, and `invalid-input` for rules that a schema cannot express.
    fn invoke(&self, session: &Session, input: Value, call: &Call) -> Result<Outcome>;

    /// Returns the next page.
    ///
    /// # Errors
    /// `unsupported` unless the action has pages.
    fn resume(&self, _session: &Session, _token: &str, _call: &Call) -> Result<Outcome> {
        Err(Error::new(ErrorCode::Unsupported, "This action has no pages: invoke it again instead."))
    }
}

/// Reads an input and checks it against the action's schema.
///
/// # Errors
/// `invalid-input` with every field that is wrong.
pub fn read_input(action: &dyn Action, text: &str) -> Result<Value> {
    form::read_input(action.id(), || action.descriptor().operation.input_schema, text)
}
