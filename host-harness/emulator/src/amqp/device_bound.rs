//! Messages to devices.

use bytes::Bytes;
use fe2o3_amqp_types::messaging::{Body, Message};
use percent_encoding::percent_decode_str;
use serde_amqp::Value;
use time::OffsetDateTime;

use super::codec;
use super::conditions::refused;
use super::connection::{Connection, FaultOutcome, Step};
use super::error::AmqpError;
use super::message::{id_text, simple_text};
use super::performatives::Outcome;
use super::session::Delivery;
use crate::error::ErrorCode;
use crate::messages::DeviceMessage;
use crate::operations::messages::queue_message;
use crate::random;
use crate::records::cloud_message::{Ack, CloudMessage};
use crate::throttle::Throttle;
use crate::world::World;

impl Connection {
    pub(super) async fn on_device_bound(
        &mut self,
        channel: u16,
        handle: u32,
        delivery: &Delivery,
    ) -> Step<Option<Outcome>> {
        match self.fault("SEND", "/messages/devicebound").await? {
            Some(FaultOutcome::Reject(condition)) => {
                return Ok(Some(Outcome::Rejected(AmqpError::of_rule(&condition))));
            }
            Some(instead) => {
                self.apply(channel, handle, &instead);
                return Ok(None);
            }
            None => {}
        }
        let result = codec::decode_message(&delivery.bytes)
            .ok_or_else(|| AmqpError::new("amqp:decode-error", "The message could not be read."))
            .and_then(|message| queue(&self.world, message));
        Ok(Some(match result {
            Ok(()) => Outcome::Accepted,
            Err(error) => Outcome::Rejected(error),
        }))
    }
}

/// Reads a message for a device and queues it. The values of application properties are converted to text.
pub(super) fn queue(world: &World, message: Message<Body<Value>>) -> Result<(), AmqpError> {
    let properties = message.properties.unwrap_or_default();
    let argument = |description: &str| AmqpError::new("com.microsoft:argument-error", description);
    let to = properties.to.as_deref().ok_or_else(|| argument("The message has no 'to' property"))?;
    let body = match message.body {
        Body::Data(sections) => sections.into_iter().flat_map(|section| section.0.into_vec()).collect(),
        Body::Value(value) => match value.0 {
            Value::String(text) => text.into_bytes(),
            Value::Binary(bytes) => bytes.into_vec(),
            _ => return Err(argument("The body must be data sections")),
        },
        Body::Empty => Vec::new(),
        Body::Sequence(_) => return Err(argument("The body must be data sections")),
    };
    let message_id = properties.message_id.map_or_else(random::uuid, id_text);
    if message_id.len() > 128 {
        return Err(argument("The message id has more than 128 characters"));
    }
    let mut ack = Ack::None;
    let mut application = Vec::new();
    for (name, value) in message.application_properties.iter().flat_map(|properties| properties.0.iter()) {
        let value = simple_text(value).ok_or_else(|| argument("An application property has an unknown type"))?;
        if name.eq_ignore_ascii_case("iothub-ack") {
            ack = Ack::parse(&value).ok_or_else(|| argument("iothub-ack must be none, positive, negative or full"))?;
        } else {
            application.push((name.clone(), value));
        }
    }
    let mut queued = DeviceMessage::new(message_id, application, body.into());
    queued.correlation_id = properties.correlation_id.map(id_text);
    queued.user_id = properties.user_id.map(|id| Bytes::from(id.into_vec()));
    queued.content_type = properties.content_type.map(|kind| kind.into_inner());
    queued.content_encoding = properties.content_encoding.map(|encoding| encoding.into_inner());
    queued.expires = properties
        .absolute_expiry_time
        .and_then(|time| OffsetDateTime::from_unix_timestamp_nanos(i128::from(time.milliseconds()) * 1_000_000).ok());
    // The .NET client percent-encodes the ids; the Python client and the Azure CLI do not. An id can contain a percent
    // sign, so the undecoded text is tried first.
    let decoded = percent_decode_str(to).decode_utf8_lossy();
    let targets = [device_of(to), device_of(&decoded)];
    let mut targets = targets.into_iter().flatten();
    let (device, module) =
        targets.next().ok_or_else(|| argument("The 'to' property is not the address of a device"))?;
    world.throttles.take(Throttle::Message).map_err(|error| refused(&error))?;
    queued.module_id = module;
    match queue_message(world, &device, CloudMessage::new(queued.clone(), ack)) {
        Err(error) if [ErrorCode::DEVICE_NOT_FOUND, ErrorCode::MODULE_NOT_FOUND].contains(&error.code()) => {
            match targets.next() {
                Some((device, module)) => {
                    queued.module_id = module;
                    queue_message(world, &device, CloudMessage::new(queued, ack))
                }
                None => Err(error),
            }
        }
        result => result,
    }
    .map_err(|error| refused(&error))
}

/// The device id and, if there is one, the module id in `/devices/{id}[/modules/{id}]/messages/devicebound`.
fn device_of(to: &str) -> Option<(String, Option<String>)> {
    let parts: Vec<&str> = to.trim_start_matches('/').split('/').collect();
    let is = |part: &str, name: &str| part.eq_ignore_ascii_case(name);
    match parts.as_slice() {
        [devices, id, messages, bound]
            if is(devices, "devices") && is(messages, "messages") && is(bound, "devicebound") =>
        {
            Some(((*id).to_owned(), None))
        }
        [devices, id, modules, module, messages, bound]
            if is(devices, "devices")
                && is(modules, "modules")
                && is(messages, "messages")
                && is(bound, "devicebound") =>
        {
            Some(((*id).to_owned(), Some((*module).to_owned())))
        }
        _ => None,
    }
}
