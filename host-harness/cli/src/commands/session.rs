//! What every command needs: the connector, the tenant and the connection, from the global arguments.

use std::env;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use clap::Args;
use connector_host::{
    Connection, Connector, Host, HostAddress, HostAddresses, HostOptions, HostRule, IpNetwork, Limits, LoadError,
    LoadOptions, Tenant, TenantOptions, TrustRoots,
};
use etcetera::{BaseStrategy as _, choose_base_strategy};
use tracing_subscriber::EnvFilter;

use super::output::Output;
use super::{Done, Exit, connection, files, usage};

/// Where `cargo xtask build` puts the component, below the target directory.
const BUILT_COMPONENT: &str = "component/azure_iot_connector.wasm";

/// The largest number of calls that run at the same time.
pub(crate) const PARALLEL: u32 = 64;

/// The arguments of every command.
#[derive(Debug, Args)]
pub(crate) struct SessionArguments {
    /// The WebAssembly component to run [default: the newest one that `cargo xtask build` made].
    #[arg(long, global = true, value_name = "FILE")]
    component: Option<PathBuf>,
    /// The file that describes the account to use, as JSON or TOML: {"authProfile": "...", "values": {...}} [default:
    /// the JSON in the environment variable CONNECTOR_CONNECTION].
    #[arg(long, global = true, value_name = "FILE")]
    connection: Option<PathBuf>,
    /// A file of certificates (PEM) to trust in addition to the public certificate authorities.
    #[arg(long, visible_alias = "ca", global = true, value_name = "PEM")]
    trust_roots: Option<PathBuf>,
    /// Refuse to load a connector whose egress rules name a host outside of this domain and its subdomains. Can be
    /// repeated.
    #[arg(long, global = true, value_name = "DOMAIN", hide_short_help = true)]
    service_domain: Vec<String>,
    /// Permit connections to this host, although it is outside of the connector's own domains. Can be repeated.
    #[arg(long, global = true, value_name = "HOST[:PORT]")]
    allow_host: Vec<HostRule>,
    /// Permit connections to addresses that are not public, such as loopback.
    #[arg(long, global = true)]
    allow_private_networks: bool,
    /// Permit connections to the addresses of this network, such as 10.1.0.0/16, in addition to public addresses. Can
    /// be repeated.
    #[arg(long, global = true, value_name = "NETWORK", hide_short_help = true)]
    allow_network: Vec<IpNetwork>,
    /// Use ADDRESS for the host NAME and for all names below it, which no name server knows: an emulator, or a private
    /// endpoint. Can be repeated.
    #[arg(long, global = true, value_name = "NAME=ADDRESS", hide_short_help = true)]
    resolve: Vec<HostAddress>,
    /// Forbid connections to hosts that the service names at run time, even under the connector's own domains.
    #[arg(long, global = true, hide_short_help = true)]
    no_redirected_hosts: bool,
    /// The longest time that one call may take, in seconds.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds)]
    deadline: Option<Duration>,
    /// The longest time that one call may compute, in seconds; waiting does not count.
    #[arg(long, global = true, value_name = "SECONDS", value_parser = seconds, hide_short_help = true)]
    cpu: Option<Duration>,
    /// The most memory that one call may use, in MiB.
    #[arg(long, global = true, value_name = "MIB", hide_short_help = true)]
    memory: Option<usize>,
    /// The largest body of one HTTP response, in MiB.
    #[arg(long, global = true, value_name = "MIB", hide_short_help = true)]
    response: Option<u64>,
    /// The directory in which to keep compiled components [default: the user's cache directory].
    #[arg(long, global = true, value_name = "DIRECTORY", hide_short_help = true)]
    cache: Option<PathBuf>,
    /// Log more, including what the connector itself logs. If the environment variable RUST_LOG is set, it decides
    /// instead.
    #[arg(long, short, global = true)]
    verbose: bool,
}

impl SessionArguments {
    pub(crate) fn verbose(&self) -> bool {
        self.verbose
    }
}

/// Reads a number of seconds above zero.
pub(crate) fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "must be a number of seconds, such as 2.5".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "must be a number of seconds above 0".to_owned())
}

/// Logs to standard error.
pub(crate) fn start_log(verbose: bool) {
    // Egress denials are not logged by default: the error at the end of a command lists them.
    let default = if verbose { "warn,connector_host=debug" } else { "warn,connector_host::egress=error" };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
}

/// The connector, the tenant and the connection of this run.
pub(crate) struct Session<'a> {
    arguments: SessionArguments,
    output: &'a Output,
}

/// Everything that a command needs for calls on an account.
pub(crate) struct Linked {
    pub(crate) connector: Connector,
    pub(crate) tenant: Tenant,
    pub(crate) connection: Connection,
}

impl<'a> Session<'a> {
    pub(crate) fn new(arguments: SessionArguments, output: &'a Output) -> Self {
        Self { arguments, output }
    }

    /// The path of the component, and the bytes of the file.
    pub(crate) fn component(&self) -> Done<(PathBuf, Vec<u8>)> {
        let path = match &self.arguments.component {
            Some(path) => path.clone(),
            None => built_component()?,
        };
        let wasm = std::fs::read(&path)
            .with_context(|| format!("the component {} cannot be read", path.display()))
            .map_err(usage)?;
        Ok((path, wasm))
    }

    /// The host that runs the component.
    pub(crate) fn host(&self) -> Done<Host> {
        let mut options = HostOptions::default();
        options.cache_directory = self.arguments.cache.clone().or_else(default_cache);
        // There is one tenant, and `watch` polls at most this number of partitions at the same time.
        options.concurrent_calls = PARALLEL;
        options.warm_instances = PARALLEL;
        Host::new(options).map_err(|error| Exit::Failed(error.into()))
    }

    /// The options for loading the component: the domains that the operator stated with `--service-domain`.
    pub(crate) fn load_options(&self) -> LoadOptions {
        let domains = &self.arguments.service_domain;
        let mut options = LoadOptions::default();
        options.service_domains = (!domains.is_empty()).then(|| domains.clone());
        options
    }

    /// Loads the component.
    pub(crate) async fn connector(&self) -> Done<Connector> {
        let (path, wasm) = self.component()?;
        let host = self.host()?;
        self.load(&host, wasm)
            .await
            .with_context(|| format!("{} cannot be loaded", path.display()))
            .map_err(Exit::Failed)
    }

    /// Loads these bytes, and says so where they have to be compiled first.
    pub(crate) async fn load(&self, host: &Host, wasm: Vec<u8>) -> Result<Connector, LoadError> {
        let options = self.load_options();
        if !host.has_compiled(&wasm) {
            return self.output.compiling(host.load_with(wasm, &options)).await;
        }
        let _spinner = self.output.spinner("loading the connector");
        host.load_with(wasm, &options).await
    }

    /// Loads the component, and reads the tenant and the connection for its calls.
    pub(crate) async fn linked(&self) -> Done<Linked> {
        let (tenant, raw) = self.account()?;
        let connector = self.connector().await?;
        let connection = raw.complete(connector.descriptor()).map_err(usage)?;
        Ok(Linked { connector, tenant, connection })
    }

    /// Adds the tenant and the connection to a connector that is loaded already.
    pub(crate) fn linked_to(&self, connector: Connector) -> Done<Linked> {
        let (tenant, raw) = self.account()?;
        let connection = raw.complete(connector.descriptor()).map_err(usage)?;
        Ok(Linked { connector, tenant, connection })
    }

    /// The tenant, and the connection as it was entered.
    fn account(&self) -> Done<(Tenant, connection::Raw)> {
        let tenant = self.tenant()?;
        let Some(source) = connection::Source::find(self.arguments.connection.as_deref()) else {
            return Err(usage(anyhow!("no connection: add `--connection FILE` or set CONNECTOR_CONNECTION")));
        };
        Ok((tenant, source.read().map_err(usage)?))
    }

    /// The file of certificates to trust in addition to the public authorities.
    pub(crate) fn trust_roots(&self) -> Option<&Path> {
        self.arguments.trust_roots.as_deref()
    }

    /// Whether a connection was given.
    pub(crate) fn has_connection(&self) -> bool {
        connection::Source::find(self.arguments.connection.as_deref()).is_some()
    }

    fn tenant(&self) -> Done<Tenant> {
        let arguments = &self.arguments;
        let mut limits = Limits::default();
        if let Some(deadline) = arguments.deadline {
            limits.deadline = deadline;
        }
        if let Some(cpu) = arguments.cpu {
            limits.cpu = cpu;
        }
        if let Some(mib) = arguments.memory {
            limits.memory_bytes = mib.saturating_mul(1 << 20);
        }
        if let Some(mib) = arguments.response {
            limits.response_bytes = mib.saturating_mul(1 << 20);
            limits.http_body_bytes = limits.http_body_bytes.max(limits.response_bytes);
        }
        let trust_roots = match &arguments.trust_roots {
            Some(path) => TrustRoots::PublicAnd(files::read_text(path).map_err(usage)?),
            None => TrustRoots::Public,
        };
        let mut options = TenantOptions::default();
        options.name = "command-line".to_owned();
        options.limits = limits;
        options.trust_roots = trust_roots;
        options.allow_hosts = arguments.allow_host.clone();
        options.allow_private_networks = arguments.allow_private_networks;
        options.allow_networks = arguments.allow_network.clone();
        options.allow_redirected_hosts = !arguments.no_redirected_hosts;
        if !arguments.resolve.is_empty() {
            options.resolver = Some(Arc::new(HostAddresses::new(arguments.resolve.iter().cloned())));
        }
        Tenant::new(options).map_err(usage)
    }
}

fn default_cache() -> Option<PathBuf> {
    choose_base_strategy().ok().map(|base| base.cache_dir().join("connector-host").join("compiled"))
}

/// The newest component in the target directory of the current directory or of one above it, or in `CARGO_TARGET_DIR`.
fn built_component() -> Done<PathBuf> {
    let here = env::current_dir().map_err(|error| Exit::Failed(error.into()))?;
    let beside = here.ancestors().map(|directory| directory.join("target"));
    let elsewhere = env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    beside
        .chain(elsewhere)
        .map(|target| target.join(BUILT_COMPONENT))
        .filter_map(|path| Some((modified(&path)?, path)))
        .max()
        .map(|(_, path)| path)
        .ok_or_else(|| {
            usage(anyhow!(
                "no component: run `cargo xtask build` to make target/{BUILT_COMPONENT}, or add `--component FILE`"
            ))
        })
}

fn modified(path: &Path) -> Option<std::time::SystemTime> {
    path.metadata().ok()?.modified().ok()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::seconds;

    #[test]
    fn reads_seconds() {
        assert_eq!(seconds("2.5").unwrap(), Duration::from_millis(2500));
        for text in ["0", "-1", "x", "inf", "NaN"] {
            assert!(seconds(text).is_err(), "{text}");
        }
    }
}
