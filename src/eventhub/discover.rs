//! Finds an IoT hub's Event Hub-compatible endpoint from the hub's own values. The endpoint changes when the hub fails
//! over.
//!
//! The hub redirects a link to its `/messages/events` to that endpoint. Microsoft's clients for JavaScript and the
//! Azure CLI use this redirect, too, and follow it to any host. This client follows it only to hosts that the caller
//! allows, because the target of the redirect receives a token.
//!
//! The first attempt uses a password (SASL PLAIN), which has worked for years. If the hub does not offer PLAIN or
//! refuses the password, a token is put to `$cbs` instead. The password is never sent to a server that does not offer
//! PLAIN.

use std::time::Duration;

use super::fault::Context;
use super::hub::Endpoint;
use crate::amqp::cbs::Claim;
use crate::amqp::client::Client;
use crate::amqp::link::LinkOptions;
use crate::amqp::sasl::Mechanism;
use crate::amqp::transport::{self, Deadline, Roots, Transport, TransportError};
use crate::amqp::{Error as AmqpError, Redirect, Stage};
use crate::amqp_transport::AmqpTransport;
use crate::auth::{self, SharedAccessKey};
use crate::error::{Error, ErrorCode, Result, Retry};
use crate::platform::Platform;
use crate::quoted::quoted;

/// The address of an IoT hub's AMQP endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubAddress {
    /// The hub's host.
    pub host: String,
    /// The port; on Azure it is the transport's default port.
    pub port: u16,
    /// The transport under AMQP.
    pub transport: AmqpTransport,
}

impl HubAddress {
    /// Connects to the hub.
    ///
    /// # Errors
    /// As [`transport::open`].
    pub(crate) fn open(&self, roots: Roots, deadline: &Deadline) -> Result<Box<dyn Transport>, TransportError> {
        transport::open(self.transport, (&self.host, self.port), "/$iothub/websocket", roots, deadline)
    }
}

/// Asks a hub for its Event Hub-compatible endpoint. `may_follow` decides whether a host, in lower case, is trusted.
///
/// # Errors
/// `auth-failed` where the hub refuses the policy's token; `permission-denied`; `protocol` where the hub does not
/// redirect, or redirects to a host that `may_follow` refuses; `unavailable` and `timeout`, by `deadline` on the
/// monotonic clock.
pub fn discover(
    platform: &dyn Platform,
    hub: &HubAddress,
    key: &SharedAccessKey,
    roots: Roots,
    may_follow: &dyn Fn(&str) -> bool,
    deadline: Duration,
) -> Result<Endpoint> {
    let until = Deadline::at(platform, deadline);
    let mut open = || hub.open(roots, &until);
    discover_over(platform, &mut open, hub, key, may_follow, deadline)
}

/// As [`discover`], over transports that `open` makes: one, or two if the hub does not accept a password.
pub(super) fn discover_over<T: Transport>(
    platform: &dyn Platform,
    open: &mut dyn FnMut() -> Result<T, TransportError>,
    hub: &HubAddress,
    key: &SharedAccessKey,
    may_follow: &dyn Fn(&str) -> bool,
    deadline: Duration,
) -> Result<Endpoint> {
    let until = Deadline::at(platform, deadline);
    let context = Context::iot_hub(hub, key, "its Event Hub-compatible endpoint");
    let mut answer = by_password(platform, open, hub, key, &until);
    let refused = match &answer {
        Err(AmqpError::NoMechanism(_)) => Some(true),
        Err(AmqpError::Sasl(1) | AmqpError::Disconnected(Stage::Sasl)) => Some(false),
        _ => None,
    };
    if let Some(not_offered) = refused {
        let second = by_claim(platform, open, hub, key, &until);
        // If both ways fail, the error of the first way is reported, unless the hub does not offer passwords.
        if second.is_ok() || not_offered {
            answer = second;
        }
    }
    match answer {
        Ok(redirect) => follow(&redirect, hub.transport, may_follow),
        Err(error) => Err(context.error(&error)),
    }
}

/// Logs in with the policy's name, and a token as the password (as Microsoft's JavaScript client does).
fn by_password<T: Transport>(
    platform: &dyn Platform,
    open: &mut dyn FnMut() -> Result<T, TransportError>,
    hub: &HubAddress,
    key: &SharedAccessKey,
    until: &Deadline,
) -> Result<Redirect, AmqpError> {
    let name = hub.host.split('.').next().unwrap_or(&hub.host);
    let user = format!("{}@sas.root.{name}", key.policy);
    let password = auth::token(key, &hub.host, None, platform.unix_time());
    let client = Client::log_in(platform, open()?, &hub.host, Mechanism::Plain { user, password }, until)?;
    ask(client, hub, until)
}

/// Logs in with SASL ANONYMOUS and puts a token for the host (as the Azure CLI does since 2026).
fn by_claim<T: Transport>(
    platform: &dyn Platform,
    open: &mut dyn FnMut() -> Result<T, TransportError>,
    hub: &HubAddress,
    key: &SharedAccessKey,
    until: &Deadline,
) -> Result<Redirect, AmqpError> {
    let sign = |now| auth::hub_token(key, &hub.host, now);
    let (client, _) = Claim::open(platform, open()?, &hub.host, hub.host.clone(), Box::new(sign), until)?;
    ask(client, hub, until)
}

fn ask(mut client: Client, hub: &HubAddress, until: &Deadline) -> Result<Redirect, AmqpError> {
    let name = client.name("receiver");
    let link = LinkOptions::receiver(name, format!("amqps://{}/messages/events/$management", hub.host));
    // The hub sends the redirect instead of the attach, or right after it.
    let outcome = client.attach(&link, 1, until).and_then(|link| client.receive(link, Duration::MAX, until));
    let outcome = match outcome {
        Err(error) => error.redirect().ok_or(error),
        Ok(None) => Err(AmqpError::Timeout(Stage::Answer)),
        Ok(Some(_)) => Err(AmqpError::Answer("redirect to the Event Hub-compatible endpoint")),
    };
    client.close(until);
    outcome
}

fn follow(redirect: &Redirect, transport: AmqpTransport, may_follow: &dyn Fn(&str) -> bool) -> Result<Endpoint> {
    let host = redirect.hostname.to_ascii_lowercase();
    let refuse =
        |message: String| Err(Error::new(ErrorCode::Protocol, message).with_retry(Retry::AfterReconfiguration));
    // The redirect's network host is ignored: the certificate is checked for the host name, so the connection is made
    // to that.
    if !may_follow(&host) {
        let host = quoted(&host, 256).unwrap_or_default();
        return refuse(format!(
            "The hub names {host} as its Event Hub-compatible endpoint, which is not one of Azure's hosts; the connector did not contact this host"
        ));
    }
    match redirect.address.as_deref().and_then(entity) {
        Some(hub) => {
            // Azure states the port of AMQP over TLS even if the request came over a WebSocket. Microsoft's clients
            // ignore the port.
            let named = (redirect.port != AmqpTransport::Tcp.port()).then_some(redirect.port);
            Ok(Endpoint { host, port: named.unwrap_or(transport.port()), transport, hub })
        }
        None => refuse("The hub names an Event Hub-compatible endpoint without the name of an Event Hub".to_owned()),
    }
}

/// The Event Hub's name in `amqps://{host}:5671/{hub}/$management`, or in the address of a consumer group below it.
fn entity(address: &str) -> Option<String> {
    let path = match address.split_once("://") {
        Some((_, rest)) => rest.split_once('/')?.1,
        None => address.trim_start_matches('/'),
    };
    let name = path.split('/').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!name.is_empty() && name.len() <= 256 && name.chars().all(plain)).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_event_hub_is_found_in_an_address() {
        let cases = [
            ("amqps://ns.servicebus.windows.net:5671/iothub-ehub-h-1-a2/$management", Some("iothub-ehub-h-1-a2")),
            ("amqps://ns.servicebus.windows.net/h/ConsumerGroups/$Default/Partitions/0", Some("h")),
            ("h/$management", Some("h")),
            ("amqps://ns.servicebus.windows.net", None),
            ("amqps://ns.servicebus.windows.net/", None),
            ("amqps://ns.servicebus.windows.net/a b/$management", None),
            ("", None),
        ];
        for (address, name) in cases {
            assert_eq!(entity(address).as_deref(), name, "{address}");
        }
    }

    #[test]
    fn only_trusted_hosts_are_followed() {
        let redirect = |hostname: &str| Redirect {
            hostname: hostname.into(),
            network_host: None,
            port: 5671,
            address: Some("amqps://x/h/$management".into()),
        };
        let may_follow = |host: &str| host.ends_with(".servicebus.windows.net");
        let follow = |host: &str, transport| follow(&redirect(host), transport, &may_follow);
        for transport in [AmqpTransport::Tcp, AmqpTransport::WebSockets] {
            let endpoint = follow("NS.servicebus.windows.net", transport).expect("followed");
            assert_eq!((endpoint.hub.as_str(), endpoint.port, endpoint.transport), ("h", transport.port(), transport));
        }
        for host in ["evil.example", "ns.servicebus.windows.net.evil.example", "servicebus.windows.net"] {
            let error = follow(host, AmqpTransport::Tcp).expect_err("refused");
            assert_eq!(error.code(), ErrorCode::Protocol, "{host}");
        }
    }
}
