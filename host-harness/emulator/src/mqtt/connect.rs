//! CONNECT: who the client is, and whether it may connect.

use mqtt_proto::v3::{Connect, ConnectReturnCode};
use mqtt_proto::{Error, Protocol};

use super::properties::find;
use crate::client_certificate::ClientCertificate;
use crate::error::ServiceError;
use crate::operations::connections::check_enabled;
use crate::operations::credentials::{Presented, authenticate};
use crate::operations::registration::{Proof, attest, device_token};
use crate::records::identity::Target;
use crate::sync::lock;
use crate::token::{Token, decode, unauthorized};
use crate::world::World;

/// Who connects, by the user name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum User {
    /// A device or module, at the hub: `{host}/{device}[/{module}]/?api-version=…`.
    Hub {
        /// The hub's host name, as the client calls it.
        host: String,
        target: Target,
        /// The id of the device's model.
        model: Option<String>,
    },
    /// A device, at the provisioning service: `{idScope}/registrations/{id}/api-version=…`.
    Dps { scope: String, registration: String },
}

impl User {
    /// Reads a user name; `None` when it has neither form.
    pub(super) fn parse(name: &str) -> Option<Self> {
        let with_version = |text: &str| find(text, "api-version").is_some_and(|version| !version.is_empty());
        // What follows the ids may have slashes of its own.
        if let [scope, registrations, registration, rest] = name.splitn(4, '/').collect::<Vec<_>>().as_slice()
            && registrations.eq_ignore_ascii_case("registrations")
        {
            let known = with_version(rest) && !registration.is_empty();
            let (scope, registration) = ((*scope).to_owned(), decode(registration));
            return known.then_some(Self::Dps { scope, registration });
        }
        // The first clients stated no version.
        let (path, query) = name.split_once("/?").map_or((name, None), |(path, query)| (path, Some(query)));
        let parts: Vec<&str> = path.split('/').collect();
        let (host, device, module) = match parts.as_slice() {
            [host, device] => (host, *device, None),
            [host, device, module] if query.is_some() => (host, *device, Some(*module)),
            _ => return None,
        };
        if device.is_empty() || module.is_some_and(str::is_empty) || query.is_some_and(|query| !with_version(query)) {
            return None;
        }
        let model = query.and_then(|query| find(query, "model-id"));
        Some(Self::Hub { host: (*host).to_owned(), target: Target::new(device, module), model })
    }
}

/// A client that may connect.
pub(super) struct Admitted {
    pub(super) user: User,
    /// Until when the client's token is accepted, in seconds since the Unix epoch; `None` for a certificate.
    pub(super) deadline: Option<i64>,
    pub(super) proof: Registrant,
}

/// What a device proves itself with at the provisioning service.
pub(super) enum Registrant {
    Token(Token),
    Certificate(ClientCertificate),
    /// The client is at the hub.
    None,
}

impl Registrant {
    pub(super) fn proof(&self) -> Option<Proof<'_>> {
        match self {
            Self::Token(token) => Some(Proof::Token(token)),
            Self::Certificate(certificate) => Some(Proof::Certificate(certificate)),
            Self::None => None,
        }
    }
}

/// The answer to a CONNECT that cannot be read: 1 for another version of the protocol, none for anything else.
pub(super) fn code_for(error: &Error) -> Option<ConnectReturnCode> {
    matches!(error, Error::UnexpectedProtocol(_) | Error::InvalidProtocol(..))
        .then_some(ConnectReturnCode::UnacceptableProtocolVersion)
}

/// Decides about a CONNECT.
///
/// # Errors
/// The code for CONNACK: 1 for MQTT 3.1, 2 when the client id is not the device's, 4 for a user name of no known form,
/// 5 for a wrong credential, an unknown device and a disabled one.
pub(super) fn admit(
    world: &World,
    connect: &Connect,
    certificate: Option<&ClientCertificate>,
) -> Result<Admitted, ConnectReturnCode> {
    use ConnectReturnCode::{BadUserNameOrPassword, IdentifierRejected, NotAuthorized, UnacceptableProtocolVersion};
    if connect.protocol != Protocol::V311 {
        return Err(UnacceptableProtocolVersion);
    }
    let user = connect.username.as_deref().and_then(User::parse).ok_or(BadUserNameOrPassword)?;
    let password = match connect.password.as_deref().map(std::str::from_utf8) {
        Some(Ok(password)) => Some(password).filter(|password| !password.is_empty()),
        Some(Err(_)) => return Err(BadUserNameOrPassword),
        None => None,
    };
    let id = match &user {
        User::Hub { target, .. } => target.key(),
        User::Dps { registration, .. } => registration.clone(),
    };
    if *connect.client_id != *id {
        return Err(IdentifierRejected);
    }
    let admitted = match &user {
        User::Hub { host, target, .. } => {
            at_hub(world, host, target, password, certificate).map(|deadline| (deadline, Registrant::None))
        }
        User::Dps { scope, registration } => at_dps(world, scope, registration, password, certificate),
    };
    match admitted {
        Ok((deadline, proof)) => Ok(Admitted { user, deadline, proof }),
        Err(error) => {
            tracing::debug!(client = id, %error, "CONNECT refused");
            Err(NotAuthorized)
        }
    }
}

fn at_hub(
    world: &World,
    host: &str,
    target: &Target,
    token: Option<&str>,
    certificate: Option<&ClientCertificate>,
) -> Result<Option<i64>, ServiceError> {
    if !world.is_device_authority(host) {
        return Err(unauthorized());
    }
    let deadline = authenticate(world, target, Presented { token, certificate })?;
    check_enabled(world, target)?;
    Ok(deadline)
}

fn at_dps(
    world: &World,
    scope: &str,
    registration: &str,
    token: Option<&str>,
    certificate: Option<&ClientCertificate>,
) -> Result<(Option<i64>, Registrant), ServiceError> {
    let (deadline, given) = match (token, certificate) {
        (Some(text), _) => {
            let token = device_token(world, scope, registration, text)?;
            (Some(token.deadline(world.options.clock_tolerance.as_secs())), Registrant::Token(token))
        }
        (None, Some(certificate)) if scope.eq_ignore_ascii_case(&world.options.id_scope) => {
            (None, Registrant::Certificate(certificate.clone()))
        }
        _ => return Err(unauthorized()),
    };
    let proof = given.proof().ok_or_else(unauthorized)?;
    attest(&lock(&world.dps), world, registration, &proof)?;
    Ok((deadline, given))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_names_of_microsofts_clients_are_read() {
        let hub = |device: &str, module, model: Option<&str>| {
            Some(User::Hub {
                host: "h:1".to_owned(),
                target: Target::new(device, module),
                model: model.map(str::to_owned),
            })
        };
        let parse = User::parse;
        assert_eq!(parse("h:1/d/?api-version=2021-04-12&DeviceClientType=node%2F1"), hub("d", None, None));
        assert_eq!(
            parse("h:1/d/m/?api-version=2019-10-01&DeviceClientType=py-azure-iot-device/2"),
            hub("d", Some("m"), None)
        );
        assert_eq!(
            parse("h:1/d/?api-version=2021-04-12&model-id=dtmi:a:b;1&DeviceClientType=x"),
            hub("d", None, Some("dtmi:a:b;1"))
        );
        assert_eq!(
            parse("h:1/d/?api-version=2020-09-30&DeviceClientType=x&model-id=dtmi%3Aa%3Ab%3B1"),
            hub("d", None, Some("dtmi:a:b;1"))
        );
        assert_eq!(parse("h:1/d"), hub("d", None, None));
        assert_eq!(
            parse("0ne1/registrations/r/api-version=2019-03-31&ClientVersion=x"),
            Some(User::Dps { scope: "0ne1".to_owned(), registration: "r".to_owned() })
        );
        for wrong in ["", "h", "h//?api-version=1", "h/d/?x=1", "h/d/m/x", "0ne1/registrations/r/x"] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
