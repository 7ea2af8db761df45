//! The rules, each with its reason.

use serde::Serialize;

macro_rules! rules {
    ($($rule:ident = $id:literal: $why:literal;)*) => {
        /// A rule of the interface that a component is judged by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $(
                #[doc = $why]
                $rule,
            )*
        }

        impl Rule {
            /// All rules, in the order in which they are judged.
            pub const ALL: &[Self] = &[$(Self::$rule),*];

            /// The stable id of the rule, as `family.rule`.
            #[must_use]
            pub fn id(self) -> &'static str {
                match self {
                    $(Self::$rule => $id,)*
                }
            }

            /// The reason for the rule, in one sentence.
            #[must_use]
            pub fn why(self) -> &'static str {
                match self {
                    $(Self::$rule => $why,)*
                }
            }
        }
    };
}

rules! {
    Imports = "component.imports": "A component that imports WASI 0.2 alone runs in every host of it.";
    Loads = "component.loads": "A host takes a component whose version it speaks, whose functions fit the interface, and that says what it is.";
    Deterministic = "descriptor.deterministic": "An engine asks once and caches the descriptor by the component's hash.";
    Cheap = "descriptor.cheap": "A catalogue asks thousands of components what they are, so a second of computing, 16 MiB of memory and 4 MiB of answer are enough.";
    Identity = "descriptor.identity": "Stored accounts and cursors are found again by the connector's id and version.";
    Ids = "descriptor.ids": "Workflows name operations, profiles and permissions by their ids.";
    Schemas = "descriptor.schemas": "An engine draws forms and checks data with the schemas, by a standard validator.";
    Annotations = "descriptor.annotations": "A form cannot be drawn from annotations that it does not know.";
    SecretsMarked = "descriptor.secrets": "A field that holds a key and is not marked as a secret is shown and logged.";
    Samples = "descriptor.samples": "People build workflows from the samples before there is an account.";
    Permissions = "descriptor.permissions": "What an operation needs is looked up by the permission's id.";
    Egress = "descriptor.egress": "An engine opens what the templates yield, and nothing else.";
    Operations = "descriptor.operations": "An engine offers the start modes, hides what is deprecated, and leaves out what is unsupported.";
    ValidateAnswers = "validate.answers": "A form is judged while it is typed in, so whatever is there must be judged and not crash.";
    ValidateReports = "validate.reports": "What the profile's schema forbids is a problem, with a pointer to the field.";
    SecretsKept = "secrets.kept": "What a connector answers is logged and shown; a key in it is a leak.";
    ErrorsConsistent = "errors.consistent": "An engine acts on an error's members without reading its message.";
    UnknownOperation = "errors.unknown-operation": "A workflow may name what another version had.";
    MalformedInput = "errors.malformed-input": "Inputs come from expressions that a person wrote.";
    MalformedConfig = "errors.malformed-config": "Configurations outlive the version that they were written for.";
    MalformedCursor = "errors.malformed-cursor": "Stored bytes may be damaged, or another trigger's.";
    UnknownSource = "errors.unknown-source": "A form may ask for a source of another version.";
    Webhooks = "errors.webhooks": "An engine learns from `unsupported` that a trigger has no webhook.";
    Migrate = "migrate.answers": "An upgrade must not reset a trigger, and a downgrade must not corrupt one.";
    DryRun = "actions.dry-run": "A person who tries a workflow out does not expect anything to happen.";
    Batch = "actions.batch": "Results belong to inputs by their order.";
    Answers = "answers.keep-the-interface": "An engine relies on what the interface says of an answer, such as JSON being JSON.";
    Report = "connection.report": "A person reads from the report which permission unlocks what.";
    PollRepeats = "poll.repeats": "A page that was lost is asked for again, and must come again with the same ids.";
    PollPositions = "poll.positions": "An engine commits after each event, and goes on from there without a gap or a repetition.";
    PollStateless = "poll.stateless": "A poll may run in any instance on any machine: all it knows is in its cursor.";
    PollBudget = "poll.budget": "An engine has room for as many events as it asks for.";
    PollEvents = "poll.events": "Workflows rely on events being CloudEvents that follow the output schema.";
    Deadlines = "deadlines.kept": "Who answers too late is cut off, and with it its error.";
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}
