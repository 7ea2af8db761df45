//! Forms of accounts, configurations and inputs. One list of fields gives both the declared schema and the checks.

use serde_json::{Map, Value, json};

use crate::{Connector, Error, ErrorCode, FieldProblem, Retry, Severity, error};

/// The values of a form.
pub type Values = Map<String, Value>;

/// A field of a form.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field's name in the JSON object.
    pub name: &'static str,
    /// The title that a person sees.
    pub title: &'static str,
    /// Help for a person who looks for the value, in Markdown.
    pub help: &'static str,
    /// Whether the field must have a value.
    pub required: bool,
    /// The kind of value.
    pub kind: Kind,
}

/// The kinds of values that a field can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text that is not empty. The string is an example.
    Text(&'static str),
    /// A text that must not be shown, for example a key.
    Secret,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Any JSON value.
    Any,
}

impl Field {
    /// A field that must have a value.
    pub const fn required(name: &'static str, title: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, title, help, required: true, kind }
    }

    /// A field that may be left out.
    pub const fn optional(name: &'static str, title: &'static str, kind: Kind, help: &'static str) -> Self {
        Self { name, title, help, required: false, kind }
    }

    fn schema(&self) -> Value {
        let mut schema = json!({ "title": self.title, "x-help": self.help });
        let kind = match self.kind {
            Kind::Text(example) => json!({ "type": "string", "minLength": 1, "examples": [example] }),
            Kind::Secret => json!({ "type": "string", "minLength": 1, "writeOnly": true }),
            Kind::OneOf(words) => json!({ "enum": words }),
            Kind::Any => json!({}),
        };
        if let (Value::Object(schema), Value::Object(kind)) = (&mut schema, kind) {
            schema.extend(kind);
        }
        schema
    }

    fn problem(&self, value: &Value) -> Option<String> {
        match (self.kind, value.as_str()) {
            (Kind::Any, _) => None,
            (Kind::Text(_) | Kind::Secret, Some(text)) if !text.is_empty() => None,
            (Kind::Text(_) | Kind::Secret, _) => Some("must be a text that is not empty".to_owned()),
            (Kind::OneOf(words), Some(text)) if words.contains(&text) => None,
            (Kind::OneOf(words), _) => Some(format!("must be one of {}", words.join(", "))),
        }
    }
}

/// The form of the operation with this id.
pub fn of<C: Connector>(id: &str) -> Option<&'static [Field]> {
    C::FORMS.iter().find(|(name, _)| *name == id).map(|(_, form)| *form)
}

/// The JSON Schema of a form.
pub fn schema(form: &[Field]) -> Value {
    let properties: Values = form.iter().map(|field| (field.name.to_owned(), field.schema())).collect();
    let required: Vec<_> = form.iter().filter(|field| field.required).map(|field| field.name).collect();
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

/// A problem of a field.
pub fn problem(pointer: &str, code: &str, message: &str) -> FieldProblem {
    let (pointer, code, message) = (pointer.to_owned(), code.to_owned(), message.to_owned());
    FieldProblem { pointer, code, message, fix: None, severity: Severity::Error }
}

/// Reads a form: its values, and all problems. A member that is null counts as left out.
pub fn read(form: &[Field], text: &str) -> (Values, Vec<FieldProblem>) {
    let Ok(Value::Object(mut values)) = serde_json::from_str(text) else {
        return (Values::new(), vec![problem("", "not-an-object", "must be a JSON object")]);
    };
    values.retain(|_, value| !value.is_null());
    let mut problems = Vec::new();
    for (name, value) in &values {
        let pointer = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
        match form.iter().find(|field| field.name == name) {
            None => problems.push(problem(&pointer, "unknown", "is not a field of this form")),
            Some(field) => {
                problems.extend(field.problem(value).map(|message| problem(&pointer, "unfit", &message)));
            }
        }
    }
    for field in form.iter().filter(|field| field.required && !values.contains_key(field.name)) {
        problems.push(problem(&format!("/{}", field.name), "missing", "is missing"));
    }
    (values, problems)
}

/// Reads a form: its values, or one error with all problems.
pub fn check(form: &[Field], text: &str, code: ErrorCode) -> Result<Values, Error> {
    let (values, fields) = read(form, text);
    match fields.first() {
        None => Ok(values),
        Some(first) => {
            let message = format!("{} {}.", first.pointer, first.message);
            Err(Error { fields, ..error(code, Retry::Never, message.trim_start()) })
        }
    }
}

/// The text of a field, or an empty one if the field was left out.
pub fn text<'a>(values: &'a Values, name: &str) -> &'a str {
    values.get(name).and_then(Value::as_str).unwrap_or_default()
}
