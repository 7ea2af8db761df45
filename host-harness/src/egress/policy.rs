//! The allow-list of one connection.
//!
//! The descriptor's rules are templates, and the guest's own `validate` says what to fill in. Neither is
//! trusted: a host counts only where it stems from what the *tenant* entered, so that a hostile guest cannot
//! send a tenant's secrets to a host of its own choice.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;

use serde::Serialize;
use serde_json::Value;
use zeroize::Zeroizing;

use crate::interface::metadata::{EgressProtocol, EgressRule};
use crate::tenant::HostRule;

/// A host and port that a connector asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Destination {
    /// How it is spoken to.
    pub protocol: EgressProtocol,
    /// Host name or IP address, lower case, without brackets.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Which layer of the host denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum EgressLayer {
    /// The connection leads to a host that it may not lead to.
    Policy,
    /// The connector asked for a host that the connection does not lead to.
    Request,
    /// The name stands for an address that is not public.
    Address,
}

impl EgressLayer {
    fn name(self) -> &'static str {
        match self {
            Self::Policy => "egress policy",
            Self::Request => "request check",
            Self::Address => "address check",
        }
    }
}

/// The host did not let the connector reach something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize)]
#[serde(rename_all = "camelCase")]
#[error("the host's {} does not let the connector reach {destination}: {reason}. {remedy}", layer.name())]
pub struct EgressDenied {
    /// Which layer denied.
    pub layer: EgressLayer,
    /// What was asked for.
    pub destination: String,
    /// Why it was denied, for a person.
    pub reason: String,
    /// What an operator who wants to permit it does.
    pub remedy: String,
}

impl EgressDenied {
    fn policy(destination: &Destination, reason: String) -> Self {
        Self {
            layer: EgressLayer::Policy,
            destination: destination.to_string(),
            reason,
            remedy: allow_host_remedy(destination),
        }
    }

    /// A request to a host that no rule yields for this connection.
    pub(crate) fn request(destination: &Destination) -> Self {
        Self {
            layer: EgressLayer::Request,
            destination: destination.to_string(),
            reason: "no egress rule of its descriptor yields this host and port for this connection".to_owned(),
            remedy: "The connector has to declare it; an operator cannot permit it.".to_owned(),
        }
    }

    /// A request that is not made over TLS.
    pub(crate) fn plain_text(destination: &Destination) -> Self {
        Self {
            layer: EgressLayer::Request,
            destination: destination.to_string(),
            reason: "only https is allowed".to_owned(),
            remedy: "The connector has to use https; an operator cannot permit it.".to_owned(),
        }
    }

    /// A name behind which there are no public addresses.
    pub(crate) fn address(destination: String, prohibited: &[IpAddr]) -> Self {
        let addresses = prohibited.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Self {
            layer: EgressLayer::Address,
            destination,
            reason: format!("it resolves to {addresses}, which is not public"),
            remedy: "To permit private networks to this tenant, add `--allow-private-networks` \
                     (library: `TenantOptions::allow_private_networks`)."
                .to_owned(),
        }
    }
}

fn allow_host_remedy(destination: &Destination) -> String {
    format!("To permit it to this tenant, add `--allow-host {destination}` (library: `TenantOptions::allow_hosts`).")
}

/// What one connection may reach. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowList {
    destinations: BTreeSet<Destination>,
}

impl AllowList {
    /// Fills in the rules and judges what comes out.
    ///
    /// `normalized` is the guest's reading of the connection, `own` every text that the tenant entered.
    ///
    /// # Errors
    ///
    /// The first host that the connection leads to and may not lead to.
    pub(crate) fn derive(
        rules: &[EgressRule],
        normalized: &str,
        own: &[Zeroizing<String>],
        allowed: &[HostRule],
    ) -> Result<Self, Box<EgressDenied>> {
        let fields: Value = serde_json::from_str(normalized).unwrap_or(Value::Null);
        let own: Vec<Zeroizing<String>> = own.iter().map(|text| Zeroizing::new(text.to_ascii_lowercase())).collect();
        let mut destinations = BTreeSet::new();
        for rule in rules {
            let Some(filled) = fill(&rule.host, &fields) else {
                continue;
            };
            let destination = |host, port| Destination { protocol: rule.protocol, host, port };
            let Some((host, port)) = split_authority(&filled) else {
                let shown: String = filled.chars().filter(|c| !c.is_control()).take(253).collect();
                let destination = destination(shown, rule.default_port);
                return Err(Box::new(EgressDenied {
                    remedy: "Correct the connection.".to_owned(),
                    ..EgressDenied::policy(&destination, "this is no host name".to_owned())
                }));
            };
            let destination = destination(host, port.unwrap_or(rule.default_port));
            judge(rule, &destination, &own, allowed)
                .map_err(|reason| Box::new(EgressDenied::policy(&destination, reason)))?;
            destinations.insert(destination);
        }
        Ok(Self { destinations })
    }

    pub(crate) fn allows(&self, destination: &Destination) -> bool {
        self.destinations.contains(destination)
    }
}

/// Ok, or why not.
fn judge(
    rule: &EgressRule,
    destination: &Destination,
    own: &[Zeroizing<String>],
    allowed: &[HostRule],
) -> Result<(), String> {
    let Destination { host, port, .. } = destination;
    let entered = own.iter().any(|text| mentions(text, host))
        || own.iter().any(|text| {
            !text.is_empty()
                && rule.suffixes.iter().any(|suffix| is_narrow(suffix) && *host == format!("{}{suffix}", text.as_str()))
        });
    if !entered {
        return Err("the host does not stem from the values of the connection".to_owned());
    }
    if *port != rule.default_port {
        let with_port = destination.to_string();
        if !own.iter().any(|text| mentions(text, &with_port)) {
            return Err("the port does not stem from the values of the connection".to_owned());
        }
    }
    if allowed.iter().any(|rule| rule.matches(host, *port)) {
        return Ok(());
    }
    let suffixed = rule
        .suffixes
        .iter()
        .any(|suffix| suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix.as_str()));
    if suffixed && host.parse::<IpAddr>().is_err() {
        return Ok(());
    }
    Err(if rule.suffixes.is_empty() {
        "the connector names no suffixes for it".to_owned()
    } else {
        format!("it ends in none of {}", rule.suffixes.join(", "))
    })
}

/// Whether `text` holds `name` as a whole name: neither a part of a longer one nor of another domain.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.match_indices(name).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let mut after = text[start + name.len()..].chars();
        // A dot that ends a sentence or an absolute name is no part of it.
        let joins = match after.next() {
            Some('.') => after.next().is_some_and(part_of_a_name),
            Some(c) => part_of_a_name(c),
            None => false,
        };
        !before.is_some_and(part_of_a_name) && !joins
    })
}

/// Whether a suffix names at least a domain below a top-level one: `.azure-devices.net`, not `.net`.
fn is_narrow(suffix: &str) -> bool {
    suffix.starts_with('.') && suffix[1..].contains('.')
}

/// Fills `{field}` in. None where a field is missing or empty: such a rule opens nothing.
fn fill(template: &str, fields: &Value) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (field, after) = after.split_once('}')?;
        filled.push_str(before);
        match fields.get(field)? {
            Value::String(text) if !text.is_empty() => filled.push_str(text),
            Value::Number(number) => filled.push_str(&number.to_string()),
            _ => return None,
        }
        rest = after;
    }
    filled.push_str(rest);
    (!filled.is_empty()).then_some(filled)
}

/// Splits `host`, `host:port`, `[ipv6]` or `[ipv6]:port`; the host comes out lower case, without brackets and
/// without a trailing dot. None where it is none of these.
pub(crate) fn split_authority(text: &str) -> Option<(String, Option<u16>)> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, port) = rest.split_once(']')?;
        let address: std::net::Ipv6Addr = address.parse().ok()?;
        return Some((address.to_string(), parse_port(port)?));
    }
    let (host, port) = match text.find(':') {
        Some(colon) => text.split_at(colon),
        None => (text, ""),
    };
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let label = |label: &str| {
        (1..=63).contains(&label.len()) && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    (host.len() <= 253 && host.split('.').all(label)).then_some(())?;
    Some((host, parse_port(port)?))
}

/// Empty: no port. `:1` to `:65535`: that port. Otherwise none.
fn parse_port(text: &str) -> Option<Option<u16>> {
    if text.is_empty() {
        return Some(None);
    }
    let digits = text.strip_prefix(':')?;
    let port = digits.parse::<u16>().ok().filter(|port| *port != 0)?;
    digits.bytes().all(|b| b.is_ascii_digit()).then_some(Some(port))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule() -> EgressRule {
        EgressRule {
            protocol: EgressProtocol::Https,
            host: "{iotHubName}".to_owned(),
            default_port: 443,
            suffixes: vec![".azure-devices.net".to_owned()],
            purpose: "IoT Hub".to_owned(),
        }
    }

    fn derive(normalized: &str, own: &[&str], allowed: &[&str]) -> Result<Vec<String>, EgressDenied> {
        let own: Vec<_> = own.iter().map(|text| Zeroizing::new((*text).to_owned())).collect();
        let allowed: Vec<HostRule> = allowed.iter().map(|text| text.parse().unwrap()).collect();
        let normalized = format!(r#"{{"iotHubName":"{normalized}"}}"#);
        AllowList::derive(&[rule()], &normalized, &own, &allowed)
            .map(|list| list.destinations.iter().map(ToString::to_string).collect())
            .map_err(|denied| *denied)
    }

    #[test]
    fn accepts_what_the_tenant_entered() {
        let hub = vec!["hub.azure-devices.net:443".to_owned()];
        assert_eq!(derive("hub.azure-devices.net", &["hub.azure-devices.net"], &[]).unwrap(), hub);
        assert_eq!(derive("hub.azure-devices.net", &["HUB.Azure-Devices.net."], &[]).unwrap(), hub);
        assert_eq!(
            derive("hub.azure-devices.net", &["HostName=hub.azure-devices.net;SharedAccessKey=x"], &[]).unwrap(),
            hub
        );
        // A short name, completed by the rule's own suffix.
        assert_eq!(derive("hub.azure-devices.net", &["hub"], &[]).unwrap(), hub);
        // An empty field opens nothing.
        assert!(derive("", &["hub"], &[]).unwrap().is_empty());
    }

    #[test]
    fn refuses_a_host_of_the_guests_choice() {
        for own in ["hub.azure-devices.net", "myevil", "evil.azure-devices.net.example.com", "x-evil.azure-devices.net"]
        {
            let denied = derive("evil.azure-devices.net", &[own], &[]).unwrap_err();
            assert_eq!(denied.layer, EgressLayer::Policy, "{own}");
            assert!(denied.reason.contains("stem"), "{denied}");
        }
        // Not even where the operator permits the host in general.
        assert!(derive("localhost", &["hub"], &["localhost"]).is_err());
    }

    #[test]
    fn a_foreign_host_needs_the_operators_permission_and_says_so() {
        let denied = derive("localhost:8443", &["localhost:8443"], &[]).unwrap_err();
        assert!(denied.to_string().contains("--allow-host localhost:8443"), "{denied}");
        assert_eq!(derive("localhost:8443", &["localhost:8443"], &["localhost:8443"]).unwrap(), ["localhost:8443"]);
        assert_eq!(derive("localhost:8443", &["https://localhost:8443/"], &["localhost"]).unwrap(), ["localhost:8443"]);
        assert!(derive("localhost:8443", &["localhost:8443"], &["localhost:1"]).is_err());
        // A port of the guest's choice.
        assert!(derive("localhost:22", &["localhost:8443"], &["localhost"]).is_err());
        assert!(derive("hub.azure-devices.net:22", &["hub.azure-devices.net"], &[]).is_err());
    }

    #[test]
    fn refuses_what_is_no_host_name() {
        for host in
            ["hub.azure-devices.net/x", "user@hub.azure-devices.net", "hub..net", "hub azure", "hub:0", "hub:443:1"]
        {
            assert!(derive(host, &[host], &[]).is_err(), "{host}");
        }
        assert!(!is_narrow(".net"));
    }

    #[test]
    fn splits_authorities() {
        assert_eq!(split_authority("Host.:1"), Some(("host".to_owned(), Some(1))));
        assert_eq!(split_authority("[::1]:8443"), Some(("::1".to_owned(), Some(8443))));
        assert_eq!(split_authority("host:+1"), None);
        assert_eq!(split_authority(""), None);
    }
}
