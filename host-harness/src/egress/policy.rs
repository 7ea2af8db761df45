//! The allow list of one connection.
//!
//! The descriptor's rules are templates, and the guest's own `validate` returns the values to fill in. Neither is
//! trusted: a host is accepted only if it comes from the *tenant's* input, so that a hostile guest cannot send a
//! tenant's secrets to a host of its own choice.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::domains::{ANY_HOST, is_in_other_hands};
use super::shown::{printable, shown};
use crate::connection::{Entered, EnteredText, Part};
use crate::error::{EgressDenied, EgressLayer};
use crate::interface::metadata::{EgressProtocol, EgressRule};
use crate::options::{HostRule, LONGEST_NAME, TenantOptions, split_authority};

/// A host and port that a connector asks for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub struct Destination {
    /// The protocol.
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

impl EgressDenied {
    fn policy(destination: &Destination, reason: String) -> Self {
        Self {
            layer: EgressLayer::Policy,
            destination: destination.to_string(),
            // The reason may quote suffixes, which the connector chose.
            reason: printable(reason.chars()),
            remedy: allow_host_remedy(destination),
        }
    }

    /// The denial of a request to a host that no rule yields for this connection.
    pub(crate) fn request(destination: &Destination) -> Self {
        Self {
            layer: EgressLayer::Request,
            destination: destination.to_string(),
            reason: "no egress rule of its descriptor yields this host and port for this connection".to_owned(),
            remedy: "The connector has to declare the host; an operator cannot permit it.".to_owned(),
        }
    }

    /// The denial of a host that a rule for run-time hosts would permit, if the operator permitted such rules.
    fn redirected(destination: &Destination) -> Self {
        Self {
            layer: EgressLayer::Policy,
            destination: destination.to_string(),
            reason: "the service sent the connector there at run time, which this tenant does not permit".to_owned(),
            remedy: "To permit it to this tenant, leave out `--no-redirected-hosts` \
                     (library: `TenantOptions::allow_redirected_hosts`)."
                .to_owned(),
        }
    }

    /// The denial of a name look-up. Look-ups are checked because a query to a name server also carries data out.
    fn name(host: &str) -> Self {
        Self {
            layer: EgressLayer::Request,
            destination: shown(host),
            reason: "no egress rule of its descriptor opens this host to sockets for this connection".to_owned(),
            remedy: "The connector has to declare the host; an operator cannot permit it.".to_owned(),
        }
    }

    /// The denial of an address to which no name resolved that this call looked up.
    pub(crate) fn unresolved(address: SocketAddr) -> Self {
        Self {
            layer: EgressLayer::Request,
            destination: address.to_string(),
            reason: "no permitted name that this call looked up has this address".to_owned(),
            remedy: "The connector has to look the name up; an operator cannot permit it.".to_owned(),
        }
    }

    /// The denial of an operation that sockets do not offer, such as listening or UDP.
    pub(crate) fn socket(wanted: &str) -> Self {
        Self {
            layer: EgressLayer::Socket,
            destination: wanted.to_owned(),
            reason: "a socket can only connect over TCP to hosts that egress rules of protocol `tls` yield".to_owned(),
            remedy: "An operator cannot permit it.".to_owned(),
        }
    }

    /// The denial of a request that does not use TLS.
    pub(crate) fn plain_text(destination: &Destination) -> Self {
        Self {
            layer: EgressLayer::Request,
            destination: destination.to_string(),
            reason: "only https is allowed".to_owned(),
            remedy: "The connector has to use https; an operator cannot permit it.".to_owned(),
        }
    }

    /// The denial of a tunnel (`CONNECT`).
    pub(crate) fn tunnel(destination: &Destination) -> Self {
        Self {
            layer: EgressLayer::Request,
            destination: destination.to_string(),
            reason: "a tunnel (CONNECT) would lead to other hosts".to_owned(),
            remedy: "The connector must not use CONNECT; an operator cannot permit it.".to_owned(),
        }
    }

    /// The denial of a name that resolves only to addresses that are not permitted.
    pub(crate) fn address(destination: String, prohibited: &[IpAddr]) -> Self {
        let addresses = prohibited.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        Self {
            layer: EgressLayer::Address,
            destination,
            reason: format!("it resolves to {addresses}, which is not public"),
            remedy:
                "To permit certain networks to this tenant, add `--allow-network`; to permit all that are private, \
                     `--allow-private-networks` (library: `TenantOptions::allow_networks` and \
                     `allow_private_networks`)."
                    .to_owned(),
        }
    }
}

fn allow_host_remedy(destination: &Destination) -> String {
    format!("To permit it to this tenant, add `--allow-host {destination}` (library: `TenantOptions::allow_hosts`).")
}

/// The hosts that one connection may reach. Empty by default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct AllowList {
    destinations: BTreeSet<Destination>,
    /// Rules for hosts that the service names at run time.
    redirects: Vec<Redirects>,
    /// Whether the operator permits `redirects` at all.
    redirects_permitted: bool,
}

/// A rule for any host below certain domains on one port, and for hosts that the operator permits by name.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Redirects {
    protocol: EgressProtocol,
    port: u16,
    suffixes: Vec<String>,
    operator: Vec<HostRule>,
}

impl Redirects {
    fn covers(&self, destination: &Destination) -> bool {
        let Destination { protocol, host, port } = destination;
        // A host that the operator names without a port is permitted only on the rule's port.
        let permitted = |rule: &HostRule| rule.names(host) && rule.port().unwrap_or(self.port) == *port;
        *protocol == self.protocol && (*port == self.port && self.is_below(host) || self.operator.iter().any(permitted))
    }

    /// Whether the rule covers the host on at least one port.
    fn names(&self, protocol: EgressProtocol, host: &str) -> bool {
        protocol == self.protocol && (self.is_below(host) || self.operator.iter().any(|rule| rule.names(host)))
    }

    /// Whether a host is below a suffix of the rule. Wide suffixes are ignored, because they would permit a whole
    /// top-level domain. Names below a public suffix inside the domain are excluded, because anybody can register them.
    /// An address is below no domain.
    fn is_below(&self, host: &str) -> bool {
        let covers = |suffix: &String| is_narrow(suffix) && is_below(host, suffix) && !is_in_other_hands(host, suffix);
        host.parse::<IpAddr>().is_err() && self.suffixes.iter().any(covers)
    }
}

impl AllowList {
    /// Fills in the rules and checks the resulting hosts.
    ///
    /// `normalized` is the connection as the guest read it, `entered` everything that the tenant entered.
    ///
    /// # Errors
    ///
    /// The denial of the first host that the connection leads to and that is not permitted.
    pub(crate) fn derive(
        rules: &[EgressRule],
        normalized: &str,
        entered: &Entered,
        options: &TenantOptions,
    ) -> Result<Self, Box<EgressDenied>> {
        // Fields stay raw, so that only fields that a template names are decoded.
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(normalized).unwrap_or_default();
        // Text that is copied from a terminal may contain line breaks.
        let one_line = |text: &str| text.split(['\n', '\r']).map(str::trim).collect::<String>();
        let texts: Vec<Zeroizing<String>> =
            entered.texts.iter().map(|it| Zeroizing::new(one_line(&it.text.to_ascii_lowercase()))).collect();
        let mut list = Self { redirects_permitted: options.allow_redirected_hosts, ..Self::default() };
        for rule in rules {
            // Only the rule itself can permit any host, never the value of a field.
            if rule.host == ANY_HOST {
                list.redirects.push(Redirects {
                    protocol: rule.protocol,
                    port: rule.default_port,
                    suffixes: rule.suffixes.clone(),
                    operator: options.allow_hosts.clone(),
                });
                continue;
            }
            let Some(filled) = fill(&rule.host, &fields) else {
                continue;
            };
            let destination = |host, port| Destination { protocol: rule.protocol, host, port };
            let Some((host, port)) = split_authority(&filled) else {
                let destination = destination(shown(&filled), rule.default_port);
                return Err(Box::new(EgressDenied {
                    remedy: "Correct the connection.".to_owned(),
                    ..EgressDenied::policy(&destination, "this is no host name".to_owned())
                }));
            };
            let destination = destination(host, port.unwrap_or(rule.default_port));
            let named: BTreeSet<&str> = template_fields(&rule.host).collect();
            let whole = entered.texts.iter().zip(&texts).filter(|(text, _)| may_lack_its_domain(text, &named));
            let whole = whole.map(|(_, text)| text.as_str()).collect();
            let own = Own { texts: &texts, whole, ports: &entered.ports };
            judge(rule, &destination, &own, &options.allow_hosts)
                .map_err(|reason| Box::new(EgressDenied::policy(&destination, reason)))?;
            list.destinations.insert(destination);
        }
        Ok(list)
    }

    /// Checks whether the connector may connect to a host and port.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn check(&self, destination: &Destination) -> Result<(), EgressDenied> {
        if self.destinations.contains(destination) {
            return Ok(());
        }
        match self.redirects.iter().any(|rule| rule.covers(destination)) {
            true if self.redirects_permitted => Ok(()),
            true => Err(EgressDenied::redirected(destination)),
            false => Err(self.redirects_denied(destination).unwrap_or_else(|| EgressDenied::request(destination))),
        }
    }

    /// Checks whether a socket may connect to at least one port of this host.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn check_name(&self, host: &str) -> Result<(), EgressDenied> {
        let protocol = EgressProtocol::Tls;
        if self.destinations.iter().any(|it| it.protocol == protocol && it.host == host) {
            return Ok(());
        }
        let destination = |rule: &Redirects| Destination { protocol, host: shown(host), port: rule.port };
        match self.redirects.iter().find(|rule| rule.names(protocol, host)) {
            Some(_) if self.redirects_permitted => Ok(()),
            Some(rule) => Err(EgressDenied::redirected(&destination(rule))),
            None => {
                let rule = self.redirects.iter().find(|rule| rule.protocol == protocol);
                let denied = rule.and_then(|rule| self.redirects_denied(&destination(rule)));
                Err(denied.unwrap_or_else(|| EgressDenied::name(host)))
            }
        }
    }

    /// Why the rules for run-time hosts do not cover a destination. None if there are no such rules for its protocol.
    fn redirects_denied(&self, destination: &Destination) -> Option<EgressDenied> {
        let all =
            self.redirects.iter().filter(|rule| self.redirects_permitted && rule.protocol == destination.protocol);
        let rules: BTreeSet<_> = all
            .map(|rule| {
                let suffixes = rule.suffixes.join(", ");
                format!("port {} and below {}", rule.port, if suffixes.is_empty() { "no domain" } else { &suffixes })
            })
            .collect();
        let rules = rules.into_iter().collect::<Vec<_>>().join(", or ");
        let reason = format!("hosts that the service names at run time are reached on {rules} alone");
        (!rules.is_empty()).then(|| EgressDenied::policy(destination, reason))
    }

    /// Whether any rule permits sockets.
    pub(crate) fn opens_sockets(&self) -> bool {
        self.destinations.iter().any(|it| it.protocol == EgressProtocol::Tls)
            || self.redirects_permitted && self.redirects.iter().any(|rule| rule.protocol == EgressProtocol::Tls)
    }
}

/// The tenant's input, in lower case.
struct Own<'a> {
    texts: &'a [Zeroizing<String>],
    /// The texts that may be a host without its domain.
    whole: BTreeSet<&'a str>,
    /// Ports that were entered in fields of their own.
    ports: &'a BTreeSet<u16>,
}

impl Own<'_> {
    fn mention(&self, name: &str) -> bool {
        self.texts.iter().any(|text| mentions(text, name))
    }

    /// Whether one of the texts is this host without the suffix.
    fn complete(&self, host: &str, suffix: &str) -> bool {
        is_narrow(suffix) && host.strip_suffix(suffix).is_some_and(|stem| !stem.is_empty() && self.whole.contains(stem))
    }

    /// Whether a text mentions the host, or is the host without one of the suffixes.
    fn has(&self, host: &str, suffixes: &[String]) -> bool {
        self.mention(host) || suffixes.iter().any(|suffix| self.complete(host, suffix))
    }
}

/// Whether a suffix may complete a text to a host: the manifest marks the field as a host, or the rule's template names
/// the field. A key, or the name of a policy, must not become a host.
fn may_lack_its_domain(text: &EnteredText, named: &BTreeSet<&str>) -> bool {
    match text.part {
        Part::Host => true,
        Part::Other => named.contains(&*text.field),
        Part::Secret => false,
    }
}

/// The names of the fields in a template.
fn template_fields(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

/// The same name with the rule's other suffixes in the same domain. For example, `a.service.example.net` and
/// `a.device.example.net` belong to one service if the rule has both suffixes, and either `.example.net` or one suffix
/// that is below the other.
fn siblings(host: &str, suffixes: &[String]) -> Vec<String> {
    let domain = |suffix: &String| {
        let above = suffixes.iter().filter(|other| is_narrow(other) && suffix.ends_with(other.as_str()));
        above.min_by_key(|other| other.len())
    };
    let mut found = Vec::new();
    for own in suffixes.iter().filter(|suffix| is_below(host, suffix)) {
        let Some(name) = host.strip_suffix(own.as_str()).filter(|name| !name.contains('.')) else { continue };
        let others =
            suffixes.iter().filter(|other| *other != own && domain(other).is_some() && domain(other) == domain(own));
        found.extend(others.map(|other| format!("{name}{other}")));
    }
    found
}

/// Checks one destination. The error says why it is not permitted.
fn judge(rule: &EgressRule, destination: &Destination, own: &Own<'_>, allowed: &[HostRule]) -> Result<(), String> {
    let Destination { host, port, .. } = destination;
    let same = siblings(host, &rule.suffixes);
    if !own.has(host, &rule.suffixes) && !same.iter().any(|sibling| own.has(sibling, &rule.suffixes)) {
        return Err("the host does not stem from the values of the connection".to_owned());
    }
    if *port != rule.default_port && !own.ports.contains(port) {
        let with_port = destination.to_string();
        if !own.mention(&with_port) && !same.iter().any(|sibling| own.mention(&format!("{sibling}:{port}"))) {
            return Err("the port does not stem from the values of the connection".to_owned());
        }
    }
    if allowed.iter().any(|rule| rule.matches(host, *port)) {
        return Ok(());
    }
    let suffixed = rule.suffixes.iter().any(|suffix| is_below(host, suffix));
    if suffixed && host.parse::<IpAddr>().is_err() {
        return Ok(());
    }
    Err(if rule.suffixes.is_empty() {
        "the connector's egress rule names no suffixes for this host".to_owned()
    } else {
        format!("the host ends in none of {}", rule.suffixes.join(", "))
    })
}

/// Whether `text` contains `name` as a whole name, not as a part of a longer name or of another domain.
fn mentions(text: &str, name: &str) -> bool {
    let part_of_a_name = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    text.match_indices(name).any(|(start, _)| {
        let before = text[..start].chars().next_back();
        let mut after = text[start + name.len()..].chars();
        // A dot at the end of a sentence or of an absolute name does not belong to the name.
        let joins = match after.next() {
            Some('.') => after.next().is_some_and(part_of_a_name),
            Some(c) => part_of_a_name(c),
            None => false,
        };
        !before.is_some_and(part_of_a_name) && !joins
    })
}

/// Whether a host is below the domain that a suffix names. Neither the domain itself nor another domain with the same
/// ending is.
fn is_below(host: &str, suffix: &str) -> bool {
    suffix.starts_with('.') && host.len() > suffix.len() && host.ends_with(suffix)
}

/// Whether a suffix names at least a domain below a top-level one: `.azure-devices.net`, not `.net`.
fn is_narrow(suffix: &str) -> bool {
    suffix.starts_with('.') && suffix[1..].contains('.')
}

/// Replaces each `{field}` in the template. None if a field is missing, empty, or neither a text nor a whole number;
/// such a rule permits nothing.
fn fill(template: &str, fields: &BTreeMap<String, &RawValue>) -> Option<String> {
    let mut filled = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        // The text is already too long for a host, so the rest does not matter.
        if filled.len() > LONGEST_NAME + ":65535".len() {
            return Some(filled);
        }
        let (field, after) = after.split_once('}')?;
        filled.push_str(before);
        let value = fields.get(field)?.get();
        if value.starts_with('"') {
            let text: String = serde_json::from_str(value).ok().filter(|text: &String| !text.is_empty())?;
            filled.push_str(&text);
        } else {
            filled.push_str(&value.parse::<u64>().ok()?.to_string());
        }
        rest = after;
    }
    filled.push_str(rest);
    (!filled.is_empty()).then_some(filled)
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

    #[test]
    fn what_is_shown_cannot_turn_a_line_around_or_end_it() {
        assert_eq!(
            shown("a\u{202e}b\u{2066}\u{200b}\n\u{1b}[2J\u{feff}ü"),
            "a\\u{202e}b\\u{2066}\\u{200b}\\n\\u{1b}[2J\\u{feff}ü"
        );
        let rule = EgressRule { suffixes: vec![".\u{202e}example".to_owned()], ..rule() };
        let own = entered(&["hub.example"], &[]);
        let rule = EgressRule { host: "hub.example".to_owned(), ..rule };
        let denied = AllowList::derive(&[rule], "{}", &own, &TenantOptions::default()).unwrap_err().to_string();
        assert!(denied.contains(".\\u{202e}example") && !denied.contains('\u{202e}'), "{denied}");
    }

    fn options(allowed: &[&str]) -> TenantOptions {
        let allow_hosts = allowed.iter().map(|text| text.parse().unwrap()).collect();
        TenantOptions { allow_hosts, ..TenantOptions::default() }
    }

    fn entered(texts: &[&str], ports: &[u16]) -> Entered {
        let texts = texts.iter().map(|text| field("iotHubName", text, Part::Host)).collect();
        Entered { texts, ports: ports.iter().copied().collect() }
    }

    fn field(name: &str, text: &str, part: Part) -> EnteredText {
        EnteredText { text: Zeroizing::new(text.to_owned()), field: name.into(), part }
    }

    fn derive(normalized: &str, own: &[&str], allowed: &[&str]) -> Result<Vec<String>, EgressDenied> {
        let own = entered(own, &[]);
        let options = options(allowed);
        let normalized = format!(r#"{{"iotHubName":"{normalized}"}}"#);
        AllowList::derive(&[rule()], &normalized, &own, &options)
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
        // A short name is completed by the rule's own suffix.
        assert_eq!(derive("hub.azure-devices.net", &["hub"], &[]).unwrap(), hub);
        // An empty field permits nothing.
        assert!(derive("", &["hub"], &[]).unwrap().is_empty());
    }

    /// A regression test: the name of a policy permitted the host with that name, which belongs to somebody else.
    #[test]
    fn what_was_entered_as_something_else_is_no_host_without_its_domain() {
        let derive = |own: EnteredText, host: &str| {
            let rule = EgressRule {
                suffixes: vec![".azure-devices.net".into(), ".service.azure-devices.net".into()],
                ..rule()
            };
            let own = Entered { texts: vec![own], ..Entered::default() };
            let normalized = format!(r#"{{"iotHubName":"{host}"}}"#);
            AllowList::derive(&[rule], &normalized, &own, &options(&[])).map_err(|denied| denied.reason)
        };
        for host in ["iothubowner.azure-devices.net", "iothubowner.service.azure-devices.net"] {
            for own in [
                field("sharedAccessKeyName", "iothubowner", Part::Other),
                field("sharedAccessKey", "iothubowner", Part::Secret),
                // A secret is not used even if the template names its field.
                field("iotHubName", "iothubowner", Part::Secret),
            ] {
                let reason = derive(own, host).unwrap_err();
                assert!(reason.contains("does not stem"), "{reason}");
            }
            // A field may hold a short name if it is marked as a host, or if the template names it.
            derive(field("iotHubAmqpHost", "IoTHubOwner", Part::Host), host).unwrap();
            derive(field("iotHubName", "iothubowner", Part::Other), host).unwrap();
            // A full host name is accepted in any field, because people paste whole connection strings and JSON
            // anywhere.
            for text in [
                "HostName=iothubowner.azure-devices.net;SharedAccessKeyName=x;SharedAccessKey=y",
                r#"{"properties":{"hostName":"iothubowner.azure-devices.net"}}"#,
                "https://iothubowner.azure-devices.net/",
            ] {
                derive(field("iotHubConnectionString", text, Part::Secret), host).unwrap();
                derive(field("iotHubName", text, Part::Host), host).unwrap();
            }
        }
    }

    #[test]
    fn templates_name_their_fields() {
        let named = |template| template_fields(template).collect::<Vec<_>>();
        assert_eq!(named("{a}.x:{b}"), ["a", "b"]);
        assert_eq!(named("hub.example"), [""; 0]);
        assert_eq!(named("{a"), [""; 0]);
    }

    /// A service whose host names have the customer's name first and then different suffixes.
    #[test]
    fn the_same_name_under_another_suffix_of_the_domain_stems_from_what_was_entered() {
        let suffixes = [".contoso.example", ".service.contoso.example", ".device.contoso.example", ".fabrikam.example"];
        let rule = EgressRule { suffixes: suffixes.map(str::to_owned).to_vec(), ..rule() };
        let derive = |host: &str, own: &str| {
            let normalized = format!(r#"{{"iotHubName":"{host}"}}"#);
            AllowList::derive(std::slice::from_ref(&rule), &normalized, &entered(&[own], &[]), &options(&["localhost"]))
        };
        for own in [
            "a.device.contoso.example",
            "HostName=a.contoso.example;Key=x",
            "a.device",
            "a",
            "A.DEVICE.contoso.example",
        ] {
            derive("a.service.contoso.example", own).unwrap_or_else(|denied| panic!("{own}: {denied}"));
        }
        for own in [
            "b.device.contoso.example",
            "x.a.device.contoso.example",
            "a.device.contoso.example.evil.example",
            "a.fabrikam.example",
            "a.other.contoso.example",
            "device.contoso.example",
        ] {
            assert!(derive("a.service.contoso.example", own).is_err(), "{own}");
        }
        // A host without a suffix of the rule, in another domain, or with another name is refused.
        for host in
            ["a.evil.contoso.example", "a.fabrikam.example", "x.a.service.contoso.example", "service.contoso.example"]
        {
            assert!(derive(host, "a.device.contoso.example").is_err(), "{host}");
        }
        // The port that was entered also applies to the other host.
        derive("a.service.contoso.example:8443", "a.device.contoso.example:8443").unwrap();
        assert!(derive("a.service.contoso.example:8444", "a.device.contoso.example:8443").is_err());
    }

    #[test]
    fn a_host_that_a_terminal_broke_into_lines_is_mentioned() {
        let hub = vec!["hub.azure-devices.net:443".to_owned()];
        let text = "HostName=hub.azure-dev\r\n  ices.net;SharedAccessKey=x";
        assert_eq!(derive("hub.azure-devices.net", &[text], &[]).unwrap(), hub);
        // White space inside a line still separates names.
        assert!(derive("hub.azure-devices.net", &["hub.azure-dev ices.net"], &[]).is_err());
    }

    #[test]
    fn refuses_a_host_of_the_guests_choice() {
        for own in ["hub.azure-devices.net", "myevil", "evil.azure-devices.net.example.com", "x-evil.azure-devices.net"]
        {
            let denied = derive("evil.azure-devices.net", &[own], &[]).unwrap_err();
            assert_eq!(denied.layer, EgressLayer::Policy, "{own}");
            assert!(denied.reason.contains("stem"), "{denied}");
        }
        // The host is refused even if the operator permits it in general.
        assert!(derive("localhost", &["hub"], &["localhost"]).is_err());
    }

    #[test]
    fn a_foreign_host_needs_the_operators_permission_and_says_so() {
        let denied = derive("localhost:8443", &["localhost:8443"], &[]).unwrap_err();
        assert!(denied.to_string().contains("--allow-host localhost:8443"), "{denied}");
        assert_eq!(derive("localhost:8443", &["localhost:8443"], &["localhost:8443"]).unwrap(), ["localhost:8443"]);
        assert_eq!(derive("localhost:8443", &["https://localhost:8443/"], &["localhost"]).unwrap(), ["localhost:8443"]);
        assert!(derive("localhost:8443", &["localhost:8443"], &["localhost:1"]).is_err());
        // Refused: a port that the guest chose and the tenant did not enter.
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
    fn a_port_may_have_a_field_of_its_own() {
        let rule =
            EgressRule { host: "{host}:{port}".to_owned(), suffixes: vec![".contoso.example".to_owned()], ..rule() };
        let derive = |normalized: &str, ports: &[u16]| {
            let entered = entered(&["a.contoso.example"], ports);
            AllowList::derive(std::slice::from_ref(&rule), normalized, &entered, &options(&[]))
                .map(|list| list.destinations.iter().map(ToString::to_string).collect::<Vec<_>>())
                .map_err(|denied| denied.reason)
        };
        for normalized in [
            r#"{"host":"a.contoso.example","port":8443}"#,
            // The port as a text, next to fields that no template names.
            r#"{"port":"8443","host":"a.contoso.example","other":{"port":1},"more":[1,2.5e3]}"#,
        ] {
            assert_eq!(derive(normalized, &[8443]).unwrap(), ["a.contoso.example:8443"]);
            // Refused: a port that the guest chose and the tenant did not enter.
            assert!(derive(normalized, &[844, 443]).unwrap_err().contains("the port does not stem"));
        }
        // The rule's default port need not be entered, and a number is not a host.
        assert_eq!(derive(r#"{"host":"a.contoso.example","port":443}"#, &[]).unwrap(), ["a.contoso.example:443"]);
        assert!(derive(r#"{"host":8443,"port":8443}"#, &[8443]).unwrap_err().contains("the host does not stem"));
    }

    #[test]
    fn a_template_does_not_multiply_what_it_is_filled_with() {
        let normalized = format!(r#"{{"f":"{}"}}"#, "a".repeat(60_000));
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(&normalized).unwrap();
        assert!(fill(&"{f}".repeat(80), &fields).unwrap().len() < 61_000);
        let many = EgressRule { host: "{f}".repeat(80), ..rule() };
        let denied = AllowList::derive(&[many], &normalized, &entered(&[], &[]), &options(&[])).unwrap_err();
        assert!(denied.reason.contains("no host name"), "{denied}");
    }

    #[test]
    fn a_template_takes_texts_and_whole_numbers() {
        let normalized =
            r#"{"text":"a","number":7,"float":1.5,"list":["a"],"object":{"text":"b"},"none":null,"no":""}"#;
        let fields: BTreeMap<String, &RawValue> = serde_json::from_str(normalized).unwrap();
        assert_eq!(fill("{text}.x:{number}", &fields).as_deref(), Some("a.x:7"));
        for field in ["float", "list", "object", "none", "no", "absent", "object.text"] {
            assert_eq!(fill(&format!("{{{field}}}"), &fields), None, "{field}");
        }
    }

    fn redirects(suffixes: &[&str], options: &TenantOptions) -> AllowList {
        let suffixes = suffixes.iter().map(|suffix| (*suffix).to_owned()).collect();
        let rule =
            EgressRule { protocol: EgressProtocol::Tls, host: "*".to_owned(), default_port: 5671, suffixes, ..rule() };
        AllowList::derive(&[rule], "{}", &entered(&[], &[]), options).unwrap()
    }

    fn tls(host: &str, port: u16) -> Destination {
        Destination { protocol: EgressProtocol::Tls, host: host.to_owned(), port }
    }

    #[test]
    fn a_rule_for_any_host_opens_hosts_below_its_suffixes_on_its_port() {
        let list = redirects(&[".servicebus.windows.net"], &options(&[]));
        assert!(list.check(&tls("iothub-ns-1.servicebus.windows.net", 5671)).is_ok());
        assert!(list.check_name("iothub-ns-1.servicebus.windows.net").is_ok());
        for (host, port) in [
            ("iothub-ns-1.servicebus.windows.net", 443),
            ("servicebus.windows.net", 5671),
            (".servicebus.windows.net", 5671),
            ("evilservicebus.windows.net", 5671),
            ("iothub-ns-1.servicebus.windows.net.example.com", 5671),
            ("example.com", 5671),
            ("localhost", 5671),
            ("127.0.0.1", 5671),
        ] {
            assert_eq!(list.check(&tls(host, port)).unwrap_err().layer, EgressLayer::Policy, "{host}:{port}");
        }
        assert!(list.check_name("servicebus.windows.net").is_err());
        // Another protocol is refused, even on the same host and port.
        let https = Destination { protocol: EgressProtocol::Https, ..tls("a.servicebus.windows.net", 5671) };
        assert!(list.check(&https).is_err());
        // Refused: between the suffix and the host there is a domain in which anybody can register names.
        let list = redirects(&[".windows.net"], &options(&[]));
        assert!(list.check(&tls("a.contoso.windows.net", 5671)).is_ok());
        for host in ["attacker.servicebus.windows.net", "attacker.blob.core.windows.net"] {
            assert!(list.check(&tls(host, 5671)).is_err(), "{host}");
            assert!(list.check_name(host).is_err(), "{host}");
        }
        // A suffix that is only a top-level domain permits nothing.
        for suffix in [".net", "", ".", "windows.net"] {
            let list = redirects(&[suffix], &options(&[]));
            assert!(list.check(&tls("a.windows.net", 5671)).is_err(), "{suffix}");
        }
    }

    #[test]
    fn the_operator_extends_or_forbids_a_rule_for_any_host() {
        let list = redirects(&[".servicebus.windows.net"], &options(&["localhost:5672"]));
        assert!(list.check(&tls("localhost", 5672)).is_ok());
        assert!(list.check_name("localhost").is_ok());
        let denied = list.check(&tls("localhost", 5673)).unwrap_err();
        assert!(denied.to_string().contains("--allow-host localhost:5673"), "{denied}");
        // An operator's host without a port is permitted on the rule's port.
        let unspecific = redirects(&[".servicebus.windows.net"], &options(&["localhost"]));
        assert!(unspecific.check(&tls("localhost", 5671)).is_ok());
        assert!(unspecific.check(&tls("localhost", 22)).is_err());
        let forbidden = TenantOptions { allow_redirected_hosts: false, ..options(&["localhost"]) };
        let list = redirects(&[".servicebus.windows.net"], &forbidden);
        for host in ["a.servicebus.windows.net", "localhost"] {
            let denied = list.check(&tls(host, 5671)).unwrap_err();
            assert!(denied.to_string().contains("allow_redirected_hosts"), "{denied}");
            assert!(list.check_name(host).is_err());
        }
        assert!(!list.opens_sockets());
    }

    #[test]
    fn rules_for_any_host_on_several_ports_are_distinguished() {
        let rule = |port| EgressRule {
            protocol: EgressProtocol::Tls,
            host: ANY_HOST.to_owned(),
            default_port: port,
            suffixes: vec![".servicebus.windows.net".to_owned()],
            purpose: "The endpoint that the service names".to_owned(),
        };
        let entered = Entered::default();
        let list = AllowList::derive(&[rule(5671), rule(443)], "{}", &entered, &options(&[])).expect("a list");
        for port in [443, 5671] {
            assert!(list.check(&tls("a.servicebus.windows.net", port)).is_ok(), "{port}");
        }
        let denied = list.check(&tls("a.servicebus.windows.net", 5672)).unwrap_err();
        let says = "port 443 and below .servicebus.windows.net, or port 5671 and below .servicebus.windows.net alone";
        assert!(denied.reason.contains(says), "{denied}");
    }

    #[test]
    fn a_fields_value_is_no_rule_for_any_host() {
        assert!(derive("*", &["*"], &["localhost"]).is_err());
    }

    #[test]
    fn splits_authorities() {
        assert_eq!(split_authority("Host.:1"), Some(("host".to_owned(), Some(1))));
        assert_eq!(split_authority("[::1]:8443"), Some(("::1".to_owned(), Some(8443))));
        assert_eq!(split_authority("host:+1"), None);
        assert_eq!(split_authority(""), None);
    }
}
