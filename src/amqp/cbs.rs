//! Claims-based security: the client puts a token for an audience to the node `$cbs`, and puts a new one before the old
//! one expires (OASIS "AMQP Claims-based Security", draft, as Microsoft's clients implement it).

use std::time::Duration;

use super::client::Client;
use super::codec::Value;
use super::error::{Error, Result};
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

/// How long a caller waits for `$cbs` to take a new token while the previous token is still valid.
const PATIENCE: Duration = Duration::from_secs(3);
/// How long after an unanswered renewal the next one is tried.
const AGAIN_AFTER: Duration = Duration::from_secs(30);

/// Signs a token for an audience. The argument is the time of day; the results are the token and the time when it
/// expires. Both times count from the Unix epoch.
pub type Signer<'s> = dyn Fn(Duration) -> (Secret, Duration) + 's;

/// A token that is kept valid.
pub struct Claim<'s> {
    link: RequestLink,
    audience: String,
    sign: Box<Signer<'s>>,
    /// When the next token must be put, by the time of day.
    renew_at: Duration,
    /// When the current token expires, by the time of day.
    expires_at: Duration,
}

impl<'s> Claim<'s> {
    /// Logs in to a host with SASL ANONYMOUS, and puts the first token for this audience.
    ///
    /// # Errors
    /// `Answered` where the token is refused, with the node's status (401, 404, …); the errors of [`Client`].
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
        let mut claim = Self { link, audience, sign, renew_at: Duration::ZERO, expires_at: Duration::ZERO };
        claim.renew(client, deadline)?;
        Ok(claim)
    }

    /// Puts the next token after nine tenths of the current token's lifetime (as Microsoft's Python client does). If
    /// `$cbs` does not answer in time while the current token is still valid, the connection stays usable and the token
    /// is put again later.
    ///
    /// # Errors
    /// As [`Claim::open`].
    pub fn keep(&mut self, client: &mut Client, deadline: &Deadline) -> Result<()> {
        let now = client.platform().unix_time();
        if now < self.renew_at {
            return Ok(());
        }
        if now >= self.expires_at {
            return self.renew(client, deadline);
        }
        match self.renew(client, &deadline.soon(PATIENCE)) {
            Err(Error::Timeout(_)) => {
                self.renew_at = now.saturating_add(AGAIN_AFTER).min(self.expires_at);
                Ok(())
            }
            result => result,
        }
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
        self.expires_at = expiry;
        Ok(())
    }
}
