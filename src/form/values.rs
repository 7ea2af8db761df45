//! Reads the members of an input that was checked against the operation's schema.

use serde_json::Value;

use crate::dps::RegistrationId;
use crate::error::Result;
use crate::http::IfMatch;
use crate::iothub::{ConfigurationId, DeviceId, ModuleId, TwinId};

/// An input, or a trigger's configuration, that fits the operation's schema.
#[derive(Clone, Debug)]
pub struct Input(Value);

impl Input {
    /// The input with this value, which must have been checked.
    pub fn new(value: Value) -> Self {
        Self(value)
    }

    /// The whole input.
    pub fn document(&self) -> &Value {
        &self.0
    }

    /// The member with this name, if the input has it.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name)
    }

    /// A text, if the input has it.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    /// A text that the schema requires.
    pub fn required_text(&self, name: &str) -> &str {
        self.text(name).unwrap_or_default()
    }

    /// Whether a member is true. An absent member is false.
    pub fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// A whole number that is not negative, if the input has it.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.get(name).and_then(Value::as_u64)
    }

    /// The items of a list. An absent list is empty.
    pub fn items(&self, name: &str) -> &[Value] {
        self.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    /// The device in the member `deviceId`.
    ///
    /// # Errors
    /// `invalid-input` where the text is not a device's id.
    pub fn device(&self) -> Result<DeviceId> {
        DeviceId::parse(self.required_text("deviceId"), "/deviceId")
    }

    /// The module in the member `moduleId`.
    ///
    /// # Errors
    /// `invalid-input` where the text is not a module's id.
    pub fn module(&self) -> Result<ModuleId> {
        ModuleId::parse(self.required_text("moduleId"), "/moduleId")
    }

    /// The module in the member `moduleId`, if the input has one.
    ///
    /// # Errors
    /// `invalid-input` where the text is not a module's id.
    pub fn stated_module(&self) -> Result<Option<ModuleId>> {
        self.text("moduleId").map(|_| self.module()).transpose()
    }

    /// The condition in the member `etag`, if the input has one.
    ///
    /// # Errors
    /// `invalid-input` where the text is not an ETag.
    pub fn stated_etag(&self) -> Result<Option<IfMatch>> {
        self.text("etag").map(|_| self.if_match()).transpose()
    }

    /// The owner of a twin: the device in the member `deviceId`, or its module in the member `moduleId`.
    ///
    /// # Errors
    /// `invalid-input` where a text is not an id.
    pub fn twin(&self) -> Result<TwinId> {
        let module = self.get("moduleId").map(|_| self.module()).transpose()?;
        Ok(TwinId { device: self.device()?, module })
    }

    /// The enrollment or registration in the member `registrationId`.
    ///
    /// # Errors
    /// `invalid-input` where the text is not a registration's id.
    pub fn registration(&self) -> Result<RegistrationId> {
        RegistrationId::parse(self.required_text("registrationId"), "/registrationId")
    }

    /// The enrollment group in the member `enrollmentGroupId`.
    ///
    /// # Errors
    /// `invalid-input` where the text is not an enrollment group's id.
    pub fn enrollment_group(&self) -> Result<RegistrationId> {
        RegistrationId::parse(self.required_text("enrollmentGroupId"), "/enrollmentGroupId")
    }

    /// The configuration in the member `configurationId`.
    ///
    /// # Errors
    /// `invalid-input` where the text is not a configuration's id.
    pub fn configuration(&self) -> Result<ConfigurationId> {
        ConfigurationId::parse(self.required_text("configurationId"), "/configurationId")
    }

    /// The condition in the member `etag`, if the input has it.
    ///
    /// # Errors
    /// `invalid-input` where the text is not an ETag.
    pub fn stated_if_match(&self) -> Result<Option<IfMatch>> {
        self.text("etag").map(|etag| IfMatch::from_input(Some(etag), "/etag")).transpose()
    }

    /// The condition in the member `etag`.
    ///
    /// # Errors
    /// `invalid-input` where the text is not an ETag.
    pub fn if_match(&self) -> Result<IfMatch> {
        IfMatch::from_input(self.text("etag"), "/etag")
    }
}
