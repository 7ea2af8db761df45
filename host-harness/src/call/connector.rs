//! A loaded connector: [`Connector`].

use std::fmt;
use std::sync::Arc;

use semver::Version;

use super::account::Account;
use super::exports::{self, Export as _, WireOwnedConnection, WireStored};
use super::judge::{Judge, Kind};
use super::loaded::{Loaded, check_size};
use super::run::{Prepared, answer, either};
use crate::connection::Connection;
#[cfg(feature = "conformance")]
use crate::egress::CallContext;
use crate::error::CallError;
use crate::interface::metadata::{Descriptor, Stored};
use crate::tenant::Tenant;

/// A loaded connector. Cheap to clone; any number of accounts may be used at the same time.
///
/// Its functions are called through a linked account: see [`Account`].
#[derive(Clone)]
pub struct Connector {
    loaded: Arc<Loaded>,
}

impl Connector {
    pub(crate) fn new(loaded: Loaded) -> Self {
        Self { loaded: Arc::new(loaded) }
    }

    /// The connector's descriptor: its operations, their schemas and the hosts that it needs.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        self.loaded.descriptor()
    }

    /// Asks a new instance for the descriptor again.
    #[cfg(feature = "conformance")]
    pub(crate) async fn describe_again(&self, tenant: &Tenant) -> Result<Descriptor, CallError> {
        self.loaded.run(tenant, &CallContext::default()).describe().await
    }

    /// The interface version that the host and the connector agreed on.
    #[must_use]
    pub fn interface_version(&self) -> &Version {
        self.loaded.interface()
    }

    /// An account whose calls each run in an instance of their own. Nothing is checked here: each call checks the
    /// connection.
    #[must_use]
    pub fn account(&self, tenant: &Tenant, connection: &Connection) -> Account {
        Account::cold(self.loaded.clone(), tenant.clone(), connection.clone())
    }

    /// An account whose calls share one instance, and with it the connector's open connections. The first call makes
    /// the instance.
    ///
    /// The allow list for all calls is derived from the connection once, here.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn open(&self, tenant: &Tenant, connection: &Connection) -> Result<Account, CallError> {
        Account::open(self.loaded.clone(), tenant.clone(), connection.clone()).await
    }

    /// Converts a stored item of an older version of the connector to the form of this version.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn migrate(&self, tenant: &Tenant, from_version: &str, item: Stored) -> Result<Stored, CallError> {
        let item = match item {
            Stored::Connection(connection) => {
                check_size(&connection)?;
                WireStored::Connection(WireOwnedConnection {
                    auth_profile: connection.auth_profile().to_owned(),
                    values: connection.values().expose().to_owned(),
                })
            }
            Stored::Input(input) => WireStored::Input(input),
            Stored::Cursor(cursor) => WireStored::Cursor(cursor),
        };
        let kind = Kind::of(&item);
        let judge = either(|carried, judge: &mut Judge<'_>| judge.stored(carried, kind));
        let call = self.loaded.supervise(tenant, exports::Migrate::NAME, None, None)?;
        let run = self.loaded.run(tenant, &call.context());
        let prepared = Prepared::without_network(tenant);
        let migrated = run.call::<exports::Migrate>(prepared, |_| (from_version, item), judge);
        let migrated = call.run(async { answer(migrated.await) }).await?;
        Ok(match migrated {
            WireStored::Connection(connection) => {
                Stored::Connection(Connection::new(connection.auth_profile, connection.values))
            }
            WireStored::Input(input) => Stored::Input(input),
            WireStored::Cursor(cursor) => Stored::Cursor(cursor),
        })
    }
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("id", &self.descriptor().id)
            .field("version", &self.descriptor().version)
            .finish_non_exhaustive()
    }
}
