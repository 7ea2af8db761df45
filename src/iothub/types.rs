//! Ids of IoT Hub.

use crate::error::{Error, Result};
use crate::http::PathId;

/// The id of a device: 1 to 128 ASCII letters, digits and the special characters of the article "Identity registry".
/// Case matters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceId(String);

impl DeviceId {
    /// The rule as a regular expression.
    pub const PATTERN: &'static str = r"^[A-Za-z0-9\-:.+%_#*?!(),=@;$']{1,128}$";

    /// Reads an id.
    ///
    /// # Errors
    /// `invalid-input` at `pointer`.
    pub fn parse(text: &str, pointer: &str) -> Result<Self> {
        let sign = |b: u8| b.is_ascii_alphanumeric() || b"-:.+%_#*?!(),=@;$'".contains(&b);
        // The registry may accept such an id. But in a path it would lead to another resource: all devices at once.
        if matches!(text, "." | "..") {
            return Err(Error::field(
                pointer,
                "not-addressable",
                "is an id that cannot be used in a path of the service's API",
            ));
        }
        if (1..=128).contains(&text.len()) && text.bytes().all(sign) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::field(
                pointer,
                "characters",
                "is not a device id: 1 to 128 ASCII letters, digits and - : . + % _ # * ? ! ( ) , = @ ; $ '",
            ))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl PathId for DeviceId {
    fn as_str(&self) -> &str {
        &self.0
    }
}

/// The id of a module, with the same rule as for devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleId(String);

impl ModuleId {
    /// Reads an id.
    ///
    /// # Errors
    /// `invalid-input` at `pointer`.
    pub fn parse(text: &str, pointer: &str) -> Result<Self> {
        DeviceId::parse(text, pointer).map(|id| Self(id.0))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whose identity is meant: a device, or one of its modules.
#[derive(Clone, Copy, Debug)]
pub struct Identity<'i> {
    /// The device.
    pub device: &'i DeviceId,
    /// The device's module; none for the device itself.
    pub module: Option<&'i ModuleId>,
}

impl<'i> Identity<'i> {
    /// A device's own identity.
    pub fn of_device(device: &'i DeviceId) -> Self {
        Self { device, module: None }
    }

    /// The segments of the identity's path in the API, which are also those of the resource of its tokens.
    pub fn segments(self) -> Vec<&'i str> {
        match self.module {
            None => vec!["devices", self.device.as_str()],
            Some(module) => vec!["devices", self.device.as_str(), "modules", module.as_str()],
        }
    }
}

/// The owner of a twin: a device, or one of its modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TwinId {
    /// The device.
    pub device: DeviceId,
    /// One of the device's modules; none for the device itself.
    pub module: Option<ModuleId>,
}

impl TwinId {
    /// The segments of the twin's path, followed by `more`.
    pub fn segments<'s>(&'s self, more: &[&'s str]) -> Vec<&'s str> {
        let module = self.module.as_ref().map(|module| ["modules", module.as_str()]);
        let own = ["twins", self.device.as_str()].into_iter().chain(module.into_iter().flatten());
        own.chain(more.iter().copied()).collect()
    }
}

/// The id of an automatic configuration: 1 to 128 lower-case ASCII letters, digits and `-+%_*!'` (the C# SDK's
/// `Configuration.Id`). Case matters, and there is no upper case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigurationId(String);

impl ConfigurationId {
    /// The rule as a regular expression.
    pub const PATTERN: &'static str = r"^[a-z0-9\-+%_*!']{1,128}$";
    /// The rule in words.
    pub const RULE: &'static str = "must have 1 to 128 lower-case ASCII letters, digits and - + % _ * ! '";

    /// Reads an id.
    ///
    /// # Errors
    /// `invalid-input` at `pointer`.
    pub fn parse(text: &str, pointer: &str) -> Result<Self> {
        let sign = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-+%_*!'".contains(&b);
        if (1..=128).contains(&text.len()) && text.bytes().all(sign) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Error::field(pointer, "characters", Self::RULE))
        }
    }
}

impl PathId for ConfigurationId {
    fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_that_would_lead_elsewhere_are_refused() {
        for text in ["", ".", "..", "a/b", "a b", "a\n", "ä", &"a".repeat(129), "a\"b", "a\\b", "<x>"] {
            assert!(DeviceId::parse(text, "/deviceId").is_err(), "{text:?}");
        }
        for text in ["d1", "d 1".replace(' ', "-").as_str(), "d%1#?", "a:b;c", "...", &"a".repeat(128)] {
            assert!(DeviceId::parse(text, "/deviceId").is_ok(), "{text:?}");
        }
    }
}
