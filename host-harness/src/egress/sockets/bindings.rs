//! The traits of `wasi:sockets`, generated from its definition.

wasmtime::component::bindgen!({
    inline: "
        package host:sockets;
        world sockets {
            import wasi:sockets/tcp@0.2.12;
            import wasi:sockets/tcp-create-socket@0.2.12;
            import wasi:sockets/udp-create-socket@0.2.12;
            import wasi:sockets/ip-name-lookup@0.2.12;
        }
    ",
    path: "../wit",
    world: "host:sockets/sockets",
    imports: { default: trappable },
    require_store_data_send: true,
    with: {
        "wasi:io": wasmtime_wasi::p2::bindings::io,
        "wasi:clocks": wasmtime_wasi::p2::bindings::clocks,
        "wasi:sockets/network": wasmtime_wasi::p2::bindings::sockets::network,
        "wasi:sockets/udp": wasmtime_wasi::p2::bindings::sockets::udp,
        "wasi:sockets/tcp.tcp-socket": super::socket::TcpSocket,
        "wasi:sockets/ip-name-lookup.resolve-address-stream": super::lookup::Lookup,
    },
});
