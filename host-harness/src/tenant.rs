//! Who calls: limits, permissions and connections of one tenant, shared with no other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use ip_network::IpNetwork;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::egress::{Addresses, Pool, Resolve, Resolver, VettedConnector};
use crate::error::{Scope, TenantError};
use crate::fair::{Rate, TenantId};
use crate::lifecycle::{DrainReport, Lifecycle};
use crate::limits::{ByteBudget, Limits, permits};
use crate::telemetry::TenantMeter;

/// What a tenant may do. Start from [`TenantOptions::default`] and change fields.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TenantOptions {
    /// For logs, spans and measurements.
    pub name: String,
    /// What one call, and all of its calls together, may use up.
    pub limits: Limits,
    /// Whose certificates are accepted.
    pub trust_roots: TrustRoots,
    /// Hosts that connections may lead to beside those under the connector's own suffixes.
    pub allow_hosts: Vec<HostRule>,
    /// Whether loopback, private, link-local and other addresses that are not public may be reached. For
    /// emulators; where it is about certain networks, permit those alone: [`Self::allow_networks`].
    pub allow_private_networks: bool,
    /// Networks whose addresses may be reached beside public ones, such as `10.1.0.0/16`. What is in none of them stays
    /// refused: loopback, link-local, metadata.
    pub allow_networks: Vec<IpNetwork>,
    /// Whether a connector may reach hosts that its service names at run time: those that an egress rule with the
    /// host `*` covers. Default: true.
    pub allow_redirected_hosts: bool,
    /// Who finds the addresses behind names; none: the operating system.
    pub resolver: Option<Arc<dyn Resolve>>,
}

impl Default for TenantOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            limits: Limits::default(),
            trust_roots: TrustRoots::default(),
            allow_hosts: Vec::new(),
            allow_private_networks: false,
            allow_networks: Vec::new(),
            allow_redirected_hosts: true,
            resolver: None,
        }
    }
}

/// Whose certificates are accepted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum TrustRoots {
    /// The certification authorities of the Mozilla programme.
    #[default]
    Public,
    /// Only these, in PEM.
    Only(String),
    /// The public ones and these, in PEM.
    PublicAnd(String),
}

/// A host that an operator permits by name: `host`, `host:port` or `*.domain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostRule {
    host: String,
    port: Option<u16>,
}

impl HostRule {
    /// Whether the rule covers this host (lower case) and port.
    #[must_use]
    pub fn matches(&self, host: &str, port: u16) -> bool {
        self.names(host) && self.port.is_none_or(|own| own == port)
    }

    /// The port that the rule names.
    pub(crate) fn port(&self) -> Option<u16> {
        self.port
    }

    /// Whether the rule covers this host on some port.
    pub(crate) fn names(&self, host: &str) -> bool {
        match self.host.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.host,
        }
    }
}

/// A text is no [`HostRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no host; write HOST, HOST:PORT or *.DOMAIN")]
pub struct HostRuleError(String);

impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || HostRuleError(text.to_owned());
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = crate::egress::split_authority(rest).ok_or_else(malformed)?;
        let host = if wildcard { format!("*.{host}") } else { host };
        Ok(Self { host, port })
    }
}

impl fmt::Display for HostRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => write!(f, "{}:{port}", self.host),
            None => f.write_str(&self.host),
        }
    }
}

/// One tenant. Cheap to clone; clones share connections, TLS sessions and quotas.
#[derive(Clone)]
pub struct Tenant {
    inner: Arc<TenantInner>,
    deadline: Duration,
    cancellation: Option<CancellationToken>,
}

pub(crate) struct TenantInner {
    pub(crate) options: TenantOptions,
    pub(crate) pool: Arc<Pool>,
    pub(crate) resolver: Resolver,
    pub(crate) call_permits: Semaphore,
    pub(crate) http_permits: Arc<Semaphore>,
    pub(crate) requests: Rate,
    pub(crate) connects: Arc<Rate>,
    pub(crate) warm_permits: Arc<Semaphore>,
    pub(crate) buffers: ByteBudget,
    pub(crate) lifecycle: Lifecycle,
    pub(crate) meter: Arc<TenantMeter>,
}

impl Tenant {
    /// Sets a tenant up.
    ///
    /// # Errors
    ///
    /// [`TenantError`] where its trust roots cannot be read.
    pub fn new(options: TenantOptions) -> Result<Self, TenantError> {
        let deadline = options.limits.deadline;
        let limits = &options.limits;
        let meter = Arc::new(TenantMeter::new(&options.name));
        let resolver = Resolver::new(options.resolver.clone(), Addresses::of(&options), limits);
        let connects = Arc::new(Rate::new(limits.connections_per_second));
        let connector = VettedConnector::new(&options, resolver.clone(), connects.clone(), meter.clone())?;
        let pool = Pool::new(connector, limits);
        let call_permits = Semaphore::new(permits(limits.concurrent_calls));
        let requests = Rate::new(limits.http_requests_per_second);
        let http_permits = Arc::new(Semaphore::new(permits(options.limits.http_concurrency)));
        let warm_permits = Arc::new(Semaphore::new(permits(options.limits.warm_instances)));
        let buffers = ByteBudget::new(options.limits.tenant_buffer_bytes);
        let inner = TenantInner {
            pool,
            resolver,
            call_permits,
            http_permits,
            requests,
            connects,
            warm_permits,
            buffers,
            lifecycle: Lifecycle::new(Scope::Tenant),
            meter,
            options,
        };
        Ok(Self { inner: Arc::new(inner), deadline, cancellation: None })
    }

    /// The same tenant with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { deadline, ..self.clone() }
    }

    /// The same tenant; its calls end with [`CallError::Cancelled`](crate::CallError::Cancelled) once the token is
    /// cancelled. Dropping a call's future ends it as well, without an answer.
    #[must_use]
    pub fn with_cancellation(&self, token: CancellationToken) -> Self {
        Self { cancellation: Some(token), ..self.clone() }
    }

    /// Ends all running calls with [`CallError::Cancelled`](crate::CallError::Cancelled), and every later one, and
    /// closes the connections of the HTTP pool: idle ones at once, others a second later at the latest.
    pub fn close(&self) {
        self.inner.lifecycle.close();
        self.inner.pool.close();
    }

    /// Closes the connections of the HTTP pool that no exchange uses; the next exchanges connect anew. They are closed
    /// after [`Limits::http_idle`] by themselves.
    pub fn close_idle_connections(&self) {
        self.inner.pool.close_idle();
    }

    /// Ends the tenant in good order: takes no more calls ([`CallError::Draining`](crate::CallError::Draining)),
    /// discards its warm instances, waits for the calls that run, and cancels those that run still after `within`; then
    /// closes the connections of the HTTP pool as [`Self::close`] does.
    ///
    /// Where the future is dropped, calls stay refused and nothing is cancelled any more: drain again, with whatever time
    /// there is.
    pub async fn drain(&self, within: Duration) -> DrainReport {
        let report = self.inner.lifecycle.drain(within).await;
        self.inner.pool.close();
        report
    }

    /// For logs, spans and measurements.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.options.name
    }

    /// From the beginning of a call to its end.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        self.deadline
    }

    pub(crate) fn inner(&self) -> &Arc<TenantInner> {
        &self.inner
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.inner.options.limits
    }

    /// The same for all clones, and for no other tenant.
    pub(crate) fn id(&self) -> TenantId {
        Arc::as_ptr(&self.inner).addr()
    }

    /// Resolves once the calls of this very clone are to end.
    pub(crate) async fn cancelled(&self) {
        match &self.cancellation {
            Some(token) => token.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Tenant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tenant")
            .field("options", &self.inner.options)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::HostRule;

    fn rule(text: &str) -> HostRule {
        text.parse().unwrap()
    }

    #[test]
    fn a_rule_covers_what_it_names() {
        assert!(rule("localhost").matches("localhost", 1));
        assert!(rule("LocalHost:8443").matches("localhost", 8443));
        assert!(!rule("localhost:8443").matches("localhost", 8444));
        assert!(!rule("localhost").matches("notlocalhost", 1));
        assert!(rule("*.example.com").matches("a.example.com", 443));
        assert!(!rule("*.example.com").matches("example.com", 443));
        assert!(!rule("*.example.com").matches("aexample.com", 443));
        assert!(rule("[::1]:8443").matches("::1", 8443));
    }

    #[test]
    fn refuses_what_is_no_host() {
        for text in ["", "a b", "https://localhost", "localhost:99999", "localhost:", "*", "user@host"] {
            assert!(text.parse::<HostRule>().is_err(), "{text}");
        }
    }
}
