//! The session of one call: its account, its deadline, and the clients of the services.

#[cfg(feature = "amqp")]
pub mod connection_cache;
#[cfg(feature = "amqp")]
pub mod event_hub;
#[cfg(feature = "amqp")]
pub mod service_endpoint;

use std::time::Duration;

use crate::account::Account;
use crate::bindings::workflow::connector::types::Connection;
use crate::dps::Dps;
use crate::error::Result;
use crate::http::{Client, Plan};
use crate::iothub::IotHub;
use crate::platform::Platform;

/// The time before the deadline that is kept free, so that the result reaches the engine in time.
const RESERVE: Duration = Duration::from_millis(50);

/// The context in which a trigger or an action runs.
pub struct Session<'a> {
    hub: Client<'a>,
    dps: Option<Client<'a>>,
    account: &'a Account,
    platform: &'a dyn Platform,
    deadline: Duration,
}

impl<'a> Session<'a> {
    /// A session that must be done within `deadline_ms` from now.
    pub fn new(platform: &'a dyn Platform, account: &'a Account, deadline_ms: u64, dry_run: bool) -> Self {
        let time = Duration::from_millis(deadline_ms);
        let deadline = platform.monotonic().saturating_add(time.saturating_sub(RESERVE.min(time / 4)));
        let client = |api| Client::new(platform, api, deadline, dry_run);
        Self { hub: client(&account.hub), dps: account.dps.as_ref().map(client), account, platform, deadline }
    }

    /// Reads a connection and runs `work` in a session for it.
    ///
    /// # Errors
    /// `invalid-config` if the connection cannot be used, and the errors of `work`.
    pub fn run<T>(
        platform: &dyn Platform,
        connection: &Connection,
        deadline_ms: u64,
        work: impl FnOnce(&Session) -> Result<T>,
    ) -> Result<T> {
        let account = Account::open(connection)?;
        work(&Session::new(platform, &account, deadline_ms, false))
    }

    pub fn hub(&self) -> IotHub<'_> {
        IotHub::new(&self.hub)
    }

    /// The provisioning service.
    ///
    /// # Errors
    /// `invalid-config` if the account has no provisioning service.
    pub fn dps(&self) -> Result<Dps<'_>> {
        match &self.dps {
            Some(client) => Ok(Dps::new(client)),
            None => Err(Account::no_dps()),
        }
    }

    /// The hub's client, and the provisioning service's client if the account has one.
    pub fn clients(&self) -> impl Iterator<Item = &Client<'a>> {
        std::iter::once(&self.hub).chain(&self.dps)
    }

    /// Asks the hub's HTTPS API for the time, after an AMQP endpoint refused a token without stating the time. Returns
    /// whether the known clock difference has changed, so that a new token may be accepted.
    #[cfg(feature = "amqp")]
    pub fn learns_the_time(&self) -> bool {
        let host = &self.account.hub.host;
        let known = crate::auth::skew(host);
        // Only the answer's date matters, so the answer itself is ignored.
        let _ = self.hub.probe(crate::auth::Permission::ServiceConnect, &self.hub.probe_name());
        crate::auth::skew(host) != known
    }

    pub fn account(&self) -> &Account {
        self.account
    }

    pub fn platform(&self) -> &'a dyn Platform {
        self.platform
    }

    /// The moment of the monotonic clock at which the call must have ended.
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    /// How much time is left.
    pub fn remaining(&self) -> Duration {
        self.deadline.saturating_sub(self.platform.monotonic())
    }

    /// The request at which a dry run stopped.
    pub fn planned(&self) -> Option<Plan> {
        self.clients().find_map(Client::planned)
    }
}
