//! Imports devices from a blob container.
//!
//! ```scenario
//! done {"inputBlobContainerUri": "https://plant.blob.core.windows.net/in?sp=r&sig=c2VjcmV0LXNpZ25hdHVyZS1vZi1hLWNvbnRhaW5lcg%3D%3D", "outputBlobContainerUri": "https://plant.blob.core.windows.net/out?sp=rwd&sig=b3RoZXItc2lnbmF0dXJlLW9mLWEtY29udGFpbmVy"}
//! done {"inputBlobContainerUri": "https://plant.blob.core.windows.net/in", "outputBlobContainerUri": "https://plant.blob.core.windows.net/out", "inputBlobName": "new.txt", "storageAuthenticationType": "identityBased"}
//! invalid-input {"inputBlobContainerUri": "https://plant.blob.core.windows.net/in?sp=r", "outputBlobContainerUri": "https://plant.blob.core.windows.net/out?sig=b3RoZXItc2lnbmF0dXJl"}
//! invalid-input {"outputBlobContainerUri": "https://plant.blob.core.windows.net/out?sig=b3RoZXItc2lnbmF0dXJl"}
//! ```

use super::blob::{self, CONFIGURATIONS, CONFIGURATIONS_FILE, IDENTITY, INPUT, OUTPUT, SIGN_IN};
use crate::actions::shared::declaration::{Declaration, optional};
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::form::schema::{literal, with};

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "create-import-job",
        title: "Create an import job",
        help: "Starts a job that creates, changes or deletes devices as a file of a blob container says: `devices.txt`, one device a line, each with its import mode. Done once the hub has the job; **Wait for an import or export job** waits for its end, and the output container then has the errors of single devices. \
               What the job changed cannot be undone. A hub runs one import or export at a time. After an answer that was lost, **List import and export jobs** shows whether the job was started.",
        group: "Import and export",
        input: &[
            INPUT,
            OUTPUT,
            optional("inputBlobName", || blob::blob("File", "Empty: `devices.txt`.")),
            CONFIGURATIONS,
            CONFIGURATIONS_FILE,
            SIGN_IN,
            IDENTITY,
        ],
        input_sample: r#"{ "inputBlobContainerUri": "https://plant.blob.core.windows.net/in?sp=r&sig=(signature)", "outputBlobContainerUri": "https://plant.blob.core.windows.net/out?sp=rwd&sig=(signature)" }"#,
        output: blob::output,
        output_sample: || with(blob::sample(), literal!({ "type": "import" })),
        dynamic_output: false,
        permissions: &[Permission::RegistryWrite],
        limits: blob::LIMITS,
        effect: Effect::Write,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| blob::create(session, input, "import"),
};
