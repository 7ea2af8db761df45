//! Identities of devices and modules: how an input describes a new one, and how it changes one.
//!
//! The functions read an object of the input, which may be an item of a list; `at` is the pointer to this object.

use serde_json::{Value, json};

use super::change::{self, set};
use super::declaration::{Field, optional, required};
use super::input::Input;
use super::keys;
use crate::error::{EffectState, Error, ErrorCode, FieldProblem, Result, problem, settle};
use crate::form::fields;
use crate::form::schema::{boolean, help, literal, one_of, string, with};
use crate::http::{IfMatch, Tagged};
use crate::iothub::{Identity, IotHub};
use crate::json::from_members;
use crate::platform::Platform;
use crate::secret::keys_of;
use crate::session::Session;

/// How a new identity proves who it is.
pub const AUTHENTICATION: Field = optional("authentication", || {
    with(
        help(
            one_of("Authentication", &["sas", "selfSigned", "certificateAuthority"]),
            "How the device proves who it is: symmetric keys, a certificate known by its thumbprint, or one issued by a known authority.",
        ),
        literal!({ "default": "sas" }),
    )
});
/// The keys of a new identity. The service takes both or none.
pub const PRIMARY_KEY: Field = optional("primaryKey", || fields::symmetric_key("Primary key"));
/// See [`PRIMARY_KEY`].
pub const SECONDARY_KEY: Field = optional("secondaryKey", || fields::symmetric_key("Secondary key"));
/// The thumbprints of self-signed certificates.
pub const PRIMARY_THUMBPRINT: Field = optional("primaryThumbprint", || fields::thumbprint("Primary thumbprint"));
/// See [`PRIMARY_THUMBPRINT`].
pub const SECONDARY_THUMBPRINT: Field = optional("secondaryThumbprint", || fields::thumbprint("Secondary thumbprint"));
/// Whether a new device is an IoT Edge device.
pub const EDGE: Field =
    optional("edge", || with(boolean("IoT Edge device"), literal!({ "default": false, "x-visibility": "advanced" })));
/// Whether an existing device becomes an IoT Edge device.
pub const EDGE_CHANGE: Field =
    optional("edge", || with(boolean("IoT Edge device"), literal!({ "x-visibility": "advanced" })));
/// The status of a new device.
pub const STATUS: Field =
    optional("status", || with(one_of("Status", &["enabled", "disabled"]), literal!({ "default": "enabled" })));
/// The status that a device gets.
pub const STATUS_CHANGE: Field = optional("status", || {
    help(one_of("Status", &["enabled", "disabled"]), "A device that is disabled cannot connect.")
});
/// The reason of a new device's status.
pub const REASON: Field = optional("statusReason", || with(string("Status reason"), literal!({ "maxLength": 128 })));
/// The reason that a device's status gets.
pub const REASON_CHANGE: Field = optional("statusReason", || {
    with(help(string("Status reason"), "An empty text removes the reason."), literal!({ "maxLength": 128 }))
});
/// What happens to the symmetric keys of an existing identity.
pub const KEYS_CHANGE: Field = optional("keys", || {
    with(
        help(
            one_of("Keys", &["keep", "regeneratePrimary", "regenerateSecondary", "regenerateBoth", "swap"]),
            "What to do with the symmetric keys. New ones are made by the connector: 32 random bytes.",
        ),
        literal!({ "default": "keep" }),
    )
});
/// A key that replaces a key of an existing identity.
pub const PRIMARY_KEY_CHANGE: Field = optional("primaryKey", || given_key("Primary key"));
/// See [`PRIMARY_KEY_CHANGE`].
pub const SECONDARY_KEY_CHANGE: Field = optional("secondaryKey", || given_key("Secondary key"));
/// What happens if the thing to create exists.
pub const IF_EXISTS: Field = optional("ifExists", || {
    with(
        help(
            one_of("If it exists", &["fail", "keep"]),
            "`keep`: leave it as it is and answer with it. Makes repeating the action harmless.",
        ),
        literal!({ "default": "fail", "x-visibility": "advanced" }),
    )
});
/// Who manages a module.
pub const MANAGED_BY: Field = optional("managedBy", || {
    with(
        help(string("Managed by"), "Who manages the module: `IotEdge` if the runtime of IoT Edge owns it."),
        literal!({ "maxLength": 128, "x-visibility": "advanced" }),
    )
});

fn given_key(title: &str) -> Value {
    help(fields::symmetric_key(title), "Base64, 16 to 64 bytes. Empty: see **Keys**.")
}

/// The text of a member.
pub fn text<'g>(given: &'g Value, name: &str) -> Option<&'g str> {
    given.get(name).and_then(Value::as_str)
}

/// Judges the authentication of a new identity.
pub fn judge_new(given: &Value, at: &str, problems: &mut Vec<FieldProblem>) {
    let authentication = text(given, "authentication").unwrap_or("sas");
    let mut refuse = |names: [&str; 2]| {
        for name in names.into_iter().filter(|name| given.get(name).is_some()) {
            let message = format!("does not belong to the authentication `{authentication}`");
            problems.push(problem(&format!("{at}/{name}"), "not-allowed", message));
        }
    };
    if authentication != "sas" {
        refuse(["primaryKey", "secondaryKey"]);
    }
    if authentication != "selfSigned" {
        refuse(["primaryThumbprint", "secondaryThumbprint"]);
    } else if given.get("primaryThumbprint").is_none() {
        let at = format!("{at}/primaryThumbprint");
        problems.push(problem(&at, "missing", "is needed for a self-signed certificate"));
    }
    if authentication == "sas" {
        let names = ["primaryKey", "secondaryKey"];
        let missing: Vec<&str> = names.into_iter().filter(|name| given.get(name).is_none()).collect();
        if let [missing] = missing[..] {
            let message = "must be given with the other key: the hub takes both or none";
            problems.push(problem(&format!("{at}/{missing}"), "missing", message));
        }
        check_keys(given, at, problems);
    }
}

fn check_keys(given: &Value, at: &str, problems: &mut Vec<FieldProblem>) {
    for name in ["primaryKey", "secondaryKey"] {
        problems.extend(text(given, name).and_then(|key| keys::check(key, &format!("{at}/{name}"))));
    }
}

/// The member `authentication` of a new identity that [`judge_new`] has accepted. Absent values are left out, as in
/// Microsoft's clients, because the hub's API description does not allow null.
pub fn authentication(given: &Value) -> Value {
    let pair = |names: [&'static str; 2]| {
        from_members(names.into_iter().filter_map(|name| Some((name, given.get(name)?.clone()))))
    };
    let mut mechanism = json!({ "type": text(given, "authentication").unwrap_or("sas") });
    for (member, names) in [
        ("symmetricKey", ["primaryKey", "secondaryKey"]),
        ("x509Thumbprint", ["primaryThumbprint", "secondaryThumbprint"]),
    ] {
        let values = pair(names);
        if !values.is_empty() {
            mechanism[member] = values.into();
        }
    }
    mechanism
}

/// The members of a new device, except for its id.
pub fn new_device(given: &Value) -> Value {
    let mut device =
        json!({ "status": text(given, "status").unwrap_or("enabled"), "authentication": authentication(given) });
    if let Some(reason) = given.get("statusReason") {
        device["statusReason"] = reason.clone();
    }
    if given.get("edge") == Some(&Value::Bool(true)) {
        device["capabilities"] = json!({ "iotEdge": true });
    }
    device
}

/// Creates an identity. With `keep`, one that exists is left as it is and returned.
///
/// # Errors
/// `conflict` if it exists and is not kept, and the errors of the service.
pub fn create(session: &Session, of: &Identity, new: Value, keep: bool) -> Result<Value> {
    let secrets = secrets(&new);
    match session.hub().create_identity(of, new) {
        Err(error) if keep && error.code() == ErrorCode::Conflict => Ok(session.hub().read_identity(of)?.document),
        created => Ok(created.map_err(|error| error.without(&secrets))?.document),
    }
}

/// The keys in an identity. They are struck out of errors, because the service may quote the identity.
pub fn secrets(identity: &Value) -> Vec<String> {
    keys_of(identity.get("authentication")).filter(|key| !key.is_empty()).map(str::to_owned).collect()
}

/// The members of an input that change an identity.
const CHANGES: [&str; 9] = [
    "status",
    "statusReason",
    "keys",
    "primaryKey",
    "secondaryKey",
    "primaryThumbprint",
    "secondaryThumbprint",
    "edge",
    "managedBy",
];

/// Whether an input states a change of an identity.
pub fn is_change(given: &Value) -> bool {
    CHANGES.iter().any(|name| given.get(name).is_some_and(|value| *name != "keys" || value != "keep"))
}

/// Judges the changes by the rules that do not depend on the stored identity.
pub fn judge_change(given: &Value, at: &str, problems: &mut Vec<FieldProblem>) {
    check_keys(given, at, problems);
    if text(given, "keys").is_some_and(|keys| keys != "keep") {
        for name in ["primaryKey", "secondaryKey"].into_iter().filter(|name| given.get(name).is_some()) {
            let message = "can be given only if Keys is `keep` or empty";
            problems.push(problem(&format!("{at}/{name}"), "not-allowed", message));
        }
    }
}

/// The error for an input without a change.
pub fn nothing_to_change(at: &str) -> FieldProblem {
    problem(at, "nothing-to-change", "must state at least one change")
}

/// Where one of an identity's two new keys comes from.
#[derive(Clone, Copy)]
pub enum Key<'g> {
    /// It stays as it is.
    Kept,
    /// It is the identity's other key.
    Other,
    /// It is a new random key.
    New,
    /// It is this key.
    Given(&'g str),
}

impl<'g> Key<'g> {
    /// The key that the input states, or else `otherwise`.
    pub fn given(given: &'g Value, name: &str, otherwise: Self) -> Self {
        text(given, name).map_or(otherwise, Self::Given)
    }
}

/// Which keys a rotation replaces.
pub const ROTATE: Field = required("rotate", || {
    help(
        one_of("Rotate", &["primary", "secondary", "both", "swap"]),
        "Which key is replaced. `swap`: none, but the two keys change places.",
    )
});

/// A rotation of keys, see [`ROTATE`].
pub struct Rotation<'g>(&'g str);

impl<'g> Rotation<'g> {
    /// The rotation that an input states.
    pub fn of(input: &'g Input) -> Self {
        Self(input.required_text("rotate"))
    }

    /// Whether the key with this name is replaced by a new one.
    fn replaces(&self, name: &str) -> bool {
        self.0 == "both" || name.strip_suffix("Key") == Some(self.0)
    }

    /// Judges the keys that the input gives.
    pub fn judge(&self, input: &Input, problems: &mut Vec<FieldProblem>) {
        check_keys(input.document(), "", problems);
        for name in ["primaryKey", "secondaryKey"] {
            if input.get(name).is_some() && !self.replaces(name) {
                let message = format!("is not replaced by the rotation `{}`", self.0);
                problems.push(problem(&format!("/{name}"), "not-allowed", message));
            }
        }
    }

    /// Where the new keys come from.
    pub fn keys(&self, input: &'g Input) -> [Key<'g>; 2] {
        ["primaryKey", "secondaryKey"].map(|name| match self.0 {
            "swap" => Key::Other,
            _ if self.replaces(name) => Key::given(input.document(), name, Key::New),
            _ => Key::Kept,
        })
    }
}

/// Replaces the two keys of an identity. `at` is the field to name if it has no keys.
///
/// # Errors
/// `invalid-input` if the identity proves itself in another way; `protocol` if the service does not give out its keys.
pub fn set_keys(identity: &mut Value, keys: [Key; 2], at: &str, platform: &dyn Platform) -> Result<()> {
    const NAMES: [&str; 2] = ["primaryKey", "secondaryKey"];
    let kind = authentication_type(identity);
    if kind != "sas" {
        return Err(not_with(at, kind));
    }
    let old = NAMES.map(|name| key_of(identity, name).map(str::to_owned));
    let mut new = Vec::with_capacity(2);
    for (index, key) in keys.into_iter().enumerate() {
        let stored = |index: usize| old.get(index).cloned().flatten().ok_or_else(no_keys);
        new.push(match key {
            Key::Kept => stored(index)?,
            Key::Other => stored(1 - index)?,
            Key::New => keys::generate(platform),
            Key::Given(key) => key.to_owned(),
        });
    }
    for (name, key) in NAMES.into_iter().zip(new) {
        set(identity, &["authentication", "symmetricKey", name], key.into());
    }
    Ok(())
}

/// One of an identity's keys.
pub fn key_of<'i>(identity: &'i Value, name: &str) -> Option<&'i str> {
    identity.pointer("/authentication/symmetricKey")?.get(name)?.as_str()
}

/// How an identity proves itself.
pub fn authentication_type(identity: &Value) -> &str {
    identity.pointer("/authentication/type").and_then(Value::as_str).unwrap_or("sas")
}

/// The error for an answer without the keys of an identity.
pub fn no_keys() -> Error {
    Error::new(ErrorCode::Protocol, "The hub did not give out the keys of the identity, so they cannot be used")
}

fn not_with(pointer: &str, authentication: &str) -> Error {
    Error::field(
        pointer,
        "not-allowed",
        format!("does not belong to the authentication of the identity, which is `{authentication}`"),
    )
}

/// Makes the changes that an input states.
///
/// # Errors
/// `invalid-input` for a change that does not belong to the identity's authentication.
pub fn edit(given: &Value, at: &str, mut identity: Value, platform: &dyn Platform) -> Result<Value> {
    for name in ["status", "managedBy"] {
        if let Some(value) = given.get(name) {
            set(&mut identity, &[name], value.clone());
        }
    }
    match text(given, "statusReason") {
        None => {}
        // The write replaces the device, so a member that is left out is removed. The hub's API description does not
        // allow null.
        Some("") => drop(identity.as_object_mut().and_then(|members| members.remove("statusReason"))),
        Some(reason) => set(&mut identity, &["statusReason"], reason.into()),
    }
    if let Some(edge) = given.get("edge") {
        set(&mut identity, &["capabilities", "iotEdge"], edge.clone());
    }
    let keys = match text(given, "keys") {
        Some("regeneratePrimary") => Some([Key::New, Key::Kept]),
        Some("regenerateSecondary") => Some([Key::Kept, Key::New]),
        Some("regenerateBoth") => Some([Key::New, Key::New]),
        Some("swap") => Some([Key::Other, Key::Other]),
        _ => None,
    };
    let stated = ["primaryKey", "secondaryKey"].into_iter().find(|name| given.get(name).is_some());
    if let Some(keys) = keys {
        set_keys(&mut identity, keys, &format!("{at}/keys"), platform)?;
    } else if let Some(name) = stated {
        let keys = ["primaryKey", "secondaryKey"].map(|name| Key::given(given, name, Key::Kept));
        set_keys(&mut identity, keys, &format!("{at}/{name}"), platform)?;
    }
    for name in ["primaryThumbprint", "secondaryThumbprint"] {
        let Some(thumbprint) = given.get(name) else { continue };
        let kind = authentication_type(&identity);
        if kind != "selfSigned" {
            return Err(not_with(&format!("{at}/{name}"), kind));
        }
        set(&mut identity, &["authentication", "x509Thumbprint", name], thumbprint.clone());
    }
    Ok(identity)
}

/// Changes the device or the module that the input names, as the input says.
///
/// # Errors
/// `invalid-input`, `not-found`, `precondition-failed`, and the errors of the service.
pub fn update(session: &Session, input: &Input) -> Result<Value> {
    let of = input.identity()?;
    let stated = input.stated_if_match()?;
    let mut problems = Vec::new();
    judge_change(input.document(), "", &mut problems);
    if problems.is_empty() && !is_change(input.document()) {
        problems.push(nothing_to_change(""));
    }
    settle(problems)?;
    let edit_it = |identity| edit(input.document(), "", identity, session.platform());
    Ok(change(session, &of, stated.as_ref(), &edit_it)?.document)
}

/// Reads an identity, changes it, and writes it back. `stated` is the caller's own condition. If the answer to the write
/// is lost, the identity is read again, and the change counts as made if it is found there.
///
/// # Errors
/// The errors of [`change::apply`] and of `edit`.
pub fn change(
    session: &Session,
    of: &Identity,
    stated: Option<&IfMatch>,
    edit: &dyn Fn(Value) -> Result<Value>,
) -> Result<Tagged> {
    let hub = session.hub();
    change::apply(
        stated,
        || hub.identity_to_change(of).map(Some),
        |identity| edit(identity.unwrap_or_default()),
        |new, if_match| write(&hub, of, new, if_match.unwrap_or(&IfMatch::Any)),
    )
}

/// Writes a changed identity, see [`change()`].
///
/// # Errors
/// The errors of the service, without the identity's keys.
pub fn write(hub: &IotHub, of: &Identity, mut new: Value, if_match: &IfMatch) -> Result<Tagged> {
    if let IfMatch::Tag(etag) = if_match {
        // The hub compares only the header; the body's ETag is set so that it does not contradict the header.
        set(&mut new, &["etag"], etag.as_str().into());
    }
    match hub.replace_identity(of, new.clone(), if_match) {
        Err(error) if error.record().effect == EffectState::Unknown => match hub.identity_to_change(of) {
            Ok(found) if shows(&found.document, &new) => Ok(found),
            _ => Err(error.without(&secrets(&new))),
        },
        result => result.map_err(|error| error.without(&secrets(&new))),
    }
}

/// The members of an identity that a client writes.
const WRITTEN: [&str; 7] =
    ["status", "statusReason", "authentication", "capabilities", "deviceScope", "parentScopes", "managedBy"];

/// Whether an identity that was read shows all that was written, so that the write has certainly been made.
pub fn shows(found: &Value, written: &Value) -> bool {
    let etag = |identity: &Value| text(identity, "etag").or_else(|| text(identity, "eTag")).map(str::to_owned);
    etag(found) != etag(written)
        && WRITTEN.iter().all(|name| match written.get(name) {
            None | Some(Value::Null) => found.get(name).is_none_or(|value| value.is_null() || *name != "statusReason"),
            Some(value) => includes(found.get(name).unwrap_or(&Value::Null), value),
        })
}

/// Whether a value has all that another has; members that are null may be absent.
fn includes(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (_, Value::Null) => found.is_null(),
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(name, value)| includes(found.get(name).unwrap_or(&Value::Null), value))
        }
        (Value::Null, Value::Object(wanted)) => wanted.values().all(Value::is_null),
        _ => found == wanted,
    }
}
