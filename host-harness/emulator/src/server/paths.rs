//! Request paths: their literal segments are case-insensitive, and a slash at the end does not count.

use axum::http::{Uri, uri};

use crate::blobs::CONTAINER;

/// Paths are case-insensitive at the services (the Node.js SDK writes `/enrollmentgroups`), but ids are not. So only
/// the literal segments get the spelling of the routes. A slash at the end is dropped: the services serve both
/// spellings, and the Node.js clients write `GET /devices/` and `POST /enrollments/`.
pub(crate) fn fold_case(uri: Uri) -> Uri {
    const LITERALS: &[&str] = &[
        "devices",
        "twins",
        "modules",
        "methods",
        "messages",
        "events",
        "deviceBound",
        "commands",
        "query",
        "configurations",
        "testQueries",
        "applyConfigurationContent",
        "statistics",
        "service",
        "serviceBound",
        "feedback",
        "abandon",
        "jobs",
        "v2",
        "create",
        "cancel",
        "digitaltwins",
        "components",
        "enrollments",
        "enrollmentGroups",
        "registrations",
        "attestationmechanism",
        "register",
        "operations",
        "keys",
        "files",
        "notifications",
    ];
    let fold = |segment: &str| {
        LITERALS
            .iter()
            .find(|literal| literal.eq_ignore_ascii_case(segment))
            .map_or_else(|| segment.to_owned(), |literal| (*literal).to_owned())
    };
    let mut segments: Vec<String> = uri.path().split('/').skip(1).map(str::to_owned).collect();
    if segments.len() > 1 {
        segments.pop_if(|last| last.is_empty());
    }
    let first = segments.first().map(|first| fold(first)).unwrap_or_default();
    let segments_count = segments.len();
    let is_literal = |index: usize| match first.as_str() {
        "messages" => index != 3,
        "statistics" => true,
        "jobs" => index == 0 || (index == 1 && segments_count > 2) || index == 3,
        // Below a device's messages and files, the segments of ids are the second and the fifth.
        "devices" if of_device(uri.path()) => !matches!(index, 1 | 4),
        "devices" | "twins" | "configurations" | "enrollments" | "enrollmentGroups" | "registrations"
        | "digitaltwins" => index.is_multiple_of(2),
        // The names of blobs are not folded.
        CONTAINER => false,
        // The first segment of the device API is the id scope.
        _ => index % 2 == 1,
    };
    for (index, segment) in segments.iter_mut().enumerate() {
        if is_literal(index) {
            *segment = fold(segment);
        }
    }
    let path = format!("/{}", segments.join("/"));
    if path == uri.path() {
        return uri;
    }
    let text = uri.query().map_or_else(|| path.clone(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    match text.parse::<uri::PathAndQuery>() {
        Ok(folded) => {
            parts.path_and_query = Some(folded);
            Uri::from_parts(parts).unwrap_or(uri)
        }
        Err(_) => uri,
    }
}

/// Whether the path is below the messages or files of a device.
fn of_device(path: &str) -> bool {
    path.split('/')
        .nth(3)
        .is_some_and(|segment| ["messages", "files"].iter().any(|it| it.eq_ignore_ascii_case(segment)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literals_are_folded() {
        let fold = |path: &str| fold_case(path.parse().expect("uri")).to_string();
        assert_eq!(fold("/enrollmentgroups/QUERY?api-version=1"), "/enrollmentGroups/QUERY?api-version=1");
        assert_eq!(fold("/Devices/Twins/Modules/Query"), "/devices/Twins/modules/Query");
        assert_eq!(fold("/devices/a/messages/devicebound"), "/devices/a/messages/deviceBound");
        assert_eq!(fold("/devices/a/messages/devicebound/T/Abandon"), "/devices/a/messages/deviceBound/T/abandon");
        assert_eq!(fold("/devices/a/Files/Notifications/Events"), "/devices/a/files/notifications/Events");
        assert_eq!(fold("/device-files/a/Events"), "/device-files/a/Events");
        assert_eq!(fold("/0neABC/Registrations/r/Register"), "/0neABC/registrations/r/register");
        assert_eq!(fold("/messages/servicebound/feedback/Abandon"), "/messages/serviceBound/feedback/Abandon");
    }

    #[test]
    fn one_slash_at_the_end_is_dropped() {
        let fold = |path: &str| fold_case(path.parse().expect("uri")).to_string();
        assert_eq!(fold("/devices/?api-version=1"), "/devices?api-version=1");
        assert_eq!(fold("/enrollmentgroups/G/"), "/enrollmentGroups/G");
        assert_eq!(fold("/devices//"), "/devices/");
        assert_eq!(fold("/"), "/");
    }
}
