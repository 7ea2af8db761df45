//! Registrations of devices. In Azure they go to the host of the provisioning service; here they are told apart from
//! what goes to the hub by their address, `{idScope}/registrations/{id}`.

use fe2o3_amqp_types::messaging::{Body, Message};
use serde_amqp::Value;
use serde_json::json;

use super::conditions::refused;
use super::connection::Connection;
use super::device_messages;
use super::error::AmqpError;
use super::message::id_value;
use super::performatives::Outcome;
use super::requests::property;
use super::session::Node;
use crate::error::ServiceError;
use crate::operations::registration::{Proof, RETRY_AFTER, attest, operation_status, register};
use crate::sync::lock;
use crate::token::unauthorized;

impl Connection {
    /// The proof of identity that the client has given for a registration id.
    fn proof(&self, id: &str) -> Result<Proof<'_>, ServiceError> {
        match (&self.registrant, &self.certificate) {
            (Some(registrant), _) if registrant.id == id => Ok(Proof::Token(&registrant.token)),
            (None, Some(certificate)) => Ok(Proof::Certificate(certificate)),
            _ => Err(unauthorized()),
        }
    }

    /// Refuses a link for a registration that the client has not proved to be its own.
    pub(super) fn check_registrant(&self, id: &str) -> Result<(), AmqpError> {
        let attested = self.proof(id).and_then(|proof| attest(&lock(&self.world.dps), &self.world, id, &proof));
        attested.map(drop).map_err(|error| refused(&error))
    }

    /// Answers a request on a link for a registration.
    pub(super) fn on_registration(&mut self, channel: u16, handle: u32, request: Message<Body<Value>>) -> Outcome {
        let segments = self.link(channel, handle).map(|link| link.segments.clone()).unwrap_or_default();
        let registration = segments.last().cloned().unwrap_or_default();
        let operation = property(&request, "iotdps-operation-type").unwrap_or_default();
        let answer = self.proof(&registration).and_then(|proof| match operation.as_str() {
            "iotdps-register" => {
                let (_, id) = register(&self.world, &registration, &proof)?;
                Ok((Some(RETRY_AFTER), json!({ "operationId": id, "status": "assigning" })))
            }
            "iotdps-get-operationstatus" => {
                let id = property(&request, "iotdps-operation-id").unwrap_or_default();
                Ok((None, operation_status(&self.world, &registration, &id, &proof)?))
            }
            other => Err(crate::error::invalid(format!(
                "iotdps-operation-type must be iotdps-register or iotdps-get-operationstatus, not '{other}'"
            ))),
        });
        match answer {
            Ok((retry_after, body)) => {
                let id = id_value(request.properties.and_then(|properties| properties.correlation_id));
                let answer = device_messages::registration_answer(id, retry_after, &body);
                self.reply(channel, Node::Registration, None, answer);
                Outcome::Accepted
            }
            Err(error) => Outcome::Rejected(refused(&error)),
        }
    }
}
