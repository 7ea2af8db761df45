//! TLS against rustls' own server, in memory.
