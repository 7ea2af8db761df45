//! What the actions on import and export jobs share ("Import and export IoT Hub device identities in bulk").

use serde_json::{Value, json};

use super::scheduled;
use super::waiting::status;
use crate::actions::shared::change::set;
use crate::actions::shared::declaration::{Field, Limit, optional, required};
use crate::actions::shared::input::Input;
use crate::auth::Permission;
use crate::error::{Error, ErrorCode, FieldProblem, Result, problem};
pub use crate::form::fields_jobs::{transfer_output as output, transfer_sample as sample};
use crate::form::schema::{boolean, help, literal, one_of, string, with};
use crate::http::{Request, Safety};
use crate::iothub::CONTAINERS;
pub use crate::iothub::without_container_keys as shown;
use crate::platform::Method;
use crate::secret;
use crate::session::Session;

/// The members that an input and a request have in common.
const MEMBERS: [&str; 8] = [
    "inputBlobContainerUri",
    "outputBlobContainerUri",
    "inputBlobName",
    "outputBlobName",
    "excludeKeysInExport",
    "storageAuthenticationType",
    "includeConfigurations",
    "configurationsBlobName",
];

/// The job's id.
pub const JOB: Field = required("jobId", || {
    with(
        string("Job id"),
        literal!({ "x-options": "import-export-jobs", "minLength": 1, "maxLength": 128, "pattern": "^[!-.0-~]+$", "$comment": "must be printable ASCII without slashes and spaces" }),
    )
});
/// The container for the job's output.
pub const OUTPUT: Field = required("outputBlobContainerUri", || {
    container(
        "Output container",
        "Where the hub writes the result of the job, with a SAS token that may read, write and delete.",
    )
});
/// The container to import from.
pub const INPUT: Field = required("inputBlobContainerUri", || {
    container("Input container", "Where the file to import is, with a SAS token that may read.")
});
/// How the hub signs in at the storage account.
pub const SIGN_IN: Field = optional("storageAuthenticationType", || {
    with(
        help(
            one_of("Sign-in at the storage account", &["keyBased", "identityBased"]),
            "`keyBased`: by the SAS token of the container. `identityBased`: as the hub's managed identity.",
        ),
        literal!({ "default": "keyBased", "x-visibility": "advanced" }),
    )
});
/// The identity of the hub.
pub const IDENTITY: Field = optional("userAssignedIdentity", || {
    with(
        help(string("User-assigned identity"), "The resource id of the identity. Empty: the hub's own identity."),
        literal!({ "minLength": 1, "maxLength": 1024, "x-visibility": "advanced" }),
    )
});
/// Whether configurations are included.
pub const CONFIGURATIONS: Field = optional("includeConfigurations", || {
    with(boolean("Include configurations"), literal!({ "default": false, "x-visibility": "advanced" }))
});
/// The file of the configurations.
pub const CONFIGURATIONS_FILE: Field =
    optional("configurationsBlobName", || blob("File of the configurations", "Empty: `configurations.txt`."));
/// The limit that all actions on these jobs have.
pub const LIMITS: &[Limit] = &[crate::actions::shared::limits::JOBS, ("Imports and exports at a time", 1, "jobs")];

fn container(title: &str, text: &str) -> Value {
    with(
        help(string(title), text),
        literal!({
            "minLength": 9,
            "maxLength": 4096,
            "pattern": "^https://[!-~]+$",
            "$comment": "must be a URI with https, without spaces",
            "writeOnly": true,
            "format": "password"
        }),
    )
}

/// The name of a blob.
pub fn blob(title: &str, text: &str) -> Value {
    with(help(string(title), text), literal!({ "minLength": 1, "maxLength": 1024, "x-visibility": "advanced" }))
}

/// Creates a job of this type.
///
/// # Errors
/// `invalid-input`, `quota-exceeded` if another such job runs, and the errors of the service.
pub fn create(session: &Session, input: &Input, kind: &str) -> Result<Value> {
    let identity = input.text("storageAuthenticationType") == Some("identityBased");
    let mut problems: Vec<FieldProblem> = Vec::new();
    let mut body = json!({ "type": kind });
    for name in MEMBERS {
        if let Some(value) = input.get(name) {
            set(&mut body, &[name], value.clone());
        }
    }
    for name in CONTAINERS {
        let Some(uri) = input.text(name) else { continue };
        let query = uri.split_once('?').map_or("", |(_, query)| query);
        let signature = query.split('&').find_map(|pair| pair.strip_prefix("sig="));
        match signature {
            // The service may repeat the URI in an error.
            Some(signature) => secret::remember(signature),
            None if identity => {}
            None => problems.push(problem(
                &format!("/{name}"),
                "no-token",
                "must have a SAS token with `sig=`, unless the hub signs in as its identity",
            )),
        }
    }
    match input.text("userAssignedIdentity") {
        Some(id) if identity => set(&mut body, &["identity", "userAssignedIdentity"], id.into()),
        Some(_) => problems.push(problem(
            "/userAssignedIdentity",
            "not-used",
            "is used only if \"storageAuthenticationType\" is \"identityBased\"",
        )),
        None => {}
    }
    if !problems.is_empty() {
        return Err(Error::fields(ErrorCode::InvalidInput, "The input does not fit", problems));
    }
    // The hub chooses the id, so that a repeated request would start a second job.
    let request = Request::new(Method::Post, ["jobs", "create"], Safety::Once, Permission::RegistryWrite).json(body);
    Ok(shown(session.hub().document(&request)?.document))
}

/// The id in an input.
///
/// # Errors
/// `invalid-input` for ids that would lead to something else.
pub fn id(input: &Input) -> Result<&str> {
    scheduled::read_id(input.required_text("jobId"))
}

/// An import or export job.
///
/// # Errors
/// `not-found`, and the errors of the service.
pub fn job(session: &Session, id: &str) -> Result<Value> {
    session.hub().transfer_job(id)
}

/// The progress of a job, for a person.
pub fn progress(job: &Value) -> String {
    match job.get("progress").and_then(Value::as_u64) {
        Some(percent) => format!("{}: {percent} %", status(job)),
        None => status(job).to_owned(),
    }
}
