//! The account: what one connection opens, and the reading and judging of what a person entered.

mod paste;
mod reading;
mod schema;

#[cfg(test)]
mod tests;

use crate::amqp_transport::AmqpTransport;
use crate::auth::SharedAccessKey;
use crate::bindings::workflow::connector::types::Connection;
use crate::error::{Error, ErrorCode, Result, Severity};
use crate::http::Api;

pub use reading::read;
pub use schema::profiles;

/// A linked account that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Account {
    /// The hub's service API.
    pub hub: Api,
    /// The provisioning service's, where it was given.
    pub dps: Option<Api>,
    /// The Event Hub-compatible endpoint, where it was pinned.
    pub event_hub: Option<EventHubPin>,
    /// The hub's AMQP endpoint, which knows the Event Hub-compatible one.
    pub hub_amqp: AmqpAddress,
    /// What AMQP is spoken over, to the hub and to the Event Hub-compatible endpoint.
    pub amqp_transport: AmqpTransport,
    /// Certificates (PEM) to trust instead of the public ones, for connections of the connector's own.
    pub trusted_certificates: Option<String>,
    /// Domains besides Azure's that the account's hosts may belong to.
    pub trusted_suffixes: Vec<String>,
}

/// A host and port that AMQP is spoken with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AmqpAddress {
    pub host: String,
    pub port: u16,
}

impl AmqpAddress {
    /// From `host` or `host:port`, with the transport's port where there is none.
    pub fn of(authority: &str, transport: AmqpTransport) -> Self {
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()),
            None => (authority, None),
        };
        Self { host: host.to_owned(), port: port.unwrap_or(transport.port()) }
    }

    /// As `host:port`.
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
    /// The policy of its own, where a whole connection string was pasted; otherwise the hub's.
    pub key: Option<SharedAccessKey>,
}

impl Account {
    /// Reads a connection for use.
    ///
    /// # Errors
    /// `invalid-config` with every field at fault.
    pub fn open(connection: &Connection) -> Result<Self> {
        let (account, validation) = read(connection);
        let errors = validation.problems.into_iter().filter(|problem| problem.severity == Severity::Error).collect();
        account.ok_or_else(|| Error::fields(ErrorCode::InvalidConfig, "The connection cannot be used", errors))
    }

    /// The error of an operation that needs a provisioning service, for an account without one.
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
/// `invalid-config` where there is no name to show.
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
