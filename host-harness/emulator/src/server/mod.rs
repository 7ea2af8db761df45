//! The HTTPS listeners, and what happens to every exchange before and after its handler: body limits, faults, the form of
//! errors, common headers, the traffic record.

mod exchange;
mod finish;
mod listener;
mod misbehaviour;
mod paths;
mod site;

pub(crate) use listener::serve;
pub(crate) use site::Site;
