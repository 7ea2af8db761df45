//! The registration of devices with the provisioning service.

use serde_json::{Value, json};

use super::credentials::attested_by;
use crate::client_certificate::ClientCertificate;
use crate::clock::now;
use crate::dps::attestation::{AttestationType, CaReferences, Certificate, Certificates};
use crate::dps::credential::Credential;
use crate::dps::enrollment::{AllocationPolicy, Enrollment, ProvisioningStatus};
use crate::dps::kind::{Kind, check_id, key};
use crate::dps::provisioning::Dps;
use crate::dps::registration::{Registration, RegistrationState};
use crate::error::{ErrorCode, ServiceError};
use crate::etag::Precondition;
use crate::journal::ChangeKind;
use crate::records::device::{CapabilitiesBody, DeviceBody};
use crate::records::identity::{Authentication, AuthenticationType, Issued, KeyPair, ThumbprintBody};
use crate::records::twin::Change;
use crate::sync::lock;
use crate::token::{Token, derive_device_key, unauthorized};
use crate::versions::At;
use crate::world::World;
use crate::{etag, random};

/// How many seconds a device should wait before it asks again; DPS says 3.
pub(crate) const RETRY_AFTER: u64 = 3;

/// The proof of identity that a device gives.
pub(crate) enum Proof<'a> {
    Credential(&'a Credential),
    /// A token over `{idScope}/registrations/{id}`.
    Token(&'a Token),
    /// The certificate of the TLS connection.
    Certificate(&'a ClientCertificate),
}

impl Proof<'_> {
    fn by_key(&self, world: &World, keys: &[String]) -> bool {
        match self {
            Self::Credential(Credential::SymmetricKey(key)) => keys.contains(key),
            Self::Credential(_) | Self::Certificate(_) => false,
            Self::Token(token) => {
                let tolerance = world.options.clock_tolerance.as_secs();
                token.verify(keys.iter().map(String::as_str), now().unix_timestamp(), tolerance).is_ok()
            }
        }
    }

    fn by_certificate(&self, registration_id: &str, enrollment: &Enrollment) -> bool {
        let Self::Credential(Credential::X509 { subject, thumbprint, issuers }) = self else { return false };
        let Some(x509) = &enrollment.attestation.x509 else { return false };
        let is = |certificate: &Certificate, wanted: &str| {
            certificate.info.as_ref().is_some_and(|info| {
                info.sha1_thumbprint.eq_ignore_ascii_case(wanted) || info.sha256_thumbprint.eq_ignore_ascii_case(wanted)
            })
        };
        let any = |certificates: &Option<Certificates>, wanted: &str| {
            certificates
                .iter()
                .flat_map(|certificates| [&certificates.primary, &certificates.secondary])
                .flatten()
                .any(|certificate| is(certificate, wanted))
        };
        let CaReferences { primary, secondary } = x509.ca_references.clone().unwrap_or_default();
        subject.eq_ignore_ascii_case(registration_id)
            && (any(&x509.client_certificates, thumbprint)
                || issuers.iter().any(|issuer| {
                    any(&x509.signing_certificates, issuer)
                        || [&primary, &secondary].into_iter().flatten().any(|reference| reference == issuer)
                }))
    }

    fn fits(&self, world: &World, kind: Kind, registration_id: &str, enrollment: &Enrollment) -> bool {
        match enrollment.attestation.kind {
            AttestationType::SymmetricKey => self.by_key(world, &device_keys(kind, registration_id, enrollment)),
            AttestationType::X509 => self.by_certificate(registration_id, enrollment),
            AttestationType::Tpm => match (self, &enrollment.attestation.tpm) {
                (Self::Credential(Credential::Tpm { endorsement_key }), Some(tpm)) => {
                    *endorsement_key == tpm.endorsement_key
                }
                _ => false,
            },
            AttestationType::None => false,
        }
    }
}

/// The device's own keys: the keys of an individual enrollment, or keys derived from the keys of a group. A device
/// derives its key from the id exactly as its request spells the id, so the id's case counts.
fn device_keys(kind: Kind, registration_id: &str, enrollment: &Enrollment) -> Vec<String> {
    let keys = enrollment.attestation.keys();
    match kind {
        Kind::Individual => keys.map(str::to_owned).collect(),
        Kind::Group => keys.filter_map(|group_key| derive_device_key(group_key, registration_id)).collect(),
    }
}

/// A device's token for its registration: its resource is `{idScope}/registrations/{id}`, without a host.
pub(crate) fn device_token(world: &World, scope: &str, id: &str, text: &str) -> Result<Token, ServiceError> {
    if !scope.eq_ignore_ascii_case(&world.options.id_scope) {
        return Err(unauthorized());
    }
    let token = Token::parse(text)?;
    let path = ["registrations", id].map(str::to_owned);
    token.covers(std::slice::from_ref(&world.options.id_scope), &path)?;
    Ok(token)
}

/// Registers a device, for the first time or again. Returns its record and the operation's id.
pub(crate) fn register(
    world: &World,
    registration_id: &str,
    proof: &Proof<'_>,
) -> Result<(RegistrationState, String), ServiceError> {
    check_id(Kind::Individual, registration_id)?;
    let mut dps = lock(&world.dps);
    let (kind, enrollment) = attest(&dps, world, registration_id, proof)?;
    let now = now();
    let old = dps.registrations.get(&key(registration_id)).map(|registration| registration.state.clone());
    let mut state = RegistrationState {
        registration_id: registration_id.to_owned(),
        created_date_time_utc: old.as_ref().map_or(now, |old| old.created_date_time_utc),
        assigned_hub: None,
        device_id: None,
        status: "failed",
        substatus: None,
        error_code: None,
        error_message: None,
        last_updated_date_time_utc: now,
        etag: etag::fresh_quoted(),
    };
    match assign(world, kind, registration_id, &enrollment) {
        Ok((device_id, substatus)) => {
            state.status = "assigned";
            state.assigned_hub = Some(world.hub_link());
            state.device_id = Some(device_id);
            state.substatus = Some(substatus);
        }
        Err(error) => {
            if error.code() == ErrorCode::DEVICE_DISABLED {
                state.status = "disabled";
            }
            state.error_code = Some(error.code().number());
            state.error_message = Some(error.message().to_owned());
        }
    }
    dps.journal.append(ChangeKind::RegistrationChanged, registration_id, Some(&state.etag), json!(state));
    let operation = format!("5.{}.{}", random::hex(8), random::uuid());
    let registration = Registration {
        state: state.clone(),
        group: (kind == Kind::Group).then(|| key(&enrollment.id)),
        operation: operation.clone(),
    };
    dps.registrations.insert(&key(registration_id), registration);
    Ok((state, operation))
}

/// The answer to a device that asks for its registration operation.
///
/// # Errors
/// 404203 when there is no such operation, 404202 when the device has not registered, 401002 for a wrong proof.
pub(crate) fn operation_status(
    world: &World,
    registration_id: &str,
    operation: &str,
    proof: &Proof<'_>,
) -> Result<Value, ServiceError> {
    let dps = lock(&world.dps);
    attest(&dps, world, registration_id, proof)?;
    let registration = dps.registration(registration_id)?;
    if registration.operation != operation {
        return Err(ServiceError::new(ErrorCode::OPERATION_NOT_FOUND, "there is no such operation"));
    }
    let state = &registration.state;
    Ok(json!({ "operationId": operation, "status": state.status, "registrationState": state }))
}

/// The enrollment that the proof fits. An individual enrollment takes precedence over groups.
pub(crate) fn attest(
    dps: &Dps,
    world: &World,
    registration_id: &str,
    proof: &Proof<'_>,
) -> Result<(Kind, Enrollment), ServiceError> {
    if let Proof::Certificate(certificate) = proof {
        return attest(dps, world, registration_id, &Proof::Credential(&attested_by(dps, certificate)));
    }
    if let Some(enrollment) = dps.enrollments.get(&key(registration_id)) {
        return if proof.fits(world, Kind::Individual, registration_id, enrollment) {
            Ok((Kind::Individual, enrollment.clone()))
        } else {
            Err(unauthorized())
        };
    }
    dps.groups
        .iter()
        .find(|group| proof.fits(world, Kind::Group, registration_id, group))
        .map(|group| (Kind::Group, group.clone()))
        .ok_or_else(unauthorized)
}

/// Chooses the hub and creates the device there. Returns the device's id and the substatus.
fn assign(
    world: &World,
    kind: Kind,
    registration_id: &str,
    enrollment: &Enrollment,
) -> Result<(String, &'static str), ServiceError> {
    let body = &enrollment.body;
    if body.provisioning_status == ProvisioningStatus::Disabled {
        return Err(ServiceError::new(ErrorCode::DEVICE_DISABLED, "the enrollment is disabled"));
    }
    if body.allocation_policy == AllocationPolicy::Custom {
        return Err(ServiceError::new(ErrorCode::CUSTOM_ALLOCATION_FAILED, "the allocation webhook gave no answer"));
    }
    let wanted: Vec<&String> = match &body.iot_hub_host_name {
        Some(host) => vec![host],
        None => body.iot_hubs.iter().flatten().collect(),
    };
    let host = world.hub_link();
    if !wanted.is_empty() && !wanted.iter().any(|wanted| wanted.eq_ignore_ascii_case(&host)) {
        return Err(ServiceError::new(
            ErrorCode::LINKED_HUB_NOT_FOUND,
            format!("none of the enrollment's hubs is linked; the linked hub is {host}"),
        ));
    }
    let device_id = body.device_id.clone().unwrap_or_else(|| registration_id.to_owned());
    let mut hub = lock(&world.hub);
    let policy = body.reprovision_policy;
    let authentication = authentication(kind, registration_id, enrollment);
    let initial_twin = body.initial_twin.clone().unwrap_or_default().into_twin();
    let Some(device) = hub.devices.get(&device_id) else {
        let capabilities = CapabilitiesBody { iot_edge: Some(body.capabilities.iot_edge) };
        let device = DeviceBody {
            authentication: authentication.map(Into::into),
            capabilities: Some(capabilities),
            ..DeviceBody::default()
        };
        hub.put_device(&device_id, device, &Precondition::None, At::INTERNAL)?;
        hub.write_twin(&device_id, None, initial_twin, Change::Merge, &Precondition::None)?;
        return Ok((device_id, "initialAssignment"));
    };
    if !policy.update_hub_assignment {
        return Ok((device_id, "reprovisionedToInitialAssignment"));
    }
    let issued = device.authentication.issued.clone();
    let authentication = authentication.map(|new| Authentication { issued, ..new });
    if let Some(authentication) = authentication.filter(|new| *new != device.authentication) {
        let device = DeviceBody {
            authentication: Some(authentication.into()),
            // A new registration must not enable a device that the hub's operator has disabled.
            status: Some(device.status),
            status_reason: device.status_reason.clone(),
            attributes: device.attributes.clone(),
            ..DeviceBody::default()
        };
        hub.put_device(&device_id, device, &Precondition::Any, At::INTERNAL)?;
    }
    if policy.migrate_device_data {
        return Ok((device_id, "deviceDataMigrated"));
    }
    hub.reset_twin(&device_id, initial_twin)?;
    Ok((device_id, "deviceDataReset"))
}

/// How the device will prove its identity to the hub. `None`, as for a TPM, lets the hub make new keys.
fn authentication(kind: Kind, registration_id: &str, enrollment: &Enrollment) -> Option<Authentication> {
    let none = || Authentication {
        kind: AuthenticationType::CertificateAuthority,
        symmetric_key: None,
        thumbprints: Default::default(),
        issued: Issued::default(),
    };
    match enrollment.attestation.kind {
        AttestationType::SymmetricKey => {
            let mut keys = device_keys(kind, registration_id, enrollment).into_iter();
            let symmetric_key = Some(KeyPair { primary: keys.next()?, secondary: keys.next()? });
            Some(Authentication { kind: AuthenticationType::Sas, symmetric_key, ..none() })
        }
        AttestationType::X509 => {
            let certificates = enrollment.attestation.x509.as_ref()?.client_certificates.as_ref();
            let thumbprint = |certificate: Option<&Certificate>| {
                certificate.and_then(|certificate| certificate.info.as_ref()).map(|info| info.sha256_thumbprint.clone())
            };
            Some(match certificates {
                Some(certificates) => Authentication {
                    kind: AuthenticationType::SelfSigned,
                    symmetric_key: None,
                    thumbprints: ThumbprintBody {
                        primary_thumbprint: thumbprint(certificates.primary.as_ref()),
                        secondary_thumbprint: thumbprint(certificates.secondary.as_ref()),
                    },
                    issued: Issued::default(),
                },
                None => none(),
            })
        }
        AttestationType::Tpm | AttestationType::None => None,
    }
}
