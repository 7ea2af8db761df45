//! Which addresses are public, and which other addresses an operator permits.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ip_network::{IpNetwork, Ipv4Network, Ipv6Network};

use crate::options::TenantOptions;

/// The addresses to which a tenant may connect. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Addresses {
    /// Whether all addresses are permitted.
    all: bool,
    /// The networks that are permitted in addition to public addresses.
    networks: Arc<[IpNetwork]>,
}

impl Addresses {
    /// The addresses that the operator's options permit.
    pub(crate) fn of(options: &TenantOptions) -> Self {
        Self { all: options.allow_private_networks, networks: options.allow_networks.as_slice().into() }
    }

    pub(crate) fn permit(&self, address: IpAddr) -> bool {
        // An IPv4-mapped IPv6 address becomes the IPv4 address that the kernel would use.
        let address = address.to_canonical();
        self.all || is_public(address) || self.networks.iter().any(|network| network.contains(address))
    }
}

/// Whether an address belongs to the public Internet.
///
/// An IPv6 address that contains an IPv4 address is judged by the IPv4 address if the kernel would connect to that one.
/// It is refused if a gateway would translate it, because the host cannot know what is behind the gateway.
fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(mapped) => is_public_v4(mapped),
            None => is_public_v6(address),
        },
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let network = Ipv4Network::from(address);
    // `is_global` excludes private, loopback, link-local (with the metadata service), shared (CGNAT), documentation,
    // benchmarking, reserved and protocol-assignment ranges.
    network.is_global()
        && !network.is_multicast()
        && !network.is_reserved()
        && !address.is_broadcast()
        // 0.0.0.0/8 means "this network". Some kernels connect it to the machine itself.
        && address.octets()[0] != 0
        // The deprecated anycast network of 6to4 relays.
        && !matches!(address.octets(), [192, 88, 99, _])
        // Azure's address for metadata and DNS. It looks public, but is reachable only from inside Azure.
        && address != Ipv4Addr::new(168, 63, 129, 16)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let network = Ipv6Network::from(address);
    if !network.is_global() || network.is_multicast() {
        return false;
    }
    match address.segments() {
        // IPv4-compatible and other addresses of ::/96.
        [0, 0, 0, 0, 0, 0, ..] => false,
        // NAT64: the well-known and the local prefix.
        [0x64, 0xff9b, ..] => false,
        // The discard-only prefix.
        [0x100, 0, 0, 0, ..] => false,
        // IETF protocol assignments, which include Teredo, ORCHID and benchmarking.
        [0x2001, second, ..] if second < 0x200 => false,
        // Prefixes for documentation.
        [0x2001, 0x0db8, ..] | [0x3fff, 0..=0x0fff, ..] => false,
        // The 6to4 prefix, which contains an IPv4 address.
        [0x2002, ..] => false,
        // Only 2000::/3 is assigned as global unicast.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::{Addresses, is_public};
    use crate::options::TenantOptions;

    #[test]
    fn a_network_of_the_operators_is_permitted_and_nothing_beside_it() {
        let options = TenantOptions {
            allow_networks: ["10.1.0.0/16", "fd00:1::/32"].map(|network| network.parse().unwrap()).to_vec(),
            ..TenantOptions::default()
        };
        let permit = |text: &str| Addresses::of(&options).permit(text.parse().unwrap());
        for text in ["10.1.0.1", "10.1.255.255", "::ffff:10.1.0.1", "fd00:1::5", "8.8.8.8", "2606:4700:4700::1111"] {
            assert!(permit(text), "{text}");
        }
        for text in [
            "10.0.255.255",
            "10.2.0.1",
            "127.0.0.1",
            "169.254.169.254",
            "168.63.129.16",
            "::1",
            "fe80::1",
            "fd00:2::1",
            "fd00:ec2::254",
            "::ffff:127.0.0.1",
            // Addresses of translators, which are not part of the permitted network to which they lead.
            "64:ff9b::a01:1",
            "2002:a01:1::",
            "::10.1.0.1",
        ] {
            assert!(!permit(text), "{text}");
        }
        let all = TenantOptions { allow_private_networks: true, ..TenantOptions::default() };
        assert!(Addresses::of(&all).permit("169.254.169.254".parse().unwrap()));
        assert!(!Addresses::of(&TenantOptions::default()).permit("10.1.0.1".parse().unwrap()));
    }

    #[test]
    fn refuses_what_is_not_public() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "10.0.0.1",
            "100.64.0.1",
            "127.0.0.1",
            "127.8.8.8",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.8",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.1.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.1",
            "224.0.0.1",
            "239.255.255.250",
            "240.0.0.1",
            "255.255.255.255",
            "168.63.129.16",
            "::",
            "::1",
            "::7f00:1",
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::808:808",
            "64:ff9b:1::1",
            "100::1",
            "2001::1",
            "2001:10::1",
            "2001:db8::1",
            "2002:7f00:1::",
            "2002:808:808::1",
            "3fff::1",
            "fc00::1",
            "fd00:ec2::254",
            "fe80::1",
            "fec0::1",
            "ff02::1",
            "5f00::1",
            "4000::1",
        ] {
            assert!(!is_public(text.parse().unwrap()), "{text}");
        }
    }

    #[test]
    fn accepts_what_is_public() {
        for text in [
            "8.8.8.8",
            "20.50.4.60",
            "1.1.1.1",
            "2606:4700:4700::1111",
            "2a00:1450::1",
            "2603:1030::1",
            "::ffff:8.8.8.8",
        ] {
            assert!(is_public(text.parse().unwrap()), "{text}");
        }
    }
}
