//! What an operator sets for a tenant.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use ip_network::IpNetwork;

use super::authority::split_authority;
use super::resolve::Resolve;
use crate::limits::Limits;
use crate::setters::setters;

/// What a tenant may do. Start from [`TenantOptions::default`] and change what differs.
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
    /// For logs, spans and measurements.
    /// Default: empty.
    pub name: String,
    /// What one call, and all of its calls together, may use up.
    /// Default: those of [`Limits::default`].
    pub limits: Limits,
    /// Whose certificates are accepted.
    /// Default: the public ones.
    pub trust_roots: TrustRoots,
    /// Hosts that connections may lead to beside those under the connector's own suffixes.
    /// Default: none.
    pub allow_hosts: Vec<HostRule>,
    /// Whether loopback, private, link-local and other addresses that are not public may be reached. For
    /// emulators; where it is about certain networks, permit those alone: [`Self::allow_networks`].
    /// Default: false.
    pub allow_private_networks: bool,
    /// Networks whose addresses may be reached beside public ones, such as `10.1.0.0/16`. What is in none of them stays
    /// refused: loopback, link-local, metadata.
    /// Default: none.
    pub allow_networks: Vec<IpNetwork>,
    /// Whether a connector may reach hosts that its service names at run time: those that an egress rule with the
    /// host `*` covers. Default: true.
    pub allow_redirected_hosts: bool,
    /// Who finds the addresses behind names; none: the operating system.
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
