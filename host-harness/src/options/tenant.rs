//! The options that an operator sets for a tenant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ip_network::IpNetwork;

use super::authority::split_authority;
use super::resolve::Resolve;
use crate::limits::Limits;
use crate::setters::setters;

/// The options of a tenant. Start from [`TenantOptions::default`] and change individual fields.
///
/// ```
/// use connector_host::{HostAddresses, Limits, Tenant, TenantOptions, TrustRoots};
///
/// let options = TenantOptions::default()
///     .with_name("contoso")
///     .with_limits(Limits::default().with_concurrent_calls(16))
///     .with_trust_roots(TrustRoots::Public)
///     .with_allow_hosts(["gateway.contoso.example:8443".parse()?])
///     .with_allow_private_networks(false)
///     .with_allow_networks(["10.1.0.0/16".parse()?])
///     .with_allow_redirected_hosts(false)
///     .with_resolver(HostAddresses::new(["gateway.contoso.example=10.1.0.4".parse()?]));
/// let tenant = Tenant::new(options)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TenantOptions {
    /// The tenant's name in logs, spans and metrics.
    /// Default: empty.
    pub name: String,
    /// The limits of each call, and of all calls of the tenant together.
    /// Default: those of [`Limits::default`].
    pub limits: Limits,
    /// The certification authorities whose certificates are accepted.
    /// Default: the public ones.
    pub trust_roots: TrustRoots,
    /// The hosts that accounts may connect to in addition to those below the connector's own suffixes.
    /// Default: none.
    pub allow_hosts: Vec<HostRule>,
    /// Whether connections to loopback, private, link-local and other non-public addresses are allowed. Meant for
    /// emulators; to allow certain networks only, use [`Self::allow_networks`].
    /// Default: false.
    pub allow_private_networks: bool,
    /// The networks whose addresses are allowed in addition to public addresses, such as `10.1.0.0/16`. All other
    /// non-public addresses (loopback, link-local, metadata services) stay refused.
    /// Default: none.
    pub allow_networks: Vec<IpNetwork>,
    /// Whether a connector may connect to hosts that its service names at run time, if an egress rule with the host `*`
    /// covers them. Default: true.
    pub allow_redirected_hosts: bool,
    /// The resolver for host names; none: the operating system's resolver.
    /// Default: none.
    pub resolver: Option<Arc<dyn Resolve>>,
}

setters! {
    TenantOptions {
        into with_name (name: String);
        value with_limits (limits: Limits);
        value with_trust_roots (trust_roots: TrustRoots);
        into with_allow_hosts (allow_hosts: Vec<HostRule>);
        value with_allow_private_networks (allow_private_networks: bool);
        into with_allow_networks (allow_networks: Vec<IpNetwork>);
        value with_allow_redirected_hosts (allow_redirected_hosts: bool);
    }
}

impl TenantOptions {
    /// Sets [`resolver`](Self::resolver).
    #[must_use]
    pub fn with_resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }
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

/// The certification authorities whose certificates are accepted.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum TrustRoots {
    /// The certification authorities of the Mozilla programme.
    #[default]
    Public,
    /// Only these certificates, in PEM.
    Only(String),
    /// The public ones and these certificates, in PEM.
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

    /// Whether the rule covers this host, on any port.
    pub(crate) fn names(&self, host: &str) -> bool {
        match self.host.strip_prefix('*') {
            Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
            None => host == self.host,
        }
    }
}

/// The error for a text that is not a [`HostRule`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a host; write HOST, HOST:PORT or *.DOMAIN")]
pub struct HostRuleError(String);

impl FromStr for HostRule {
    type Err = HostRuleError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let malformed = || HostRuleError(text.to_owned());
        let (wildcard, rest) = match text.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let (host, port) = split_authority(rest).ok_or_else(malformed)?;
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
