//! The trait of all triggers, and the code that several of them share.

pub mod cursor_bytes;
pub mod declaration;
pub mod event;
pub mod glob;
pub mod hash;
pub mod lost;
pub mod page;

use serde_json::Value;

use crate::bindings::exports::workflow::connector::metadata::TriggerDescriptor;
use crate::bindings::exports::workflow::connector::trigger::{Event, Page, Partition, PollRequest};
use crate::bindings::workflow::connector::types::Cursor;
use crate::error::{Error, ErrorCode, Result};
use crate::session::Session;

/// Declares the modules of a folder's triggers, and the list of these triggers. Each module has a static `TRIGGER`.
macro_rules! operations {
    ($($module:ident),* $(,)?) => {
        $(mod $module;)*

        /// The triggers of this folder.
        pub static ALL: &[&dyn $crate::triggers::shared::Trigger] = &[$(&$module::TRIGGER),*];
    };
}
pub(crate) use operations;

/// The id of the only partition of a trigger that cannot be polled in parallel.
pub const WHOLE: &str = "all";

/// Something that yields events.
pub trait Trigger: Sync {
    /// The trigger's id, as its descriptor states it. A separate function, because making a descriptor builds the
    /// trigger's schemas.
    fn id(&self) -> &'static str;

    /// The trigger's descriptor.
    fn descriptor(&self) -> TriggerDescriptor;

    /// The next events. The caller has checked `config` against the declared schema.
    ///
    /// # Errors
    /// Those of the interface's `poll`.
    fn poll(&self, session: &Session, config: Value, request: &PollRequest) -> Result<Page>;

    /// Up to `limit` events of the account as examples. Empty where there are none.
    ///
    /// # Errors
    /// Those of the service.
    fn sample(&self, session: &Session, config: Value, limit: u32) -> Result<Vec<Event>>;

    /// Whether a stored cursor can be read.
    ///
    /// # Errors
    /// `invalid-input` or `unsupported` where it cannot.
    fn check_cursor(&self, cursor: &Cursor) -> Result<()>;

    /// The partitions that can be polled in parallel.
    ///
    /// # Errors
    /// Those of the service.
    fn partitions(&self, _session: &Session, _config: Value) -> Result<Vec<Partition>> {
        Ok(vec![Partition { id: WHOLE.to_owned(), title: "All records".to_owned() }])
    }
}

/// Turns the error of an input into the error of a configuration.
pub fn misfit(error: &Error) -> Error {
    let fields = error.record().fields.clone();
    Error::fields(ErrorCode::InvalidConfig, "The trigger's configuration does not fit", fields)
}
