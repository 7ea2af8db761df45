//! Creates or changes an individual enrollment.
//!
//! ```scenario
//! done {"registrationId": "made-full", "attestation": {"type": "symmetricKey", "symmetricKey": {"primaryKey": "$key-1", "secondaryKey": "$key-2"}}, "deviceId": "Made-Full", "provisioningStatus": "enabled", "allocationPolicy": "custom", "iotHubs": ["plant.azure-devices.net"], "customAllocationDefinition": {"webhookUrl": "https://example.azurewebsites.net/api/choose", "apiVersion": "2019-03-31"}, "reprovisionPolicy": {"updateHubAssignment": true, "migrateDeviceData": false}, "initialTwin": {"tags": {"site": "north", "shelf": 3}, "desired": {"intervalSeconds": 30}}, "optionalDeviceInformation": {"note": "by the door", "weight": 1.5}, "edge": true, "includeKeys": true}
//! done {"registrationId": "made-key", "mode": "create", "attestation": {"type": "symmetricKey"}}
//! done {"registrationId": "made-key", "provisioningStatus": "disabled"}
//! done {"registrationId": "made-key", "mode": "update", "reprovisionPolicy": {"migrateDeviceData": false}} tagged get-individual-enrollment {"registrationId": "made-key"}
//! done {"registrationId": "made-tpm", "attestation": {"type": "tpm", "tpm": {"endorsementKey": "$key-1"}}}
//! done {"registrationId": "made-x509", "attestation": {"type": "x509", "x509": {"primaryCertificate": "$certificate"}}}
//! done {"registrationId": "made-x509", "edge": true}
//! done {"registrationId": "made-ca", "attestation": {"type": "x509", "x509": {"primaryCaReference": "root"}}}
//! done {"registrationId": "made-issued", "mode": "create", "attestation": {"type": "symmetricKey"}, "namespaceName": "plant", "certificateAuthorityName": "Factory-CA", "certificatePolicyName": "short-lived"}
//! done {"registrationId": "made-issued", "certificatePolicyName": "long-lived"}
//! done {"registrationId": "made-static", "attestation": {"type": "symmetricKey"}, "iotHubHostName": "plant.azure-devices.net"}
//! conflict {"registrationId": "made-key", "mode": "create", "attestation": {"type": "symmetricKey"}}
//! not-found {"registrationId": "missing", "mode": "update", "edge": true}
//! precondition-failed {"registrationId": "made-key", "edge": true, "etag": "$stale"}
//! invalid-input {"registrationId": "made-bad", "attestation": {"type": "x509", "x509": {"primaryCertificate": "none"}}}
//! ```

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::get_individual_enrollment::shown;
use crate::actions::shared::change::{self, set};
use crate::actions::shared::{Action, keys};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::action::{Call, Outcome};
use crate::bindings::exports::workflow::connector::metadata::{ActionDescriptor, Effect, Idempotency};
use crate::dps::{CERTIFICATE_MEMBERS, Dps, HIDDEN, RegistrationId, has_symmetric_keys, without_secrets};
use crate::error::{Error, ErrorCode, FieldProblem, Result, problem};
use crate::form::schema::literal;
use crate::form::schema::{any_object, boolean, help, list, object, one_of, string, with};
use crate::form::{Spec, fields, typed};
use crate::http::{IfMatch, Tagged};
use crate::iothub::{TwinPart, check_patch};
use crate::json;
use crate::session::Session;

/// `create-or-update-individual-enrollment`.
/// The action.
pub static ACTION: CreateOrUpdateIndividualEnrollment = CreateOrUpdateIndividualEnrollment;

pub struct CreateOrUpdateIndividualEnrollment;

/// The members that only the service sets, so they are not written back.
const READ_ONLY: [&str; 4] = ["registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", "etag"];

#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
enum Mode {
    Create,
    Update,
    #[default]
    CreateOrUpdate,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Input {
    registration_id: String,
    #[serde(default)]
    mode: Mode,
    attestation: Option<Attestation>,
    device_id: Option<String>,
    provisioning_status: Option<String>,
    allocation_policy: Option<String>,
    iot_hub_host_name: Option<String>,
    iot_hubs: Option<Vec<String>>,
    custom_allocation_definition: Option<Value>,
    reprovision_policy: Option<ReprovisionPolicy>,
    #[serde(skip)]
    initial_twin: Option<InitialTwin>,
    #[serde(skip)]
    optional_device_information: Option<Value>,
    namespace_name: Option<String>,
    certificate_authority_name: Option<String>,
    certificate_policy_name: Option<String>,
    edge: Option<bool>,
    etag: Option<String>,
    #[serde(default)]
    include_keys: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Attestation {
    #[serde(rename = "type")]
    kind: String,
    symmetric_key: Option<SymmetricKey>,
    tpm: Option<Tpm>,
    x509: Option<X509>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct SymmetricKey {
    primary_key: Option<String>,
    secondary_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Tpm {
    endorsement_key: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct X509 {
    primary_certificate: Option<String>,
    secondary_certificate: Option<String>,
    primary_ca_reference: Option<String>,
    secondary_ca_reference: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReprovisionPolicy {
    update_hub_assignment: Option<bool>,
    migrate_device_data: Option<bool>,
}

struct InitialTwin {
    tags: Option<Value>,
    desired: Option<Value>,
}

impl Input {
    /// Reads the input. Members that may be any JSON are taken out first, see [`json::take`].
    fn read(mut input: Value) -> Result<Self> {
        let initial_twin = json::take_some(&mut input, "initialTwin").map(|mut twin| InitialTwin {
            tags: json::take_some(&mut twin, "tags"),
            desired: json::take_some(&mut twin, "desired"),
        });
        let optional_device_information = json::take_some(&mut input, "optionalDeviceInformation");
        Ok(Self { initial_twin, optional_device_information, ..typed(input)? })
    }
}

impl Action for CreateOrUpdateIndividualEnrollment {
    fn id(&self) -> &'static str {
        "create-or-update-individual-enrollment"
    }

    fn descriptor(&self) -> ActionDescriptor {
        let spec = Spec {
            id: self.id(),
            title: "Create or update an individual enrollment",
            help: "Lets one device register with the Device Provisioning Service, or changes how it does. \
                   Of an enrollment that exists, what is left empty stays as it is. \
                   With symmetric keys and none given, the service makes them; choose **Include keys** to have them in the output.",
            group: "Enrollments",
            input: object(
                [
                    ("registrationId", fields::registration_id()),
                    (
                        "mode",
                        with(
                            help(
                                one_of("Mode", &["create", "update", "createOrUpdate"]),
                                "`create` fails where the enrollment exists, `update` where it does not.",
                            ),
                            literal!({ "default": "createOrUpdate" }),
                        ),
                    ),
                    ("attestation", attestation_field()),
                    (
                        "deviceId",
                        help(
                            fields::device_id(),
                            "The id the device gets in its hub. Empty: the registration id. Case matters.",
                        ),
                    ),
                    (
                        "provisioningStatus",
                        help(
                            one_of("Provisioning status", &["enabled", "disabled"]),
                            "Whether the device may register. A new enrollment is enabled.",
                        ),
                    ),
                    (
                        "allocationPolicy",
                        with(
                            help(
                                one_of("Allocation policy", &["hashed", "geoLatency", "static", "custom"]),
                                "How the hub is chosen: evenly, the nearest, the one that is named, or by a function of yours. Empty: as the service is set up.",
                            ),
                            literal!({ "x-group": "Allocation" }),
                        ),
                    ),
                    (
                        "iotHubHostName",
                        hub_host(
                            "IoT hub",
                            "The one hub to use; sets the allocation policy to `static`. \
                             It must stand here exactly as it is linked to the service (**Linked IoT hubs** in the portal), which may be `plant.device.azure-devices.net`.",
                        ),
                    ),
                    (
                        "iotHubs",
                        with(
                            list(
                                "IoT hubs",
                                hub_host(
                                    "IoT hub",
                                    "A hub that is linked to the service, exactly as it is linked: it may be `plant.device.azure-devices.net`.",
                                ),
                            ),
                            literal!({ "description": "The hubs to choose from. Empty: all that are linked.", "minItems": 1, "maxItems": 100, "x-group": "Allocation" }),
                        ),
                    ),
                    ("customAllocationDefinition", custom_allocation_field()),
                    (
                        "reprovisionPolicy",
                        with(
                            object(
                                [
                                    (
                                        "updateHubAssignment",
                                        with(boolean("Update the hub assignment"), json!({ "default": true })),
                                    ),
                                    (
                                        "migrateDeviceData",
                                        with(boolean("Migrate the device's data"), json!({ "default": true })),
                                    ),
                                ],
                                &[],
                            ),
                            literal!({ "title": "Reprovision policy", "description": "What happens when the device registers again.", "x-visibility": "advanced" }),
                        ),
                    ),
                    (
                        "initialTwin",
                        with(
                            object([("tags", any_object("Tags")), ("desired", any_object("Desired properties"))], &[]),
                            literal!({ "title": "Initial twin", "description": "What the device's twin begins with. Each part that is given takes the place of the one there was." }),
                        ),
                    ),
                    (
                        "optionalDeviceInformation",
                        with(
                            any_object("Device information"),
                            literal!({ "description": "Notes on the device, which stay in the enrollment.", "x-visibility": "advanced" }),
                        ),
                    ),
                    (
                        "namespaceName",
                        device_registry_field("Device Registry namespace", NAMESPACE_HELP, 64, NAMESPACE),
                    ),
                    (
                        "certificateAuthorityName",
                        device_registry_field("Certificate authority", AUTHORITY_HELP, 63, AUTHORITY_OR_POLICY),
                    ),
                    (
                        "certificatePolicyName",
                        device_registry_field("Certificate policy", POLICY_HELP, 63, AUTHORITY_OR_POLICY),
                    ),
                    ("edge", with(boolean("IoT Edge device"), literal!({ "x-visibility": "advanced" }))),
                    ("includeKeys", fields::include_keys()),
                    ("etag", fields::etag()),
                ],
                &["registrationId"],
            ),
            output: fields::enrollment_output(),
            input_sample: literal!({
                "registrationId": "press-17",
                "attestation": { "type": "symmetricKey" },
                "initialTwin": { "tags": { "site": "north" } }
            }),
            output_sample: fields::enrollment_sample(),
            dynamic_output: false,
            permissions: &[Permission::EnrollmentRead, Permission::EnrollmentWrite],
            limits: &[
                ("Operations of a provisioning service", 1000, "requests/minute"),
                ("Enrollments of a provisioning service", 1_000_000, "items"),
            ],
        };
        ActionDescriptor {
            operation: spec.operation(),
            effect: Effect::Write,
            idempotency: Idempotency::Natural,
            paged: false,
        }
    }

    fn invoke(&self, session: &Session, input: Value, call: &Call) -> Result<Outcome> {
        let input = Input::read(input)?;
        let id = RegistrationId::parse(&input.registration_id, "/registrationId")?;
        let stated = input.etag.as_deref().map(|etag| IfMatch::from_input(Some(etag), "/etag")).transpose()?;
        let attestation = judge(&input)?;
        let dps = session.dps()?;
        if call.dry_run && input.mode == Mode::Create && certificate_members(&input).next().is_some() {
            // Whether the service knows these members is learned from an answer. A dry run does not write, so it has to
            // read.
            read_if_any(&dps, &id)?;
            check_certificates(&input, &dps)?;
        }
        let changed = if input.mode == Mode::Create {
            let created = dps.create_enrollment(&id, edit(&input, attestation.as_ref(), None)?);
            created.map_err(|error| check_certificates(&input, &dps).err().unwrap_or(error))?
        } else {
            change::apply(
                stated.as_ref(),
                || read(&dps, &id, &input),
                |enrollment| {
                    check_certificates(&input, &dps)?;
                    edit(&input, attestation.as_ref(), enrollment)
                },
                |enrollment, if_match| dps.put_enrollment(&id, enrollment, if_match),
            )?
        };
        Ok(Outcome::Done(shown(&dps, &id, changed.document, input.include_keys)?.to_string()))
    }
}

fn attestation_field() -> Value {
    let certificate = |title| {
        with(
            help(string(title), "PEM, or DER in base64; without its private key."),
            literal!({ "minLength": 1, "maxLength": 16384 }),
        )
    };
    let reference = |title| {
        with(
            help(string(title), "The name of a CA certificate that the service knows."),
            literal!({ "minLength": 1, "maxLength": 128 }),
        )
    };
    let titled =
        |title: &str, field: Value| with(field, json!({ "title": title, "x-depends-on": "/attestation/type" }));
    with(
        object(
            [
                ("type", one_of("Type", &["symmetricKey", "tpm", "x509"])),
                (
                    "symmetricKey",
                    titled(
                        "Symmetric keys",
                        object(
                            [
                                ("primaryKey", fields::symmetric_key("Primary key")),
                                ("secondaryKey", fields::symmetric_key("Secondary key")),
                            ],
                            &[],
                        ),
                    ),
                ),
                (
                    "tpm",
                    titled(
                        "TPM",
                        object(
                            [(
                                "endorsementKey",
                                with(
                                    help(string("Endorsement key"), "The public part of the TPM's key, in base64."),
                                    literal!({ "minLength": 1, "maxLength": 4096 }),
                                ),
                            )],
                            &["endorsementKey"],
                        ),
                    ),
                ),
                (
                    "x509",
                    titled(
                        "X.509",
                        object(
                            [
                                ("primaryCertificate", certificate("Primary certificate")),
                                ("secondaryCertificate", certificate("Secondary certificate")),
                                ("primaryCaReference", reference("Primary CA reference")),
                                ("secondaryCaReference", reference("Secondary CA reference")),
                            ],
                            &[],
                        ),
                    ),
                ),
            ],
            &["type"],
        ),
        literal!({ "title": "Attestation", "description": "How the device proves who it is. A new enrollment needs it." }),
    )
}

fn hub_host(title: &str, text: &str) -> Value {
    with(
        help(string(title), text),
        literal!({
            "minLength": 1,
            "maxLength": 253,
            "pattern": "^[A-Za-z0-9.-]+$",
            "$comment": "must be a host name",
            "examples": ["plant.azure-devices.net"],
            "x-group": "Allocation"
        }),
    )
}

const NAMESPACE_HELP: &str = "The namespace of Azure Device Registry that has the certificate authority and the policy. \
     For devices that have their certificates issued when they register. Needs a provisioning service with version 2026-11-01 of its API.";
const AUTHORITY_HELP: &str = "The certificate authority in that namespace.";
const POLICY_HELP: &str = "The policy of that certificate authority by which certificates are issued.";
/// The pattern from the service's API description, and its explanation for a person.
const NAMESPACE: [&str; 2] =
    ["^[a-z0-9][a-z0-9-]*[a-z0-9]$", "must have lower-case letters, digits and -, with a letter or digit at both ends"];
const AUTHORITY_OR_POLICY: [&str; 2] =
    ["^[0-9a-zA-Z][a-zA-Z0-9-]*$", "must have letters, digits and -, with a letter or digit at the beginning"];

fn device_registry_field(title: &str, text: &str, longest: u32, [pattern, comment]: [&str; 2]) -> Value {
    with(
        help(string(title), text),
        json!({
            "minLength": 3,
            "maxLength": longest,
            "pattern": pattern,
            "$comment": comment,
            "x-group": "Certificates",
            "x-visibility": "advanced",
        }),
    )
}

fn custom_allocation_field() -> Value {
    with(
        object(
            [
                (
                    "webhookUrl",
                    with(
                        help(
                            string("Webhook URL"),
                            "The function's URL, with its key where it needs one. It is read back with `(secret)` in the place of the key; given so, the key stays as it is.",
                        ),
                        literal!({ "minLength": 1, "maxLength": 2048, "pattern": "^https://", "$comment": "must begin with https://", "writeOnly": true }),
                    ),
                ),
                (
                    "apiVersion",
                    with(
                        help(string("API version"), "The version of the service's request to the function."),
                        literal!({ "minLength": 1, "maxLength": 32, "examples": ["2019-03-31"] }),
                    ),
                ),
            ],
            &["webhookUrl", "apiVersion"],
        ),
        literal!({ "title": "Custom allocation", "description": "The function that chooses the hub, for the allocation policy `custom`.", "x-group": "Allocation", "x-visibility": "advanced" }),
    )
}

/// Checks the rules that do not depend on the stored enrollment. Returns the attestation in the service's form.
fn judge(input: &Input) -> Result<Option<Value>> {
    let mut problems = Vec::new();
    let attestation = input.attestation.as_ref().map(|attestation| judge_attestation(attestation, &mut problems));
    let mut refuse = |pointer: &str, code: &str, message: &str| problems.push(problem(pointer, code, message));
    match input.mode {
        Mode::Create if attestation.is_none() => refuse("/attestation", "missing", "is needed for a new enrollment"),
        Mode::Update | Mode::CreateOrUpdate if attestation.is_none() && says_nothing(input) => {
            refuse("", "nothing-to-change", "must state at least one change");
        }
        _ => {}
    }
    if input.mode == Mode::Create && input.etag.is_some() {
        refuse("/etag", "not-allowed", "cannot be given together with the mode `create`");
    }
    if input.iot_hub_host_name.is_some() {
        if input.iot_hubs.is_some() {
            refuse("/iotHubHostName", "not-allowed", "cannot be given together with a list of hubs");
        }
        if input.allocation_policy.as_deref().is_some_and(|policy| policy != "static") {
            refuse("/iotHubHostName", "not-allowed", "is allowed only with the allocation policy `static`");
        }
    }
    if let Some(twin) = &input.initial_twin {
        for (part, patch, at) in [
            (TwinPart::Tags, &twin.tags, "/initialTwin/tags"),
            (TwinPart::Desired, &twin.desired, "/initialTwin/desired"),
        ] {
            problems.extend(patch.iter().flat_map(|patch| check_patch(part, patch, at)));
        }
    }
    if problems.is_empty() {
        Ok(attestation)
    } else {
        Err(Error::fields(ErrorCode::InvalidInput, "The input does not fit", problems))
    }
}

fn says_nothing(input: &Input) -> bool {
    input.device_id.is_none()
        && input.provisioning_status.is_none()
        && input.allocation_policy.is_none()
        && input.iot_hub_host_name.is_none()
        && input.iot_hubs.is_none()
        && input.custom_allocation_definition.is_none()
        && input.reprovision_policy.is_none()
        && input.initial_twin.is_none()
        && input.optional_device_information.is_none()
        && certificate_members(input).next().is_none()
        && input.edge.is_none()
}

fn read_if_any(dps: &Dps, id: &RegistrationId) -> Result<Option<Tagged>> {
    match dps.enrollment(id) {
        Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// The input's members about certificates from Device Registry, each with its name.
fn certificate_members(input: &Input) -> impl Iterator<Item = (&'static str, &str)> {
    let values = [&input.namespace_name, &input.certificate_authority_name, &input.certificate_policy_name];
    CERTIFICATE_MEMBERS.into_iter().zip(values).filter_map(|(name, value)| Some((name, value.as_deref()?)))
}

/// Refuses members that the service's API version does not know, because the service would silently drop them.
fn check_certificates(input: &Input, dps: &Dps) -> Result<()> {
    let names: Vec<&str> = certificate_members(input).map(|(name, _)| name).collect();
    if names.is_empty() || dps.knows_certificates() {
        return Ok(());
    }
    let problems = names.into_iter().map(|name| {
        let message = format!("needs version 2026-11-01 of the service's API, which {} does not offer", dps.identity());
        let fix = "Leave it empty, or set it after the provisioning service has that version".to_owned();
        FieldProblem { fix: Some(fix), ..problem(&format!("/{name}"), "not-offered", message) }
    });
    Err(Error::fields(ErrorCode::Unsupported, "The provisioning service does not offer this", problems.collect()))
}

fn judge_attestation(input: &Attestation, problems: &mut Vec<FieldProblem>) -> Value {
    for (name, given) in
        [("symmetricKey", input.symmetric_key.is_some()), ("tpm", input.tpm.is_some()), ("x509", input.x509.is_some())]
    {
        if given && name != input.kind {
            let message = format!("does not belong to the attestation `{}`", input.kind);
            problems.push(problem(&format!("/attestation/{name}"), "not-allowed", message));
        }
    }
    let mut attestation = json!({ "type": input.kind });
    match (input.kind.as_str(), &input.symmetric_key, &input.tpm, &input.x509) {
        ("symmetricKey", keys, ..) => {
            set(&mut attestation, &["symmetricKey"], json!({}));
            for (key, name) in
                keys.iter().flat_map(|keys| [(&keys.primary_key, "primaryKey"), (&keys.secondary_key, "secondaryKey")])
            {
                let Some(key) = key else { continue };
                problems.extend(keys::check(key, &format!("/attestation/symmetricKey/{name}")));
                set(&mut attestation, &["symmetricKey", name], key.as_str().into());
            }
        }
        ("tpm", _, Some(tpm), _) => {
            match keys::endorsement_key(&tpm.endorsement_key, "/attestation/tpm/endorsementKey") {
                Ok(key) => set(&mut attestation, &["tpm", "endorsementKey"], key.into()),
                Err(found) => problems.push(found),
            }
        }
        ("x509", _, _, Some(x509)) => judge_x509(x509, &mut attestation, problems),
        (kind, ..) => problems.push(problem(&format!("/attestation/{kind}"), "missing", "is missing")),
    }
    attestation
}

fn judge_x509(input: &X509, attestation: &mut Value, problems: &mut Vec<FieldProblem>) {
    let certificates = [
        (&input.primary_certificate, "primary", "/attestation/x509/primaryCertificate"),
        (&input.secondary_certificate, "secondary", "/attestation/x509/secondaryCertificate"),
    ];
    let references = [
        (&input.primary_ca_reference, "primary", "/attestation/x509/primaryCaReference"),
        (&input.secondary_ca_reference, "secondary", "/attestation/x509/secondaryCaReference"),
    ];
    let by_reference = references.iter().any(|(reference, ..)| reference.is_some());
    if by_reference && input.primary_ca_reference.is_none() {
        problems.push(problem(
            "/attestation/x509/primaryCaReference",
            "missing",
            "is needed if there is a secondary CA reference",
        ));
    }
    if !by_reference && input.primary_certificate.is_none() {
        let message = "is needed, or the name of a CA certificate";
        problems.push(problem("/attestation/x509/primaryCertificate", "missing", message));
    }
    for (certificate, slot, pointer) in certificates {
        let Some(certificate) = certificate else { continue };
        if by_reference {
            problems.push(problem(pointer, "not-allowed", "cannot be given together with a CA reference"));
        }
        match keys::certificate(certificate, pointer) {
            Ok(der) => set(attestation, &["x509", "clientCertificates", slot, "certificate"], der.into()),
            Err(found) => problems.push(found),
        }
    }
    for (reference, slot, _) in references {
        let Some(reference) = reference else { continue };
        set(attestation, &["x509", "caReferences", slot], reference.as_str().into());
    }
}

/// Reads the stored enrollment. Its symmetric keys are read as well unless the input has both keys: they need a
/// separate request, and it is not documented whether the service keeps keys that the new enrollment leaves out.
fn read(dps: &Dps, id: &RegistrationId, input: &Input) -> Result<Option<Tagged>> {
    let both = |keys: &SymmetricKey| keys.primary_key.is_some() && keys.secondary_key.is_some();
    let keys_stay = match &input.attestation {
        None => true,
        Some(attestation) => {
            attestation.kind == "symmetricKey" && !attestation.symmetric_key.as_ref().is_some_and(both)
        }
    };
    let found = dps.enrollment(id).and_then(|mut found| {
        let known = found.document.pointer("/attestation/symmetricKey/primaryKey").is_some_and(Value::is_string);
        if keys_stay && !known && has_symmetric_keys(&found.document) {
            set(&mut found.document, &["attestation"], dps.attestation(id)?);
        }
        Ok(found)
    });
    match found {
        // A caller that states an ETag expects an existing enrollment.
        Err(error)
            if error.code() == ErrorCode::NotFound && input.mode == Mode::CreateOrUpdate && input.etag.is_none() =>
        {
            Ok(None)
        }
        found => found.map(Some),
    }
}

/// Returns the enrollment with the changes.
fn edit(input: &Input, attestation: Option<&Value>, old: Option<Value>) -> Result<Value> {
    let mut enrollment = match old {
        Some(old) => old,
        None if attestation.is_none() => {
            return Err(Error::field(
                "/attestation",
                "missing",
                "is needed, because the enrollment does not exist yet",
            ));
        }
        None => json!({ "registrationId": input.registration_id }),
    };
    if let Some(members) = enrollment.as_object_mut() {
        members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    }
    if let Some(new) = attestation {
        let merged = merge_keys(new, enrollment.get("attestation"));
        set(&mut enrollment, &["attestation"], merged);
    }
    for (name, value) in [
        ("deviceId", &input.device_id),
        ("provisioningStatus", &input.provisioning_status),
        ("allocationPolicy", &input.allocation_policy),
    ] {
        let Some(value) = value else { continue };
        set(&mut enrollment, &[name], value.as_str().into());
    }
    for (name, value) in certificate_members(input) {
        set(&mut enrollment, &[name], value.into());
    }
    if let Some(edge) = input.edge {
        set(&mut enrollment, &["capabilities", "iotEdge"], edge.into());
    }
    if let Some(information) = &input.optional_device_information {
        set(&mut enrollment, &["optionalDeviceInformation"], information.clone());
    }
    edit_allocation(input, &mut enrollment)?;
    if let Some(policy) = &input.reprovision_policy {
        for (name, value) in
            [("updateHubAssignment", policy.update_hub_assignment), ("migrateDeviceData", policy.migrate_device_data)]
        {
            let old = enrollment.pointer(&format!("/reprovisionPolicy/{name}")).and_then(Value::as_bool);
            // The service requires both members, and both are true by default.
            set(&mut enrollment, &["reprovisionPolicy", name], value.or(old).unwrap_or(true).into());
        }
    }
    if let Some(twin) = &input.initial_twin {
        if let Some(tags) = &twin.tags {
            set(&mut enrollment, &["initialTwin", "tags"], tags.clone());
        }
        if let Some(desired) = &twin.desired {
            set(&mut enrollment, &["initialTwin", "properties", "desired"], desired.clone());
        }
    }
    Ok(enrollment)
}

fn edit_allocation(input: &Input, enrollment: &mut Value) -> Result<()> {
    let hubs = match (&input.iot_hub_host_name, &input.iot_hubs) {
        (Some(host), _) => {
            set(enrollment, &["allocationPolicy"], "static".into());
            Some(json!([host]))
        }
        (None, Some(hosts)) => Some(json!(hosts)),
        (None, None) => None,
    };
    if let Some(hubs) = hubs {
        set(enrollment, &["iotHubs"], hubs);
        // The older member for a single hub would contradict the list, so it is removed, as in the Azure CLI.
        if let Some(members) = enrollment.as_object_mut() {
            members.remove("iotHubHostName");
        }
    }
    if let Some(definition) = &input.custom_allocation_definition {
        let given = definition.get("webhookUrl").and_then(Value::as_str).unwrap_or_default();
        let old = enrollment.pointer("/customAllocationDefinition/webhookUrl").cloned();
        set(enrollment, &["customAllocationDefinition"], definition.clone());
        if given.contains(HIDDEN) {
            // The caller writes back a URL that was read with its key hidden, so the stored URL with its key is kept.
            match old.filter(|old| old.as_str().is_some_and(|old| without_secrets(old) == given)) {
                Some(old) => set(enrollment, &["customAllocationDefinition", "webhookUrl"], old),
                None => {
                    let message =
                        format!("has `{HIDDEN}` in it, which stands for a hidden key: enter the URL with its key");
                    return Err(Error::field("/customAllocationDefinition/webhookUrl", "hidden", message));
                }
            }
        }
    }
    let custom = enrollment.get("allocationPolicy").and_then(Value::as_str) == Some("custom");
    if custom && !enrollment.get("customAllocationDefinition").is_some_and(Value::is_object) {
        let message = "is needed for the allocation policy `custom`";
        return Err(Error::field("/customAllocationDefinition", "missing", message));
    }
    Ok(())
}

/// The new attestation. Symmetric keys that it leaves out are taken from the old one.
fn merge_keys(new: &Value, old: Option<&Value>) -> Value {
    let mut merged = new.clone();
    let keys = |attestation: &Value| attestation.get("symmetricKey").and_then(Value::as_object).cloned();
    if let Some(given) = keys(new) {
        let mut keys: Map<String, Value> = old.and_then(keys).unwrap_or_default();
        keys.retain(|_, key| !key.is_null());
        keys.extend(given);
        set(&mut merged, &["symmetricKey"], keys.into());
    }
    merged
}
