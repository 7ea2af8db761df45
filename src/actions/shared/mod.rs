//! What an action is, and what several of them share.

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

/// One thing that the connector can do.
pub trait Action: Sync {
    /// Its id. Apart from the rest of what it declares, since every call looks for one action among all.
    fn id(&self) -> &'static str;

    /// What it declares.
    fn descriptor(&self) -> ActionDescriptor;

    /// Does it. `input` has been checked against the declared schema.
    ///
    /// # Errors
    /// Those of the service, and what a schema cannot say about the input.
    fn invoke(&self, session: &Session, input: Value, call: &Call) -> Result<Outcome>;

    /// Goes on with a page.
    ///
    /// # Errors
    /// `unsupported` unless the action has pages.
    fn resume(&self, _session: &Session, _token: &str, _call: &Call) -> Result<Outcome> {
        Err(Error::new(ErrorCode::Unsupported, "This action has no pages: invoke it again instead."))
    }
}

/// Reads an input and judges it by the action's schema.
///
/// # Errors
/// `invalid-input` with every field at fault.
pub fn read_input(action: &dyn Action, text: &str) -> Result<Value> {
    form::read_input(action.id(), || action.descriptor().operation.input_schema, text)
}
