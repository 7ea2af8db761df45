//! The rules, each with its reason.

use serde::Serialize;

macro_rules! rules {
    ($($rule:ident = $id:literal: $why:literal;)*) => {
        /// A rule of the interface that every component must obey.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule {
            $(
                #[doc = $why]
                $rule,
            )*
        }

        impl Rule {
            /// All rules, in the order in which they are reported.
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
    Imports = "component.imports": "A component that imports only WASI 0.2 runs in every host that supports WASI 0.2.";
    Loads = "component.loads": "A host takes a component whose version it speaks, whose functions fit the interface, and that says what it is.";
    Deterministic = "descriptor.deterministic": "An engine asks once and caches the descriptor by the component's hash.";
    Cheap = "descriptor.cheap": "A catalogue asks thousands of components what they are, so a second of computing, 16 MiB of memory and 4 MiB of answer are enough.";
    Identity = "descriptor.identity": "Stored accounts and cursors are found again by the connector's id and version.";
    Ids = "descriptor.ids": "Workflows name operations, profiles and permissions by their ids.";
    Schemas = "descriptor.schemas": "An engine draws forms and checks data with the schemas, by a standard validator.";
    Annotations = "descriptor.annotations": "An engine cannot show a form whose annotations it does not know.";
    SecretsMarked = "descriptor.secrets": "A field that holds a key and is not marked as a secret is shown and logged.";
    Samples = "descriptor.samples": "People build workflows from the samples before there is an account.";
    Permissions = "descriptor.permissions": "An engine looks up the permissions of an operation by their ids.";
    Egress = "descriptor.egress": "An engine allows connections only to the hosts that the templates yield.";
    Operations = "descriptor.operations": "An engine offers the start modes, hides what is deprecated, and leaves out what is unsupported.";
    ValidateAnswers = "validate.answers": "A form is judged while it is typed in, so whatever is there must be judged and not crash.";
    ValidateReports = "validate.reports": "A value that the profile's schema forbids must be reported as a problem, with a pointer to the field.";
    SecretsKept = "secrets.kept": "A connector's answers are logged and shown; a key in an answer is a leak.";
    ErrorsConsistent = "errors.consistent": "An engine acts on an error's members without reading its message.";
    UnknownOperation = "errors.unknown-operation": "A workflow may name an operation that only another version has.";
    MalformedInput = "errors.malformed-input": "Inputs come from expressions that a person wrote.";
    MalformedConfig = "errors.malformed-config": "Configurations outlive the version that they were written for.";
    MalformedCursor = "errors.malformed-cursor": "Stored bytes may be damaged, or be the cursor of another trigger.";
    UnknownSource = "errors.unknown-source": "A form may ask for a source that only another version has.";
    Webhooks = "errors.webhooks": "An engine learns from `unsupported` that a trigger has no webhook.";
    Migrate = "migrate.answers": "An upgrade must not reset a trigger, and a downgrade must not corrupt one.";
    DryRun = "actions.dry-run": "A person who tries a workflow out does not expect anything to happen.";
    Batch = "actions.batch": "Results belong to inputs by their order.";
    Answers = "answers.keep-the-interface": "An engine relies on what the interface says of an answer, such as JSON being JSON.";
    Report = "connection.report": "A person reads in the report which permission allows which operations.";
    PollRepeats = "poll.repeats": "An engine that lost a page polls again, and must receive the same events with the same ids.";
    PollPositions = "poll.positions": "An engine commits after each event, and goes on from there without a gap or a repetition.";
    PollStateless = "poll.stateless": "A poll may run in any instance on any machine, so its cursor must contain everything that it needs.";
    PollBudget = "poll.budget": "An engine has room only for the number of events that it requests.";
    PollEvents = "poll.events": "Workflows rely on events being CloudEvents that follow the output schema.";
    Deadlines = "deadlines.kept": "A call that answers too late is cut off, and its error is lost.";
}

impl Serialize for Rule {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.id())
    }
}
