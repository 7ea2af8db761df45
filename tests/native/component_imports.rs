//! What the two built files of the component import. The one that leaves TLS to its host can open no socket by itself.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use wasmparser::{Parser, Payload};

/// The folder of the built files: that of `CONNECTOR_COMPONENT`, or else the one that `cargo xtask build` fills.
fn folder() -> PathBuf {
    let named = std::env::var_os("CONNECTOR_COMPONENT").map(PathBuf::from);
    let folder = named.as_deref().and_then(Path::parent).map(Path::to_owned);
    folder.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/component"))
}

/// The names of all that a file imports.
fn imports(file: &str) -> Result<Vec<String>> {
    let path = folder().join(file);
    let bytes = fs::read(&path).with_context(|| format!("{}: run `cargo xtask build`", path.display()))?;
    ensure!(Parser::is_component(&bytes), "{file} is no component");
    let mut names = Vec::new();
    // Nested components and modules import from the outermost one alone.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(&bytes) {
        match payload? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    names.push(import?.name.name.to_owned());
                }
            }
            _ => {}
        }
    }
    Ok(names)
}

/// The imports that are neither WASI's nor the types of the connector's own interface, which have no functions.
fn beyond_wasi(names: &[String]) -> Vec<&str> {
    let known = |name: &&str| name.starts_with("wasi:") || name.starts_with("workflow:connector/types@");
    names.iter().map(String::as_str).filter(|name| !known(name)).collect()
}

/// The imports from one package, without their versions.
fn of<'a>(package: &str, names: &'a [String]) -> Vec<&'a str> {
    names.iter().filter_map(|name| name.strip_prefix(package)?.split('@').next()).collect()
}

#[test]
fn the_file_for_every_host_imports_wasi_alone() -> Result<()> {
    let names = imports("azure_iot_connector.wasm")?;
    assert_eq!(beyond_wasi(&names), [""; 0]);
    assert!(of("wasi:sockets/", &names).contains(&"tcp"), "it speaks AMQP over its own sockets: {names:?}");
    Ok(())
}

#[test]
fn the_file_that_leaves_tls_to_its_host_imports_no_sockets() -> Result<()> {
    let names = imports("azure_iot_connector_host_tls.wasm")?;
    assert_eq!(of("wasi:sockets/", &names), [""; 0], "plain text could leave by them");
    assert_eq!(beyond_wasi(&names), ["workflow:connector-host/tls@0.1.0"]);
    Ok(())
}
