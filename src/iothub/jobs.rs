//! Jobs: those that are scheduled for many devices, and those that import or export the registry.

use serde_json::Value;

use super::IotHub;
use crate::auth::Permission;
use crate::error::Result;
use crate::http::{Page, Request, Response, Safety};
use crate::json;
use crate::platform::Method;
use crate::quoted::shown;
use crate::secret::without_secrets;

/// The members that hold the address of a container, and with it a key to the container.
pub const CONTAINERS: [&str; 2] = ["inputBlobContainerUri", "outputBlobContainerUri"];
impl IotHub<'_> {
    /// A scheduled job.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn scheduled_job(&self, id: &str) -> Result<Value> {
        let request = Request::new(Method::Get, ["jobs", "v2", id], Safety::Read, Permission::ServiceConnect);
        Ok(without_nulls(self.document(&request)?.document))
    }

    /// One page of the scheduled jobs that have these parameters. A parameter without a value is left out.
    ///
    /// # Errors
    /// `invalid-input` where the hub does not know the continuation, and the errors of the service.
    pub fn scheduled_jobs(
        &self,
        parameters: [(&'static str, Option<&str>); 2],
        page_size: u32,
        continuation: Option<&str>,
    ) -> Result<Page> {
        let mut request = Request::new(Method::Get, ["jobs", "v2", "query"], Safety::Read, Permission::ServiceConnect);
        for (name, value) in parameters {
            if let Some(value) = value {
                request = request.query(name, value);
            }
        }
        let mut page = page(&self.send(&Page::asked(request, page_size, continuation))?)?;
        page.items = page.items.into_iter().map(without_nulls).collect();
        Ok(page)
    }

    /// An import or export job, without the keys to its containers.
    ///
    /// # Errors
    /// `not-found`, and the errors of the service.
    pub fn transfer_job(&self, id: &str) -> Result<Value> {
        let request = Request::new(Method::Get, ["jobs", id], Safety::Read, Permission::RegistryWrite);
        Ok(without_container_keys(self.document(&request)?.document))
    }

    /// All import and export jobs, without the keys to their containers. The API has no pages for them.
    ///
    /// # Errors
    /// The errors of the service.
    pub fn transfer_jobs(&self) -> Result<Vec<Value>> {
        let request = Request::new(Method::Get, ["jobs"], Safety::Read, Permission::RegistryWrite);
        Ok(self.page(&request)?.items.into_iter().map(without_container_keys).collect())
    }
}

/// Reads a page of jobs. By the description it is an object with `items` and `continuationToken`; Microsoft's .NET client
/// reads a list and the header `x-ms-continuation`.
fn page(response: &Response) -> Result<Page> {
    let mut body = response.json()?;
    if body.is_array() {
        return Page::from_response(response);
    }
    let Value::Array(items) = json::take(&mut body, "items") else {
        return Err(response.unexpected("a list of jobs"));
    };
    let token = body.get("continuationToken").and_then(Value::as_str).or_else(|| response.header("x-ms-continuation"));
    Ok(Page { items, continuation: token.filter(|token| !token.is_empty()).map(str::to_owned) })
}

/// The job without the keys to its containers.
pub fn without_container_keys(mut job: Value) -> Value {
    for name in CONTAINERS {
        if let Some(uri) = job.get_mut(name) {
            *uri = uri.as_str().map(without_secrets).map_or(Value::Null, Value::from);
        }
    }
    if let Some(reason) = job.get_mut("failureReason")
        && let Some(text) = reason.as_str()
    {
        *reason = shown(text).into();
    }
    without_nulls(job)
}

/// A job or a result without its nulls: the service may write null for what does not apply, and the schema of the output
/// has no nulls.
pub fn without_nulls(mut record: Value) -> Value {
    if let Some(members) = record.as_object_mut() {
        members.retain(|_, value| !value.is_null());
    }
    record
}
