//! What devices and modules send: telemetry, answers to methods, requests for the twin.

use fe2o3_amqp_types::messaging::{Body, Message};
use serde_amqp::Value;
use serde_json::json;

use super::codec::decode_message;
use super::conditions::refused;
use super::connection::{Connection, FaultOutcome, Step};
use super::device_messages;
use super::error::AmqpError;
use super::message::id_value;
use super::performatives::Outcome;
use super::session::{Delivery, DeviceEndpoint, LinkKind};
use crate::clock::{now, rfc3339};
use crate::error::{ErrorCode, ServiceError};
use crate::random;

impl Connection {
    pub(super) async fn on_device(&mut self, channel: u16, handle: u32, delivery: &Delivery) -> Step<Option<Outcome>> {
        let Some(link) = self.link(channel, handle) else { return Ok(None) };
        let path = link.path.clone();
        let LinkKind::FromDevice { device, endpoint, pair, .. } = &link.kind else { return Ok(None) };
        let (device, endpoint, pair) = (device.clone(), *endpoint, pair.clone());
        match self.fault("SEND", &path).await? {
            Some(FaultOutcome::Reject(condition)) => {
                return Ok(Some(Outcome::Rejected(AmqpError::of_rule(&condition))));
            }
            Some(instead) => {
                self.apply(channel, handle, &instead);
                return Ok(None);
            }
            None => {}
        }
        let done = match endpoint {
            DeviceEndpoint::Messages => self.on_telemetry(&device, delivery),
            DeviceEndpoint::Methods => self.on_method_answer(&device, delivery),
            DeviceEndpoint::Twin => self.on_twin_request(&device, pair.as_deref(), delivery),
        };
        Ok(Some(done.map_or_else(Outcome::Rejected, |()| Outcome::Accepted)))
    }

    fn on_telemetry(&self, device: &str, delivery: &Delivery) -> Result<(), AmqpError> {
        let Some(session) = self.devices.get(device) else { return Ok(()) };
        let events = device_messages::telemetry(delivery).ok_or_else(unreadable)?;
        events.into_iter().try_for_each(|event| session.link.send(event)).map_err(|error| refused(&error))
    }

    fn on_method_answer(&self, device: &str, delivery: &Delivery) -> Result<(), AmqpError> {
        let Some(session) = self.devices.get(device) else { return Ok(()) };
        let message = decode_message(&delivery.bytes).ok_or_else(unreadable)?;
        let answer = device_messages::method_answer(message).ok_or_else(|| {
            let description = "The answer to a method needs its correlation id, IoThub-status, and JSON as its body.";
            AmqpError::new("com.microsoft:argument-error", description)
        })?;
        // The service waits no longer when the answer comes too late.
        session.link.answer_method(&answer.request, answer.status, answer.payload);
        Ok(())
    }

    fn on_twin_request(&mut self, device: &str, pair: Option<&str>, delivery: &Delivery) -> Result<(), AmqpError> {
        let request = decode_message(&delivery.bytes).ok_or_else(unreadable)?;
        let id = id_value(request.properties.clone().and_then(|properties| properties.correlation_id));
        let (status, version, body) = self.answer_twin_request(device, &request).unwrap_or_else(|error| {
            let body = json!({
                "errorCode": error.code().number(),
                "trackingId": random::hex(16),
                "message": error.message(),
                "timestampUtc": rfc3339(now()),
            });
            (error.status(), None, Some(body))
        });
        let answer = device_messages::twin_answer(id, status, version, body);
        self.send_to_device(device, DeviceEndpoint::Twin, pair, answer);
        Ok(())
    }

    /// The status, version and body that answer a request for the twin.
    fn answer_twin_request(
        &mut self,
        device: &str,
        request: &Message<Body<Value>>,
    ) -> Result<(u16, Option<u64>, Option<serde_json::Value>), ServiceError> {
        let operation = device_messages::annotation(request, "operation").unwrap_or_default();
        let resource = device_messages::annotation(request, "resource").unwrap_or_default();
        let unknown =
            || ServiceError::new(ErrorCode::BAD_REQUEST, format!("'{operation} {resource}' is no operation on a twin"));
        let session = self.devices.get_mut(device).ok_or_else(unknown)?;
        match (operation.as_str(), resource.as_str()) {
            ("GET", _) => Ok((200, None, Some(session.link.read_twin()?))),
            ("PATCH", "/properties/reported") => {
                let patch = device_messages::data(request).and_then(|body| serde_json::from_slice(&body).ok());
                let patch =
                    patch.ok_or_else(|| ServiceError::new(ErrorCode::FORMAT_ERROR, "the patch has to be JSON"))?;
                Ok((204, Some(session.link.report(patch)?), None))
            }
            ("PUT" | "DELETE", "/notifications/twin/properties/desired") => {
                session.wants_desired = operation == "PUT";
                Ok((204, None, None))
            }
            _ => Err(unknown()),
        }
    }
}

fn unreadable() -> AmqpError {
    AmqpError::new("amqp:decode-error", "The message could not be read.")
}
