//! What an AMQP connection may do: each accepted token gives it a claim to one resource until a deadline.
//!
//! | endpoint | dialect | resource (`sr`) |
//! |---|---|---|
//! | Event Hub-compatible | HMAC with the **raw** key text | `sb://host/hub…` or `amqps://host/hub…`, scheme included |
//! | IoT Hub | HMAC with the base64-decoded key | `host[/path]`; for a device or module `host/devices/…` |
//!
//! A claim covers the audience that was given with its token, and every address below that audience. Paths are compared
//! by whole segments, regardless of case. Entra ID tokens are refused, because the built-in endpoint does not accept
//! them.
//!
//! A claim of a device or module covers only its own addresses, and a claim of a back end covers none of these.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::names::{HubName, is_loopback_name};
use crate::operations::credentials::{Presented, authenticate};
use crate::options::Permission;
use crate::records::identity::Target;
use crate::service::Service;
use crate::token::{Dialect, Token};
use crate::world::World;

/// The domain of Event Hubs namespaces. A token may name the Event Hub-compatible endpoint by a host in this domain.
const NAMESPACE_SUFFIX: &str = ".servicebus.windows.net";

/// What a token authorizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    /// The path segments under the host; empty for the whole host.
    path: Vec<String>,
    /// When the claim expires, in seconds since the Unix epoch. A claim from a key as a password has `None`: it does
    /// not expire.
    pub(super) deadline: Option<i64>,
    /// The device or module that has the claim; `None` for a back end.
    pub(super) device: Option<Target>,
}

/// Why a token authorizes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The status code in the answer of `$cbs`.
    pub(super) status: i32,
    /// The text in the answer.
    pub(super) description: String,
}

impl Refusal {
    fn unauthorized(description: impl Into<String>) -> Self {
        Self { status: 401, description: description.into() }
    }
}

impl Claim {
    /// Whether the claim covers an address at the time `now` (seconds since the Unix epoch).
    pub(super) fn covers(&self, address: &[String], now: i64) -> bool {
        self.deadline.is_none_or(|deadline| now <= deadline)
            && match device_of(address) {
                Some((device, _)) => self.device.as_ref() == Some(&device),
                None => self.device.is_none() && self.contains(address),
            }
    }

    fn contains(&self, address: &[String]) -> bool {
        self.path.len() <= address.len()
            && self.path.iter().zip(address).all(|(claimed, wanted)| claimed.eq_ignore_ascii_case(wanted))
    }

    /// Whether another claim is for the same resource.
    pub(super) fn has_path_of(&self, other: &Self) -> bool {
        self.device == other.device && self.path.len() == other.path.len() && other.contains(&self.path)
    }

    /// The claim of a device or module whose credential was accepted until the deadline.
    pub(super) fn of_device(device: Target, deadline: Option<i64>) -> Self {
        Self { path: Vec::new(), deadline, device: Some(device) }
    }

    /// A claim to every resource, without a deadline: the result of SASL PLAIN with a key.
    fn everything() -> Self {
        Self { path: Vec::new(), deadline: None, device: None }
    }
}

/// Reads a token that was put on `$cbs` for an audience.
pub(super) fn from_put_token(
    world: &World,
    service: Service,
    host_name: Option<&str>,
    kind: &str,
    token: &str,
    audience: &str,
) -> Result<Claim, Refusal> {
    if !kind.eq_ignore_ascii_case("servicebus.windows.net:sastoken") {
        let description = match kind {
            "jwt" | "Bearer" | "bearer" => "Entra ID tokens are not accepted by this endpoint".to_owned(),
            other => format!("The token type '{other}' is not supported"),
        };
        return Err(Refusal::unauthorized(description));
    }
    // The clients of devices escape the whole audience.
    let audience = if audience.contains('/') { Cow::Borrowed(audience) } else { unescaped(audience) };
    let (authority, path) = split(&audience);
    if let Some((device, _)) = device_of(&path).filter(|_| service == Service::HubAmqp) {
        return from_device(world, device, token);
    }
    let claim = from_token(world, service, host_name, token)?;
    check_authority(world, service, host_name, authority)?;
    if !claim.contains(&path) {
        return Err(Refusal::unauthorized(format!("InvalidAudience: the token is not for '{audience}'")));
    }
    if service == Service::EventHub {
        let name = world.event_hub.name();
        if path.first().is_some_and(|first| !first.eq_ignore_ascii_case(&name) && first != "$management") {
            let description = format!("The messaging entity '{audience}' could not be found.");
            return Err(Refusal { status: 404, description });
        }
    }
    Ok(Claim { path, ..claim })
}

/// Checks the token of a device or module: one of its own keys has signed it, or a policy with `DeviceConnect`.
fn from_device(world: &World, device: Target, token: &str) -> Result<Claim, Refusal> {
    let presented = Presented { token: Some(token), certificate: None };
    match authenticate(world, &device, presented) {
        Ok(deadline) => Ok(Claim::of_device(device, deadline)),
        Err(error) => Err(Refusal::unauthorized(error.message())),
    }
}

/// Checks a token's signature, expiry, resource and policy permission.
pub(super) fn from_token(
    world: &World,
    service: Service,
    host_name: Option<&str>,
    text: &str,
) -> Result<Claim, Refusal> {
    let malformed = || Refusal::unauthorized("MalformedToken: The token is not a shared access signature");
    let token = Token::parse(text).map_err(|_| malformed())?;
    let name = token.policy.as_deref().ok_or_else(malformed)?;
    let dialect = if service == Service::EventHub { Dialect::EventHubs } else { Dialect::IotHub };
    let tolerance = world.options.clock_tolerance.as_secs();
    let signature = || Refusal::unauthorized("InvalidSignature: The token has an invalid signature.");
    let policy = world.policy(Service::Hub, name).ok_or_else(signature)?;
    let keys = [policy.primary_key.as_str(), policy.secondary_key.as_str()];
    if !token.is_genuine(dialect, keys) {
        return Err(signature());
    }
    if token.deadline(tolerance) < world.token_time().unix_timestamp() {
        return Err(Refusal::unauthorized("ExpiredToken: The token is expired."));
    }
    if !policy.permissions.contains(&Permission::ServiceConnect) {
        let description = "Unauthorized access. 'Listen' claim(s) are required to perform this operation.";
        return Err(Refusal::unauthorized(description));
    }
    let resource = token.resource();
    let (authority, path) = split(&resource);
    check_authority(world, service, host_name, authority)?;
    Ok(Claim { path, deadline: Some(token.deadline(tolerance)), device: None })
}

/// Reads the response of SASL PLAIN: `[authzid] NUL user NUL password`.
pub(super) fn from_plain(
    world: &World,
    service: Service,
    host_name: Option<&str>,
    response: &[u8],
) -> Result<Claim, Refusal> {
    let refused = || Refusal::unauthorized("the user name or the password is wrong");
    let mut parts = response.split(|byte| *byte == 0).map(|part| std::str::from_utf8(part).unwrap_or_default());
    let (Some(_), Some(user), Some(password), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(refused());
    };
    let policy = if service == Service::EventHub {
        user
    } else if let Some((device, _)) = user.split_once("@sas.").filter(|(_, hub)| !hub.starts_with("root.")) {
        let (device, module) = device.split_once('/').map_or((device, None), |(device, module)| (device, Some(module)));
        return from_device(world, Target::new(device, module), password);
    } else {
        let (policy, hub) = user.split_once("@sas.root.").ok_or_else(refused)?;
        let hub = hub.split(':').next().unwrap_or_default();
        let known = ["localhost", world.options.hub_name.as_str()];
        known.iter().any(|known| known.eq_ignore_ascii_case(hub)).then_some(policy).ok_or_else(refused)?
    };
    if password.starts_with("SharedAccessSignature ") {
        return match Token::parse(password) {
            Ok(token) if token.policy.as_deref() == Some(policy) => from_token(world, service, host_name, password),
            _ => Err(refused()),
        };
    }
    // Only the Event Hub-compatible endpoint accepts a bare key as the password.
    let known = world.policy(Service::Hub, policy).filter(|_| service == Service::EventHub).ok_or_else(refused)?;
    let genuine = [&known.primary_key, &known.secondary_key].into_iter().any(|key| key == password);
    if genuine && known.permissions.contains(&Permission::ServiceConnect) {
        Ok(Claim::everything())
    } else {
        Err(refused())
    }
}

/// The host and the path segments of an address: `[scheme://host/]path`, percent-decoded.
pub(super) fn split(address: &str) -> (&str, Vec<String>) {
    let (authority, path) = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/').unwrap_or((rest, "")),
        // A resource of IoT Hub has a host but no scheme; an entity's address has neither.
        None if looks_like_host(address) => address.split_once('/').unwrap_or((address, "")),
        None => ("", address),
    };
    let segments = path.split('/').filter(|segment| !segment.is_empty());
    (authority, segments.map(|segment| percent_decode_str(segment).decode_utf8_lossy().into_owned()).collect())
}

/// The device or module at whose address this is, and the rest of the address.
pub(super) fn device_of(address: &[String]) -> Option<(Target, &[String])> {
    let is = |part: &str, name: &str| part.eq_ignore_ascii_case(name);
    match address {
        [devices, device, modules, module, rest @ ..] if is(devices, "devices") && is(modules, "modules") => {
            Some((Target::new(device, Some(module)), rest))
        }
        [devices, device, rest @ ..] if is(devices, "devices") => Some((Target::new(device, None), rest)),
        _ => None,
    }
}

fn unescaped(text: &str) -> Cow<'_, str> {
    percent_decode_str(text).decode_utf8_lossy()
}

fn looks_like_host(address: &str) -> bool {
    let first = address.split('/').next().unwrap_or_default();
    let name = first.rsplit_once(':').map_or(first, |(name, _)| name);
    is_loopback_name(name) || name.contains(".azure-devices.")
}

/// Checks that the token's resource names this endpoint. A loopback name is accepted, with one of the emulator's ports
/// or without a port. The name that the endpoint would have in Azure is accepted as well: clients sign for the host of
/// their connection string, even when they are told to connect elsewhere. A client that connects to the hub by one of
/// its Azure names (`host_name`) must sign for exactly that name.
fn check_authority(world: &World, service: Service, host_name: Option<&str>, authority: &str) -> Result<(), Refusal> {
    let (name, port) = authority
        .rsplit_once(':')
        .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
        .map_or((authority, None), |(name, port)| (name, port.parse::<u16>().ok()));
    let name = name.to_ascii_lowercase();
    let (own, plain) = match service {
        Service::EventHub => world.event_hub_ports(),
        _ => (world.hub_amqp_port, None),
    };
    let ports = [Some(own), plain, Some(world.hub_port), Some(5671), Some(443)];
    let host_name = host_name.and_then(|host_name| Some((host_name, world.hub_name_at(host_name)?)));
    let host_name = host_name.filter(|_| service == Service::HubAmqp);
    let known = match name.as_str() {
        // The hub's name for devices is refused, because this endpoint serves only back ends.
        _ if host_name.is_some_and(|(_, kind)| kind == HubName::Device) => false,
        name if host_name.is_some() => host_name.is_some_and(|(host_name, _)| host_name == name),
        name if is_loopback_name(name) => port.is_none_or(|port| ports.contains(&Some(port))),
        _ if service == Service::EventHub => name.ends_with(NAMESPACE_SUFFIX),
        name => world.hub_name_at(name).is_some_and(|kind| kind != HubName::Device),
    };
    if known { Ok(()) } else { Err(Refusal::unauthorized(format!("InvalidAudience: this is not '{authority}'"))) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_come_apart() {
        let cases = [
            ("sb://ns.servicebus.windows.net/hub/ConsumerGroups/$Default", "ns.servicebus.windows.net", 3),
            ("amqps://localhost:5671/hub", "localhost:5671", 1),
            ("hub/ConsumerGroups/%24Default/Partitions/0", "", 5),
            ("localhost:8443/messages/events", "localhost:8443", 2),
            ("localhost", "localhost", 0),
            ("/messages/devicebound", "", 2),
            ("$management", "", 1),
        ];
        for (address, authority, segments) in cases {
            let (found, path) = split(address);
            assert_eq!((found, path.len()), (authority, segments), "{address}");
        }
        assert_eq!(split("hub/ConsumerGroups/%24Default").1[2], "$Default");
    }

    #[test]
    fn a_claim_covers_whole_segments_for_its_time() {
        let path = |text: &str| split(text).1;
        let claim = Claim { path: path("sb://h/Hub"), deadline: Some(10), device: None };
        assert!(claim.covers(&path("hub/ConsumerGroups/g"), 10));
        assert!(!claim.covers(&path("hub/ConsumerGroups/g"), 11));
        assert!(!claim.covers(&path("hub2"), 0));
        assert!(!claim.covers(&path("$management"), 0));
    }

    #[test]
    fn devices_and_back_ends_claim_different_addresses() {
        let path = |text: &str| split(text).1;
        let device = Claim::of_device(Target::new("d", None), None);
        let module = Claim::of_device(Target::new("d", Some("m")), None);
        let back_end = Claim::everything();
        for (address, covered) in [
            ("/devices/d/messages/events", [true, false, false]),
            ("amqps://localhost/devices/d/twin", [true, false, false]),
            ("/devices/d/modules/m/twin", [false, true, false]),
            ("/devices/D/twin", [false, false, false]),
            ("/messages/devicebound", [false, false, true]),
        ] {
            let address_path = path(address);
            assert_eq!([&device, &module, &back_end].map(|claim| claim.covers(&address_path, 0)), covered, "{address}");
        }
    }
}
