//! Azure's host names: the service that a name belongs to, and the other names of the same service.
//!
//! | name | used by |
//! |---|---|
//! | `HUB.azure-devices.net` | back ends and devices; the classic name, which every hub has |
//! | `HUB.service.azure-devices.net` | back ends |
//! | `HUB.device.azure-devices.net` | devices |
//! | each of these with `.privatelink` before the domain | clients in the network of a private endpoint |
//!
//! Sources: Microsoft's "IoT Hub endpoints" and "TLS support in IoT Hub" of May 2026, and the host names that Azure IoT
//! Explorer accepts.

/// Domains of IoT hubs, by cloud: public, China, US Government (from the Azure IoT Explorer's list of hosts).
pub const HUB_SUFFIXES: [&str; 3] = [".azure-devices.net", ".azure-devices.cn", ".azure-devices.us"];
/// The suffixes that a hub's host name may have after the hub's own name, in each cloud's domain. An engine lets the
/// connector switch from one of these suffixes to another in the same domain.
pub const HUB_EGRESS_SUFFIXES: [&str; 15] = [
    ".azure-devices.net",
    ".service.azure-devices.net",
    ".device.azure-devices.net",
    ".service.privatelink.azure-devices.net",
    ".device.privatelink.azure-devices.net",
    ".azure-devices.cn",
    ".service.azure-devices.cn",
    ".device.azure-devices.cn",
    ".service.privatelink.azure-devices.cn",
    ".device.privatelink.azure-devices.cn",
    ".azure-devices.us",
    ".service.azure-devices.us",
    ".device.azure-devices.us",
    ".service.privatelink.azure-devices.us",
    ".device.privatelink.azure-devices.us",
];
/// Domains of provisioning services. The domains of the sovereign clouds follow the same pattern as the hubs' domains.
pub const DPS_SUFFIXES: [&str; 3] =
    [".azure-devices-provisioning.net", ".azure-devices-provisioning.cn", ".azure-devices-provisioning.us"];
/// Domains of Event Hubs namespaces, by cloud in the order of [`HUB_SUFFIXES`].
pub const EVENT_HUB_SUFFIXES: [&str; 3] =
    [".servicebus.windows.net", ".servicebus.chinacloudapi.cn", ".servicebus.usgovcloudapi.net"];

const SERVICE: &str = "service";
const DEVICE: &str = "device";
const PRIVATE_LINK: &str = "privatelink";

/// The clients that a hub's name is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Audience {
    /// Back ends and devices: the classic name.
    Everybody,
    /// Back ends.
    Services,
    Devices,
}

/// A host name of one of Azure's services, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AzureHost<'a> {
    /// The service's own name: the first label.
    pub name: &'a str,
    /// The clients that the name is for. Services other than hubs have only names for everybody.
    pub audience: Audience,
    /// Whether it is the name of a private endpoint.
    pub private_link: bool,
    /// The domain, with its leading dot.
    pub suffix: &'static str,
    /// `:port`, or empty.
    port: &'a str,
}

impl<'a> AzureHost<'a> {
    /// Takes `host` or `host:port` apart, which must be in lower case. None if the name does not have a known form of
    /// an Azure service's name.
    pub fn parse(authority: &'a str) -> Option<Self> {
        let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
        let is_hub = ends_in(host, &HUB_SUFFIXES).is_some();
        let suffixes = [HUB_SUFFIXES, DPS_SUFFIXES, EVENT_HUB_SUFFIXES].concat();
        let suffix = ends_in(host, &suffixes)?;
        let labels: Vec<&str> = host.strip_suffix(suffix)?.split('.').collect();
        let (name, rest) = labels.split_first().filter(|(name, _)| !name.is_empty() && **name != PRIVATE_LINK)?;
        let (rest, private_link) = match rest {
            [rest @ .., PRIVATE_LINK] => (rest, true),
            rest => (rest, false),
        };
        let audience = match rest {
            [] => Audience::Everybody,
            [SERVICE] if is_hub => Audience::Services,
            [DEVICE] if is_hub => Audience::Devices,
            _ => return None,
        };
        Some(Self { name, audience, private_link, suffix, port })
    }

    /// The same service's name for another audience; a private link stays a private link.
    pub fn with(self, audience: Audience) -> Self {
        Self { audience, ..self }
    }

    /// The name as `host` or `host:port`.
    pub fn authority(&self) -> String {
        let audience = match self.audience {
            Audience::Everybody => "",
            Audience::Services => ".service",
            Audience::Devices => ".device",
        };
        let private_link = if self.private_link { ".privatelink" } else { "" };
        format!("{}{audience}{private_link}{}{}", self.name, self.suffix, self.port)
    }
}

/// Whether a name lacks its domain, and its other labels show that it is a hub's: `plant.service`.
pub fn lacks_its_domain(name: &str) -> bool {
    let mut labels = name.split('.').skip(1).peekable();
    labels.peek().is_some() && labels.all(|label| matches!(label, SERVICE | DEVICE | PRIVATE_LINK))
}

/// The first of `suffixes` that the host ends with, if any. A host that equals a suffix does not count.
pub fn ends_in<'s>(host: &str, suffixes: &[&'s str]) -> Option<&'s str> {
    suffixes.iter().copied().find(|suffix| host.len() > suffix.len() && host.ends_with(suffix))
}

/// The classic name, which stands for all names of a service. Cursors and events contain this name, so they do not
/// change when a connection uses another of the service's names. A host outside Azure is its own identity.
pub fn identity(authority: &str) -> String {
    match AzureHost::parse(authority) {
        Some(host) => AzureHost { audience: Audience::Everybody, private_link: false, ..host }.authority(),
        None => authority.to_owned(),
    }
}

/// All names of the service that `authority` belongs to. The classic name is first.
pub fn aliases(authority: &str) -> Vec<String> {
    let Some(host) = AzureHost::parse(authority) else { return vec![authority.to_owned()] };
    let audiences: &[Audience] = match HUB_SUFFIXES.contains(&host.suffix) {
        true => &[Audience::Everybody, Audience::Services, Audience::Devices],
        false => &[Audience::Everybody],
    };
    let of = |private_link| audiences.iter().map(move |audience| AzureHost { private_link, ..host.with(*audience) });
    of(false).chain(of(true)).map(|host| host.authority()).collect()
}

/// The host to which messages in a device's name are sent. If `authority` is the hub's name for back ends, which
/// devices must not use, the result is the hub's name for devices, as in Microsoft's command line. Otherwise it is
/// `authority`.
pub fn for_devices(authority: &str) -> String {
    match AzureHost::parse(authority) {
        Some(host) if host.audience == Audience::Services => host.with(Audience::Devices).authority(),
        _ => authority.to_owned(),
    }
}

/// A hint for a host that cannot be reached, if its name is one that not every hub has; none for any other host.
pub fn hint(authority: &str) -> Option<String> {
    let host = AzureHost::parse(authority)?;
    let classic = identity(authority);
    match (host.audience, host.private_link) {
        (Audience::Everybody, false) => None,
        (Audience::Everybody, true) => {
            Some(format!("This name works only inside the network of a private endpoint. Elsewhere, use {classic}."))
        }
        // Microsoft's "Update private endpoints for TLS 1.3": the members are missing if addresses are static or the
        // subnet is full.
        _ => Some(format!(
            "Not every hub has this name, and a private endpoint may lack it: its members iotHubService and iotHubDevice have \
             to be added. {classic} works on every hub."
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_one_under_all_its_names() {
        for (name, identified) in [
            ("plant.azure-devices.net", "plant.azure-devices.net"),
            ("plant.service.azure-devices.net", "plant.azure-devices.net"),
            ("plant.device.azure-devices.net", "plant.azure-devices.net"),
            ("plant.privatelink.azure-devices.net", "plant.azure-devices.net"),
            ("plant.service.privatelink.azure-devices.net", "plant.azure-devices.net"),
            ("plant.device.privatelink.azure-devices.net", "plant.azure-devices.net"),
            ("plant.service.azure-devices.cn", "plant.azure-devices.cn"),
            ("plant.service.privatelink.azure-devices.us", "plant.azure-devices.us"),
            ("plant.service.azure-devices.net:8443", "plant.azure-devices.net:8443"),
            // A hub may itself be named `service` or `device`.
            ("service.azure-devices.net", "service.azure-devices.net"),
            ("device.service.azure-devices.net", "device.azure-devices.net"),
            ("dps.azure-devices-provisioning.net", "dps.azure-devices-provisioning.net"),
            ("dps.privatelink.azure-devices-provisioning.us", "dps.azure-devices-provisioning.us"),
            ("ns.privatelink.servicebus.windows.net", "ns.servicebus.windows.net"),
        ] {
            assert_eq!(identity(name), identified, "{name}");
            assert_eq!(aliases(name).first().map(String::as_str), Some(identified), "{name}");
            assert!(aliases(name).iter().any(|alias| alias == name), "{name}");
        }
        assert_eq!(aliases("plant.azure-devices.net").len(), 6);
        assert_eq!(aliases("dps.azure-devices-provisioning.net").len(), 2);
    }

    #[test]
    fn what_is_no_known_name_stands_for_itself() {
        for name in [
            "localhost:8443",
            "plant.service.localhost",
            "plant.service.example.com",
            "a.b.azure-devices.net",
            "a.b.service.azure-devices.net",
            "plant.privatelink.service.azure-devices.net",
            "plant.service.service.azure-devices.net",
            "privatelink.azure-devices.net",
            "dps.service.azure-devices-provisioning.net",
            ".azure-devices.net",
            "azure-devices.net",
            "",
        ] {
            assert_eq!((AzureHost::parse(name), identity(name).as_str()), (None, name));
            assert_eq!(aliases(name), [name]);
        }
    }

    #[test]
    fn a_name_that_may_not_be_there_says_so() {
        for name in ["plant.service.azure-devices.net", "plant.service.privatelink.azure-devices.net"] {
            let hint = hint(name).expect("a hint");
            assert!(hint.contains("iotHubService") && hint.contains("plant.azure-devices.net works"), "{hint}");
        }
        let private = hint("plant.privatelink.azure-devices.net").expect("a hint");
        assert!(private.contains("private endpoint") && private.contains("plant.azure-devices.net"), "{private}");
        for name in ["plant.azure-devices.net", "localhost", "plant.service.example.com"] {
            assert_eq!(hint(name), None);
        }
    }

    #[test]
    fn devices_have_a_name_of_their_own_beside_the_services() {
        for (name, expected) in [
            ("plant.azure-devices.net", "plant.azure-devices.net"),
            ("plant.service.azure-devices.net:1", "plant.device.azure-devices.net:1"),
            ("plant.service.privatelink.azure-devices.cn", "plant.device.privatelink.azure-devices.cn"),
            ("plant.service.example.com", "plant.service.example.com"),
        ] {
            assert_eq!(for_devices(name), expected);
        }
    }
}
