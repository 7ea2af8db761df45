//! What the HTTP APIs share: who may call an operation, how a request is read, and how an answer is written.

pub(crate) mod answer;
pub(crate) mod error_body;
pub(crate) mod guard;
pub(crate) mod request;
pub(crate) mod routes;
