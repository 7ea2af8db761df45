//! Code that the integration tests share: the component in the host, an emulator for each test, and an account on that
//! emulator.

pub mod apart;
pub mod heads;
pub mod peers;
pub mod process;
pub mod soak;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, Result};
use azure_iot_emulator::{Emulator, EmulatorOptions, HubName, Policy};
use connector_host::interface::action::{Call, Outcome};
use connector_host::interface::trigger::{Budget, Event, LostPolicy, Page, Payload, PollRequest, Start};
use connector_host::interface::types::{Cursor, Error, Retry};
use connector_host::{
    Account, CallError, Connection, Connector, Host, HostAddress, HostAddresses, HostOptions, Limits, Tenant,
    TenantOptions, TrustRoots,
};
use serde_json::{Value, json};

pub mod faults;
pub mod witnessed;

/// Compiles the README's example.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
mod readme {}

/// The trigger that delivers messages of devices.
pub const TELEMETRY: &str = "device-telemetry";

/// The folder of the workspace.
///
/// # Panics
/// Never: this package is in a folder of the workspace.
#[must_use]
pub fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this package is in a folder of the workspace")
}

/// The path of the built component.
///
/// # Errors
/// Where it was not built.
pub fn component() -> Result<PathBuf> {
    let path = std::env::var_os("CONNECTOR_COMPONENT")
        .map_or_else(|| workspace().join("target/component/azure_iot_connector.wasm"), PathBuf::from);
    anyhow::ensure!(path.exists(), "{} is not there: run `cargo xtask build`", path.display());
    Ok(path)
}

/// The path of the program `connector-host`: the path in `CONNECTOR_HOST`, or else the program from the same build as
/// the caller.
///
/// # Errors
/// Where it was not built.
pub fn host_program() -> Result<PathBuf> {
    let path = match std::env::var_os("CONNECTOR_HOST") {
        Some(path) => PathBuf::from(path),
        None => {
            // The executables of tests are one folder below the programs.
            let own = std::env::current_exe()?;
            let folders = own.ancestors().skip(1).take(2).map(|folder| folder.join("connector-host"));
            folders
                .into_iter()
                .find(|path| path.exists())
                .unwrap_or_else(|| workspace().join("target/debug/connector-host"))
        }
    };
    anyhow::ensure!(
        path.exists(),
        "{} is not there: run `cargo build --workspace --bin connector-host`",
        path.display()
    );
    Ok(path)
}

/// Loads the built component. The compiled code is kept in the workspace's target folder for later runs.
///
/// # Errors
/// Where it was not built, or the host refuses it.
pub async fn connector() -> Result<Connector> {
    // The first test compiles the component; the others find it in the cache.
    static LOADING: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());
    let _loading = LOADING.lock().await;
    let mut options = HostOptions::default();
    options.cache_directory = Some(workspace().join("target/compiled"));
    options.concurrent_calls = 8;
    Ok(Host::new(options)?.load_file(component()?).await?)
}

/// An emulator, the component, and an account on the emulator.
pub struct World {
    /// The emulator of the services.
    pub emulator: Emulator,
    /// The component, loaded into the host.
    pub connector: Connector,
    /// The tenant that calls.
    pub tenant: Tenant,
    /// The account that the tenant uses.
    pub connection: Connection,
}

impl World {
    /// Starts an emulator, with an account that has all permissions.
    ///
    /// # Errors
    /// Where the component was not built, or no port is free.
    pub async fn start() -> Result<Self> {
        Self::with(EmulatorOptions::default()).await
    }

    /// Starts an emulator with these options.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub async fn with(options: EmulatorOptions) -> Result<Self> {
        let emulator = Emulator::start(options).await?;
        let connector = connector().await?;
        let tenant = tenant(&emulator)?;
        let connection = link(values(&emulator, "connector", "connector")?);
        Ok(Self { emulator, connector, tenant, connection })
    }

    /// The same world, with an account that uses AMQP over WebSockets.
    ///
    /// # Errors
    /// None while the emulator runs.
    pub fn over_web_sockets(self) -> Result<Self> {
        let connection = link(over_web_sockets(values(&self.emulator, "connector", "connector")?));
        Ok(Self { connection, ..self })
    }

    /// The connector with the world's account. Each call runs in a new instance.
    #[must_use]
    pub fn account(&self) -> Account {
        self.connector.account(&self.tenant, &self.connection)
    }

    /// An account that uses these policies instead of the policies with all permissions.
    ///
    /// # Errors
    /// Where there is no such policy.
    pub fn linked_by(&self, hub_policy: &str, dps_policy: &str) -> Result<Connection> {
        Ok(link(values(&self.emulator, hub_policy, dps_policy)?))
    }

    /// Calls an action once, and returns its outcome.
    ///
    /// # Errors
    /// As the action.
    pub async fn invoke(&self, action: &str, input: Value) -> Result<Outcome, CallError> {
        self.account().invoke(action, &input.to_string(), &Call::default()).await
    }

    /// Calls an action that must finish at once.
    ///
    /// # Errors
    /// Those of the action. Also where the action does not finish at once.
    pub async fn done(&self, action: &str, input: Value) -> Result<Value> {
        match self.invoke(action, input).await.with_context(|| format!("{action} failed"))? {
            Outcome::Done(output) => Ok(serde_json::from_str(&output)?),
            other => anyhow::bail!("{action} answered {other:?}"),
        }
    }

    /// Calls an action that must fail.
    ///
    /// # Errors
    /// Where the action succeeds, or the error comes from the host.
    pub async fn refused(&self, action: &str, input: Value) -> Result<Error> {
        match self.invoke(action, input).await {
            Ok(outcome) => anyhow::bail!("{action} answered {outcome:?}"),
            Err(error) => error.connector().cloned().with_context(|| format!("{action}: {error}")),
        }
    }

    /// Polls a trigger that has one partition, once.
    ///
    /// # Errors
    /// As the trigger.
    pub async fn poll(
        &self,
        trigger: &str,
        config: Value,
        start: Start,
        cursor: Option<Cursor>,
    ) -> Result<Page, CallError> {
        self.poll_partition(trigger, "all", config, start, cursor).await
    }

    /// Polls a partition of a trigger once.
    ///
    /// # Errors
    /// As the trigger.
    pub async fn poll_partition(
        &self,
        trigger: &str,
        partition: &str,
        config: Value,
        start: Start,
        cursor: Option<Cursor>,
    ) -> Result<Page, CallError> {
        let request = PollRequest {
            trigger: trigger.to_owned(),
            partition: partition.to_owned(),
            config: config.to_string(),
            start,
            on_position_lost: LostPolicy::Stop,
            cursor,
            budget: Budget { events: 1_000, bytes: 8 << 20, wait_ms: 300 },
        };
        self.account().poll(&request).await
    }

    /// Polls a trigger as an engine does, until there are no more events. After an error that may pass, it polls again
    /// with the same cursor.
    ///
    /// # Errors
    /// As the trigger.
    pub async fn drain(
        &self,
        trigger: &str,
        config: Value,
        start: Start,
        mut cursor: Option<Cursor>,
    ) -> Result<(Vec<Event>, Cursor)> {
        let mut events = Vec::new();
        for _ in 0..500 {
            let page = match self.poll(trigger, config.clone(), start.clone(), cursor.clone()).await {
                Err(error) if passes(&error) => continue,
                page => page?,
            };
            events.extend(page.events);
            if !page.more {
                return Ok((events, page.next));
            }
            cursor = Some(page.next);
        }
        anyhow::bail!("polls of {trigger} never reach the end")
    }
}

/// A telemetry event in the form that a ledger takes.
///
/// # Errors
/// Where the event's data is not JSON.
pub fn delivery(event: &Event) -> Result<faults::ledger::Delivery> {
    match &event.data {
        Payload::Json(text) => Ok(faults::ledger::Delivery { id: event.id.clone(), data: serde_json::from_str(text)? }),
        other => anyhow::bail!("the data of an event is not JSON: {other:?}"),
    }
}

fn passes(error: &CallError) -> bool {
    error.connector().is_some_and(|error| matches!(error.retry, Retry::Backoff | Retry::After(_)))
}

/// A tenant that may connect to the emulator's current ports. A fail-over changes a port, so it needs a new tenant.
///
/// # Errors
/// None while the emulator runs.
pub fn tenant(emulator: &Emulator) -> Result<Tenant> {
    tenant_with(emulator, Limits::default())
}

/// The same tenant with these limits.
///
/// # Errors
/// As [`tenant`].
pub fn tenant_with(emulator: &Emulator, limits: Limits) -> Result<Tenant> {
    Ok(Tenant::new(tenant_options(emulator, limits)?)?)
}

fn tenant_options(emulator: &Emulator, limits: Limits) -> Result<TenantOptions> {
    let mut options = TenantOptions::default();
    options.name = "tests".to_owned();
    options.limits = limits;
    options.trust_roots = TrustRoots::Only(emulator.ca_pem().to_owned());
    options.allow_hosts = vec!["localhost".parse()?, emulator.event_hub_host().parse()?, emulator.hub_host().parse()?];
    options.allow_private_networks = true;
    Ok(options)
}

/// The same tenant, which resolves names below `azure-devices.net` to the emulator.
///
/// # Errors
/// As [`tenant`].
pub fn tenant_by_name(emulator: &Emulator) -> Result<Tenant> {
    let mut options = tenant_options(emulator, Limits::default())?;
    let loopback = "azure-devices.net=127.0.0.1".parse::<HostAddress>().map_err(anyhow::Error::msg)?;
    options.resolver = Some(Arc::new(HostAddresses::new([loopback])));
    Ok(Tenant::new(options)?)
}

/// The values of an account that names the emulator's hub as in the cloud. The connector rewrites the name for devices,
/// so it may connect to another name than the entered one.
///
/// # Errors
/// Where there is no such policy or name.
pub fn values_by_name(emulator: &Emulator, name: HubName) -> Result<Value> {
    let mut values = values(emulator, "connector", "connector")?;
    let missing = "the hub has no such name";
    values["iotHubName"] = emulator.hub_host_by(name).context(missing)?.into();
    values["iotHubAmqpHost"] = emulator.hub_amqp_host_by(name).context(missing)?.into();
    values["trustedHostSuffixes"] = json!(["localhost", "azure-devices.net"]);
    Ok(values)
}

/// The values of an account on the emulator.
///
/// # Errors
/// Where there is no such policy.
pub fn values(emulator: &Emulator, hub_policy: &str, dps_policy: &str) -> Result<Value> {
    let missing = |name: &str| format!("the emulator has no policy {name}");
    let hub: &Policy = emulator.hub_policy(hub_policy).with_context(|| missing(hub_policy))?;
    let dps: &Policy = emulator.dps_policy(dps_policy).with_context(|| missing(dps_policy))?;
    Ok(json!({
        "iotHubName": emulator.hub_host(),
        "sharedAccessKeyName": hub.name,
        "sharedAccessKey": hub.primary_key,
        "dpsHostName": emulator.dps_host(),
        "dpsSharedAccessKeyName": dps.name,
        "dpsSharedAccessKey": dps.primary_key,
        "iotHubAmqpHost": emulator.hub_amqp_host(),
        "trustedCertificates": emulator.ca_pem(),
        "trustedHostSuffixes": ["localhost"],
    }))
}

/// The same values for AMQP over WebSockets. This transport uses the HTTPS port, so no host for AMQP is entered.
#[must_use]
pub fn over_web_sockets(mut values: Value) -> Value {
    values["amqpTransport"] = "amqp-web-sockets".into();
    if let Some(fields) = values.as_object_mut() {
        fields.remove("iotHubAmqpHost");
    }
    values
}

/// A connection with these values, in the form of the connection guide.
#[must_use]
pub fn link(values: Value) -> Connection {
    Connection::new("shared-access-key", connector_host::Secret::new(values.to_string()))
}
