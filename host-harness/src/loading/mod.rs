//! Turns the bytes of a component into a connector that can be called: the engine, interface versions, and the cache of
//! machine code.

mod cache;
mod host;
mod version;

pub use host::Host;
