//! The host names that a hub has in Azure. A client can use them here if its resolver resolves them to loopback.
//!
//! The client names the host in TLS (SNI) and in HTTP's `Host`. If it connects to an Azure name, its token must be for
//! exactly that name. If it connects to a loopback name, its token may be for any loopback name and, over AMQP, for the
//! hub's Azure names that back ends may use.

use std::net::IpAddr;

/// Who may use a host name of a hub.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HubName {
    /// `HUB.azure-devices.net`: everybody.
    Classic,
    /// `HUB.service.azure-devices.net`: back ends.
    Service,
    /// `HUB.device.azure-devices.net`: devices.
    Device,
}

/// Which host names a hub has, as its `gatewayVersion` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GatewayVersion {
    /// Only the classic name.
    #[default]
    V1,
    /// Also the names for back ends and for devices.
    V2,
}

const DOMAIN: &str = "azure-devices.net";

/// A host name of a hub, with or without `privatelink` before the domain.
pub(crate) fn hub_name(hub: &str, name: HubName, private_link: bool) -> String {
    let hub = hub.to_ascii_lowercase();
    let audience = match name {
        HubName::Classic => "",
        HubName::Service => ".service",
        HubName::Device => ".device",
    };
    let private_link = if private_link { ".privatelink" } else { "" };
    format!("{hub}{audience}{private_link}.{DOMAIN}")
}

/// All host names of a hub, each with its kind.
pub(crate) fn hub_names(hub: &str, gateway: GatewayVersion) -> Vec<(String, HubName)> {
    let names: &[HubName] = match gateway {
        GatewayVersion::V1 => &[HubName::Classic],
        GatewayVersion::V2 => &[HubName::Classic, HubName::Service, HubName::Device],
    };
    let of = |private_link| names.iter().map(move |name| (hub_name(hub, *name, private_link), *name));
    of(false).chain(of(true)).collect()
}

/// A host without its port, in lower case.
pub(crate) fn without_port(authority: &str) -> String {
    let name = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    name.map_or(authority, |(name, _)| name).to_ascii_lowercase()
}

/// Whether a host in lower case, without its port, is this machine.
pub(crate) fn is_loopback_name(host: &str) -> bool {
    match host.trim_matches(['[', ']']).parse::<IpAddr>() {
        Ok(address) => address.is_loopback(),
        Err(_) => host == "localhost",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_has_the_names_of_its_gateway() {
        let names = |gateway| hub_names("Plant", gateway).into_iter().map(|(name, _)| name).collect::<Vec<_>>();
        assert_eq!(names(GatewayVersion::V1), ["plant.azure-devices.net", "plant.privatelink.azure-devices.net"]);
        assert_eq!(names(GatewayVersion::V2).len(), 6);
        assert!(names(GatewayVersion::V2).contains(&"plant.service.privatelink.azure-devices.net".to_owned()));
        assert_eq!(without_port("Plant.azure-devices.net:8443"), "plant.azure-devices.net");
        assert_eq!(without_port("[::1]"), "[::1]");
    }
}
