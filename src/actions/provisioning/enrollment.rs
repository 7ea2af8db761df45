//! Creates and changes enrollments of both kinds: what a form states, is checked, merged into the stored enrollment, and
//! written.

use serde_json::{Map, Value, json};

use crate::actions::shared::change::{self, set};
use crate::actions::shared::input::Input;
use crate::actions::shared::keys;
use crate::actions::shared::stepped::{self, Step};
use crate::bindings::exports::workflow::connector::action::Call;
use crate::dps::{
    ALL_ENROLLMENT_GROUPS, ALL_ENROLLMENTS, CERTIFICATE_MEMBERS, Dps, HIDDEN, Kind, RegistrationId, has_symmetric_keys,
    without_secrets,
};
use crate::error::{EffectState, Error, ErrorCode, FieldProblem, Result, problem, settle};
use crate::http::{ETag, IfMatch, Page, Tagged};
use crate::iothub::{TwinPart, check_patch};
use crate::json;
use crate::session::Session;

/// The members that only the service sets, so they are not written back.
const READ_ONLY: [&str; 4] = ["registrationState", "createdDateTimeUtc", "lastUpdatedDateTimeUtc", "etag"];
/// The members of the service's document that a form has under the same name and with the same value.
const SAME: [&str; 7] = [
    "deviceId",
    "provisioningStatus",
    "allocationPolicy",
    "optionalDeviceInformation",
    CERTIFICATE_MEMBERS[0],
    CERTIFICATE_MEMBERS[1],
    CERTIFICATE_MEMBERS[2],
];

/// Whether an enrollment may or must exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It must not exist.
    Create,
    /// It must exist.
    Update,
    /// Either.
    CreateOrUpdate,
}

/// What a form, or an entry of a list of forms, states about one enrollment.
pub struct Change<'i> {
    kind: Kind,
    mode: Mode,
    form: &'i Value,
    /// The place of the form in the input.
    at: String,
    id: RegistrationId,
    /// The ETag that the enrollment must still have.
    stated: Option<IfMatch>,
    /// The attestation in the service's form.
    attestation: Option<Value>,
}

/// Creates or changes one enrollment, as an action's whole input states. Returns the enrollment as it is shown.
///
/// # Errors
/// `invalid-input`, `conflict`, `not-found`, `precondition-failed`, and the errors of the service.
pub fn create_or_update(kind: Kind, session: &Session, input: &Input, call: &Call) -> Result<Value> {
    let mode = match input.text("mode") {
        Some("create") => Mode::Create,
        Some("update") => Mode::Update,
        _ => Mode::CreateOrUpdate,
    };
    let mut problems = Vec::new();
    let change = Change::read(kind, mode, input.document(), String::new(), &mut problems)?;
    settle(problems)?;
    let dps = session.dps()?;
    let id = &change.id;
    if call.dry_run && mode == Mode::Create && change.certificate_members().next().is_some() {
        // Whether the service knows these members is learned from an answer. A dry run does not write, so it has to
        // read.
        change.if_any(dps.read(kind, id))?;
        change.check_certificates(&dps)?;
    }
    let changed = if mode == Mode::Create {
        let enrollment = change.apply(None)?;
        let created = dps.create(kind, id, enrollment.clone());
        let created = created.map_err(|error| change.check_certificates(&dps).err().unwrap_or(error));
        change.made_sure(&dps, created, &enrollment, None)?
    } else {
        change::apply(
            change.stated.as_ref(),
            || change.stored(&dps),
            |enrollment| {
                change.check_certificates(&dps)?;
                change.apply(enrollment)
            },
            |enrollment, if_match| {
                let written = dps.put(kind, id, enrollment.clone(), if_match);
                let before = match if_match {
                    Some(IfMatch::Tag(tag)) => Some(tag),
                    Some(IfMatch::Any) | None => None,
                };
                change.made_sure(&dps, written, &enrollment, before)
            },
        )?
    };
    shown(&dps, kind, id, changed.document, input.flag("includeKeys"))
}

/// The enrollment in the form that the output has. Symmetric keys are contained only if `include_keys` is set; they
/// need a separate request. The URL of an allocation function never contains the function's key.
///
/// # Errors
/// The errors of the provisioning service.
pub fn shown(dps: &Dps, kind: Kind, id: &RegistrationId, mut enrollment: Value, include_keys: bool) -> Result<Value> {
    if include_keys && has_symmetric_keys(&enrollment) {
        set(&mut enrollment, &["attestation"], dps.attestation(kind, id)?);
    }
    Ok(crate::dps::shown(enrollment, include_keys))
}

/// One step of an action that lists enrollments.
///
/// # Errors
/// `invalid-input` where the service does not understand the query, and the errors of the service.
pub fn list_page(kind: Kind, session: &Session, input: &Input, state: Option<&Value>) -> Result<Step> {
    stepped::list(
        session,
        input,
        state,
        match kind {
            Kind::Individual => {
                |session, input, size, continuation| page(Kind::Individual, session, input, size, continuation)
            }
            Kind::Group => |session, input, size, continuation| page(Kind::Group, session, input, size, continuation),
        },
    )
}

fn page(kind: Kind, session: &Session, input: &Input, size: u32, continuation: Option<&str>) -> Result<Page> {
    let all = match kind {
        Kind::Individual => ALL_ENROLLMENTS,
        Kind::Group => ALL_ENROLLMENT_GROUPS,
    };
    let query = input.text("query").unwrap_or(all);
    let mut page = session.dps()?.enrollments(kind, query, size, continuation)?;
    page.items = page.items.into_iter().map(|enrollment| crate::dps::shown(enrollment, false)).collect();
    Ok(page)
}

impl<'i> Change<'i> {
    /// Reads a form that fits its schema. `at` is its place in the input. Rules that the schema cannot express, and that
    /// do not depend on the stored enrollment, add to `problems`.
    ///
    /// # Errors
    /// `invalid-input` where the id or the ETag cannot be one.
    pub fn read(kind: Kind, mode: Mode, form: &'i Value, at: String, problems: &mut Vec<FieldProblem>) -> Result<Self> {
        let member = kind.id_member();
        let id = RegistrationId::parse(text(form, member).unwrap_or_default(), &format!("{at}/{member}"))?;
        let etag = text(form, "etag");
        let stated = etag.map(|etag| IfMatch::from_input(Some(etag), &format!("{at}/etag"))).transpose()?;
        let mut change = Self { kind, mode, form, at, id, stated, attestation: None };
        change.attestation = form.get("attestation").map(|given| change.judge_attestation(given, problems));
        change.judge(problems);
        Ok(change)
    }

    /// The enrollment's id.
    pub fn id(&self) -> &RegistrationId {
        &self.id
    }

    /// The ETag that the enrollment must still have, where the form states one.
    pub fn stated(&self) -> Option<&IfMatch> {
        self.stated.as_ref()
    }

    /// Whether the form has members that need the newest API version.
    pub fn needs_newest(&self) -> bool {
        self.certificate_members().next().is_some()
    }

    fn problem(&self, member: &str, code: &str, message: impl Into<String>) -> FieldProblem {
        problem(&format!("{}{member}", self.at), code, message)
    }

    fn judge(&self, problems: &mut Vec<FieldProblem>) {
        let mut refuse = |member: &str, code: &str, message: &str| problems.push(self.problem(member, code, message));
        if self.mode == Mode::Create {
            if self.attestation.is_none() {
                refuse("/attestation", "missing", "is needed for a new enrollment");
            }
            if self.stated.is_some() {
                refuse("/etag", "not-allowed", "cannot be given together with the mode `create`");
            }
        } else if self.says_nothing() {
            refuse("", "nothing-to-change", "must state at least one change");
        }
        if self.form.get("iotHubHostName").is_some() {
            if self.form.get("iotHubs").is_some() {
                refuse("/iotHubHostName", "not-allowed", "cannot be given together with a list of hubs");
            }
            if text(self.form, "allocationPolicy").is_some_and(|policy| policy != "static") {
                refuse("/iotHubHostName", "not-allowed", "is allowed only with the allocation policy `static`");
            }
        }
        for (part, name) in [(TwinPart::Tags, "tags"), (TwinPart::Desired, "desired")] {
            let patch = self.form.pointer(&format!("/initialTwin/{name}"));
            let at = format!("{}/initialTwin/{name}", self.at);
            problems.extend(patch.into_iter().flat_map(|patch| check_patch(part, patch, &at)));
        }
    }

    fn says_nothing(&self) -> bool {
        let apart = [self.kind.id_member(), "mode", "etag", "includeKeys"];
        self.form.as_object().is_none_or(|members| members.keys().all(|name| apart.contains(&name.as_str())))
    }

    /// Checks the attestation, and returns it in the service's form.
    fn judge_attestation(&self, given: &Value, problems: &mut Vec<FieldProblem>) -> Value {
        let way = text(given, "type").unwrap_or_default();
        for name in ["symmetricKey", "tpm", "x509"] {
            if name != way && given.get(name).is_some() {
                let message = format!("does not belong to the attestation `{way}`");
                problems.push(self.problem(&format!("/attestation/{name}"), "not-allowed", message));
            }
        }
        let mut attestation = json!({ "type": way });
        match (way, given.get(way)) {
            ("symmetricKey", keys) => {
                set(&mut attestation, &["symmetricKey"], json!({}));
                for name in ["primaryKey", "secondaryKey"] {
                    let Some(key) = keys.and_then(|keys| text(keys, name)) else { continue };
                    problems.extend(keys::check(key, &format!("{}/attestation/symmetricKey/{name}", self.at)));
                    set(&mut attestation, &["symmetricKey", name], key.into());
                }
            }
            ("tpm", Some(tpm)) => {
                let key = text(tpm, "endorsementKey").unwrap_or_default();
                match keys::endorsement_key(key, &format!("{}/attestation/tpm/endorsementKey", self.at)) {
                    Ok(key) => set(&mut attestation, &["tpm", "endorsementKey"], key.into()),
                    Err(found) => problems.push(found),
                }
            }
            ("x509", Some(x509)) => self.judge_x509(x509, &mut attestation, problems),
            _ => problems.push(self.problem(&format!("/attestation/{way}"), "missing", "is missing")),
        }
        attestation
    }

    fn judge_x509(&self, given: &Value, attestation: &mut Value, problems: &mut Vec<FieldProblem>) {
        let has = |name: &str| given.get(name).is_some();
        let mut refuse = |name: &str, code: &str, message: &str| {
            problems.push(self.problem(&format!("/attestation/x509/{name}"), code, message));
        };
        let by_reference = has("primaryCaReference") || has("secondaryCaReference");
        if by_reference && !has("primaryCaReference") {
            refuse("primaryCaReference", "missing", "is needed if there is a secondary CA reference");
        }
        if !by_reference && !has("primaryCertificate") {
            refuse("primaryCertificate", "missing", "is needed, or the name of a CA certificate");
        }
        let certificates = match self.kind {
            Kind::Individual => "clientCertificates",
            Kind::Group => "signingCertificates",
        };
        for (name, slot) in [("primaryCertificate", "primary"), ("secondaryCertificate", "secondary")] {
            let Some(certificate) = text(given, name) else { continue };
            if by_reference {
                problems.push(self.problem(
                    &format!("/attestation/x509/{name}"),
                    "not-allowed",
                    "cannot be given together with a CA reference",
                ));
            }
            match keys::certificate(certificate, &format!("{}/attestation/x509/{name}", self.at)) {
                Ok(der) => set(attestation, &["x509", certificates, slot, "certificate"], der.into()),
                Err(found) => problems.push(found),
            }
        }
        for (name, slot) in [("primaryCaReference", "primary"), ("secondaryCaReference", "secondary")] {
            let Some(reference) = text(given, name) else { continue };
            set(attestation, &["x509", "caReferences", slot], reference.into());
        }
    }

    /// The form's members about certificates from Device Registry.
    fn certificate_members(&self) -> impl Iterator<Item = &'static str> {
        CERTIFICATE_MEMBERS.into_iter().filter(|name| self.form.get(name).is_some())
    }

    /// Refuses members that the service's API version does not know, because the service would silently drop them.
    ///
    /// # Errors
    /// `unsupported` with each of these members.
    pub fn check_certificates(&self, dps: &Dps) -> Result<()> {
        if !self.needs_newest() || dps.knows_certificates() {
            return Ok(());
        }
        let problems = self.certificate_members().map(|name| {
            let message =
                format!("needs version 2026-11-01 of the service's API, which {} does not offer", dps.identity());
            let fix = "Leave it empty, or set it after the provisioning service has that version".to_owned();
            FieldProblem { fix: Some(fix), ..self.problem(&format!("/{name}"), "not-offered", message) }
        });
        Err(Error::fields(ErrorCode::Unsupported, "The provisioning service does not offer this", problems.collect()))
    }

    fn if_any(&self, found: Result<Tagged>) -> Result<Option<Tagged>> {
        match found {
            Err(error) if error.code() == ErrorCode::NotFound => Ok(None),
            found => found.map(Some),
        }
    }

    /// Reads the stored enrollment. Its symmetric keys are read as well unless the form has both keys: they need a
    /// separate request, and it is not documented whether the service keeps keys that the new enrollment leaves out.
    ///
    /// # Errors
    /// The errors of the service; `not-found` if the enrollment must exist.
    pub fn stored(&self, dps: &Dps) -> Result<Option<Tagged>> {
        let given = |name: &str| self.form.pointer(&format!("/attestation/symmetricKey/{name}")).is_some();
        let keys_stay = match &self.attestation {
            None => true,
            Some(attestation) => {
                text(attestation, "type") == Some("symmetricKey") && !(given("primaryKey") && given("secondaryKey"))
            }
        };
        let found = dps.read(self.kind, &self.id).and_then(|mut found| {
            let known = found.document.pointer("/attestation/symmetricKey/primaryKey").is_some_and(Value::is_string);
            if keys_stay && !known && has_symmetric_keys(&found.document) {
                set(&mut found.document, &["attestation"], dps.attestation(self.kind, &self.id)?);
            }
            Ok(found)
        });
        // A caller that states an ETag expects an existing enrollment.
        if self.mode == Mode::CreateOrUpdate && self.stated.is_none() { self.if_any(found) } else { found.map(Some) }
    }

    /// The enrollment with the changes; `old` is none for a new one.
    ///
    /// # Errors
    /// `invalid-input` for rules that depend on the stored enrollment.
    pub fn apply(&self, old: Option<Value>) -> Result<Value> {
        let mut enrollment = match old {
            Some(old) => old,
            None if self.attestation.is_none() => {
                let message = "is needed, because the enrollment does not exist yet";
                return Err(self.wrong("/attestation", "missing", message));
            }
            None => json!({ self.kind.id_member(): self.id.as_str() }),
        };
        if let Some(members) = enrollment.as_object_mut() {
            members.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
        }
        if let Some(new) = &self.attestation {
            let merged = merge_keys(new, enrollment.get("attestation"));
            set(&mut enrollment, &["attestation"], merged);
        }
        for name in SAME {
            let Some(value) = self.form.get(name) else { continue };
            set(&mut enrollment, &[name], value.clone());
        }
        if let Some(edge) = self.form.get("edge") {
            set(&mut enrollment, &["capabilities", "iotEdge"], edge.clone());
        }
        self.apply_allocation(&mut enrollment)?;
        if let Some(policy) = self.form.get("reprovisionPolicy") {
            for name in ["updateHubAssignment", "migrateDeviceData"] {
                let old = enrollment.pointer(&format!("/reprovisionPolicy/{name}")).filter(|old| old.is_boolean());
                // The service requires both members, and both are true by default.
                let value = policy.get(name).or(old).cloned().unwrap_or(Value::Bool(true));
                set(&mut enrollment, &["reprovisionPolicy", name], value);
            }
        }
        for (from, to) in [("tags", &["tags"][..]), ("desired", &["properties", "desired"])] {
            let Some(part) = self.form.pointer(&format!("/initialTwin/{from}")) else { continue };
            let path: Vec<&str> = std::iter::once("initialTwin").chain(to.iter().copied()).collect();
            set(&mut enrollment, &path, part.clone());
        }
        Ok(enrollment)
    }

    fn apply_allocation(&self, enrollment: &mut Value) -> Result<()> {
        let host = self.form.get("iotHubHostName");
        if host.is_some() {
            set(enrollment, &["allocationPolicy"], "static".into());
        }
        if let Some(hubs) = host.map(|host| json!([host])).or_else(|| self.form.get("iotHubs").cloned()) {
            set(enrollment, &["iotHubs"], hubs);
            // The older member for a single hub would contradict the list, so it is removed, as in the Azure CLI.
            if let Some(members) = enrollment.as_object_mut() {
                members.remove("iotHubHostName");
            }
        }
        if let Some(definition) = self.form.get("customAllocationDefinition") {
            let given = text(definition, "webhookUrl").unwrap_or_default();
            let old = enrollment.pointer("/customAllocationDefinition/webhookUrl").cloned();
            set(enrollment, &["customAllocationDefinition"], definition.clone());
            if given.contains(HIDDEN) {
                // The caller writes back a URL that was read with its key hidden, so the stored URL with its key is
                // kept.
                match old.filter(|old| old.as_str().is_some_and(|old| without_secrets(old) == given)) {
                    Some(old) => set(enrollment, &["customAllocationDefinition", "webhookUrl"], old),
                    None => {
                        let message =
                            format!("has `{HIDDEN}` in it, which stands for a hidden key: enter the URL with its key");
                        return Err(self.wrong("/customAllocationDefinition/webhookUrl", "hidden", &message));
                    }
                }
            }
        }
        let custom = text(enrollment, "allocationPolicy") == Some("custom");
        if custom && !enrollment.get("customAllocationDefinition").is_some_and(Value::is_object) {
            let message = "is needed for the allocation policy `custom`";
            return Err(self.wrong("/customAllocationDefinition", "missing", message));
        }
        Ok(())
    }

    fn wrong(&self, member: &str, code: &str, message: &str) -> Error {
        Error::field(&format!("{}{member}", self.at), code, message)
    }

    /// Finds out whether a write that failed without a clear answer was carried out: then the stored enrollment has
    /// everything that was sent, and no longer the ETag from `before`. Otherwise the error stays, because the service may
    /// still be at work.
    fn made_sure(&self, dps: &Dps, written: Result<Tagged>, sent: &Value, before: Option<&ETag>) -> Result<Tagged> {
        match written {
            Err(error) if error.record().effect == EffectState::Unknown => {
                self.carried_out(dps, sent, before).ok_or(error)
            }
            written => written,
        }
    }

    /// The stored enrollment if it is what was `sent`, and was written after it had the ETag from `before`.
    pub fn carried_out(&self, dps: &Dps, sent: &Value, before: Option<&ETag>) -> Option<Tagged> {
        let found = dps.read(self.kind, &self.id).ok()?;
        if before.is_some() && found.etag.as_ref() == before {
            return None;
        }
        let mut stored = found.document.clone();
        // The id may be spelled otherwise: the service keeps the first spelling.
        let member = self.kind.id_member();
        set(&mut stored, &[member], sent.get(member).cloned().unwrap_or_default());
        if sent.pointer("/attestation/symmetricKey").and_then(Value::as_object).is_some_and(|keys| !keys.is_empty()) {
            set(&mut stored, &["attestation"], dps.attestation(self.kind, &self.id).ok()?);
        }
        holds(&stored, sent).then_some(found)
    }
}

/// Whether a stored document has everything that was sent. Members that the service adds do not matter. A certificate
/// counts as missing, because the service answers with its description only.
fn holds(stored: &Value, sent: &Value) -> bool {
    match (stored, sent) {
        (Value::Object(stored), Value::Object(sent)) => sent.iter().all(|(name, sent)| match stored.get(name) {
            Some(stored) => holds(stored, sent),
            None => sent.as_object().is_some_and(Map::is_empty),
        }),
        _ => json::same(stored, sent),
    }
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

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name).and_then(Value::as_str)
}
