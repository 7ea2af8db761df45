//! Claims-based security: a token is put to the node `$cbs` for an audience, and again before it expires
//! (OASIS "AMQP Claims-based Security", draft; as Microsoft's clients speak it).

use std::time::Duration;

use super::client::Client;
use super::codec::Value;
use super::error::Result;
use super::management::{RequestLink, properties};
use super::message::{Body, Message};
use super::sasl::Mechanism;
use super::transport::{Deadline, Transport};
use crate::platform::Platform;
use crate::secret::Secret;

/// The node's address.
const NODE: &str = "$cbs";
/// The type of a shared access signature.
const SAS_TYPE: &str = "servicebus.windows.net:sastoken";

/// Signs a token for an audience: given the time of day, the token and when it expires, since the Unix epoch.
pub type Signer<'s> = dyn Fn(Duration) -> (Secret, Duration) + 's;

/// A token that is kept valid.
pub struct Claim<'s> {
    link: RequestLink,
    audience: String,
    sign: Box<Signer<'s>>,
    /// When to put the next one, by the time of day.
    renew_at: Duration,
}

impl<'s> Claim<'s> {
    /// Logs in to a host as nobody, and puts the first token for this audience.
    ///
    /// # Errors
    /// `Answered` where the token is refused, with the node's status (401, 404, …); those of [`Client`].
    pub fn open(
        platform: &'s dyn Platform,
        transport: impl Transport + 's,
        host: &str,
        audience: String,
        sign: Box<Signer<'s>>,
        deadline: &Deadline,
    ) -> Result<(Client<'s>, Self)> {
        let mut client = Client::log_in(platform, transport, host, Mechanism::Anonymous, deadline)?;
        let claim = Self::put(&mut client, audience, sign, deadline)?;
        Ok((client, claim))
    }

    /// Puts the first token.
    pub(super) fn put(
        client: &mut Client,
        audience: String,
        sign: Box<Signer<'s>>,
        deadline: &Deadline,
    ) -> Result<Self> {
        let link = RequestLink::open(client, NODE, deadline)?;
        let mut claim = Self { link, audience, sign, renew_at: Duration::ZERO };
        claim.renew(client, deadline)?;
        Ok(claim)
    }

    /// Puts the next token, once nine tenths of the time of the last one are over (as Microsoft's Python client does).
    ///
    /// # Errors
    /// As [`Claim::open`].
    pub fn keep(&mut self, client: &mut Client, deadline: &Deadline) -> Result<()> {
        if client.platform().unix_time() < self.renew_at { Ok(()) } else { self.renew(client, deadline) }
    }

    fn renew(&mut self, client: &mut Client, deadline: &Deadline) -> Result<()> {
        let now = client.platform().unix_time();
        let (token, expiry) = (self.sign)(now);
        let request = Message {
            application_properties: properties([
                ("operation", "put-token".into()),
                ("type", SAS_TYPE.into()),
                ("name", self.audience.as_str().into()),
            ]),
            body: Body::Value(Value::string(token.expose())),
            ..Message::default()
        };
        self.link.request(client, NODE, request, deadline)?;
        let lifetime = expiry.saturating_sub(now);
        self.renew_at = now.saturating_add(lifetime - lifetime / 10);
        Ok(())
    }
}
