//! Authentication before AMQP (part 5 of the standard, 5.3): ANONYMOUS, with a token put later, or PLAIN (RFC 4616).

use super::error::{Error, Misbehaviour, Result};
use super::performative::SaslInit;
use crate::secret::Secret;

/// How the client authenticates.
#[derive(Clone, Debug, PartialEq)]
pub enum Mechanism {
    /// Not here: a token is put to `$cbs` later. `MSSBCBS`, Microsoft's name for the same, does where it is all there is.
    Anonymous,
    /// With a name and a password.
    Plain {
        /// Who.
        user: String,
        /// The password: with IoT Hub, a shared access signature.
        password: Secret,
    },
}

/// Neither mechanism has a question; this many are answered with nothing before the server is given up.
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

    /// Answers the server's list of mechanisms.
    ///
    /// # Errors
    /// `NoMechanism` where ours is not among them.
    pub fn choose(&self, offered: &[String], hostname: &str) -> Result<SaslInit> {
        let names: &[&str] = match self.mechanism {
            Mechanism::Anonymous => &["ANONYMOUS", "MSSBCBS"],
            Mechanism::Plain { .. } => &["PLAIN"],
        };
        let name = names.iter().find(|name| offered.iter().any(|offer| offer == *name));
        let Some(name) = name else {
            // A server may offer anything of any length; a person needs some of it.
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
    /// [`Misbehaviour::SaslRounds`] where there were too many.
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
