//! A loaded connector and its calls.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use semver::Version;
use wasmtime::component::InstancePre;

use crate::calls::{Route, calls};
use crate::connection::{Connection, Form};
use crate::egress::{self, AllowList};
use crate::error::{CallError, LoadError};
use crate::exports::{self, Export as _, Exports, WireCall, WireOwnedConnection, WirePollRequest, WireStored};
use crate::host::{HostInner, LoadOptions};
use crate::interface::action::{Call, Outcome};
use crate::interface::connection::{Report, Validation};
use crate::interface::discovery::{Choices, ChoicesRequest, Direction};
use crate::interface::metadata::{Descriptor, Stored};
use crate::interface::trigger::{Event, Page, Partition, PollRequest, Received, ReceivedRequest, Subscription};
use crate::interface::types;
use crate::judge::{Judge, Kind, asked_events};
use crate::limits::Limits;
use crate::run::{Prepared, Run, answer, either};
use crate::state::State;
use crate::supervise::{CallContext, Supervised};
use crate::telemetry::Subject;
use crate::tenant::{Tenant, TenantOptions};
use crate::warm::WarmInstance;

/// A loaded connector. Cheap to clone; any number of calls may run at the same time, each in a store of its own.
///
/// Every function that takes a connection first has it validated without a network and derives from that which
/// hosts the call may reach. All of them fail with [`CallError`], and end with the tenant's deadline.
/// Dropping the future ends the call. To keep an instance, and with it the connector's open connections, between the
/// calls on one account, see [`Connector::open`].
#[derive(Clone)]
pub struct Connector {
    inner: Arc<ConnectorInner>,
}

struct ConnectorInner {
    host: Arc<HostInner>,
    pre: InstancePre<State>,
    exports: Exports,
    descriptor: Descriptor,
    /// The ids of all triggers and actions.
    operations: HashSet<String>,
    /// What each profile says of its fields.
    forms: HashMap<String, Form>,
    interface: Version,
}

impl Connector {
    pub(crate) async fn new(
        host: Arc<HostInner>,
        pre: InstancePre<State>,
        interface: &Version,
        options: &LoadOptions,
    ) -> Result<Self, LoadError> {
        let exports = Exports::find(pre.component(), interface)?;
        let loading = TenantOptions {
            name: "(loading)".to_owned(),
            limits: host.granted(Limits::default()),
            ..Default::default()
        };
        let tenant = Tenant::new(loading).map_err(|error| LoadError::Compile(error.to_string()))?;
        let run = Run { host: &host, pre: &pre, exports: &exports, tenant: &tenant, context: CallContext::default() };
        run.check_types().await?;
        let descriptor = describe(&run).await.map_err(LoadError::Describe)?;
        egress::review(&descriptor.egress, options.service_domains.as_deref())?;
        let interface = interface.clone();
        let triggers = descriptor.triggers.iter().map(|trigger| &trigger.operation.id);
        let operations = triggers.chain(descriptor.actions.iter().map(|action| &action.operation.id));
        let operations = operations.cloned().collect();
        let forms = descriptor.auth_profiles.iter();
        let forms = forms.map(|profile| (profile.id.clone(), Form::read(&profile.schema))).collect();
        let inner = ConnectorInner { host, pre, exports, descriptor, operations, forms, interface };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// What the connector is and can do.
    #[must_use]
    pub fn descriptor(&self) -> &Descriptor {
        &self.inner.descriptor
    }

    /// Asks another instance.
    #[cfg(feature = "conformance")]
    pub(crate) async fn describe_again(&self, tenant: &Tenant) -> Result<Descriptor, CallError> {
        describe(&self.run(tenant, &CallContext::default())).await
    }

    /// The interface version that the host and the connector agreed on.
    #[must_use]
    pub fn interface_version(&self) -> &Version {
        &self.inner.interface
    }

    /// Keeps one instance for the calls on this account; it is made with the first call.
    ///
    /// What the calls may reach is derived from the connection once, here.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn open(&self, tenant: &Tenant, connection: &Connection) -> Result<WarmInstance, CallError> {
        let call = self.supervise(tenant, exports::Validate::NAME, None, None)?;
        let context = call.context();
        let prepared = call.run(self.prepare(tenant, connection, &context)).await?;
        Ok(WarmInstance::new(self.clone(), tenant.clone(), connection.clone(), prepared.allowed))
    }

    calls!(|self, tenant: &Tenant, connection: &Connection| Route::new(self, tenant, connection, None));

    /// Carries something that was stored with an older version of the connector over to this one.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub async fn migrate(&self, tenant: &Tenant, from_version: &str, item: Stored) -> Result<Stored, CallError> {
        let item = match item {
            Stored::Connection(connection) => {
                connection.check_size()?;
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
        let call = self.supervise(tenant, exports::Migrate::NAME, None, None)?;
        let run = self.run(tenant, &call.context());
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

    /// What a call on this account may reach, and until when.
    pub(crate) async fn prepare(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        context: &CallContext,
    ) -> Result<Prepared, CallError> {
        connection.check_size()?;
        let prepared = Prepared::without_network(tenant);
        let deadline = prepared.deadline;
        let judge = |validation: &Validation, judge: &mut Judge<'_>| judge.validation(validation);
        let run = self.run(tenant, context);
        let (validation, _) = run.call::<exports::Validate>(prepared, |_| (connection.into(),), judge).await?;
        let ConnectorInner { descriptor, forms, .. } = &*self.inner;
        let options = &tenant.inner().options;
        let unknown = Form::default();
        let entered = connection.entered(forms.get(connection.auth_profile()).unwrap_or(&unknown));
        let allowed = AllowList::derive(&descriptor.egress, &validation.normalized, &entered, options);
        Ok(Prepared { allowed: Arc::new(allowed.map_err(CallError::Egress)?), deadline })
    }

    pub(crate) fn host(&self) -> &HostInner {
        &self.inner.host
    }

    pub(crate) fn run<'a>(&'a self, tenant: &'a Tenant, context: &CallContext) -> Run<'a> {
        let ConnectorInner { host, pre, exports, .. } = &*self.inner;
        Run { host, pre, exports, tenant, context: context.clone() }
    }

    /// A call begins.
    pub(crate) fn supervise<'a>(
        &'a self,
        tenant: &'a Tenant,
        function: &'static str,
        operation: Option<&str>,
        partition: Option<&str>,
    ) -> Result<Supervised<'a>, CallError> {
        let ConnectorInner { host, descriptor, operations, .. } = &*self.inner;
        let known = operation.is_some_and(|id| operations.contains(id));
        let (tenant_name, connector) = (tenant.name(), descriptor.id.as_str());
        let subject = Subject { tenant: tenant_name, connector, function, operation, known, partition };
        Supervised::begin(host, tenant, &subject)
    }
}

async fn describe(run: &Run<'_>) -> Result<Descriptor, CallError> {
    let judge = |descriptor: &Descriptor, judge: &mut Judge<'_>| judge.descriptor(descriptor);
    let described = run.call::<exports::Describe>(Prepared::without_network(run.tenant), |_| (), judge).await;
    described.map(|(descriptor, _)| descriptor)
}

impl fmt::Debug for Connector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connector")
            .field("id", &self.inner.descriptor.id)
            .field("version", &self.inner.descriptor.version)
            .finish_non_exhaustive()
    }
}
