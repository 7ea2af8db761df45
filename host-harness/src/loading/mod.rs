//! From the bytes of a component to a connector that can be called: the engine, versions, the cache of machine code.

mod cache;
mod host;
mod version;

pub use host::Host;
