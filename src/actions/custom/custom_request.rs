//! Sends a request of the caller's own to the account's hub or provisioning service.
//!
//! ```scenario
//! done {"method": "POST", "path": "/devices/query", "body": {"query": "SELECT * FROM devices"}, "pageSize": 2}
//! done {"method": "GET", "path": "/twins/press-1"}
//! done {"method": "GET", "path": "/devices", "query": {"top": 2}}
//! done {"method": "PUT", "path": "/devices/custom-1", "body": {"deviceId": "custom-1", "status": "enabled"}}
//! done {"method": "DELETE", "path": "/devices/custom-1", "etag": "*"}
//! done {"service": "dps", "method": "GET", "path": "/enrollments/loom-1"}
//! done {"service": "dps", "method": "POST", "path": "/enrollments/loom-1/attestationmechanism"}
//! done {"method": "GET", "path": "/twins/press-1"} under hub:GET /twins/*=503x1
//! not-found {"method": "GET", "path": "/devices/missing"}
//! not-found {"service": "dps", "method": "GET", "path": "/enrollments/missing"}
//! precondition-failed {"method": "DELETE", "path": "/devices/press-1", "etag": "$stale"}
//! conflict {"method": "PUT", "path": "/devices/press-1", "body": {"deviceId": "press-1"}}
//! invalid-input {"method": "GET", "path": "//elsewhere.example"}
//! invalid-input {"method": "GET", "path": "/devices/../twins/press-1"}
//! invalid-input {"method": "GET", "path": "/devices", "query": {"api-version": "2020-01-01"}}
//! invalid-input {"method": "GET", "path": "/devices", "body": {}}
//! ```

use serde_json::{Map, Value, json};

use crate::actions::shared::declaration::{Declaration, optional, required};
use crate::actions::shared::input::Input;
use crate::actions::shared::limits;
use crate::actions::shared::removal::ETAG;
use crate::actions::shared::single::Single;
use crate::auth::Permission;
use crate::bindings::exports::workflow::connector::metadata::{Effect, Idempotency};
use crate::error::{Error, Result};
use crate::form::schema::{any, any_object, help, integer, literal, object, one_of, string, with};
use crate::http::{Request, Response, Safety};
use crate::json::from_members;
use crate::platform::Method;
use crate::secret;

/// The headers of an answer that the output has: what the descriptions of the services name, and the hub's own error
/// and request ids.
const HEADERS: [&str; 9] = [
    "etag",
    "location",
    "content-type",
    "x-ms-continuation",
    "x-ms-item-type",
    "x-ms-max-item-count",
    "x-ms-request-id",
    "x-ms-command-statuscode",
    "iothub-messagelocktoken",
];

pub static ACTION: Single = Single {
    declaration: Declaration {
        id: "custom-request",
        title: "Send a custom request",
        help: "Sends a signed request to any path of the account's hub or provisioning service, and to no other host, for what no other action does. \
               A GET reads; any other method counts as a change that may delete, and is not repeated where it could have an effect twice. \
               Which permission it needs depends on the path: for the hub Registry read, Registry write or Service connect; for the provisioning service those on enrollments and registrations. \
               The service decides, and a refusal names the permission that the path usually needs. The output may hold keys.",
        group: "Custom requests",
        input: &[
            optional("service", || {
                with(
                    help(one_of("Service", &["hub", "dps"]), "`dps`: the Device Provisioning Service."),
                    literal!({ "default": "hub" }),
                )
            }),
            required("method", || one_of("Method", &["GET", "PUT", "POST", "PATCH", "DELETE"])),
            required("path", || {
                with(
                    help(
                        string("Path"),
                        "From the slash after the host on, without a query. Ids stand in it as they are: they are encoded when the request is sent.",
                    ),
                    literal!({
                        "minLength": 2,
                        "maxLength": 2048,
                        "pattern": "^/",
                        "$comment": "must begin with a slash: the host is the account's own",
                        "examples": ["/devices/press-17/modules"]
                    }),
                )
            }),
            optional("query", || {
                let value =
                    with(string("Value"), literal!({ "type": ["string", "number", "boolean"], "maxLength": 2048 }));
                with(
                    help(any_object("Query"), "Names and values, without `api-version`."),
                    json!({ "additionalProperties": value }),
                )
            }),
            optional("body", || help(any("Body"), "Any JSON but null. Empty: none.")),
            ETAG,
            optional("pageSize", || {
                with(
                    help(integer("Page size", 1, 1000), "For queries: sent as `x-ms-max-item-count`."),
                    literal!({ "x-visibility": "advanced" }),
                )
            }),
            optional("continuation", || {
                with(
                    help(string("Continuation"), "For queries: the header `x-ms-continuation` of the page before."),
                    literal!({ "minLength": 1, "maxLength": 65536, "x-visibility": "advanced" }),
                )
            }),
            optional("apiVersion", || {
                with(
                    help(
                        string("API version"),
                        "Empty: the version that the other actions use, 2021-04-12 for the hub and 2021-10-01 for the provisioning service.",
                    ),
                    literal!({
                        "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}(-preview)?$",
                        "$comment": "must be a date, with or without -preview",
                        "examples": ["2021-04-12"],
                        "x-visibility": "advanced"
                    }),
                )
            }),
        ],
        input_sample: r#"{ "method": "GET", "path": "/devices/press-17/modules" }"#,
        output: || {
            object(
                [
                    ("status", integer("Status", 200, 299)),
                    (
                        "headers",
                        with(
                            any_object("Headers"),
                            literal!({ "additionalProperties": { "type": "string", "title": "Value" } }),
                        ),
                    ),
                    (
                        "body",
                        with(
                            help(any("Body"), "Null where the answer has none. It may hold keys."),
                            literal!({ "x-secret": true }),
                        ),
                    ),
                ],
                &["status", "headers", "body"],
            )
        },
        output_sample: || literal!({ "status": 200, "headers": { "content-type": "application/json; charset=utf-8" }, "body": [] }),
        dynamic_output: false,
        permissions: &[Permission::RegistryRead, Permission::RegistryWrite, Permission::ServiceConnect],
        limits: &[limits::IDENTITIES, limits::PROVISIONING],
        effect: Effect::Destructive,
        idempotency: Idempotency::None,
    },
    run: |session, input, _| {
        let is_dps = input.text("service") == Some("dps");
        let request = request(input, is_dps)?;
        let answer = if is_dps { session.dps()?.send(&request) } else { session.hub().send(&request) };
        // The service may repeat the body in its refusal.
        let answer =
            answer.map_err(|error| error.without(&input.get("body").map(secret::found).unwrap_or_default()))?;
        Ok(json!({ "status": answer.status(), "headers": headers(&answer), "body": answer.json()? }))
    },
};

fn headers(answer: &Response) -> Map<String, Value> {
    from_members(HEADERS.iter().filter_map(|name| Some((*name, answer.header(name)?.into()))))
}

fn request(input: &Input, is_dps: bool) -> Result<Request> {
    let method = match input.required_text("method") {
        "PUT" => Method::Put,
        "POST" => Method::Post,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        _ => Method::Get,
    };
    let segments = segments(input.required_text("path"))?;
    let if_match = input.stated_if_match()?;
    let safety = match (method, &if_match) {
        (Method::Get, _) => Safety::Read,
        // Without a condition, the path alone does not tell whether a repetition has an effect of its own: a second
        // purge of a queue deletes what came in between.
        (Method::Put | Method::Delete, Some(if_match)) => if_match.safety(),
        _ => Safety::Once,
    };
    let permission = if is_dps { of_dps(method, &segments) } else { of_hub(method, &segments) };
    let mut request = Request::new(method, segments, safety, permission);
    for (name, value) in input.get("query").and_then(Value::as_object).into_iter().flatten() {
        let at = crate::json::child("/query", name);
        if name.is_empty() {
            return Err(Error::field(&at, "empty", "must have a name"));
        }
        if name.eq_ignore_ascii_case("api-version") {
            return Err(Error::field(&at, "reserved", "must be left out: the API version has a field of its own"));
        }
        request = request.query(name.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    if let Some(version) = input.text("apiVersion") {
        request = request.at_stated(version);
    }
    if let Some(body) = input.get("body") {
        if method == Method::Get {
            return Err(Error::field("/body", "not-allowed", "must be left out: a GET has no body"));
        }
        request = request.json(body.clone());
    }
    if let Some(if_match) = if_match {
        request = request.header("if-match", if_match);
    }
    if let Some(size) = input.number("pageSize") {
        request = request.header("x-ms-max-item-count", size);
    }
    if let Some(continuation) = input.text("continuation") {
        request = request.header("x-ms-continuation", continuation);
    }
    Ok(request)
}

/// The segments of a path. What a server could read as another host, a step up or a query is refused or encoded.
fn segments(path: &str) -> Result<Vec<&str>> {
    let bad = |code: &str, message: &str| Err(Error::field("/path", code, message));
    if path.chars().any(char::is_control) {
        return bad("characters", "must not have control characters");
    }
    if path.contains(['?', '\\']) {
        return bad("characters", "must not have a question mark or a backslash: a query has a field of its own");
    }
    let Some(rest) = path.strip_prefix('/') else {
        return bad("characters", "must begin with a slash: the host is the account's own");
    };
    let segments: Vec<&str> = rest.split('/').collect();
    if segments.iter().any(|segment| segment.is_empty()) {
        return bad("empty-segment", "must not have two slashes in a row, nor one at its end");
    }
    if segments.iter().any(|segment| matches!(*segment, "." | "..")) {
        return bad("not-addressable", "must not have the segments `.` and `..`");
    }
    Ok(segments)
}

/// The permission that a path of the hub usually needs, for the message of a refusal.
fn of_hub(method: Method, segments: &[&str]) -> Permission {
    match (method, segments) {
        (_, ["devices", "query", ..] | ["devices", _, "commands" | "messages", ..] | ["jobs", "v2", ..]) => {
            Permission::ServiceConnect
        }
        (_, ["jobs", ..]) => Permission::RegistryWrite,
        (_, ["configurations", "testQueries"]) => Permission::RegistryRead,
        (Method::Get, ["devices" | "configurations", ..] | ["statistics", "devices"]) => Permission::RegistryRead,
        (_, ["devices" | "configurations", ..]) => Permission::RegistryWrite,
        _ => Permission::ServiceConnect,
    }
}

/// The permission that a path of the provisioning service usually needs.
fn of_dps(method: Method, segments: &[&str]) -> Permission {
    let reads = method == Method::Get || segments.last() == Some(&"query");
    match (segments.first().copied().unwrap_or_default(), reads) {
        ("registrations", true) => Permission::RegistrationStatusRead,
        ("registrations", false) => Permission::RegistrationStatusWrite,
        (_, true) => Permission::EnrollmentRead,
        (_, false) => Permission::EnrollmentWrite,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_leads_nowhere_else() {
        for (path, expected) in [
            ("/", "empty-segment"),
            ("//host/a", "empty-segment"),
            ("/a//b", "empty-segment"),
            ("/a/", "empty-segment"),
            ("/a/../b", "not-addressable"),
            ("/.", "not-addressable"),
            ("/a?b=c", "characters"),
            ("/a\\b", "characters"),
            ("/a\r\nb", "characters"),
            ("https://host/a", "characters"),
        ] {
            let error = segments(path).expect_err(path);
            assert_eq!(error.record().fields[0].code, expected, "{path}");
        }
        assert_eq!(segments("/devices/a%2F..#1").expect("a path"), ["devices", "a%2F..#1"]);
    }

    #[test]
    fn a_refusal_names_the_permission_of_the_path() {
        use Permission as P;
        for (method, path, hub) in [
            (Method::Get, "/devices/a", P::RegistryRead),
            (Method::Put, "/devices/a/modules/m", P::RegistryWrite),
            (Method::Post, "/devices/query", P::ServiceConnect),
            (Method::Delete, "/devices/a/commands", P::ServiceConnect),
            (Method::Get, "/configurations", P::RegistryRead),
            (Method::Post, "/configurations/testQueries", P::RegistryRead),
            (Method::Get, "/statistics/devices", P::RegistryRead),
            (Method::Get, "/statistics/service", P::ServiceConnect),
            (Method::Get, "/jobs", P::RegistryWrite),
            (Method::Get, "/jobs/v2/j", P::ServiceConnect),
            (Method::Patch, "/twins/a", P::ServiceConnect),
            (Method::Get, "/digitaltwins/a", P::ServiceConnect),
        ] {
            assert_eq!(of_hub(method, &segments(path).expect("a path")), hub, "{path}");
        }
        for (method, path, dps) in [
            (Method::Get, "/enrollments/a", P::EnrollmentRead),
            (Method::Post, "/enrollmentGroups/query", P::EnrollmentRead),
            (Method::Post, "/enrollments/a/attestationmechanism", P::EnrollmentWrite),
            (Method::Post, "/registrations/g/query", P::RegistrationStatusRead),
            (Method::Delete, "/registrations/a", P::RegistrationStatusWrite),
        ] {
            assert_eq!(of_dps(method, &segments(path).expect("a path")), dps, "{path}");
        }
    }
}
