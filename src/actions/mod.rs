//! The actions, one file each. A new one is its file and its line in [`ALL`].

mod change;
mod create_device;
mod create_or_update_individual_enrollment;
mod delete_device;
mod delete_individual_enrollment;
mod delete_registration_state;
mod get_device;
mod get_individual_enrollment;
mod get_registration_state;
mod get_twin;
mod invoke_direct_method;
mod keys;
mod list_devices;
mod message;
mod paging;
mod purge_cloud_to_device_messages;
mod query_individual_enrollments;
mod query_registration_states;
mod removal;
#[cfg(feature = "amqp")]
mod send_cloud_to_device_message;
mod send_device_to_cloud_message;
mod update_device;
mod update_twin;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::ActionDescriptor;
use crate::bindings::workflow::connector::types::Connection;
use crate::account::Account;
use crate::dps::{HIDDEN, without_secrets};
use crate::form::read_input;
use crate::error::{Error, ErrorCode, Result};
use crate::platform::Platform;
use crate::session::Session;

/// All actions, in the order in which a person is shown them.
pub static ALL: &[&dyn Action] = &[
    &create_device::CreateDevice,
    &get_device::GetDevice,
    &update_device::UpdateDevice,
    &delete_device::DELETE_DEVICE,
    &list_devices::ListDevices,
    &get_twin::GetTwin,
    &update_twin::UpdateTwin,
    &invoke_direct_method::InvokeDirectMethod,
    #[cfg(feature = "amqp")]
    &send_cloud_to_device_message::SendCloudToDeviceMessage,
    &purge_cloud_to_device_messages::PurgeCloudToDeviceMessages,
    &send_device_to_cloud_message::SendDeviceToCloudMessage,
    &create_or_update_individual_enrollment::CreateOrUpdateIndividualEnrollment,
    &get_individual_enrollment::GetIndividualEnrollment,
    &query_individual_enrollments::QueryIndividualEnrollments,
    &delete_individual_enrollment::DELETE_INDIVIDUAL_ENROLLMENT,
    &get_registration_state::GetRegistrationState,
    &query_registration_states::QueryRegistrationStates,
    &delete_registration_state::DELETE_REGISTRATION_STATE,
];

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
        Err(Error::new(ErrorCode::Unsupported, "This action is done at once; there is nothing to go on with."))
    }
}

/// Does one thing. See `action.invoke` of the interface.
///
/// # Errors
/// As there.
pub fn invoke(platform: &dyn Platform, connection: &Connection, id: &str, input: &str, call: &Call) -> Result<Outcome> {
    let action = find(id)?;
    let input = read_input(&action.descriptor().operation.input_schema, input)?;
    in_session(platform, connection, call, |session| action.invoke(session, input, call))
}

/// Goes on with a page. See `action.resume` of the interface.
///
/// # Errors
/// As there.
pub fn resume(platform: &dyn Platform, connection: &Connection, id: &str, token: &str, call: &Call) -> Result<Outcome> {
    let action = find(id)?;
    in_session(platform, connection, call, |session| action.resume(session, token, call))
}

/// Does the same to many inputs. See `action.invoke-batch` of the interface.
///
/// # Errors
/// As there; an item's own error is in its place.
pub fn invoke_batch(
    platform: &dyn Platform,
    connection: &Connection,
    id: &str,
    inputs: &[String],
    call: &Call,
) -> Result<Vec<Result<Outcome>>> {
    let action = find(id)?;
    let schema = action.descriptor().operation.input_schema;
    let account = Account::open(connection)?;
    let started = platform.monotonic();
    let one = |(index, input): (usize, &String)| {
        let spent = u64::try_from(platform.monotonic().saturating_sub(started).as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = call.deadline_ms.saturating_sub(spent);
        let result = if deadline_ms == 0 {
            Err(Error::new(ErrorCode::Timeout, "The batch's time was up before this item was begun."))
        } else {
            let session = Session::new(platform, &account, deadline_ms, call.dry_run);
            read_input(&schema, input).and_then(|input| planned(&session, action.invoke(&session, input, call)))
        };
        result.map_err(|error| error.with_item(u32::try_from(index).unwrap_or(u32::MAX)))
    };
    Ok(inputs.iter().enumerate().map(one).collect())
}

fn find(id: &str) -> Result<&'static dyn Action> {
    ALL.iter()
        .copied()
        .find(|action| action.id() == id)
        .ok_or_else(|| Error::new(ErrorCode::NotFound, format!("This connector has no action \"{id}\".")))
}

fn in_session(
    platform: &dyn Platform,
    connection: &Connection,
    call: &Call,
    work: impl FnOnce(&Session) -> Result<Outcome>,
) -> Result<Outcome> {
    let account = Account::open(connection)?;
    let session = Session::new(platform, &account, call.deadline_ms, call.dry_run);
    planned(&session, work(&session))
}

/// A dry run ends with an error inside and with its plan outside.
fn planned(session: &Session, result: Result<Outcome>) -> Result<Outcome> {
    match (result, session.planned()) {
        (Err(error), Some(plan)) if error.code() == ErrorCode::Cancelled => {
            let mut plan = Value::from(plan);
            hide_secrets(&mut plan);
            Ok(Outcome::Planned(plan.to_string()))
        }
        (result, _) => result,
    }
}

/// A plan is shown and logged: what opens something is left out of it.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("symmetricKey", Value::Object(keys)) => {
                        keys.values_mut().filter(|key| !key.is_null()).for_each(|key| *key = HIDDEN.into());
                    }
                    ("webhookUrl", Value::String(url)) => *url = without_secrets(url),
                    (_, value) => hide_secrets(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}
