//! A device that has logged in to register.

use super::claims::Refusal;
use crate::operations::registration::{Proof, attest, device_token};
use crate::sync::lock;
use crate::token::Token;
use crate::world::World;

/// A device that has logged in by SASL PLAIN with a token for its registration.
pub(super) struct Registrant {
    pub(super) id: String,
    pub(super) token: Token,
}

impl Registrant {
    /// Reads the response of SASL PLAIN: the user is `{idScope}/registrations/{id}`, the password a token. `None` when the
    /// user is of another form.
    pub(super) fn from_plain(world: &World, response: &[u8]) -> Result<Option<Self>, Refusal> {
        let parts: Vec<&str> =
            response.split(|byte| *byte == 0).map(|part| std::str::from_utf8(part).unwrap_or_default()).collect();
        let [_, user, password] = parts.as_slice() else { return Ok(None) };
        let Some((scope, id)) = user.split_once("/registrations/") else { return Ok(None) };
        let attested = device_token(world, scope, id, password)
            .and_then(|token| attest(&lock(&world.dps), world, id, &Proof::Token(&token)).map(|_| token));
        match attested {
            Ok(token) => Ok(Some(Self { id: id.to_owned(), token })),
            Err(error) => Err(Refusal { status: 401, description: error.message().to_owned() }),
        }
    }
}
