//! Exports the registry into a blob container.
//!
//! ```scenario
//! done {"outputBlobContainerUri": "https://plant.blob.core.windows.net/registry?sv=2022-11-02&sr=c&sp=rwd&sig=c2VjcmV0LXNpZ25hdHVyZS1vZi1hLWNvbnRhaW5lcg%3D%3D", "excludeKeysInExport": true}
//! done {"outputBlobContainerUri": "https://plant.blob.core.windows.net/registry", "storageAuthenticationType": "identityBased", "userAssignedIdentity": "/subscriptions/s/resourceGroups/g/providers/Microsoft.ManagedIdentity/userAssignedIdentities/i", "outputBlobName": "all.txt", "includeConfigurations": true, "configurationsBlobName": "rules.txt"}
//! invalid-input {"outputBlobContainerUri": "https://plant.blob.core.windows.net/registry"}
//! invalid-input {"outputBlobContainerUri": "http://plant.blob.core.windows.net/registry?sig=c2VjcmV0LXNpZ25hdHVyZQ"}
//! ```

use super::blob::{self, CONFIGURATIONS, CONFIGURATIONS_FILE, IDENTITY, OUTPUT, SIGN_IN};
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::schema::{boolean, help, literal, with};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "create-export-job",
        title: "Create an export job",
        help: "Starts a job that writes all devices of the registry into a file of a blob container: `devices.txt`, one device a line. Done once the hub has the job; **Wait for an import or export job** waits for its end. \
               A hub runs one import or export at a time. After an answer that was lost, **List import and export jobs** shows whether the job was started.",
        group: "Import and export",
        input: &[
            OUTPUT,
            optional("outputBlobName", || blob::blob("File", "Empty: `devices.txt`.")),
            optional("excludeKeysInExport", || {
                with(
                    help(boolean("Leave keys out"), "If false, the file holds the keys of all devices."),
                    literal!({ "default": false }),
                )
            }),
            CONFIGURATIONS,
            CONFIGURATIONS_FILE,
            SIGN_IN,
            IDENTITY,
        ],
        input_sample: r#"{ "outputBlobContainerUri": "https://plant.blob.core.windows.net/registry?sv=2022-11-02&sp=rwd&sig=(signature)", "excludeKeysInExport": true }"#,
        output: blob::output,
        output_sample: blob::sample,
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: blob::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| blob::create(session, input, "export"),
};
