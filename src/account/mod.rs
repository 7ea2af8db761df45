//! The account: the services and keys that one connection opens, and reading and checking the values that a person
//! entered.

mod paste;
mod reading;
mod schema;

#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::rc::Rc;

use crate::amqp_transport::AmqpTransport;
use crate::auth::SharedAccessKey;
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::http::Api;
use crate::secret::Secret;

pub use reading::read;
pub use schema::profiles;

/// A linked account that is ready for use.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The hub's service API.
    pub hub: Api,
    /// The provisioning service's API, if the person entered one.
    pub dps: Option<Api>,
    /// The Event Hub-compatible endpoint, if the person pinned one.
    pub event_hub: Option<EventHubPin>,
    /// The hub's AMQP endpoint, which can be asked for the Event Hub-compatible endpoint.
    pub hub_amqp: AmqpAddress,
    /// The transport for AMQP, both to the hub and to the Event Hub-compatible endpoint.
    pub amqp_transport: AmqpTransport,
    /// Root certificates (PEM) to trust instead of the public ones, for the AMQP connections that the connector opens
    /// itself.
    pub trusted_certificates: Option<String>,
    /// Domains, besides Azure's own, that the account's hosts may belong to.
    pub trusted_suffixes: Vec<String>,
}

/// A host and port that offer AMQP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpAddress {
    pub host: String,
    pub port: u16,
}

impl AmqpAddress {
    /// Reads `host` or `host:port`; without a port, the transport's default port is used.
    pub fn of(authority: &str, transport: AmqpTransport) -> Self {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (authority, None),
        };
        Self { host: host.to_owned(), port: port.unwrap_or(transport.port()) }
    }

    /// The address as `host:port`.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

/// A pinned Event Hub-compatible endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EventHubPin {
    /// The namespace's host.
    pub host: String,
    /// The Event Hub-compatible name.
    pub path: String,
    /// The endpoint's own policy and key, if a whole connection string was pasted. None: the hub's policy and key are
    /// used.
    pub key: Option<SharedAccessKey>,
}

/// The account that was opened last. An instance that an engine keeps is called for one account again and again, and
/// reading it would be a large part of a call.
struct Last {
    auth_profile: String,
    values: Secret,
    account: Rc<Account>,
}

impl Last {
    fn account_of(&self, connection: &Connection) -> Option<Rc<Account>> {
        let same = self.auth_profile == connection.auth_profile && self.values.expose() == connection.values;
        same.then(|| Rc::clone(&self.account))
    }
}

thread_local! {
    static LAST: RefCell<Option<Last>> = const { RefCell::new(None) };
}

impl Account {
    /// Reads a connection for use. An account that was opened before is not read again.
    ///
    /// # Errors
    /// `invalid-config` with every field that is wrong.
    pub fn open(connection: &Connection) -> Result<Rc<Self>> {
        if let Some(known) = LAST.with_borrow(|last| last.as_ref().and_then(|last| last.account_of(connection))) {
            return Ok(known);
        }
        let (account, validation) = read(connection);
        let errors = validation.problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect();
        let account =
            account.ok_or_else(|| Error::fields(ErrorCode::InvalidConfig, "The connection cannot be used", errors))?;
        let account = Rc::new(account);
        LAST.set(Some(Last {
            auth_profile: connection.auth_profile.clone(),
            values: Secret::new(connection.values.clone()),
            account: Rc::clone(&account),
        }));
        Ok(account)
    }

    /// The error for an operation that needs a provisioning service, when the account has none.
    pub fn no_dps() -> Error {
        let mut problem = crate::error::problem(
            "/dpsHostName",
            "missing",
            "this operation needs a Device Provisioning Service, and the account has none",
        );
        problem.fix =
            Some("Edit the connection: enter the DPS service endpoint, a policy name and its key.".to_owned());
        Error::fields(ErrorCode::InvalidConfig, "The connection is not complete", vec![problem])
    }
}

/// The connection's display name.
///
/// # Errors
/// `invalid-config` if the connection cannot be used.
pub fn label(connection: &Connection) -> Result<String> {
    let account = Account::open(connection)?;
    let name = account.hub.host.split('.').next().unwrap_or(&account.hub.host);
    let dps = account
        .dps
        .as_ref()
        .map(|dps| format!(" + {}", dps.host.split('.').next().unwrap_or(&dps.host)))
        .unwrap_or_default();
    Ok(format!("{name}{dps} ({})", account.hub.key.policy))
}
