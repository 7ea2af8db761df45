//! The actions: one file for each action, in a folder for each kind of thing that they work on. A new action needs a
//! file and its line in the folder's `mod.rs`.

mod configurations;
mod custom;
mod devices;
mod digital_twins;
mod hub;
mod jobs;
mod messages;
mod modules;
mod provisioning;
mod query;
mod shared;
mod twins;

#[cfg(test)]
mod tests;

use serde_json::Value;

use crate::account::Account;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::workflow::connector::types::Connection;
use crate::dps::{HIDDEN, without_secrets};
use crate::error::{Error, ErrorCode, Result};
use crate::platform::Platform;
use crate::session::Session;
use shared::Action;

/// All actions, in the order in which a person sees them.
pub fn all() -> impl Iterator<Item = &'static dyn Action> {
    let folders = [
        devices::ALL,
        modules::ALL,
        query::ALL,
        twins::ALL,
        digital_twins::ALL,
        messages::ALL,
        jobs::ALL,
        configurations::ALL,
        hub::ALL,
        provisioning::ALL,
        custom::ALL,
    ];
    folders.into_iter().flatten().copied()
}

/// Invokes an action. See `action.invoke` of the interface.
///
/// # Errors
/// The errors that the interface lists there.
pub fn invoke(platform: &dyn Platform, connection: &Connection, id: &str, input: &str, call: &Call) -> Result<Outcome> {
    let action = find(id)?;
    let input = shared::read_input(action, input)?;
    in_session(platform, connection, call, |session| action.invoke(session, input, call))
}

/// Returns the next page of a paged action. See `action.resume` of the interface.
///
/// # Errors
/// The errors that the interface lists there.
pub fn resume(platform: &dyn Platform, connection: &Connection, id: &str, token: &str, call: &Call) -> Result<Outcome> {
    let action = find(id)?;
    in_session(platform, connection, call, |session| action.resume(session, token, call))
}

/// Invokes an action for each of many inputs. See `action.invoke-batch` of the interface.
///
/// # Errors
/// The errors that the interface lists there. An item's own error is in that item's result.
pub fn invoke_batch(
    platform: &dyn Platform,
    connection: &Connection,
    id: &str,
    inputs: &[String],
    call: &Call,
) -> Result<Vec<Result<Outcome>>> {
    let action = find(id)?;
    let account = Account::open(connection)?;
    let started = platform.monotonic();
    let one = |(index, input): (usize, &String)| {
        let spent = u64::try_from(platform.monotonic().saturating_sub(started).as_millis()).unwrap_or(u64::MAX);
        let deadline_ms = call.deadline_ms.saturating_sub(spent);
        let result = if deadline_ms == 0 {
            Err(Error::new(
                ErrorCode::Timeout,
                "The batch ran out of time before this item was started: invoke it again.",
            ))
        } else {
            let session = Session::new(platform, &account, deadline_ms, call.dry_run);
            shared::read_input(action, input).and_then(|input| planned(&session, action.invoke(&session, input, call)))
        };
        result.map_err(|error| error.with_item(u32::try_from(index).unwrap_or(u32::MAX)))
    };
    Ok(inputs.iter().enumerate().map(one).collect())
}

fn find(id: &str) -> Result<&'static dyn Action> {
    all()
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

/// Inside the connector, a dry run ends with the error `cancelled`. This function replaces the error by the plan.
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

/// Hides the keys in a plan, because plans are shown and logged.
fn hide_secrets(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match (name.as_str(), value) {
                    ("symmetricKey", Value::Object(keys)) => {
                        keys.values_mut().filter(|key| !key.is_null()).for_each(|key| *key = HIDDEN.into());
                    }
                    ("webhookUrl" | "inputBlobContainerUri" | "outputBlobContainerUri", Value::String(url)) => {
                        *url = without_secrets(url)
                    }
                    (_, value) => hide_secrets(value),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(hide_secrets),
        _ => {}
    }
}
