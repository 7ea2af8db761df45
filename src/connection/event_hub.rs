//! From an account to its open Event Hub-compatible endpoint.

use super::account::{Account, AmqpAddress, EVENT_HUB_SUFFIXES};
use crate::auth::SharedAccessKey;
use crate::error::{ErrorCode, Result};
use crate::eventhub::{Access, Endpoint, EventHub, HubAddress, Roots, discover};
use crate::platform::Platform;
use crate::session::Session;

/// How an endpoint was come by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is the one that the account pins.
    Pinned,
    /// The hub named it.
    Found(Endpoint),
    /// The hub named it, since the pinned one is no more.
    Stale(Endpoint),
}

/// Opens the Event Hub-compatible endpoint: the pinned one, or the one that the hub names.
///
/// # Errors
/// Those of the service.
pub fn open<'p>(session: &Session, platform: &'p dyn Platform) -> Result<(EventHub<'p>, Origin)> {
    let account = session.account();
    let mut stale = false;
    if let Some(pin) = &account.event_hub {
        let address = AmqpAddress::of(&pin.host);
        let endpoint = Endpoint { host: address.host, port: address.port, hub: pin.path.clone() };
        let key = pin.key.as_ref().unwrap_or(&account.hub.key);
        match connect(session, platform, &endpoint, key) {
            // A pin goes stale when a hub fails over: the hub itself knows better.
            Err(error) if matches!(error.code(), ErrorCode::NotFound | ErrorCode::Unavailable) => stale = true,
            opened => return Ok((opened?, Origin::Pinned)),
        }
    }
    let endpoint = find(session)?;
    let hub = connect(session, platform, &endpoint, &account.hub.key)?;
    Ok((hub, if stale { Origin::Stale(endpoint) } else { Origin::Found(endpoint) }))
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
    EventHub::connect(platform, endpoint, &Access::Claim(key.clone()), roots(session.account()), session.deadline())
}

/// Asks the hub for its Event Hub-compatible endpoint.
///
/// # Errors
/// Those of the service.
pub fn find(session: &Session) -> Result<Endpoint> {
    let account = session.account();
    let hub = HubAddress { host: account.hub_amqp.host.clone(), port: account.hub_amqp.port };
    let may_follow = |host: &str| {
        EVENT_HUB_SUFFIXES.iter().any(|suffix| host.ends_with(suffix) && host.len() > suffix.len())
            || account.trusted_suffixes.iter().any(|domain| host == domain || host.ends_with(&format!(".{domain}")))
    };
    discover(session.platform(), &hub, &account.hub.key, roots(account), &may_follow, session.deadline())
}
