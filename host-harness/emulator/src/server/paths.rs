//! Request paths, whose literal segments are case-insensitive.

use axum::http::{Uri, uri};

/// Paths are case-insensitive at the services (the Node.js SDK writes `/enrollmentgroups`), but ids are not. So only
/// the literal segments get the spelling of the routes.
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
    ];
    let fold = |segment: &str| {
        LITERALS
            .iter()
            .find(|literal| literal.eq_ignore_ascii_case(segment))
            .map_or_else(|| segment.to_owned(), |literal| (*literal).to_owned())
    };
    let mut segments: Vec<String> = uri.path().split('/').skip(1).map(str::to_owned).collect();
    let first = segments.first().map(|first| fold(first)).unwrap_or_default();
    let segments_count = segments.len();
    let is_literal = |index: usize| match first.as_str() {
        "messages" => index != 3,
        "statistics" => true,
        "jobs" => index == 0 || (index == 1 && segments_count > 2) || index == 3,
        "devices" | "twins" | "configurations" | "enrollments" | "enrollmentGroups" | "registrations"
        | "digitaltwins" => {
            index.is_multiple_of(2) || (first == "devices" && index == 3 && fold_is_messages(uri.path()))
        }
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

fn fold_is_messages(path: &str) -> bool {
    path.split('/').nth(3).is_some_and(|segment| segment.eq_ignore_ascii_case("messages"))
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
        assert_eq!(fold("/0neABC/Registrations/r/Register"), "/0neABC/registrations/r/register");
        assert_eq!(fold("/messages/servicebound/feedback/Abandon"), "/messages/serviceBound/feedback/Abandon");
    }
}
