//! Opens the Event Hub-compatible endpoint of an account.

use super::Session;
use crate::account::{Account, AmqpAddress, EventHubPin};
use crate::auth::{self, SharedAccessKey};
use crate::error::{Error, ErrorCode, Result};
use crate::eventhub::{Access, Endpoint, EventHub, HubAddress, Roots, discover};
use crate::host_name::{EVENT_HUB_SUFFIXES, ends_in, identity};
use crate::platform::Platform;

/// How the endpoint was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The account pins this endpoint.
    Pinned,
    /// The hub named this endpoint.
    Found(Endpoint),
    /// The hub named this endpoint, because the endpoint that the account pins cannot be used any more.
    Stale {
        /// The endpoint that the account pins.
        pinned: Endpoint,
        /// The endpoint that the hub names.
        named: Endpoint,
    },
}

impl Origin {
    /// The notice for a person if the account pins an endpoint that is not the hub's any more. It states what was
    /// found, and which fields to set to which values.
    pub fn advice(&self) -> Option<String> {
        let Self::Stale { pinned, named } = self else { return None };
        Some(format!(
            "The connection pins the Event Hub-compatible endpoint {}/{}, but the hub names {}/{}, as after a failover. \
             Events are read from the endpoint that the hub names. {}",
            pinned.host,
            pinned.hub,
            named.host,
            named.hub,
            remedy(named)
        ))
    }
}

/// Advice for a connection with a stale endpoint: which fields to set to which values.
pub fn remedy(named: &Endpoint) -> String {
    let port = if named.port == named.transport.port() { String::new() } else { format!(":{}", named.port) };
    format!(
        "Edit the connection: set \"EventHub compatible Endpoint\" to sb://{}{port}/ and \"EventHub compatible path\" to {}; or \
         leave both empty to have the hub asked each time.",
        named.host, named.hub
    )
}

/// Opens the Event Hub-compatible endpoint: the pinned one, or the one that the hub names.
///
/// # Errors
/// The errors of IoT Hub and of the Event Hub.
pub fn open<'p>(session: &Session, platform: &'p dyn Platform) -> Result<(EventHub<'p>, Origin)> {
    match try_open(session, platform) {
        Err(error) if is_refusal(&error) && session.learns_the_time() => try_open(session, platform),
        opened => opened,
    }
}

fn try_open<'p>(session: &Session, platform: &'p dyn Platform) -> Result<(EventHub<'p>, Origin)> {
    let account = session.account();
    let Some(pin) = &account.event_hub else {
        let endpoint = ask(session)?;
        let hub = connect(session, platform, &endpoint, &account.hub.key)?;
        return Ok((hub, Origin::Found(endpoint)));
    };
    let pinned = endpoint_of(account, pin);
    let failure = match connect(session, platform, &pinned, pin.key.as_ref().unwrap_or(&account.hub.key)) {
        Err(error) => error,
        opened => return Ok((opened?, Origin::Pinned)),
    };
    // After a hub's failover, the pinned endpoint is stale and the hub names the current one. The old namespace may be
    // gone, may not know the Event Hub any more, or may refuse the keys.
    let gone = matches!(failure.code(), ErrorCode::NotFound | ErrorCode::Unavailable);
    if !gone && !is_refusal(&failure) {
        return Err(failure);
    }
    match ask(session) {
        Ok(named) if !is_same(&named, &pinned) => {
            let hub = connect(session, platform, &named, &account.hub.key)?;
            Ok((hub, Origin::Stale { pinned, named }))
        }
        Err(error) if gone => Err(failure.followed_by(error)),
        _ => Err(failure),
    }
}

fn is_refusal(error: &Error) -> bool {
    matches!(error.code(), ErrorCode::AuthFailed | ErrorCode::AuthExpired)
}

/// The endpoint that an account pins.
pub fn endpoint_of(account: &Account, pin: &EventHubPin) -> Endpoint {
    let transport = account.amqp_transport;
    let AmqpAddress { host, port } = AmqpAddress::of(&pin.host, transport);
    Endpoint { host, port, transport, hub: pin.path.clone() }
}

/// The hub's own AMQP endpoint.
pub(super) fn hub_address(account: &Account) -> HubAddress {
    let AmqpAddress { host, port } = account.hub_amqp.clone();
    HubAddress { host, port, transport: account.amqp_transport }
}

/// Whether two endpoints are the same one. The case of an Event Hub's name does not matter, and a namespace has two
/// host names, with and without `privatelink`.
pub fn is_same(one: &Endpoint, other: &Endpoint) -> bool {
    one.hub.eq_ignore_ascii_case(&other.hub) && one.port == other.port && identity(&one.host) == identity(&other.host)
}

pub(super) fn roots(account: &Account) -> Roots<'_> {
    account.trusted_certificates.as_deref().map_or(Roots::WebPki, Roots::Pem)
}

fn connect<'p>(
    session: &Session,
    platform: &'p dyn Platform,
    endpoint: &Endpoint,
    key: &SharedAccessKey,
) -> Result<EventHub<'p>> {
    auth::same_clock(&endpoint.host, &session.account().hub.host);
    EventHub::connect(platform, endpoint, &Access::Claim(key.clone()), roots(session.account()), session.deadline())
}

/// Asks the hub for its Event Hub-compatible endpoint.
///
/// # Errors
/// The errors of IoT Hub.
pub fn find(session: &Session) -> Result<Endpoint> {
    match ask(session) {
        Err(error) if is_refusal(&error) && session.learns_the_time() => ask(session),
        found => found,
    }
}

fn ask(session: &Session) -> Result<Endpoint> {
    let account = session.account();
    let hub = hub_address(account);
    auth::same_clock(&hub.host, &account.hub.host);
    let may_follow = |host: &str| {
        ends_in(host, &EVENT_HUB_SUFFIXES).is_some()
            || account.trusted_suffixes.iter().any(|domain| host == domain || host.ends_with(&format!(".{domain}")))
    };
    discover(session.platform(), &hub, &account.hub.key, roots(account), &may_follow, session.deadline())
}
