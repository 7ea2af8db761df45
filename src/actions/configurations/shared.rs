//! What the actions on configurations share: fields, the rules of content, and reading back after a failure.

use serde_json::{Map, Value};

use crate::actions::shared::declaration::Limit;
use crate::error::{EffectState, FieldProblem, Result, problem};
use crate::form::schema::{any_object, help, integer, list, literal, object, open_object, string, with};
use crate::http::Tagged;
use crate::iothub::ConfigurationId;
use crate::json;

/// How many configurations and deployments a hub can have ("IoT Hub quotas and throttling").
pub const MOST: Limit = ("Configurations of a hub", 100, "items");
/// The three kinds of content. A configuration has one of them.
pub const KINDS: [&str; 3] = ["deviceContent", "modulesContent", "moduleContent"];
/// Where the desired properties of a twin begin.
const DESIRED: &str = "properties.desired";
/// How the target condition of a configuration of modules begins.
const OF_MODULES: &str = "from devices.modules";

/// The id of a configuration.
pub fn configuration_id() -> Value {
    with(
        help(string("Configuration id"), "Lower case."),
        serde_json::json!({
            "minLength": 1,
            "maxLength": 128,
            "pattern": ConfigurationId::PATTERN,
            "$comment": ConfigurationId::RULE,
            "x-options": "configurations",
        }),
    )
}

/// The content of a configuration.
pub fn content() -> Value {
    let kinds = object(
        [
            (
                KINDS[0],
                help(
                    any_object("Device content"),
                    "For devices: paths below `properties.desired` of the device twin, and their values.",
                ),
            ),
            (KINDS[1], modules_content()),
            (
                KINDS[2],
                help(
                    any_object("Module content"),
                    "For modules: paths below `properties.desired` of the module twin, and their values. \
                     The target condition then begins with `from devices.modules where`.",
                ),
            ),
        ],
        &[],
    );
    with(kinds, literal!({ "title": "Content" }))
}

/// The modules of an IoT Edge deployment.
pub fn modules_content() -> Value {
    help(
        with(
            any_object("Modules content"),
            literal!({ "additionalProperties": { "type": "object", "title": "Module", "additionalProperties": true } }),
        ),
        "For IoT Edge devices: for each module, paths from `properties.desired` on and their values. \
         A layered deployment has paths below it, such as `properties.desired.modules.filter`.",
    )
}

/// The devices or modules that a configuration is for.
pub fn target_condition() -> Value {
    with(
        help(
            string("Target condition"),
            "Tags, reported properties or ids in the hub's query language, such as `tags.site='north'`. `*`: all. Empty: none.",
        ),
        literal!({ "maxLength": 4096, "examples": ["tags.site='north' AND properties.reported.firmware='4.1'"] }),
    )
}

/// Which configuration wins where several are for one device.
pub fn priority() -> Value {
    help(integer("Priority", 0, i64::from(i32::MAX)), "Where several are for the same device, the highest wins.")
}

/// Notes for a person.
pub fn labels() -> Value {
    texts("Labels", "Names and values of your own, for sorting and finding.", "Value")
}

/// Queries whose results the hub counts.
pub fn metrics() -> Value {
    texts(
        "Metric queries",
        "A name and a query of the hub's language for each. The hub counts the devices or modules that a query finds.",
        "Query",
    )
}

fn texts(title: &str, text: &str, each: &str) -> Value {
    let each = with(string(each), literal!({ "maxLength": 4096 }));
    with(help(any_object(title), text), serde_json::json!({ "additionalProperties": each }))
}

/// A configuration as the hub returns it.
pub fn output() -> Value {
    let metrics = |title: &str| {
        with(
            open_object([("results", any_object("Results")), ("queries", any_object("Queries"))], &[]),
            serde_json::json!({ "title": title }),
        )
    };
    open_object(
        [
            ("id", string("Configuration id")),
            ("schemaVersion", string("Schema version")),
            ("labels", with(any_object("Labels"), literal!({ "type": ["object", "null"] }))),
            ("content", any_object("Content")),
            ("targetCondition", string("Target condition")),
            ("priority", integer("Priority", i64::from(i32::MIN), i64::from(i32::MAX))),
            ("systemMetrics", metrics("Metrics of the hub")),
            ("metrics", metrics("Metrics of your own")),
            ("createdTimeUtc", string("Created")),
            ("lastUpdatedTimeUtc", string("Last updated")),
            ("etag", string("ETag")),
        ],
        &["id"],
    )
}

/// The schema of a list of configurations.
pub fn list_output() -> Value {
    object([("items", list("Configurations", output()))], &["items"])
}

/// An example of [`output`].
pub fn sample() -> Value {
    literal!({
        "id": "interval-north",
        "schemaVersion": "1.0",
        "labels": { "team": "operations" },
        "content": { "deviceContent": { "properties.desired.interval": { "seconds": 30 } } },
        "targetCondition": "tags.site='north'",
        "priority": 10,
        "systemMetrics": { "results": { "targetedCount": 12, "appliedCount": 12 }, "queries": {} },
        "metrics": { "results": { "updated": 11 }, "queries": { "updated": "SELECT deviceId FROM devices WHERE properties.reported.interval.seconds=30" } },
        "createdTimeUtc": "2026-05-04T07:00:00Z",
        "lastUpdatedTimeUtc": "2026-05-04T07:00:00Z",
        "etag": "MQ=="
    })
}

/// The problems of a content: its kind, and its paths.
pub fn check_content(content: &Value, condition: Option<&str>) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let given: Vec<&str> = KINDS.into_iter().filter(|kind| content.get(*kind).is_some()).collect();
    if given.len() != 1 {
        problems.push(problem("/content", "one-of", format!("must have exactly one of {}", KINDS.join(", "))));
    }
    for kind in [KINDS[0], KINDS[2]] {
        if let Some(paths) = content.get(kind).and_then(Value::as_object) {
            check_paths(paths, &format!("/content/{kind}"), &mut problems);
        }
    }
    if let Some(modules) = content.get(KINDS[1]) {
        problems.extend(check_modules(modules, "/content/modulesContent"));
    }
    let for_modules = given == [KINDS[2]];
    if for_modules && condition.is_some_and(|condition| !condition.is_empty() && !is_of_modules(condition)) {
        problems.push(problem(
            "/targetCondition",
            "not-for-modules",
            "must begin with `from devices.modules where`, because the content is for modules",
        ));
    }
    problems
}

/// The problems of the modules of a deployment.
pub fn check_modules(modules: &Value, at: &str) -> Vec<FieldProblem> {
    let mut problems = Vec::new();
    let modules = modules.as_object().into_iter().flatten();
    let mut count = 0;
    for (name, paths) in modules {
        count += 1;
        if let Some(paths) = paths.as_object() {
            check_paths(paths, &json::child(at, name), &mut problems);
        }
    }
    if count == 0 {
        problems.push(problem(at, "empty", "must name at least one module"));
    }
    problems
}

fn check_paths(paths: &Map<String, Value>, at: &str, problems: &mut Vec<FieldProblem>) {
    if paths.is_empty() {
        problems.push(problem(at, "empty", "must have at least one path"));
    }
    for (path, value) in paths {
        let at = json::child(at, path);
        match path.strip_prefix(DESIRED) {
            Some("") if !value.is_object() => {
                problems.push(problem(&at, "wrong-type", "must be an object: it stands for all desired properties"));
            }
            Some("") => {}
            Some(rest) if rest.strip_prefix('.').is_some_and(|rest| rest.split('.').all(|name| !name.is_empty())) => {}
            _ => problems.push(problem(
                &at,
                "not-desired",
                "must be `properties.desired`, or a path below it such as `properties.desired.interval`",
            )),
        }
    }
}

fn is_of_modules(condition: &str) -> bool {
    let words = condition.split_whitespace().collect::<Vec<_>>().join(" ").to_ascii_lowercase();
    words.starts_with(OF_MODULES)
}

/// Reads the configuration after a write whose result is not known. If it is as it was to become, the write has
/// succeeded.
///
/// # Errors
/// The error of the write.
pub fn confirmed(written: Result<Tagged>, wanted: &Value, read: impl FnOnce() -> Result<Tagged>) -> Result<Tagged> {
    match written {
        Err(error) if error.record().effect == EffectState::Unknown => match read() {
            Ok(found) if stands_for(&found.document, wanted) => Ok(found),
            _ => Err(error),
        },
        written => written,
    }
}

/// Whether a configuration that was read is the one that was sent.
fn stands_for(found: &Value, sent: &Value) -> bool {
    ["/content", "/targetCondition", "/priority", "/labels", "/metrics/queries"].iter().all(|at| {
        match (found.pointer(at), sent.pointer(at)) {
            (_, None) => true,
            (Some(found), Some(sent)) => json::same(found, sent),
            (None, Some(sent)) => sent.is_null(),
        }
    })
}
