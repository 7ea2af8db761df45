//! The devices and modules that have links on a connection.
//!
//! A device is connected from its first link until its last link ends, as the service counts it. One AMQP connection may
//! carry the links of many devices.

use std::collections::HashMap;

use fe2o3_amqp_types::performatives::Attach;

use super::claims::Claim;
use super::conditions::refused;
use super::connection::Connection;
use super::device_messages;
use super::device_session::DeviceSession;
use super::error::AmqpError;
use super::session::{Assembly, DeviceEndpoint, LinkKind};
use super::values::string_of;
use crate::operations::connections::DeviceLink;
use crate::operations::credentials::{Presented, authenticate};
use crate::records::identity::Target;
use crate::sessions::{Ended, ToDevice};

/// The link property that ties the two links of an endpoint together.
const CORRELATION: &str = "com.microsoft:channel-correlation-id";

/// The endpoint at an address of a device or module; `rest` is the address without their ids.
pub(super) fn device_endpoint(device: &Target, rest: &[String], is_receiver: bool) -> Option<DeviceEndpoint> {
    let rest: Vec<String> = rest.iter().map(|part| part.to_ascii_lowercase()).collect();
    match rest.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        // A module receives where it sends.
        ["messages", "events"] if !is_receiver || device.module.is_some() => Some(DeviceEndpoint::Messages),
        ["messages", "devicebound"] if is_receiver => Some(DeviceEndpoint::Messages),
        ["methods", "devicebound"] => Some(DeviceEndpoint::Methods),
        ["twin"] => Some(DeviceEndpoint::Twin),
        _ => None,
    }
}

impl Connection {
    /// Lets a device or module attach that no token claims, if it presented a certificate in TLS that is its own.
    pub(super) fn claim_by_certificate(&mut self, device: &Target, segments: &[String], now: i64) {
        let Some(certificate) = self.certificate.as_ref().filter(|_| !self.is_claimed(segments, now)) else { return };
        let presented = Presented { token: None, certificate: Some(certificate) };
        match authenticate(&self.world, device, presented) {
            Ok(deadline) => self.claims.push(Claim::of_device(device.clone(), deadline)),
            Err(error) => tracing::debug!(%error, "a client certificate was refused"),
        }
    }

    /// Connects the device or module if it has no link yet, and makes a link of it.
    pub(super) fn enter(
        &mut self,
        attach: &Attach,
        target: Target,
        endpoint: DeviceEndpoint,
        is_receiver: bool,
    ) -> Result<LinkKind, AmqpError> {
        let device = target.key();
        if !self.devices.contains_key(&device) {
            let (link, received) = DeviceLink::open(&self.world, target).map_err(|error| refused(&error))?;
            self.devices.insert(device.clone(), DeviceSession::new(link, received));
        }
        if let Some(session) = self.devices.get(&device).filter(|_| is_receiver && endpoint == DeviceEndpoint::Methods)
        {
            session.link.accept_methods(true);
        }
        let properties = attach.properties.iter().flat_map(|properties| properties.iter());
        let pair = properties.filter(|(name, _)| name.as_str() == CORRELATION).find_map(|(_, value)| string_of(value));
        let pair = pair.map(str::to_owned);
        Ok(if is_receiver {
            LinkKind::ToDevice { device, endpoint, pair, queue: Default::default(), locks: HashMap::new() }
        } else {
            LinkKind::FromDevice { device, endpoint, pair, message: Assembly::default() }
        })
    }

    /// A link on which a device received has ended.
    pub(super) fn leave_endpoint(&self, device: &str, endpoint: DeviceEndpoint, locks: HashMap<u32, String>) {
        let Some(session) = self.devices.get(device) else { return };
        locks.values().for_each(|token| session.settle(token, None));
        if endpoint == DeviceEndpoint::Methods {
            session.link.accept_methods(false);
        }
    }

    /// Disconnects the devices that have no link any more.
    pub(super) fn leave_devices(&mut self) {
        let Self { sessions, devices, .. } = self;
        let links = || sessions.values().flat_map(|session| session.links.values());
        devices.retain(|device, _| links().any(|link| link.device() == Some(device)));
    }

    pub(super) fn on_notice(&mut self, device: &str, notice: ToDevice) {
        match notice {
            ToDevice::Method { request, call } => {
                let method = device_messages::method(&request, &call);
                self.send_to_device(device, DeviceEndpoint::Methods, None, method);
            }
            ToDevice::Desired { version, patch } => {
                if self.devices.get(device).is_some_and(|session| session.wants_desired) {
                    let notice = device_messages::desired(version, patch);
                    self.send_to_device(device, DeviceEndpoint::Twin, None, notice);
                }
            }
            // Messages are taken from the hub before the connection waits again.
            ToDevice::MessageWaiting => {}
            ToDevice::Disconnect(why) => self.dismiss(device, why),
        }
    }

    /// Queues a message on the device's link for an endpoint, preferably on the link of this pair.
    pub(super) fn send_to_device(
        &mut self,
        device: &str,
        endpoint: DeviceEndpoint,
        pair: Option<&str>,
        message: Vec<u8>,
    ) {
        let links = self.sessions.values_mut().flat_map(|session| session.links.values_mut());
        let queues = links.filter_map(|link| match &mut link.kind {
            LinkKind::ToDevice { device: of, endpoint: at, pair: own, queue, .. }
                if of == device && *at == endpoint =>
            {
                Some((pair.is_some() && own.as_deref() == pair, queue))
            }
            _ => None,
        });
        match queues.max_by_key(|(is_pair, _)| *is_pair) {
            Some((_, queue)) => queue.push_back(message),
            None => tracing::debug!(?endpoint, "a message was dropped, because the device has no link for it"),
        }
    }

    /// Ends all links of a device, because the hub ends its connection.
    fn dismiss(&mut self, device: &str, why: Ended) {
        let (condition, description) = match why {
            Ended::TakenOver => ("amqp:link:stolen", "The device has connected again."),
            Ended::Disabled => ("amqp:unauthorized-access", "The device is disabled."),
            Ended::Deleted => ("amqp:not-found", "The device was deleted."),
            Ended::CredentialsChanged => ("amqp:unauthorized-access", "The device's credentials have changed."),
        };
        let error = AmqpError::new(condition, description);
        for (channel, handle) in self.links() {
            if self.link(channel, handle).is_some_and(|link| link.device() == Some(device)) {
                self.detach(channel, handle, &error);
            }
        }
        if let Some(session) = self.devices.remove(device)
            && why != Ended::TakenOver
        {
            self.claims.retain(|claim| claim.device.as_ref() != Some(session.link.target()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_devices_lead_to_endpoints() {
        let device = Target::new("d", None);
        let module = Target::new("d", Some("m"));
        let at = |target: &Target, rest: &str, is_receiver| {
            let rest: Vec<String> = rest.split('/').map(str::to_owned).collect();
            device_endpoint(target, &rest, is_receiver)
        };
        let messages = Some(DeviceEndpoint::Messages);
        assert_eq!(at(&device, "messages/events", false), messages);
        assert_eq!(at(&device, "messages/events", true), None);
        assert_eq!(at(&module, "messages/events", true), messages);
        assert_eq!(at(&device, "messages/deviceBound", true), messages);
        assert_eq!(at(&device, "messages/devicebound", false), None);
        assert_eq!(at(&device, "methods/devicebound", true), Some(DeviceEndpoint::Methods));
        assert_eq!(at(&module, "twin", false), Some(DeviceEndpoint::Twin));
        assert_eq!(at(&device, "files", false), None);
    }
}
