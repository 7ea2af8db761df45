//! The functions of the interface, each with the types of its parameters and its result at the sandbox boundary.
//!
//! Parameters are borrowed on the host's side, so that a secret is copied only once, into the guest's memory. One line
//! in `exports!` defines a function completely.

use semver::Version;
use wasmtime::component::{Component, ComponentExportIndex, ComponentNamedList, ComponentType, Instance, Lift, Lower};

use crate::connection::Connection;
use crate::error::LoadError;
use crate::interface::action::{Call, Outcome};
use crate::interface::connection::{Report, Validation};
use crate::interface::discovery::{Choices, ChoicesRequest, Direction};
use crate::interface::metadata::{Descriptor, StoredCursor, StoredInput};
use crate::interface::trigger::{
    Event, LostPolicy, Page, Partition, PollRequest, Received, ReceivedRequest, Start, Subscription,
};
use crate::interface::types::{Cursor, Error};

/// The package whose interfaces a connector exports.
pub(crate) const PACKAGE: &str = "workflow:connector/";

/// The version that added `lifecycle`.
pub(crate) const LIFECYCLE_SINCE: Version = Version::new(0, 2, 0);

/// The name under which a component exports `interface`.
pub(crate) fn export_name(interface: &str, version: &Version) -> String {
    format!("{PACKAGE}{interface}@{version}")
}

/// A function of the interface.
pub(crate) trait Export {
    /// `interface.function`, for logs and errors.
    const NAME: &'static str;
    /// The position of its index in [`Exports`].
    const POSITION: usize;
    /// The types of its parameters.
    type Params<'a>: ComponentNamedList + Lower + Send + Sync;
    /// The type of its result.
    type Answer: Lift + Send + Sync + 'static;
}

macro_rules! exports {
    ($($marker:ident = $interface:literal . $function:literal ($($param:ty),*) -> $answer:ty;)*) => {
        enum Position { $($marker),* }

        $(
            pub(crate) struct $marker;

            impl Export for $marker {
                const NAME: &'static str = concat!($interface, ".", $function);
                const POSITION: usize = Position::$marker as usize;
                type Params<'a> = ($($param,)*);
                type Answer = $answer;
            }
        )*

        pub(crate) const NAMES: &[(&str, &str)] = &[$(($interface, $function)),*];

        /// Compares the type of every function of the instance with the interface.
        pub(crate) fn check_types(
            exports: &Exports,
            instance: &Instance,
            store: &mut wasmtime::Store<crate::call::state::State>,
        ) -> Result<(), LoadError> {
            $(
                type_of::<$marker>(exports, instance, store)?;
            )*
            if let Some(release) = exports.release {
                instance.get_typed_func::<(), ()>(&mut *store, release).map_err(misfit("lifecycle.release"))?;
            }
            Ok(())
        }
    };
}

exports! {
    Describe = "metadata"."describe" () -> Descriptor;
    Migrate = "metadata"."migrate" (&'a str, WireStored) -> Result<WireStored, Error>;
    Validate = "connection"."validate" (WireConnection<'a>) -> Validation;
    Test = "connection"."test" (WireConnection<'a>, u64) -> Result<Report, Error>;
    Label = "connection"."label" (WireConnection<'a>) -> Result<String, Error>;
    Options = "discovery"."options" (WireConnection<'a>, &'a ChoicesRequest, u64) -> Result<Choices, Error>;
    ResolveSchema = "discovery"."resolve-schema" (WireConnection<'a>, &'a str, Direction, &'a str, u64) -> Result<String, Error>;
    Partitions = "trigger"."partitions" (WireConnection<'a>, &'a str, &'a str, u64) -> Result<Vec<Partition>, Error>;
    Poll = "trigger"."poll" (WirePollRequest<'a>) -> Result<Page, Error>;
    Sample = "trigger"."sample" (WireConnection<'a>, &'a str, &'a str, u32, u64) -> Result<Vec<Event>, Error>;
    Subscribe = "trigger"."subscribe" (WireConnection<'a>, &'a str, &'a str, &'a str, u64) -> Result<Subscription, Error>;
    Renew = "trigger"."renew" (WireConnection<'a>, &'a str, &'a str, &'a [u8], u64) -> Result<Subscription, Error>;
    Unsubscribe = "trigger"."unsubscribe" (WireConnection<'a>, &'a str, &'a str, &'a [u8], u64) -> Result<(), Error>;
    Receive = "trigger"."receive" (WireConnection<'a>, &'a str, &'a str, &'a [u8], &'a ReceivedRequest) -> Result<Received, Error>;
    Invoke = "action"."invoke" (WireConnection<'a>, &'a str, &'a str, WireCall<'a>) -> Result<Outcome, Error>;
    Resume = "action"."resume" (WireConnection<'a>, &'a str, &'a str, WireCall<'a>) -> Result<Outcome, Error>;
    InvokeBatch = "action"."invoke-batch" (WireConnection<'a>, &'a str, &'a [String], WireCall<'a>) -> Result<Vec<Result<Outcome, Error>>, Error>;
}

/// The indices of a component's functions, looked up when the component is loaded.
pub(crate) struct Exports {
    functions: Vec<ComponentExportIndex>,
    /// `lifecycle.release`, without parameters and result. Connectors built on an interface before 0.2.0 do not have
    /// it.
    release: Option<ComponentExportIndex>,
}

impl Exports {
    /// # Errors
    ///
    /// [`LoadError::MissingInterface`] where the component lacks a function.
    pub(crate) fn find(component: &Component, version: &Version) -> Result<Self, LoadError> {
        let find = |interface: &str, function: &str| {
            let interface = export_name(interface, version);
            let missing = || LoadError::MissingInterface(format!("{interface}#{function}"));
            let instance = component.get_export_index(None, &interface).ok_or_else(missing)?;
            component.get_export_index(Some(&instance), function).ok_or_else(missing)
        };
        let functions =
            NAMES.iter().map(|(interface, function)| find(interface, function)).collect::<Result<_, _>>()?;
        let release = (*version >= LIFECYCLE_SINCE).then(|| find("lifecycle", "release")).transpose()?;
        Ok(Self { functions, release })
    }

    /// For tests with components that are not connectors.
    #[cfg(test)]
    pub(crate) fn of(indices: Vec<ComponentExportIndex>) -> Self {
        Self { functions: indices, release: None }
    }

    pub(crate) fn index<E: Export>(&self) -> &ComponentExportIndex {
        &self.functions[E::POSITION]
    }

    pub(crate) fn release(&self) -> Option<ComponentExportIndex> {
        self.release
    }
}

fn type_of<E: Export>(
    exports: &Exports,
    instance: &Instance,
    store: &mut wasmtime::Store<crate::call::state::State>,
) -> Result<(), LoadError> {
    instance
        .get_typed_func::<E::Params<'_>, (E::Answer,)>(&mut *store, exports.index::<E>())
        .map(drop)
        .map_err(misfit(E::NAME))
}

fn misfit(function: &str) -> impl Fn(wasmtime::Error) -> LoadError {
    move |error| LoadError::FunctionType { function: function.to_owned(), reason: format!("{error:#}") }
}

/// A connection in the form in which it is passed to the guest.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct WireConnection<'a> {
    #[component(name = "auth-profile")]
    auth_profile: &'a str,
    values: &'a str,
}

impl<'a> From<&'a Connection> for WireConnection<'a> {
    fn from(connection: &'a Connection) -> Self {
        Self { auth_profile: connection.auth_profile(), values: connection.values().expose() }
    }
}

/// The parameters of an action call in the form in which they are passed to the guest, with the deadline.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct WireCall<'a> {
    #[component(name = "idempotency-key")]
    idempotency_key: Option<&'a str>,
    attempt: u32,
    #[component(name = "deadline-ms")]
    deadline_ms: u64,
    #[component(name = "dry-run")]
    dry_run: bool,
}

impl<'a> WireCall<'a> {
    pub(crate) fn new(call: &'a Call, deadline_ms: u64) -> Self {
        Self {
            idempotency_key: call.idempotency_key.as_deref(),
            attempt: call.attempt,
            deadline_ms,
            dry_run: call.dry_run,
        }
    }
}

#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct WireBudget {
    events: u32,
    bytes: u64,
    #[component(name = "wait-ms")]
    wait_ms: u64,
    #[component(name = "deadline-ms")]
    deadline_ms: u64,
}

/// A poll request in the form in which it is passed to the guest, with its connection and deadline.
#[derive(ComponentType, Lower)]
#[component(record)]
pub(crate) struct WirePollRequest<'a> {
    connection: WireConnection<'a>,
    trigger: &'a str,
    partition: &'a str,
    config: &'a str,
    start: &'a Start,
    #[component(name = "on-position-lost")]
    on_position_lost: LostPolicy,
    cursor: Option<&'a Cursor>,
    budget: WireBudget,
}

impl<'a> WirePollRequest<'a> {
    pub(crate) fn new(connection: &'a Connection, request: &'a PollRequest, events: u32, deadline_ms: u64) -> Self {
        let budget = request.budget;
        Self {
            connection: connection.into(),
            trigger: &request.trigger,
            partition: &request.partition,
            config: &request.config,
            start: &request.start,
            on_position_lost: request.on_position_lost,
            cursor: request.cursor.as_ref(),
            budget: WireBudget { events, bytes: budget.bytes, wait_ms: budget.wait_ms.min(deadline_ms), deadline_ms },
        }
    }
}

/// A connection that is converted by `migrate`.
#[derive(ComponentType, Lift, Lower)]
#[component(record)]
pub(crate) struct WireOwnedConnection {
    #[component(name = "auth-profile")]
    pub(crate) auth_profile: String,
    pub(crate) values: String,
}

/// A stored item that is converted by `migrate`.
#[derive(ComponentType, Lift, Lower)]
#[component(variant)]
pub(crate) enum WireStored {
    #[component(name = "connection")]
    Connection(WireOwnedConnection),
    #[component(name = "input")]
    Input(StoredInput),
    #[component(name = "cursor")]
    Cursor(StoredCursor),
}
