//! Opens the AMQP endpoint of an account's hub, and keeps it open for the next call in a warm instance.
//!
//! The kept connections are only a cache: a new connection works as well, and the service delivers held notices again.

use std::time::Duration;

use super::Session;
use super::connection_cache::{Close, ConnectionCache};
use super::event_hub::{hub_address, roots};
use crate::account::Account;
use crate::auth::{self, Permission};
use crate::error::{EffectState, Error, ErrorCode, MissingPermission, Result};
use crate::iothub::{ServiceEndpoint, ServiceQueue};
use crate::platform::{self, Platform};

/// The use of a connection. A connection that reads is never used for sending.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Sends messages to devices.
    Send,
    /// Reads this queue. The hash distinguishes the queue's readers from one another.
    Read(ServiceQueue, [u8; 8]),
}

#[derive(Clone, Debug, PartialEq)]
struct Key {
    account: Account,
    purpose: Purpose,
}

thread_local! {
    static CONNECTIONS: ConnectionCache<Key, ServiceEndpoint<'static>> = const { ConnectionCache::new() };
}

impl Close for ServiceEndpoint<'_> {
    fn close(mut self, until: Duration) {
        self.resume(until);
        ServiceEndpoint::close(self);
    }
}

/// Closes the connections that are kept open.
pub fn release(until: Duration) {
    CONNECTIONS.with(|connections| connections.close_all(until));
}

/// Runs `work` with a connection, if possible a kept one. If the kept connection turns out to be closed and `work` had
/// no effect, `work` runs again with a new connection.
///
/// # Errors
/// The errors of IoT Hub and of `work`.
pub fn with_service_endpoint<T>(
    session: &Session,
    purpose: Purpose,
    mut work: impl FnMut(&mut ServiceEndpoint) -> Result<T>,
) -> Result<T> {
    attempt(session, purpose, &mut work).map_err(|error| explain(session, error))
}

/// Attaches to all queues of the hub without taking anything from them, to find out whether they can be read.
///
/// # Errors
/// The errors of IoT Hub.
pub fn try_queues(session: &Session) -> Result<()> {
    with_own_endpoint(session, |endpoint| ServiceQueue::ALL.into_iter().try_for_each(|queue| endpoint.open(queue)))
}

/// Runs `work` with a connection of its own, which ends with the call, so that nothing that it reads stays locked.
///
/// # Errors
/// The errors of IoT Hub and of `work`.
pub fn with_own_endpoint<T>(session: &Session, work: impl FnOnce(&mut ServiceEndpoint) -> Result<T>) -> Result<T> {
    let looked = open(session, session.platform()).and_then(|mut endpoint| {
        let result = work(&mut endpoint);
        ServiceEndpoint::close(endpoint);
        result
    });
    looked.map_err(|error| explain(session, error))
}

fn attempt<T>(
    session: &Session,
    purpose: Purpose,
    work: &mut dyn FnMut(&mut ServiceEndpoint) -> Result<T>,
) -> Result<T> {
    let Some(lasting) = platform::lasting() else {
        let mut endpoint = open(session, session.platform())?;
        let result = work(&mut endpoint);
        ServiceEndpoint::close(endpoint);
        return result;
    };
    let key = Key { account: session.account().clone(), purpose };
    if let Some(mut endpoint) = CONNECTIONS.with(|connections| connections.take(&key)) {
        endpoint.resume(session.deadline());
        let result = work(&mut endpoint);
        let gone = !endpoint.is_sound();
        if !gone {
            CONNECTIONS.with(|connections| connections.keep(key.clone(), endpoint, session.deadline()));
        }
        match result {
            Err(error) if gone && error.record().effect == EffectState::None => {}
            result => return result,
        }
    }
    let mut endpoint = open(session, lasting)?;
    let result = work(&mut endpoint);
    if endpoint.is_sound() {
        CONNECTIONS.with(|connections| connections.keep(key, endpoint, session.deadline()));
    }
    result
}

fn open<'p>(session: &Session, platform: &'p dyn Platform) -> Result<ServiceEndpoint<'p>> {
    let account = session.account();
    let hub = hub_address(account);
    auth::same_clock(&hub.host, &account.hub.host);
    ServiceEndpoint::connect(platform, &hub, &account.hub.key, roots(account), session.deadline())
}

/// The AMQP endpoint refuses a wrong key and a missing permission with the same error; the HTTPS API distinguishes
/// them.
fn explain(session: &Session, error: Error) -> Error {
    let permission = Permission::ServiceConnect;
    if error.code() != ErrorCode::AuthFailed || !session.hub().key_is_good(permission) {
        return error;
    }
    let policy = &session.account().hub.key.policy;
    let message = format!("The policy \"{policy}\" lacks \"{}\" on Azure IoT Hub.", permission.title());
    let missing = MissingPermission { permission: permission.id().to_owned(), remedy: permission.remedy(policy) };
    let denied = Error::new(ErrorCode::PermissionDenied, message)
        .with_missing_permission(missing)
        .with_detail(error.record().message.clone());
    match &error.record().service {
        Some(fault) => denied.with_service(fault.clone()),
        None => denied,
    }
}
