//! Judges HTTP exchanges by an API description in Swagger 2.0.
//!
//! Only the part of Swagger that Microsoft's two descriptions use is supported. A description with other parts is not
//! loaded, because ignoring them would hide problems.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context as _, Result, bail, ensure};
use azure_iot_emulator::Exchange;
use jsonschema::{Draft, Validator};
use percent_encoding::percent_decode_str;
use serde_json::{Map, Value, json};

/// Request headers that HTTP itself defines. Descriptions do not list them.
const PLAIN_REQUEST_HEADERS: &[&str] = &[
    "accept",
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "content-type",
    "host",
    "transfer-encoding",
    "user-agent",
];
/// `etag` and `retry-after` are defined by HTTP. All Azure responses have `x-ms-request-id`, and all errors of the hub
/// have `iothub-errorcode` (the C# SDK reads it), although the descriptions do not name them.
const PLAIN_RESPONSE_HEADERS: &[&str] = &[
    "content-length",
    "content-type",
    "date",
    "etag",
    "iothub-errorcode",
    "retry-after",
    "transfer-encoding",
    "x-ms-request-id",
];

/// One request and its response.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The HTTP method.
    pub method: String,
    /// The path, percent-encoded.
    pub path: String,
    /// The query, without the question mark.
    pub query: String,
    /// The request headers, with names in lower case.
    pub request_headers: Vec<(String, String)>,
    pub request_body: Vec<u8>,
    /// The status of the response. None where the connection was dropped instead.
    pub status: Option<u16>,
    /// The response headers, with names in lower case.
    pub response_headers: Vec<(String, String)>,
    pub response_body: Vec<u8>,
}

impl From<&Exchange> for Seen {
    fn from(exchange: &Exchange) -> Self {
        let lower = |headers: &[(String, String)]| {
            headers.iter().map(|(name, value)| (name.to_ascii_lowercase(), value.clone())).collect()
        };
        Self {
            method: exchange.method.clone(),
            path: exchange.path.clone(),
            query: exchange.query.clone(),
            request_headers: lower(&exchange.request_headers),
            request_body: exchange.request_body.to_vec(),
            status: exchange.status,
            response_headers: lower(&exchange.response_headers),
            response_body: exchange.response_body.to_vec(),
        }
    }
}

/// The judgement of one exchange.
#[derive(Debug, Default)]
pub struct Verdict {
    /// The id of the operation. None where the description has no such operation.
    pub operation: Option<String>,
    /// The ways in which the exchange breaks the description.
    pub problems: Vec<String>,
    /// Members of the response that the description does not have. They are allowed, but reported.
    pub beyond: Vec<String>,
}

/// Judges the body of an error response that the description does not have. Returns the problems.
pub type RefusalJudge = fn(&Description, &Seen) -> Vec<String>;

/// The description of one API.
pub struct Description {
    document: Value,
    version: String,
    operations: Vec<Operation>,
    refusal: Option<RefusalJudge>,
}

/// The operation of one method on one path.
struct Operation {
    id: String,
    method: String,
    path: Vec<String>,
    parameters: Vec<Parameter>,
    body: Option<Body>,
    answers: BTreeMap<String, Answer>,
}

struct Parameter {
    name: String,
    place: String,
    required: bool,
    schema: Validator,
    kind: String,
}

struct Body {
    required: bool,
    schema: Validator,
}

struct Answer {
    headers: BTreeMap<String, (Validator, String)>,
    /// Two validators: the first allows members that the description does not have, the second refuses them.
    body: Option<(Validator, Validator)>,
}

/// The direction of a body.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    /// A request. Members without a description are refused, and so are members that only the service may set.
    Request,
    /// A response. Members without a description are allowed.
    Response,
    /// A response whose members must all have a description.
    ResponseStrict,
}

impl Description {
    /// Reads a description. `refusal` judges responses with a status of 400 or more that the description does not have.
    pub fn new(document: Value, refusal: Option<RefusalJudge>) -> Result<Self> {
        ensure!(document["swagger"] == "2.0", "this is not Swagger 2.0");
        let version = document.pointer("/info/version").and_then(Value::as_str).context("no version")?.to_owned();
        let mut operations = Vec::new();
        for (path, methods) in document["paths"].as_object().context("no paths")? {
            for (method, operation) in methods.as_object().context("no methods")? {
                let read = Operation::read(&document, path, method, operation);
                operations.push(read.with_context(|| format!("{method} {path}"))?);
            }
        }
        Ok(Self { document, version, operations, refusal })
    }

    /// The description's JSON document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The API version of the description.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// The method and the path template of an operation.
    pub fn route(&self, id: &str) -> Option<(&str, String)> {
        let found = self.operations.iter().find(|operation| operation.id == id)?;
        Some((&found.method, format!("/{}", found.path.join("/"))))
    }

    /// The ids of all operations.
    pub fn operations(&self) -> impl Iterator<Item = &str> {
        self.operations.iter().map(|operation| operation.id.as_str())
    }

    /// The id of the operation that a request asks for.
    pub fn operation_of(&self, method: &str, path: &str) -> Option<&str> {
        self.find(method, &segments(path)).map(|operation| operation.id.as_str())
    }

    fn find(&self, method: &str, segments: &[&str]) -> Option<&Operation> {
        // A literal segment is preferred to a placeholder.
        self.operations
            .iter()
            .filter(|operation| operation.method == method && operation.matches(segments))
            .max_by_key(|operation| operation.path.iter().filter(|segment| !is_placeholder(segment)).count())
    }

    /// Judges an exchange.
    pub fn judge(&self, seen: &Seen) -> Verdict {
        let mut verdict = Verdict::default();
        let segments = segments(&seen.path);
        let Some(operation) = self.find(&seen.method, &segments) else {
            verdict.problems.push("there is no such operation".to_owned());
            return verdict;
        };
        verdict.operation = Some(operation.id.clone());
        operation.judge_path(&segments, &mut verdict.problems);
        operation.judge_query(&seen.query, &self.version, &mut verdict.problems);
        operation.judge_request_headers(seen, &mut verdict.problems);
        operation.judge_request_body(seen, &mut verdict.problems);
        if let Some(status) = seen.status {
            self.judge_answer(operation, status, seen, &mut verdict);
        }
        verdict
    }

    fn judge_answer(&self, operation: &Operation, status: u16, seen: &Seen, verdict: &mut Verdict) {
        let declared = operation.answers.get(&status.to_string());
        // Both descriptions use `default` for errors only.
        let answer = declared.or_else(|| operation.answers.get("default").filter(|_| status >= 400));
        let Some(answer) = answer else {
            match self.refusal {
                Some(refusal) if status >= 400 => verdict.problems.extend(refusal(self, seen)),
                _ => verdict.problems.push(format!("the status {status} is not declared")),
            }
            return;
        };
        for (name, value) in &seen.response_headers {
            match answer.headers.get(name) {
                Some((schema, kind)) => {
                    judge_text(schema, kind, value, &format!("answer's header {name}"), &mut verdict.problems)
                }
                None if PLAIN_RESPONSE_HEADERS.contains(&name.as_str()) => {}
                None => verdict.problems.push(format!("the answer's header {name} is not declared")),
            }
        }
        match &answer.body {
            None if seen.response_body.is_empty() => {}
            None => verdict.problems.push("the answer has a body, and none is declared".to_owned()),
            Some((schema, strict)) => {
                let Some(body) =
                    read_json(&seen.response_headers, &seen.response_body, "answer", &mut verdict.problems)
                else {
                    return;
                };
                let before = verdict.problems.len();
                judge_value(schema, &body, "answer", &mut verdict.problems);
                if verdict.problems.len() == before {
                    judge_value(strict, &body, "answer", &mut verdict.beyond);
                }
            }
        }
    }
}

fn segments(path: &str) -> Vec<&str> {
    path.split('/').skip(1).collect()
}

impl Operation {
    fn read(document: &Value, path: &str, method: &str, operation: &Value) -> Result<Self> {
        known(
            operation,
            &[
                "operationId",
                "description",
                "summary",
                "parameters",
                "responses",
                "tags",
                "consumes",
                "produces",
                "deprecated",
                "x-ms-examples",
                "x-ms-pageable",
                "x-ms-long-running-operation",
                "schemes",
            ],
        )?;
        let mut parameters = Vec::new();
        let mut body = None;
        for given in operation["parameters"].as_array().into_iter().flatten() {
            let parameter = match given["$ref"].as_str() {
                Some(reference) => resolve(document, reference)?,
                None => given,
            };
            let name = parameter["name"].as_str().context("a parameter has no name")?.to_owned();
            let place = parameter["in"].as_str().context("a parameter has no place")?.to_owned();
            let required = parameter["required"] == true;
            if place == "body" {
                let schema = compile(document, &parameter["schema"], Way::Request)?;
                body = Some(Body { required, schema });
                continue;
            }
            ensure!(["path", "query", "header"].contains(&place.as_str()), "parameters in {place} are not supported");
            let schema = plain(parameter, &["name", "in", "required", "x-ms-parameter-location", "x-ms-client-name"])?;
            let kind = schema["type"].as_str().unwrap_or_default().to_owned();
            parameters.push(Parameter {
                name,
                place,
                required,
                schema: compile(document, &schema, Way::Request)?,
                kind,
            });
        }
        let mut answers = BTreeMap::new();
        for (status, answer) in operation["responses"].as_object().context("no responses")? {
            known(answer, &["description", "schema", "headers", "examples", "x-ms-error-response"])?;
            let mut headers = BTreeMap::new();
            for (name, header) in answer["headers"].as_object().into_iter().flatten() {
                let schema = plain(header, &[])?;
                let kind = schema["type"].as_str().unwrap_or_default().to_owned();
                headers.insert(name.to_ascii_lowercase(), (compile(document, &schema, Way::Response)?, kind));
            }
            let body = match answer.get("schema") {
                None => None,
                Some(schema) => {
                    Some((compile(document, schema, Way::Response)?, compile(document, schema, Way::ResponseStrict)?))
                }
            };
            answers.insert(status.clone(), Answer { headers, body });
        }
        Ok(Self {
            id: operation["operationId"].as_str().context("no operationId")?.to_owned(),
            method: method.to_uppercase(),
            path: segments(path).into_iter().map(str::to_owned).collect(),
            parameters,
            body,
            answers,
        })
    }

    fn matches(&self, segments: &[&str]) -> bool {
        self.path.len() == segments.len()
            && self.path.iter().zip(segments).all(
                |(own, other)| {
                    if is_placeholder(own) { !other.is_empty() } else { own == other }
                },
            )
    }

    fn judge_path(&self, segments: &[&str], problems: &mut Vec<String>) {
        for (own, segment) in self.path.iter().zip(segments).filter(|(own, _)| is_placeholder(own)) {
            let name = own.trim_matches(['{', '}']);
            let Some(parameter) = self.parameters.iter().find(|it| it.place == "path" && it.name == name) else {
                problems.push(format!("the path's {name} is not declared"));
                continue;
            };
            match percent_decode_str(segment).decode_utf8() {
                Ok(text) => judge_text(&parameter.schema, &parameter.kind, &text, &format!("path's {name}"), problems),
                Err(_) => problems.push(format!("the path's {name} is not UTF-8")),
            }
        }
    }

    fn judge_query(&self, query: &str, version: &str, problems: &mut Vec<String>) {
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let Some(parameter) = self.parameters.iter().find(|it| it.place == "query" && it.name == name) else {
                problems.push(format!("the query parameter {name} is not declared"));
                continue;
            };
            if seen.contains(&name) {
                problems.push(format!("the query parameter {name} is there twice"));
            }
            seen.push(name);
            match percent_decode_str(value).decode_utf8() {
                Ok(text) => {
                    judge_text(&parameter.schema, &parameter.kind, &text, &format!("query parameter {name}"), problems);
                    if name == "api-version" && text != version {
                        problems.push(format!("the api-version {text} is not {version}"));
                    }
                }
                Err(_) => problems.push(format!("the query parameter {name} is not UTF-8")),
            }
        }
        for parameter in self.parameters.iter().filter(|it| it.place == "query" && it.required) {
            if !seen.contains(&parameter.name.as_str()) {
                problems.push(format!("the query parameter {} is missing", parameter.name));
            }
        }
    }

    fn judge_request_headers(&self, seen: &Seen, problems: &mut Vec<String>) {
        for (name, value) in &seen.request_headers {
            let declared = self.parameters.iter().find(|it| it.place == "header" && it.name.eq_ignore_ascii_case(name));
            match declared {
                Some(parameter) => {
                    judge_text(&parameter.schema, &parameter.kind, value, &format!("header {name}"), problems)
                }
                None if PLAIN_REQUEST_HEADERS.contains(&name.as_str()) => {}
                None => problems.push(format!("the header {name} is not declared")),
            }
        }
        let has = |name: &str| seen.request_headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        for parameter in self.parameters.iter().filter(|it| it.place == "header" && it.required) {
            if !has(&parameter.name) {
                problems.push(format!("the header {} is missing", parameter.name));
            }
        }
        // The descriptions have no security section, although every request needs this header.
        if !has("authorization") {
            problems.push("the header authorization is missing".to_owned());
        }
    }

    fn judge_request_body(&self, seen: &Seen, problems: &mut Vec<String>) {
        match &self.body {
            None if seen.request_body.is_empty() => {}
            None => problems.push("the request has a body, and none is declared".to_owned()),
            Some(body) if seen.request_body.is_empty() => {
                if body.required {
                    problems.push("the request's body is missing".to_owned());
                }
            }
            Some(body) => {
                if let Some(value) = read_json(&seen.request_headers, &seen.request_body, "request", problems) {
                    judge_value(&body.schema, &value, "request", problems);
                }
            }
        }
    }
}

impl fmt::Debug for Description {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Description").field("version", &self.version).finish_non_exhaustive()
    }
}

fn is_placeholder(segment: &str) -> bool {
    segment.starts_with('{') && segment.ends_with('}')
}

fn read_json(headers: &[(String, String)], body: &[u8], whose: &str, problems: &mut Vec<String>) -> Option<Value> {
    let kind = headers.iter().find(|(name, _)| name == "content-type").map(|(_, value)| value.as_str());
    let bare = kind.and_then(|kind| kind.split(';').next()).map(str::trim);
    if bare != Some("application/json") {
        problems.push(format!("the {whose}'s content type is {kind:?} instead of application/json"));
    }
    match serde_json::from_slice(body) {
        Ok(value) => Some(value),
        Err(error) => {
            problems.push(format!("the {whose}'s body is not JSON: {error}"));
            None
        }
    }
}

fn judge_value(schema: &Validator, value: &Value, whose: &str, problems: &mut Vec<String>) {
    // The message names no values, because they may be keys.
    problems.extend(
        schema
            .iter_errors(value)
            .map(|error| format!("{whose}'s body at '{}': {}", error.instance_path(), error.masked())),
    );
}

/// Judges a value that is always text on the wire, whatever its type is.
fn judge_text(schema: &Validator, kind: &str, text: &str, what: &str, problems: &mut Vec<String>) {
    let value = match kind {
        "integer" | "number" | "boolean" => serde_json::from_str(text).unwrap_or_else(|_| text.into()),
        _ => Value::from(text),
    };
    if !schema.is_valid(&value) {
        problems.push(format!("the {what} is not what it should be: {text:?}"));
    }
}

fn resolve<'a>(document: &'a Value, reference: &str) -> Result<&'a Value> {
    let pointer = reference.strip_prefix('#').with_context(|| format!("{reference} leads elsewhere"))?;
    document.pointer(pointer).with_context(|| format!("{reference} leads nowhere"))
}

fn known(object: &Value, keys: &[&str]) -> Result<()> {
    for key in object.as_object().into_iter().flat_map(Map::keys) {
        ensure!(keys.contains(&key.as_str()), "the keyword {key} is not supported");
    }
    Ok(())
}

/// The schema of a parameter or header.
fn plain(parameter: &Value, besides: &[&str]) -> Result<Value> {
    let mut schema = parameter.as_object().context("a parameter is not an object")?.clone();
    schema.retain(|key, _| !besides.contains(&key.as_str()));
    Ok(schema.into())
}

/// Makes a validator of a schema of the description.
fn compile(document: &Value, schema: &Value, way: Way) -> Result<Validator> {
    let mut root = convert(schema, way)?;
    let mut definitions = Map::new();
    for (name, definition) in document["definitions"].as_object().into_iter().flatten() {
        definitions.insert(name.clone(), convert(definition, way).with_context(|| name.clone())?);
    }
    let members = root.as_object_mut().context("a schema is not an object")?;
    members.insert("$defs".to_owned(), definitions.into());
    jsonschema::options()
        .with_draft(Draft::Draft202012)
        .should_validate_formats(true)
        .build(&root)
        .map_err(|error| anyhow::anyhow!("the schema cannot be used: {error}"))
}

/// Converts a Swagger schema to JSON Schema.
fn convert(schema: &Value, way: Way) -> Result<Value> {
    let schema = schema.as_object().context("a schema is not an object")?;
    let mut converted = Map::new();
    let read_only = |property: &Value| property["readOnly"] == true;
    let properties = schema.get("properties").and_then(Value::as_object);
    for (key, value) in schema {
        match key.as_str() {
            "description"
            | "title"
            | "default"
            | "readOnly"
            | "example"
            | "x-ms-client-name"
            | "x-ms-client-flatten"
            | "x-ms-mutability"
            | "x-nullable"
            | "externalDocs" => {}
            // `modelAsString` says whether clients must expect further values. Here it does not matter: the emulator
            // has this exact version, and the component must not send other values.
            "x-ms-enum" => {}
            "$ref" => {
                let name = value.as_str().and_then(|it| it.strip_prefix("#/definitions/")).context("a foreign $ref")?;
                converted.insert("$ref".to_owned(), format!("#/$defs/{name}").into());
            }
            "type" => {
                // In these descriptions, `object` alone means any JSON, for example the payload of a method or the
                // value of a tag.
                let any = value == "object" && properties.is_none() && !schema.contains_key("additionalProperties");
                if !any {
                    converted.insert(key.clone(), value.clone());
                }
            }
            "enum" | "minimum" | "maximum" | "minLength" | "maxLength" | "pattern" | "minItems" | "maxItems"
            | "uniqueItems" => {
                converted.insert(key.clone(), value.clone());
            }
            "format" => match value.as_str().unwrap_or_default() {
                "int32" => {
                    converted.insert("minimum".to_owned(), i32::MIN.into());
                    converted.insert("maximum".to_owned(), i32::MAX.into());
                }
                "int64" => {
                    converted.insert("minimum".to_owned(), i64::MIN.into());
                    converted.insert("maximum".to_owned(), i64::MAX.into());
                }
                "date-time" => {
                    converted.insert(key.clone(), value.clone());
                }
                other => bail!("the format {other} is not supported"),
            },
            "required" => {
                let names = value.as_array().context("required is not a list")?.iter().filter(|name| {
                    let property = name.as_str().and_then(|name| properties?.get(name));
                    way != Way::Request || !property.is_some_and(read_only)
                });
                converted.insert(key.clone(), names.cloned().collect::<Vec<_>>().into());
            }
            "properties" => {
                let mut inner = Map::new();
                for (name, property) in properties.into_iter().flatten() {
                    let refused = way == Way::Request && read_only(property);
                    inner.insert(name.clone(), if refused { false.into() } else { convert(property, way)? });
                }
                converted.insert(key.clone(), inner.into());
            }
            "additionalProperties" => {
                let inner = if value.is_object() { convert(value, way)? } else { value.clone() };
                converted.insert(key.clone(), inner);
            }
            "items" => {
                converted.insert(key.clone(), convert(value, way)?);
            }
            other => bail!("the keyword {other} is not supported"),
        }
    }
    if properties.is_some() && !schema.contains_key("additionalProperties") && way != Way::Response {
        converted.insert("additionalProperties".to_owned(), false.into());
    }
    if schema.get("x-nullable") == Some(&Value::Bool(true)) {
        return Ok(json!({ "anyOf": [{ "type": "null" }, converted] }));
    }
    Ok(converted.into())
}

/// Tests of the judge with a small description.
mod tests {
    use super::*;

    fn shop() -> Description {
        let document = json!({
            "swagger": "2.0",
            "info": { "version": "1" },
            "paths": {
                "/things/{id}": {
                    "put": {
                        "operationId": "Put",
                        "parameters": [
                            { "$ref": "#/parameters/version" },
                            { "name": "id", "in": "path", "required": true, "type": "string", "maxLength": 4 },
                            { "name": "top", "in": "query", "type": "integer" },
                            { "name": "If-Match", "in": "header", "type": "string" },
                            { "name": "thing", "in": "body", "required": true, "schema": { "$ref": "#/definitions/Thing" } },
                        ],
                        "responses": {
                            "200": { "description": "", "schema": { "$ref": "#/definitions/Thing" }, "headers": { "x-count": { "type": "integer", "format": "int32" } } },
                            "204": { "description": "" },
                            "default": { "description": "", "schema": { "type": "object", "properties": { "code": { "type": "integer", "format": "int32" } } } },
                        },
                    },
                },
                "/things/query": {
                    "put": { "operationId": "Query", "parameters": [{ "$ref": "#/parameters/version" }], "responses": { "204": { "description": "" } } },
                },
            },
            "parameters": { "version": { "name": "api-version", "in": "query", "required": true, "type": "string" } },
            "definitions": {
                "Thing": {
                    "type": "object",
                    "required": ["kind", "made"],
                    "properties": {
                        "kind": { "type": "string", "enum": ["a", "b"], "x-ms-enum": { "name": "Kind", "modelAsString": true } },
                        "made": { "type": "string", "format": "date-time", "readOnly": true },
                        "note": { "type": "string", "x-nullable": true },
                        "size": { "type": "integer", "format": "int32" },
                        "any": { "type": "object" },
                        "labels": { "type": "object", "additionalProperties": { "type": "string" } },
                        "parts": { "type": "array", "items": { "$ref": "#/definitions/Thing" } },
                    },
                },
            },
        });
        Description::new(document, None).expect("a description")
    }

    fn headers(more: &[(&str, &str)]) -> Vec<(String, String)> {
        [("authorization", "x"), ("content-type", "application/json")]
            .iter()
            .chain(more)
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn good() -> Seen {
        Seen {
            method: "PUT".to_owned(),
            path: "/things/a%20b".to_owned(),
            query: "top=3&api-version=1".to_owned(),
            request_headers: headers(&[("if-match", "\"*\"")]),
            request_body: json!({ "kind": "a", "note": null, "size": 3, "any": [1], "labels": { "x": "y" } })
                .to_string()
                .into(),
            status: Some(200),
            response_headers: headers(&[("x-count", "3"), ("etag", "1")])[1..].to_vec(),
            response_body: json!({ "kind": "b", "made": "2026-01-01T00:00:00.1234567Z", "more": 1 }).to_string().into(),
        }
    }

    #[test]
    fn what_keeps_to_the_description_passes() {
        let verdict = shop().judge(&good());
        assert_eq!(verdict.problems, Vec::<String>::new());
        assert_eq!(verdict.operation.as_deref(), Some("Put"));
        assert_eq!(verdict.beyond.len(), 1, "{:?}", verdict.beyond);
        let failed = Seen {
            status: Some(418),
            response_headers: headers(&[])[1..].to_vec(),
            response_body: br#"{"code":1}"#.to_vec(),
            ..good()
        };
        assert_eq!(shop().judge(&failed).problems, Vec::<String>::new());
        let dropped = Seen { status: None, response_headers: Vec::new(), response_body: Vec::new(), ..good() };
        assert_eq!(shop().judge(&dropped).problems, Vec::<String>::new());
    }

    #[test]
    fn a_literal_goes_before_a_placeholder() {
        let seen = Seen {
            path: "/things/query".to_owned(),
            request_body: Vec::new(),
            query: "api-version=1".to_owned(),
            request_headers: headers(&[]),
            status: None,
            ..good()
        };
        let verdict = shop().judge(&seen);
        assert_eq!(
            (verdict.operation.as_deref(), verdict.problems.len()),
            (Some("Query"), 0),
            "{:?}",
            verdict.problems
        );
        let shop = shop();
        assert_eq!(shop.operation_of("PUT", "/things/query"), Some("Query"));
        assert_eq!(shop.operation_of("PUT", "/things/a"), Some("Put"));
        assert_eq!((shop.operation_of("GET", "/things/a"), shop.operation_of("PUT", "/things/")), (None, None));
    }

    type Doctor = fn(&mut Seen);

    #[test]
    fn each_breach_is_found() {
        let table: &[(&str, Doctor)] = &[
            ("no such operation", |it| it.path = "/thing/a".to_owned()),
            ("no such operation", |it| it.path = "/things/a/b".to_owned()),
            ("no such operation", |it| it.path = "/things/".to_owned()),
            ("no such operation", |it| it.method = "GET".to_owned()),
            ("path's id", |it| it.path = "/things/abcde".to_owned()),
            ("path's id", |it| it.path = "/things/%ff".to_owned()),
            ("api-version is missing", |it| it.query = String::new()),
            ("api-version 2 is not 1", |it| it.query = "api-version=2".to_owned()),
            ("api-version is there twice", |it| it.query = "api-version=1&api-version=1".to_owned()),
            ("query parameter more is not declared", |it| it.query = "api-version=1&more=1".to_owned()),
            ("query parameter top", |it| it.query = "api-version=1&top=many".to_owned()),
            ("header x-ms-more is not declared", |it| it.request_headers.push(("x-ms-more".to_owned(), String::new()))),
            ("header authorization is missing", |it| {
                it.request_headers.remove(0);
            }),
            ("content type", |it| it.request_headers[1].1 = "text/plain".to_owned()),
            ("body is missing", |it| it.request_body = Vec::new()),
            ("request's body is not JSON", |it| it.request_body = b"{".to_vec()),
            ("request's body at '/size'", |it| it.request_body = br#"{"kind":"a","size":"3"}"#.to_vec()),
            ("request's body at '/size'", |it| it.request_body = br#"{"kind":"a","size":2147483648}"#.to_vec()),
            ("request's body at '/kind'", |it| it.request_body = br#"{"kind":"c"}"#.to_vec()),
            ("request's body at ''", |it| it.request_body = b"{}".to_vec()),
            ("request's body at ''", |it| it.request_body = br#"{"kind":"a","more":1}"#.to_vec()),
            ("request's body at '/made'", |it| {
                it.request_body = br#"{"kind":"a","made":"2026-01-01T00:00:00Z"}"#.to_vec()
            }),
            ("request's body at '/size'", |it| it.request_body = br#"{"kind":"a","size":null}"#.to_vec()),
            ("request's body at '/labels/x'", |it| it.request_body = br#"{"kind":"a","labels":{"x":1}}"#.to_vec()),
            ("request's body at '/parts/0/kind'", |it| {
                it.request_body = br#"{"kind":"a","parts":[{"kind":1}]}"#.to_vec()
            }),
            ("the status 201 is not declared", |it| it.status = Some(201)),
            ("answer has a body, and none is declared", |it| {
                it.status = Some(204);
                it.response_headers.clear();
            }),
            ("answer's header x-ms-more is not declared", |it| {
                it.response_headers.push(("x-ms-more".to_owned(), String::new()))
            }),
            ("answer's header x-count", |it| it.response_headers[1].1 = "three".to_owned()),
            ("answer's content type", |it| it.response_headers[0].1 = "text/html".to_owned()),
            ("answer's body at ''", |it| it.response_body = br#"{"kind":"a"}"#.to_vec()),
            ("answer's body at '/made'", |it| it.response_body = br#"{"kind":"a","made":"yesterday"}"#.to_vec()),
            ("answer's body is not JSON", |it| it.response_body = b"<html>".to_vec()),
        ];
        let shop = shop();
        for (expected, doctor) in table {
            let mut seen = good();
            doctor(&mut seen);
            let problems = shop.judge(&seen).problems;
            assert!(
                !problems.is_empty() && problems.iter().all(|it| it.contains(expected)),
                "{expected}: {problems:?}"
            );
        }
    }

    #[test]
    fn what_is_not_understood_is_not_passed_over() {
        for schema in
            [json!({ "allOf": [] }), json!({ "type": "string", "format": "uuid" }), json!({ "discriminator": "kind" })]
        {
            assert!(convert(&schema, Way::Request).is_err(), "{schema}");
        }
    }
}
