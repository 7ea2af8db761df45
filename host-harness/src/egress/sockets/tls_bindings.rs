//! The traits of `workflow:connector-host/tls`, generated from its definition.

#![allow(missing_docs, reason = "generated from the definition, which is documented")]

wasmtime::component::bindgen!({
    inline: "
        package host:tls;
        world tls {
            import workflow:connector-host/tls@0.1.0;
        }
    ",
    path: "../wit",
    world: "host:tls/tls",
    imports: { default: trappable },
    require_store_data_send: true,
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "workflow:connector-host/tls.connection": super::tls_connection::Connection,
    },
});
