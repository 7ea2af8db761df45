//! How devices and modules prove who they are to the hub and to the provisioning service, whatever their protocol.

use crate::client_certificate::ClientCertificate;
use crate::dps::attestation::Certificate;
use crate::dps::credential::Credential;
use crate::dps::provisioning::Dps;
use crate::error::ServiceError;
use crate::options::Permission;
use crate::records::identity::{AuthenticationType, Target};
use crate::service::Service;
use crate::sync::lock;
use crate::token::{Token, unauthorized};
use crate::world::World;

/// What a device presents: a shared access signature, or the certificate of its TLS connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Presented<'a> {
    /// The signature. It precedes a certificate.
    pub(crate) token: Option<&'a str>,
    pub(crate) certificate: Option<&'a ClientCertificate>,
}

/// Checks the credential of a device or module at the hub. Returns until when it is accepted, in seconds since the Unix
/// epoch; `None` sets no end.
///
/// # Errors
/// 401002 for every credential that does not fit, and for what does not exist.
pub(crate) fn authenticate(
    world: &World,
    target: &Target,
    presented: Presented<'_>,
) -> Result<Option<i64>, ServiceError> {
    authenticate_at(world, target, presented, world.token_time().unix_timestamp())
}

/// Like [`authenticate`], at a time that a fault rule may have moved, in seconds since the Unix epoch.
pub(crate) fn authenticate_at(
    world: &World,
    target: &Target,
    presented: Presented<'_>,
    now: i64,
) -> Result<Option<i64>, ServiceError> {
    match presented {
        Presented { token: Some(text), .. } => by_token(world, target, &Token::parse(text)?, now).map(Some),
        Presented { certificate: Some(certificate), .. } => by_certificate(world, target, certificate).map(|()| None),
        Presented { .. } => Err(unauthorized()),
    }
}

fn by_token(world: &World, target: &Target, token: &Token, now: i64) -> Result<i64, ServiceError> {
    let mut path = vec!["devices".to_owned(), target.device.clone()];
    if let Some(module) = &target.module {
        path.extend(["modules".to_owned(), module.clone()]);
    }
    let resource = token.resource();
    let authority = resource.split('/').next().unwrap_or_default().to_owned();
    if !world.is_device_authority(&authority) {
        return Err(unauthorized());
    }
    token.covers(&[authority], &path)?;
    let tolerance = world.options.clock_tolerance.as_secs();
    match &token.policy {
        Some(name) => {
            let policy = world.policy(Service::Hub, name).ok_or_else(unauthorized)?;
            token.verify([policy.primary_key.as_str(), policy.secondary_key.as_str()], now, tolerance)?;
            if !policy.permissions.contains(&Permission::DeviceConnect) {
                return Err(unauthorized());
            }
        }
        None => {
            let hub = lock(&world.hub);
            let keys = hub.keys_of(target).ok_or_else(unauthorized)?;
            token.verify(keys.iter().map(String::as_str), now, tolerance)?;
        }
    }
    Ok(token.deadline(tolerance))
}

fn by_certificate(world: &World, target: &Target, certificate: &ClientCertificate) -> Result<(), ServiceError> {
    let authentication = lock(&world.hub).authentication_of(target).cloned().ok_or_else(unauthorized)?;
    let fits = match authentication.kind {
        AuthenticationType::SelfSigned => {
            let thumbprints = authentication.thumbprints;
            [thumbprints.primary_thumbprint, thumbprints.secondary_thumbprint]
                .iter()
                .flatten()
                .any(|thumbprint| certificate.has_thumbprint(thumbprint))
        }
        AuthenticationType::CertificateAuthority => {
            // The subject is the device's id; a module's is `{device}/{module}`.
            certificate.common_name().is_some_and(|name| name == target.key())
                && authorities(world).iter().any(|authority| certificate.is_issued_by(authority))
        }
        AuthenticationType::Sas | AuthenticationType::None => false,
    };
    if fits { Ok(()) } else { Err(unauthorized()) }
}

/// The authorities that the hub knows: those of the options, and the signing certificates of enrollment groups, because
/// in Azure a device of such a group connects to a hub that has the same authority.
fn authorities(world: &World) -> Vec<Vec<u8>> {
    let dps = lock(&world.dps);
    let of_groups = signing_certificates(&dps).filter_map(|certificate| certificate.der.clone());
    of_groups.chain(world.device_authorities.iter().cloned()).collect()
}

fn signing_certificates(dps: &Dps) -> impl Iterator<Item = &Certificate> {
    let x509 = dps.groups.iter().filter_map(|group| group.attestation.x509.as_ref());
    let pairs = x509.filter_map(|x509| x509.signing_certificates.as_ref());
    pairs.flat_map(|pair| [&pair.primary, &pair.secondary]).flatten()
}

/// The credential of a device that presents a certificate to the provisioning service: its issuers are the signing
/// certificates of enrollment groups that it leads to.
pub(crate) fn attested_by(dps: &Dps, certificate: &ClientCertificate) -> Credential {
    let issuers = signing_certificates(dps)
        .filter(|signing| signing.der.as_ref().is_some_and(|der| certificate.is_issued_by(der)))
        .filter_map(|signing| signing.info.as_ref().map(|info| info.sha256_thumbprint.clone()))
        .collect();
    Credential::X509 {
        subject: certificate.common_name().unwrap_or_default(),
        thumbprint: certificate.sha256_thumbprint(),
        issuers,
    }
}
