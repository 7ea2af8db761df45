//! One guard before every operation: token, permission, API version, throttle.
//!
//! A token that is wrong in any way, and one whose policy lacks the permission, get the same answer: HTTP 401 with
//! 401002 `IotHubUnauthorizedAccess`. The services do so for shared access policies, so that a stranger learns nothing; only
//! Entra ID tokens are answered with 403.

use axum::extract::{Request, State};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use time::OffsetDateTime;

use super::request::query_parameter;
use crate::client_certificate::ClientCertificate;
use crate::error::{ErrorCode, ServiceError};
use crate::names::{HubName, without_port};
use crate::operations::credentials::{Presented, authenticate_at};
use crate::options::Permission;
use crate::records::identity::Target;
use crate::service::Service;
use crate::throttle::Throttle;
use crate::token::{Token, decode, unauthorized};
use crate::versions::At;
use crate::world::{Shared, World};

/// What an operation requires before its handler runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation {
    pub(crate) service: Service,
    pub(crate) access: Access,
    pub(crate) throttle: Throttle,
}

/// Who may call an operation.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Access {
    /// The holder of a policy with this permission.
    Policy(Permission),
    /// The device that the path's second segment names, by its own key, or the holder of a policy with `DeviceConnect`.
    Device,
    /// A device whose credential fits an enrollment: the handler of the registration API checks that.
    Attested,
}

/// The versions that clients of devices state at the hub, besides those of the service API: the ones of Microsoft's
/// clients.
const HUB_DEVICE_VERSIONS: &[&str] = &[
    "2016-02-03",
    "2016-11-14",
    "2017-06-30",
    "2018-06-30",
    "2019-03-30",
    "2019-10-01",
    "2020-03-13",
    "2020-05-31-preview",
];
const DPS_DEVICE_VERSIONS: &[&str] = &["2019-03-31", "2021-06-01", "2021-10-01"];

/// The middleware: authentication, permission, API version, throttle, in this order.
pub(crate) async fn guard(
    State((world, operation)): State<(Shared, Operation)>,
    mut request: Request,
    next: Next,
) -> Response {
    match check(&world, operation, &request) {
        Ok(at) => {
            request.extensions_mut().insert(at);
            next.run(request).await
        }
        Err(error) => error.into_response(),
    }
}

fn check(world: &World, operation: Operation, request: &Request) -> Result<At, ServiceError> {
    let offset = request.extensions().get::<ClockOffset>().map_or(0, |offset| offset.0);
    let now = OffsetDateTime::now_utc().unix_timestamp() + offset;
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    if operation.service == Service::Hub {
        let for_others = match host.and_then(|host| world.hub_name_at(&without_port(host))) {
            None | Some(HubName::Classic) => false,
            Some(HubName::Service) => matches!(operation.access, Access::Device),
            Some(HubName::Device) => matches!(operation.access, Access::Policy(_)),
        };
        if for_others {
            return Err(ServiceError::new(ErrorCode::NOT_FOUND, "this operation is not served at this host name"));
        }
    }
    let path: Vec<String> = request.uri().path().split('/').skip(1).map(decode).collect();
    let token = || {
        let header = request.headers().get(header::AUTHORIZATION).ok_or_else(unauthorized)?;
        Token::parse(header.to_str().map_err(|_| unauthorized())?)
    };
    match operation.access {
        Access::Policy(permission) => {
            authorize_policy(world, operation.service, host, &token()?, permission, &path, now)?;
        }
        Access::Device => {
            let header = request.headers().get(header::AUTHORIZATION).and_then(|header| header.to_str().ok());
            let certificate = request.extensions().get::<ClientCertificate>();
            let device = path.get(1).ok_or_else(unauthorized)?;
            let module = path.get(3).filter(|_| path.get(2).is_some_and(|part| part.eq_ignore_ascii_case("modules")));
            let target = Target::new(device, module.map(String::as_str));
            authenticate_at(world, &target, Presented { token: header, certificate }, now)?;
        }
        Access::Attested => {}
    }
    let (accepted, others): (_, &[&str]) = match (operation.service, operation.access) {
        (Service::Dps, Access::Attested) => (DPS_DEVICE_VERSIONS, &[]),
        (Service::Dps, _) => (world.options.dps_api.accepted_versions(), &[]),
        (_, Access::Device) => (world.options.hub_api.accepted_versions(), HUB_DEVICE_VERSIONS),
        _ => (world.options.hub_api.accepted_versions(), &[]),
    };
    let asked = query_parameter(request.uri(), "api-version");
    let version = accepted.iter().chain(others).find(|version| asked.as_deref() == Some(**version));
    let version = version.ok_or_else(|| unsupported_version(operation.service, &asked.unwrap_or_default()))?;
    world.throttles.take(operation.throttle)?;
    Ok(At::new(version, world.options.older_put))
}

/// The error in the services' own words: the hub in Azure/Industrial-IoT#708, DPS in Azure/iotedge#4112 and #6631.
fn unsupported_version(service: Service, version: &str) -> ServiceError {
    match service {
        Service::Dps => ServiceError::new(ErrorCode::ARGUMENT_INVALID, format!("Unsupported API version {version}.")),
        _ => ServiceError::new(ErrorCode::INVALID_PROTOCOL_VERSION, "BadRequest"),
    }
}

fn authorize_policy(
    world: &World,
    service: Service,
    host: Option<&str>,
    token: &Token,
    permission: Permission,
    path: &[String],
    now: i64,
) -> Result<(), ServiceError> {
    let name = token.policy.as_deref().ok_or_else(unauthorized)?;
    let policy = world.policy(service, name).ok_or_else(unauthorized)?;
    let keys = [policy.primary_key.as_str(), policy.secondary_key.as_str()];
    token.verify(keys, now, world.options.clock_tolerance.as_secs())?;
    token.covers(&world.authorities(service, host), path)?;
    if policy.permissions.contains(&permission) { Ok(()) } else { Err(unauthorized()) }
}

/// A request extension: by how many seconds the service's clock is ahead.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockOffset(pub(crate) i64);
