//! How automatic device configurations are created and changed.

use serde_json::json;

use super::registry::Hub;
use crate::clock::now;
use crate::error::{ErrorCode, ServiceError};
use crate::etag;
use crate::etag::{Precondition, Write};
use crate::journal::ChangeKind;
use crate::records::configuration::{Configuration, ConfigurationBody, Content, check, not_found};

const MAX_CONFIGURATIONS: usize = 100;

impl Hub {
    /// Creates or updates a configuration. The id and content cannot be changed.
    pub(crate) fn put_configuration(
        &mut self,
        id: &str,
        mut body: ConfigurationBody,
        precondition: &Precondition,
    ) -> Result<Write, ServiceError> {
        check(id, &body)?;
        body.id = Some(id.to_owned());
        let existing = self.configurations.get(id);
        let write = precondition.decide(
            existing.map(|configuration| configuration.etag.as_str()),
            || {
                ServiceError::new(
                    ErrorCode::CONFIGURATION_ALREADY_EXISTS,
                    format!("Configuration {id} already exists. Use an If-Match header to update it"),
                )
            },
            || not_found(id),
        )?;
        let now = now();
        let mut created = now;
        if let Some(existing) = existing {
            created = existing.created;
            let old = existing.body.content.clone().unwrap_or_default();
            if body.content.as_ref().is_some_and(|content| !content.is_empty() && *content != old) {
                return Err(ServiceError::new(
                    ErrorCode::IMMUTABLE_CONFIGURATION_CONTENT,
                    "the content of a configuration cannot be changed",
                ));
            }
            body.content = Some(old);
        } else {
            if body.content.as_ref().is_none_or(Content::is_empty) {
                return Err(ServiceError::new(
                    ErrorCode::INVALID_CONFIGURATION_CONTENT,
                    "a configuration needs deviceContent, moduleContent or modulesContent",
                ));
            }
            if self.configurations.len() >= MAX_CONFIGURATIONS {
                return Err(ServiceError::new(
                    ErrorCode::CONFIGURATION_COUNT_EXCEEDED,
                    format!("a hub may have no more than {MAX_CONFIGURATIONS} configurations"),
                ));
            }
        }
        let etag = etag::fresh();
        let kind = match write {
            Write::Create => ChangeKind::ConfigurationCreated,
            Write::Update => ChangeKind::ConfigurationUpdated,
        };
        let detail = json!({ "targetCondition": body.target_condition, "priority": body.priority });
        self.journal.append(kind, id, Some(&etag), detail);
        self.configurations.insert(id, Configuration { body, created, updated: now, etag });
        Ok(write)
    }
}
