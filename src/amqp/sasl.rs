//! Authentication before AMQP (part 5 of the standard, 5.3): ANONYMOUS, followed later by a token put to `$cbs`, or
//! PLAIN (RFC 4616).

use super::error::{Error, Misbehaviour, Result};
use super::performative::SaslInit;
use crate::secret::Secret;

/// How the client authenticates.
#[derive(Clone, Debug, PartialEq)]
pub enum Mechanism {
    /// No authentication at this point: a token is put to `$cbs` later. If the server offers only `MSSBCBS`,
    /// Microsoft's name for the same mechanism, that name is used.
    Anonymous,
    /// With a name and a password.
    Plain {
        /// The name of the user.
        user: String,
        /// The password. For IoT Hub it is a shared access signature.
        password: Secret,
    },
}

/// Neither mechanism has challenges. This number of challenges is answered with empty responses; after one more, the
/// server is given up.
const MOST_CHALLENGES: u8 = 4;

/// The client's side of the negotiation.
#[derive(Debug)]
pub struct Negotiation {
    mechanism: Mechanism,
    challenges: u8,
}

impl Negotiation {
    /// A negotiation for this mechanism.
    pub fn new(mechanism: Mechanism) -> Self {
        Self { mechanism, challenges: 0 }
    }

    /// Chooses from the server's list of mechanisms.
    ///
    /// # Errors
    /// `NoMechanism` where the server does not offer our mechanism.
    pub fn choose(&self, offered: &[String], hostname: &str) -> Result<SaslInit> {
        let names: &[&str] = match self.mechanism {
            Mechanism::Anonymous => &["ANONYMOUS", "MSSBCBS"],
            Mechanism::Plain { .. } => &["PLAIN"],
        };
        let name = names.iter().find(|name| offered.iter().any(|offer| offer == *name));
        let Some(name) = name else {
            // A server may send a list of any length; a part of it is enough for a person.
            let offered = offered.iter().take(8).map(|name| name.chars().take(32).collect()).collect();
            return Err(Error::NoMechanism(offered));
        };
        let initial_response = match &self.mechanism {
            Mechanism::Anonymous => Vec::new(),
            Mechanism::Plain { user, password } => {
                [b"\0", user.as_bytes(), b"\0", password.expose().as_bytes()].concat()
            }
        };
        Ok(SaslInit { mechanism: (*name).to_owned(), initial_response, hostname: Some(hostname.to_owned()) })
    }

    /// Answers a challenge.
    ///
    /// # Errors
    /// [`Misbehaviour::SaslRounds`] after too many challenges.
    pub fn challenge(&mut self) -> Result<Vec<u8>> {
        self.challenges += 1;
        if self.challenges > MOST_CHALLENGES {
            return Err(Misbehaviour::SaslRounds.into());
        }
        Ok(Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain() -> Negotiation {
        Negotiation::new(Mechanism::Plain { user: "service@sas.root.hub".into(), password: Secret::new("pass") })
    }

    #[test]
    fn plain_is_as_of_rfc_4616() {
        let init = plain().choose(&["EXTERNAL".into(), "PLAIN".into()], "h").expect("offered");
        assert_eq!(init.initial_response, b"\0service@sas.root.hub\0pass");
        assert!(!format!("{init:?}").contains("112"), "no password in {init:?}");
    }

    #[test]
    fn the_servers_list_is_respected() {
        let offered = ["ANONYMOUS".to_owned(), "X".repeat(1000)];
        assert_eq!(plain().choose(&offered, "h"), Err(Error::NoMechanism(vec!["ANONYMOUS".into(), "X".repeat(32)])));
        let anonymous = Negotiation::new(Mechanism::Anonymous);
        assert_eq!(anonymous.choose(&["MSSBCBS".into()], "h").expect("the same").mechanism, "MSSBCBS");
        assert!(anonymous.choose(&[], "h").is_err());
    }
}
