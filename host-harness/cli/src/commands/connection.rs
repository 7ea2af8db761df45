//! The linked account, from a file, the environment or a prompt.

use std::env;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use connector_host::Connection;
use connector_host::interface::metadata::Descriptor;
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::files;

/// The environment variable that can hold a connection, as JSON.
const VARIABLE: &str = "CONNECTOR_CONNECTION";

/// Where the connection is read from.
pub(crate) enum Source {
    File(PathBuf),
    Environment,
}

impl Source {
    /// The file if one was named, otherwise the environment variable if it is set.
    pub(crate) fn find(file: Option<&Path>) -> Option<Self> {
        match file {
            Some(path) => Some(Self::File(path.to_owned())),
            None => env::var_os(VARIABLE).map(|_| Self::Environment),
        }
    }

    /// Reads the connection as a JSON object. The values in it are not checked.
    pub(crate) fn read(&self) -> Result<Raw> {
        let raw = match self {
            Self::File(path) => {
                warn_if_others_can_read(path);
                let text = Zeroizing::new(files::read_text(path)?);
                parse(&text, path.extension().is_some_and(|extension| extension == "toml"))
                    .with_context(|| format!("{} does not hold a connection", path.display()))?
            }
            Self::Environment => {
                let text =
                    Zeroizing::new(env::var(VARIABLE).with_context(|| format!("{VARIABLE} is not valid UTF-8"))?);
                parse(&text, false).with_context(|| format!("{VARIABLE} does not hold a connection"))?
            }
        };
        Ok(Raw(raw))
    }
}

/// A connection that may lack secrets.
pub(crate) struct Raw(Map<String, Value>);

impl Raw {
    /// Asks for the missing secrets if standard input and standard error are a terminal.
    pub(crate) fn complete(mut self, descriptor: &Descriptor) -> Result<Connection> {
        if std::io::stdin().is_terminal() && std::io::stderr().is_terminal() {
            for (field, title) in missing_secrets(&self.0, descriptor) {
                let secret = rpassword::prompt_password(format!("{title}: "))
                    .with_context(|| format!("`{field}` could not be read from the terminal"))?;
                if let Some(values) = self.0.get_mut("values").and_then(Value::as_object_mut) {
                    values.insert(field, Value::String(secret));
                }
            }
        }
        serde_json::from_value(Value::Object(self.0))
            .context("a connection is {\"authProfile\": \"...\", \"values\": {...}}")
    }
}

/// The secret fields that the chosen profile requires and the connection lacks: the name and the title of each.
fn missing_secrets(raw: &Map<String, Value>, descriptor: &Descriptor) -> Vec<(String, String)> {
    let chosen = raw.get("authProfile").or_else(|| raw.get("auth-profile")).and_then(Value::as_str);
    let schema = descriptor
        .auth_profiles
        .iter()
        .find(|profile| Some(profile.id.as_str()) == chosen)
        .and_then(|profile| serde_json::from_str::<Value>(&profile.schema).ok());
    let (Some(schema), Some(values)) = (schema, raw.get("values").and_then(Value::as_object)) else {
        return Vec::new();
    };
    let required = schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str);
    required
        .filter(|field| !values.contains_key(*field))
        .filter(|field| schema["properties"][*field]["writeOnly"] == Value::Bool(true))
        .map(|field| {
            let title = schema["properties"][field]["title"].as_str().unwrap_or(field);
            (field.to_owned(), title.to_owned())
        })
        .collect()
}

/// Parses a connection. Errors state only the position, because the parsers' own messages quote the text, and the text
/// may contain a key.
fn parse(text: &str, is_toml: bool) -> Result<Map<String, Value>> {
    let parsed = if is_toml {
        toml::from_str(text).map_err(|error| match error.span() {
            Some(span) => {
                let line = text[..span.start.min(text.len())].lines().count().max(1);
                anyhow::anyhow!("there is an error in the TOML at line {line}")
            }
            None => anyhow::anyhow!("there is an error in the TOML"),
        })?
    } else {
        serde_json::from_str(text).map_err(|error| {
            anyhow::anyhow!("there is an error in the JSON at line {}, column {}", error.line(), error.column())
        })?
    };
    match parsed {
        Value::Object(map) => Ok(map),
        _ => bail!("the text is not a JSON object"),
    }
}

#[cfg(unix)]
fn warn_if_others_can_read(path: &Path) {
    use std::os::unix::fs::PermissionsExt as _;

    let mode = path.metadata().map(|metadata| metadata.permissions().mode()).unwrap_or(0);
    if mode & 0o004 != 0 {
        tracing::warn!("everybody on this machine can read {0}; run `chmod 600 {0}`", path.display());
    }
}

#[cfg(not(unix))]
fn warn_if_others_can_read(_path: &Path) {}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn reads_json_and_toml_alike() {
        let json = parse(r#"{"authProfile":"sas","values":{"key":"k"}}"#, false).unwrap();
        let toml = parse("authProfile = 'sas'\n[values]\nkey = 'k'\n", true).unwrap();
        assert_eq!(json, toml);
    }

    #[test]
    fn an_error_does_not_quote_the_file() {
        for (text, is_toml) in
            [(r#"{"key": hunter2}"#, false), ("a = 'b'\nkey = hunter2", true), ("\"hunter2\"", false)]
        {
            let error = format!("{:#}", parse(text, is_toml).unwrap_err());
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
