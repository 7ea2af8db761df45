//! Who calls: limits, permissions and connections of one tenant, shared with no other.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, watch};

use crate::egress::{HttpClient, Resolver};
use crate::error::TenantError;
use crate::limits::{ByteBudget, Limits};

/// What a tenant may do.
#[derive(Clone, Debug)]
pub struct TenantOptions {
    /// For logs.
    pub name: String,
    /// What one call, and all of its calls together, may use up.
    pub limits: Limits,
    /// Whose certificates are accepted.
    pub trust_roots: TrustRoots,
    /// Hosts that connections may lead to beside those under the connector's own suffixes.
    pub allow_hosts: Vec<HostRule>,
    /// Whether loopback, private, link-local and other addresses that are not public may be reached. For
    /// emulators and gateways on the operator's own network.
    pub allow_private_networks: bool,
    /// Whether a connector may reach hosts that its service names at run time: those that an egress rule with the
    /// host `*` covers. Default: true.
    pub allow_redirected_hosts: bool,
}

impl Default for TenantOptions {
    fn default() -> Self {
        Self {
            name: String::new(),
            limits: Limits::default(),
            trust_roots: TrustRoots::default(),
            allow_hosts: Vec::new(),
            allow_private_networks: false,
            allow_redirected_hosts: true,
        }
    }
}

/// Whose certificates are accepted.
#[derive(Clone, Debug, Default)]
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
}

pub(crate) struct TenantInner {
    pub(crate) options: TenantOptions,
    pub(crate) client: HttpClient,
    pub(crate) resolver: Resolver,
    pub(crate) http_permits: Arc<Semaphore>,
    pub(crate) warm_permits: Arc<Semaphore>,
    pub(crate) buffers: ByteBudget,
    closed: watch::Sender<bool>,
}

impl Tenant {
    /// Sets a tenant up.
    ///
    /// # Errors
    ///
    /// [`TenantError`] where its trust roots cannot be read.
    pub fn new(options: TenantOptions) -> Result<Self, TenantError> {
        let resolver = Resolver::new(options.allow_private_networks);
        Self::with_resolver(options, resolver)
    }

    pub(crate) fn with_resolver(options: TenantOptions, resolver: Resolver) -> Result<Self, TenantError> {
        let deadline = options.limits.deadline;
        let client = HttpClient::new(&options, resolver.clone())?;
        let http_permits = Arc::new(Semaphore::new(options.limits.http_concurrency));
        let warm_permits = Arc::new(Semaphore::new(options.limits.warm_instances));
        let buffers = ByteBudget::new(options.limits.tenant_buffer_bytes);
        let (closed, _) = watch::channel(false);
        let inner = TenantInner { options, client, resolver, http_permits, warm_permits, buffers, closed };
        Ok(Self { inner: Arc::new(inner), deadline })
    }

    /// The same tenant with another deadline for its calls.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> Self {
        Self { inner: self.inner.clone(), deadline }
    }

    /// Ends all running calls with [`CallError::Cancelled`](crate::CallError::Cancelled), and every later one.
    pub fn close(&self) {
        self.inner.closed.send_replace(true);
    }

    /// For logs.
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

    /// Resolves once the tenant is closed.
    pub(crate) async fn closed(&self) {
        let mut closed = self.inner.closed.subscribe();
        // The sender lives as long as `self`, so that this does not fail.
        let _ = closed.wait_for(|closed| *closed).await;
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
