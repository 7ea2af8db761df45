//! The trait of an action, and code that several actions share.

pub mod bulk;
pub mod change;
pub mod declaration;
pub mod edge;
pub mod identity;
pub mod keyed;
pub mod keys;
pub mod method;
pub mod removal;
pub mod single;
pub mod stepped;
pub mod twin;
pub mod waits;

use serde_json::Value;

use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::ActionDescriptor;
use crate::error::{Error, ErrorCode, Result};
use crate::form;
pub use crate::form::{limits, values as input};
use crate::session::Session;

/// Declares the modules of a folder's actions, and the list of these actions. Each module has a static `ACTION`.
macro_rules! operations {
    ($($(#[$meta:meta])* $module:ident),* $(,)?) => {
        $($(#[$meta])* mod $module;)*

        /// The actions of this folder.
        pub static ALL: &[&dyn $crate::actions::shared::Action] = &[$($(#[$meta])* &$module::ACTION),*];
    };
}
pub(crate) use operations;

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
