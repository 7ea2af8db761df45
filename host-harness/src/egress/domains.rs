//! Checks which domains a connector's rules may name.
//!
//! The author of a connector chooses the suffixes and literal hosts of its manifest, and everything that a tenant
//! entered can be sent to hosts below these domains. So two others judge them: the list of public suffixes, and the
//! operator who has reviewed the manifest.

use std::net::IpAddr;

use psl::Type;

use super::shown::shown;
use crate::error::{DomainRefusal, LoadError};
use crate::interface::metadata::EgressRule;
use crate::options::split_authority;

/// The host in rules for hosts that the service names at run time.
pub(super) const ANY_HOST: &str = "*";

/// Domains in the private part of the public suffix list in which a service gives names to its customers. Connectors
/// may name these domains all the same.
const SHARED: [&str; 3] = [
    // Event Hubs in Azure's clouds. IoT Hub sends readers of telemetry to hosts below these domains.
    "servicebus.windows.net",
    "servicebus.chinacloudapi.cn",
    "servicebus.usgovcloudapi.net",
];

/// Checks the egress rules of a manifest.
///
/// # Errors
///
/// The error names the first suffix or literal host that is wider than permitted.
pub(crate) fn review(rules: &[EgressRule], service_domains: Option<&[String]>) -> Result<(), LoadError> {
    let own: Option<Vec<String>> = service_domains
        .map(|domains| domains.iter().map(|domain| domain.trim_matches('.').to_ascii_lowercase()).collect());
    for (index, rule) in rules.iter().enumerate() {
        let refused = |field: String, domain: &str, reason| LoadError::EgressRule {
            field: format!("egress[{index}].{field}"),
            domain: shown(domain),
            reason,
        };
        for (number, suffix) in rule.suffixes.iter().enumerate() {
            judge_suffix(suffix, own.as_deref())
                .map_err(|reason| refused(format!("suffixes[{number}]"), suffix, reason))?;
        }
        if let Some(own) = &own
            && let Some(domain) = literal_domain(&rule.host)
            && !own.iter().any(|own| is_under(&domain, own))
        {
            return Err(refused("host".to_owned(), &rule.host, DomainRefusal::Foreign));
        }
    }
    Ok(())
}

fn judge_suffix(suffix: &str, own: Option<&[String]>) -> Result<(), DomainRefusal> {
    let domain = suffix.strip_prefix('.').ok_or(DomainRefusal::Malformed)?;
    // Hosts are compared with the domain in this form: lower case, no port, no dot at the end.
    if split_authority(domain).is_none_or(|(host, port)| host != domain || port.is_some()) {
        return Err(DomainRefusal::Malformed);
    }
    if own.is_some_and(|own| !own.iter().any(|own| is_under(domain, own))) {
        return Err(DomainRefusal::Foreign);
    }
    let vouched = || SHARED.contains(&domain) || own.is_some_and(|own| own.iter().any(|own| own == domain));
    match public_suffix(domain) {
        Some((public, Some(Type::Private))) if public == domain && !vouched() => Err(DomainRefusal::Shared),
        Some((public, None | Some(Type::Icann))) if public == domain => Err(DomainRefusal::Public),
        _ => Ok(()),
    }
}

/// Whether anybody may register names in a domain between `suffix` and `host`. Then the owner of the host may differ
/// from the owner of the suffix.
pub(crate) fn is_in_other_hands(host: &str, suffix: &str) -> bool {
    public_suffix(host).is_some_and(|(public, _)| public.len() > suffix.trim_start_matches('.').len())
}

/// The part of a domain that is a public suffix, and the part of the list that contains the suffix. The top-level
/// domain if the list has no matching entry.
fn public_suffix(domain: &str) -> Option<(&str, Option<Type>)> {
    let suffix = psl::suffix(domain.as_bytes())?;
    Some((std::str::from_utf8(suffix.as_bytes()).ok()?, suffix.typ()))
}

/// The domain that a template names literally, so that no field's value can change it.
fn literal_domain(template: &str) -> Option<String> {
    if template == ANY_HOST {
        return None;
    }
    match template.rsplit_once('}') {
        // The text before the first dot may continue a field's value, so it is not part of the literal domain.
        Some((_, literal)) => {
            let (_, domain) = literal.split_once('.')?;
            Some(domain.split(':').next().unwrap_or(domain).to_ascii_lowercase())
        }
        None => Some(split_authority(template).map_or_else(|| template.to_owned(), |(host, _)| host)),
    }
}

fn is_under(domain: &str, own: &str) -> bool {
    domain == own
        || domain.parse::<IpAddr>().is_err()
            && !own.is_empty()
            && domain.strip_suffix(own).is_some_and(|rest| rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interface::metadata::EgressProtocol;

    fn rule(host: &str, suffixes: &[&str]) -> EgressRule {
        EgressRule {
            protocol: EgressProtocol::Https,
            host: host.to_owned(),
            default_port: 443,
            suffixes: suffixes.iter().map(|suffix| (*suffix).to_owned()).collect(),
            purpose: String::new(),
        }
    }

    fn reviewed(host: &str, suffixes: &[&str], own: Option<&[&str]>) -> Option<(String, DomainRefusal)> {
        let own: Option<Vec<String>> = own.map(|own| own.iter().map(|domain| (*domain).to_owned()).collect());
        match review(&[rule("{ok}", &[".contoso.example"]), rule(host, suffixes)], own.as_deref()) {
            Ok(()) => None,
            Err(LoadError::EgressRule { field, reason, .. }) => Some((field, reason)),
            Err(other) => panic!("{other}"),
        }
    }

    #[test]
    fn azures_own_suffixes_pass() {
        for cloud in ["net", "cn", "us"] {
            let suffixes = [format!(".azure-devices.{cloud}"), format!(".azure-devices-provisioning.{cloud}")];
            assert_eq!(reviewed("{hub}", &suffixes.each_ref().map(String::as_str), None), None, "{cloud}");
        }
        let event_hubs = [".servicebus.windows.net", ".servicebus.chinacloudapi.cn", ".servicebus.usgovcloudapi.net"];
        assert_eq!(reviewed("*", &event_hubs, None), None);
    }

    #[test]
    fn a_suffix_below_which_anybody_gets_a_name_is_refused() {
        let field = "egress[1].suffixes[1]".to_owned();
        let second = |suffix| reviewed("*", &[".contoso.example", suffix], None);
        for suffix in [".com", ".co.uk", ".kobe.jp.", ".example", ".internal", ".b.kobe.jp", ".any.ck"] {
            let expected = if suffix.ends_with('.') { DomainRefusal::Malformed } else { DomainRefusal::Public };
            assert_eq!(second(suffix), Some((field.clone(), expected)), "{suffix}");
        }
        for suffix in [".github.io", ".workers.dev", ".blob.core.windows.net", ".azurewebsites.net"] {
            assert_eq!(second(suffix), Some((field.clone(), DomainRefusal::Shared)), "{suffix}");
            // The operator's list permits this suffix, but no domain around it.
            let own = ["contoso.example", &suffix[1..]];
            assert_eq!(reviewed("*", &[".contoso.example", suffix], Some(&own)), None, "{suffix}");
        }
        let wide = ["contoso.example", "io", "uk", "co.uk"];
        let with = |suffix| reviewed("*", &[suffix], Some(&wide)).map(|(_, reason)| reason);
        assert_eq!(with(".github.io"), Some(DomainRefusal::Shared));
        assert_eq!(with(".co.uk"), Some(DomainRefusal::Public));
        for suffix in ["", ".", "contoso.com", ".Contoso.com", "..com", ".contoso.com:1", ".münchen.de", ".a b.com"] {
            assert_eq!(second(suffix), Some((field.clone(), DomainRefusal::Malformed)), "{suffix}");
        }
    }

    #[test]
    fn the_operators_domains_bound_suffixes_and_literal_hosts() {
        let own: Option<&[&str]> = Some(&["contoso.example", ".Fabrikam.example."]);
        for (host, suffixes) in [
            ("{host}", [".contoso.example", ".eu.fabrikam.example"]),
            ("*", [".api.contoso.example", ".fabrikam.example"]),
            ("contoso.example", [".contoso.example"; 2]),
            ("API.fabrikam.example:8443", [".contoso.example"; 2]),
            ("{name}.contoso.example:{port}", [".contoso.example"; 2]),
            ("{name}-eu.fabrikam.example", [".contoso.example"; 2]),
        ] {
            assert_eq!(reviewed(host, &suffixes, own), None, "{host}");
        }
        let foreign = |field: &str| Some((format!("egress[1].{field}"), DomainRefusal::Foreign));
        for suffix in [".attacker.example", ".notcontoso.example", ".contoso.example.attacker.example"] {
            assert_eq!(reviewed("{host}", &[suffix], own), foreign("suffixes[0]"), "{suffix}");
            assert_eq!(
                reviewed("{host}", &[suffix], Some(&[])),
                Some(("egress[0].suffixes[0]".into(), DomainRefusal::Foreign))
            );
        }
        for host in ["attacker.example", "{name}.attacker.example:443", "{a}.{b}.attacker.example", "192.0.2.1", "?"] {
            assert_eq!(reviewed(host, &[], own), foreign("host"), "{host}");
            // Without an operator's list such a host is accepted here: it opens nothing unless the tenant entered it.
            assert_eq!(reviewed(host, &[], None), None, "{host}");
        }
        let error = review(&[rule("{x}", &[".attacker.example"])], Some(&["contoso.example".to_owned()])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("egress[0].suffixes[0]") && text.contains(".attacker.example"), "{text}");
    }

    #[test]
    fn hosts_below_a_public_suffix_are_in_other_hands_than_the_domain_around_it() {
        assert!(is_in_other_hands("a.servicebus.windows.net", ".windows.net"));
        assert!(!is_in_other_hands("a.servicebus.windows.net", ".servicebus.windows.net"));
        assert!(is_in_other_hands("attacker.s3.amazonaws.com", ".amazonaws.com"));
        assert!(!is_in_other_hands("a.b.contoso.example", ".contoso.example"));
    }
}
