//! The entries of dropdowns. The services themselves can search only device ids, and only by the beginning of an id.
//! All other searches happen here, in a limited number of pages for each call.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value, json};

#[cfg(feature = "amqp")]
use super::events;
use super::{read_object, shape};
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::discovery::{Choice, Choices, ChoicesRequest};
use crate::dps::{ALL_ENROLLMENT_GROUPS, ALL_ENROLLMENTS};
use crate::error::{Error, ErrorCode, Result};
use crate::http::{self, Page, Safety};
use crate::iothub::{DeviceId, text_literal};
use crate::platform::Method;
use crate::quoted::{quoted, shown};
use crate::session::Session;
#[cfg(feature = "amqp")]
use crate::triggers;

/// The number of entries if the request states none.
const USUAL_LIMIT: u32 = 50;
/// The largest number of entries, which is also the services' largest page.
const MOST: u32 = 1000;
/// The longest hint, in characters.
const LONGEST_HINT: usize = 512;
/// The largest number of pages that one call searches.
const PAGES: usize = 5;
/// If less time than this remains, the call does not request another page.
const TIME_FOR_A_PAGE: Duration = Duration::from_millis(1_500);
/// All scheduled jobs.
const ANY_JOB: [(&str, Option<&str>); 2] = [("jobType", None), ("jobStatus", None)];
/// The number of twins whose paths are offered.
const TWINS: u32 = 100;
/// The version of the page token's format.
const FORMAT: u8 = 1;

/// The source of a dropdown's entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The hub's devices.
    Devices,
    /// The provisioning service's individual enrollments.
    Enrollments,
    EnrollmentGroups,
    /// The hub's automatic device configurations.
    Configurations,
    /// The modules of the device that the form names.
    Modules,
    /// The hub's scheduled jobs.
    Jobs,
    /// The import and export jobs of the hub's registry.
    ImportExportJobs,
    /// The direct methods that scheduled jobs have called. The services keep no other list of methods.
    MethodNames,
    /// The partitions of the hub's log.
    Partitions,
    /// The paths to tags and properties that the hub's twins have, as JSON pointers into a twin.
    TwinPaths,
    /// The paths to values that the newest events have, as conditions of the log triggers write them.
    TelemetryPaths,
}

impl Source {
    /// All sources.
    pub const ALL: [Self; 11] = [
        Self::Devices,
        Self::Enrollments,
        Self::EnrollmentGroups,
        Self::Configurations,
        Self::Modules,
        Self::Jobs,
        Self::ImportExportJobs,
        Self::MethodNames,
        Self::Partitions,
        Self::TwinPaths,
        Self::TelemetryPaths,
    ];

    /// The source's id in the schema keyword `x-options`.
    pub fn id(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Enrollments => "enrollments",
            Self::EnrollmentGroups => "enrollment-groups",
            Self::Configurations => "configurations",
            Self::Modules => "modules",
            Self::Jobs => "jobs",
            Self::ImportExportJobs => "import-export-jobs",
            Self::MethodNames => "method-names",
            Self::Partitions => "partitions",
            Self::TwinPaths => "twin-paths",
            Self::TelemetryPaths => "telemetry-paths",
        }
    }

    fn parse(text: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|source| source.id() == text).ok_or_else(|| {
            let known = Self::ALL.map(Self::id).join(", ");
            Error::field("/source", "not-allowed", format!("must be one of {known}"))
        })
    }

    fn id_member(self) -> &'static str {
        match self {
            Self::Devices => "deviceId",
            Self::Enrollments => "registrationId",
            Self::EnrollmentGroups => "enrollmentGroupId",
            Self::Modules => "moduleId",
            Self::Jobs | Self::ImportExportJobs => "jobId",
            Self::Configurations | Self::MethodNames | Self::Partitions | Self::TwinPaths | Self::TelemetryPaths => {
                "id"
            }
        }
    }

    /// Makes an entry of a record; none if the record has no id.
    fn choice(self, record: &Value) -> Option<Choice> {
        let text = |pointer: &str| record.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty());
        let id = text(&format!("/{}", self.id_member()))?.to_owned();
        let hints = match self {
            Self::Devices => vec![text("/status"), text("/connectionState")],
            Self::Enrollments => {
                vec![text("/provisioningStatus"), text("/attestation/type"), text("/registrationState/status")]
            }
            Self::EnrollmentGroups => vec![text("/provisioningStatus"), text("/attestation/type")],
            Self::Configurations => vec![text("/targetCondition")],
            Self::Modules => vec![text("/connectionState"), text("/managedBy")],
            Self::Jobs | Self::ImportExportJobs => vec![text("/type"), text("/status")],
            Self::MethodNames | Self::Partitions | Self::TwinPaths | Self::TelemetryPaths => Vec::new(),
        };
        let hint = hints.into_iter().flatten().collect::<Vec<_>>().join(", ");
        // The value is the unchanged id; the label is the id without invisible characters.
        let label = shown(id.as_str());
        Some(Choice { label, value: id, hint: quoted(&hint, LONGEST_HINT) })
    }
}

/// A checked request.
pub struct Request {
    source: Source,
    /// The form as it is filled in so far.
    context: Map<String, Value>,
    search: String,
    place: Place,
    limit: u32,
}

/// The place at which the next call continues.
#[derive(Clone, Debug, Default, PartialEq)]
struct Place {
    /// The service's continuation token for the page; none for the first page.
    continuation: Option<String>,
    /// The number of records of that page that earlier calls have handled.
    skip: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Token {
    format: u8,
    source: String,
    search: String,
    continuation: Option<String>,
    skip: usize,
}

impl Request {
    /// Reads and checks a request.
    ///
    /// # Errors
    /// `invalid-input` if the source is unknown, or if the page token belongs to another source or search.
    pub fn read(request: &ChoicesRequest) -> Result<Self> {
        let source = Source::parse(&request.source)?;
        let context = read_object(&request.context, "/context")?;
        let search = request.search.as_deref().unwrap_or_default().trim().to_owned();
        let place = match &request.page {
            None => Place::default(),
            Some(token) => {
                let foreign = || {
                    Error::field(
                        "/page",
                        "not-a-token",
                        "must be the page token from the previous call with the same source and search",
                    )
                };
                let token: Token = serde_json::from_str(token).map_err(|_| foreign())?;
                if token.format != FORMAT || token.source != source.id() || token.search != search {
                    return Err(foreign());
                }
                Place { continuation: token.continuation, skip: token.skip }
            }
        };
        let limit = if request.limit == 0 { USUAL_LIMIT } else { request.limit.min(MOST) };
        Ok(Self { source, context, search, place, limit })
    }

    fn token(&self, place: &Place) -> String {
        json!({
            "format": FORMAT,
            "source": self.source.id(),
            "search": self.search,
            "continuation": place.continuation,
            "skip": place.skip,
        })
        .to_string()
    }

    /// The query for the hub, and whether the rest of the search must be done here. The query contains the search text
    /// only up to the first character that no document allows in an id.
    fn device_query(&self) -> (String, bool) {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-:.+%_#*?!(),=@;$'".contains(c);
        let start = self.search.split(|c| !plain(c)).next().unwrap_or_default();
        let mut query = "SELECT deviceId, status, connectionState FROM devices".to_owned();
        if !start.is_empty() {
            query += &format!(" WHERE STARTSWITH(deviceId, {})", text_literal(start));
        }
        (query, start.len() < self.search.len())
    }

    fn page_size(&self) -> u32 {
        if self.search.is_empty() { self.limit } else { MOST }
    }

    fn fits(&self, choice: &Choice) -> bool {
        match self.source {
            Source::Devices => choice.value.starts_with(&self.search),
            _ => choice.value.to_lowercase().contains(&self.search.to_lowercase()),
        }
    }
}

/// Returns the entries of a dropdown.
///
/// # Errors
/// The errors of IoT Hub or of the provisioning service.
pub fn offer(session: &Session, request: Request) -> Result<Choices> {
    match request.source {
        Source::Devices => {
            let (query, searched_here) = request.device_query();
            let size = if searched_here { MOST } else { request.limit };
            collect(session, &request, |continuation| session.hub().query(&query, size, continuation))
        }
        Source::Enrollments => {
            let (dps, size) = (session.dps()?, request.page_size());
            collect(session, &request, |continuation| dps.query_enrollments(ALL_ENROLLMENTS, size, continuation))
        }
        Source::EnrollmentGroups => {
            let (dps, size) = (session.dps()?, request.page_size());
            collect(session, &request, |continuation| {
                dps.query_enrollment_groups(ALL_ENROLLMENT_GROUPS, size, continuation)
            })
        }
        Source::Configurations => whole(session, &request, || session.hub().configurations()),
        Source::Modules => {
            let device = request.context.get("deviceId").and_then(Value::as_str).unwrap_or_default();
            // The device may not be chosen yet, or may be gone.
            let Ok(device) = DeviceId::parse(device, "/context/deviceId") else { return Ok(none()) };
            let segments = ["devices", device.as_str(), "modules"];
            let modules = http::Request::new(Method::Get, segments, Safety::Read, Permission::RegistryRead);
            match whole(session, &request, || session.hub().page(&modules).map(|page| page.items)) {
                Err(error) if error.code() == ErrorCode::NotFound => Ok(none()),
                choices => choices,
            }
        }
        Source::Jobs => {
            let size = request.page_size();
            collect(session, &request, |continuation| session.hub().scheduled_jobs(ANY_JOB, size, continuation))
        }
        Source::ImportExportJobs => whole(session, &request, || session.hub().transfer_jobs()),
        Source::MethodNames => whole(session, &request, || {
            let parameters = [("jobType", Some("scheduleDeviceMethod")), ("jobStatus", None)];
            let jobs = session.hub().scheduled_jobs(parameters, MOST, None)?.items;
            let name = |job: &Value| job.pointer("/cloudToDeviceMethod/methodName")?.as_str().map(str::to_owned);
            let names: BTreeSet<String> = jobs.iter().filter_map(name).collect();
            Ok(named(names.into_iter().collect()))
        }),
        Source::TwinPaths => whole(session, &request, || {
            let twins = session.hub().query("SELECT * FROM devices", TWINS, None)?.items;
            Ok(named(shape::paths(&twins)))
        }),
        #[cfg(feature = "amqp")]
        Source::Partitions => whole(session, &request, || triggers::log_partitions(session).map(named)),
        #[cfg(feature = "amqp")]
        Source::TelemetryPaths => whole(session, &request, || {
            let samples = events::samples(session, "device-telemetry", &request.context)?;
            Ok(named(events::paths(&samples)))
        }),
        #[cfg(not(feature = "amqp"))]
        Source::Partitions | Source::TelemetryPaths => Ok(none()),
    }
}

fn none() -> Choices {
    Choices { items: Vec::new(), next: None }
}

/// Records that have nothing but an id.
fn named(ids: Vec<String>) -> Vec<Value> {
    ids.into_iter().map(|id| json!({ "id": id })).collect()
}

/// The entries of a source that has no pages.
fn whole(session: &Session, request: &Request, fetch: impl Fn() -> Result<Vec<Value>>) -> Result<Choices> {
    collect(session, request, |_| fetch().map(|items| Page { items, continuation: None }))
}

fn collect(session: &Session, request: &Request, fetch: impl Fn(Option<&str>) -> Result<Page>) -> Result<Choices> {
    let limit = request.limit as usize;
    let mut items = Vec::new();
    let mut place = request.place.clone();
    for _ in 0..PAGES {
        let page = fetch(place.continuation.as_deref())?;
        for (index, record) in page.items.iter().enumerate().skip(place.skip) {
            let Some(choice) = request.source.choice(record).filter(|choice| request.fits(choice)) else { continue };
            if items.len() == limit {
                place.skip = index;
                return Ok(Choices { items, next: Some(request.token(&place)) });
            }
            items.push(choice);
        }
        match page.continuation {
            None => return Ok(Choices { items, next: None }),
            Some(next) => place = Place { continuation: Some(next), skip: 0 },
        }
        if items.len() == limit || session.remaining() < TIME_FOR_A_PAGE {
            break;
        }
    }
    Ok(Choices { items, next: Some(request.token(&place)) })
}
