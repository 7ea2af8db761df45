//! A component that is ready for calls: [`Loaded`].

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use semver::Version;
use wasmtime::component::InstancePre;

use super::admission::Supervised;
use super::exports::{self, Exports};
use super::judge::Judge;
use super::run::{Prepared, Run};
use super::runtime::Runtime;
use super::state::State;
use crate::connection::{Connection, Form, LARGEST_CONNECTION};
use crate::egress::{AllowList, CallContext};
use crate::error::CallError;
use crate::interface::connection::Validation;
use crate::interface::metadata::Descriptor;
use crate::operators::telemetry::Subject;
use crate::tenant::Tenant;

/// The compiled code of a connector, and its descriptor.
pub(crate) struct Loaded {
    /// Distinguishes what was loaded, in one process.
    id: u64,
    runtime: Arc<Runtime>,
    pre: InstancePre<State>,
    exports: Exports,
    descriptor: Descriptor,
    /// The ids of all triggers and actions.
    operations: HashSet<String>,
    /// For each authorization profile, the host fields and secrets that its schema declares.
    forms: HashMap<String, Form>,
    interface: Version,
}

impl Loaded {
    pub(crate) fn new(
        runtime: Arc<Runtime>,
        pre: InstancePre<State>,
        exports: Exports,
        descriptor: Descriptor,
        interface: Version,
    ) -> Self {
        let triggers = descriptor.triggers.iter().map(|trigger| &trigger.operation.id);
        let operations = triggers.chain(descriptor.actions.iter().map(|action| &action.operation.id));
        let operations = operations.cloned().collect();
        let forms = descriptor.auth_profiles.iter();
        let forms = forms.map(|profile| (profile.id.clone(), Form::read(&profile.schema))).collect();
        static LOADED: AtomicU64 = AtomicU64::new(0);
        let id = LOADED.fetch_add(1, Ordering::Relaxed);
        Self { id, runtime, pre, exports, descriptor, operations, forms, interface }
    }

    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    pub(crate) fn descriptor(&self) -> &Descriptor {
        &self.descriptor
    }

    pub(crate) fn interface(&self) -> &Version {
        &self.interface
    }

    /// Derives the allow list and the deadline of a call on this account. The guest validates a connection only once:
    /// its answer depends on nothing else, and the tenant remembers what was derived from it.
    pub(crate) async fn prepare(
        &self,
        tenant: &Tenant,
        connection: &Connection,
        context: &CallContext,
    ) -> Result<Prepared, CallError> {
        check_size(connection)?;
        let accounts = &tenant.inner().accounts;
        let key = accounts.key(self.id, connection);
        if let Some(allowed) = accounts.allowed(&key) {
            return Ok(Prepared::new(tenant, allowed));
        }
        let prepared = Prepared::without_network(tenant);
        let deadline = prepared.deadline;
        let judge = |validation: &Validation, judge: &mut Judge<'_>| judge.validation(validation);
        let run = self.run(tenant, context);
        let (validation, _) = run.call::<exports::Validate>(prepared, |_| (connection.into(),), judge).await?;
        let Self { descriptor, forms, .. } = self;
        let options = &tenant.network().options;
        let unknown = Form::default();
        let entered = connection.entered(forms.get(connection.auth_profile()).unwrap_or(&unknown));
        let allowed = AllowList::derive(&descriptor.egress, &validation.normalized, &entered, options);
        let allowed = Arc::new(allowed.map_err(CallError::Egress)?);
        accounts.remember(key, allowed.clone());
        Ok(Prepared { allowed, deadline })
    }

    pub(crate) fn run<'a>(&'a self, tenant: &'a Tenant, context: &CallContext) -> Run<'a> {
        let Self { runtime, pre, exports, .. } = self;
        Run { runtime, pre, exports, tenant, context: context.clone() }
    }

    /// Begins a call: checks whether it may run, and starts its metrics.
    pub(crate) fn supervise<'a>(
        &'a self,
        tenant: &'a Tenant,
        function: &'static str,
        operation: Option<&str>,
        partition: Option<&str>,
    ) -> Result<Supervised<'a>, CallError> {
        let Self { runtime, descriptor, operations, .. } = self;
        let known = operation.is_some_and(|id| operations.contains(id));
        let (tenant_name, connector) = (tenant.name(), descriptor.id.as_str());
        let subject = Subject { tenant: tenant_name, connector, function, operation, known, partition };
        Supervised::begin(runtime, tenant, &subject)
    }
}

/// Checks that a connection is small enough for a call.
///
/// # Errors
///
/// [`CallError::ConnectionTooLarge`].
pub(crate) fn check_size(connection: &Connection) -> Result<(), CallError> {
    let size = connection.size();
    if size > LARGEST_CONNECTION {
        return Err(CallError::ConnectionTooLarge { size, limit: LARGEST_CONNECTION });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_size;
    use crate::connection::Connection;
    use crate::error::CallError;

    #[test]
    fn a_connection_is_bounded() {
        let of = |bytes: usize| Connection::new("a", "x".repeat(bytes - 1));
        check_size(&of(64 << 10)).unwrap();
        let refused = check_size(&of((64 << 10) + 1));
        assert!(matches!(refused, Err(CallError::ConnectionTooLarge { size: 65_537, limit: 65_536 })), "{refused:?}");
    }
}
