//! Determines which version of the interface a component was built on, and what it needs of the host beyond WASI, from
//! its bytes and before anything is compiled.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};
use wasmparser::{Parser, Payload};

use crate::call::exports::{LIFECYCLE_SINCE, PACKAGE, export_name};
use crate::error::LoadError;

/// The interfaces that a connector must export in every version.
const INTERFACES: [&str; 5] = ["metadata", "connection", "discovery", "trigger", "action"];

/// The package of what a host may offer beyond WASI.
const HOST_PACKAGE: &str = "workflow:connector-host/";

/// TLS by the host, in the versions that this host knows.
const TLS: &str = "tls@0.1.";

/// The interfaces that a connector of this version must export.
fn interfaces(version: &Version) -> impl Iterator<Item = &'static str> {
    INTERFACES.into_iter().chain((*version >= LIFECYCLE_SINCE).then_some("lifecycle"))
}

/// The newest version that `accepted` allows and of which the component exports every interface. `offers_tls`: whether
/// the host offers to do TLS.
///
/// # Errors
///
/// [`LoadError::NotAComponent`], [`LoadError::NotAConnector`], [`LoadError::InterfaceVersion`],
/// [`LoadError::MissingInterface`] and [`LoadError::HostInterface`].
pub(crate) fn negotiate(wasm: &[u8], accepted: &VersionReq, offers_tls: bool) -> Result<Version, LoadError> {
    let Outline { exported, needed } = outline(wasm)?;
    if exported.is_empty() {
        return Err(LoadError::NotAConnector);
    }
    let Some((version, found)) = exported.iter().rev().find(|(version, _)| accepted.matches(version)) else {
        return Err(LoadError::InterfaceVersion {
            exported: exported.into_keys().collect(),
            accepted: accepted.clone(),
        });
    };
    if let Some(name) = interfaces(version).find(|name| !found.contains(*name)) {
        return Err(LoadError::MissingInterface(export_name(name, version)));
    }
    match needed.into_iter().find(|name| !(offers_tls && name.starts_with(TLS))) {
        Some(name) => Err(LoadError::HostInterface(format!("{HOST_PACKAGE}{name}"))),
        None => Ok(version.clone()),
    }
}

/// What a component exports and imports, as far as it decides whether the host can load it.
#[derive(Default)]
struct Outline {
    exported: BTreeMap<Version, BTreeSet<String>>,
    /// The imported interfaces of [`HOST_PACKAGE`], with their versions.
    needed: BTreeSet<String>,
}

fn outline(wasm: &[u8]) -> Result<Outline, LoadError> {
    let malformed = |error: wasmparser::BinaryReaderError| LoadError::NotAComponent(error.to_string());
    if !Parser::is_component(wasm) {
        return Err(LoadError::NotAComponent("this is no WebAssembly component".to_owned()));
    }
    let mut found = Outline::default();
    // Components and modules can be nested; only the names of the outermost component count.
    let mut depth = 0_u32;
    for payload in Parser::new(0).parse_all(wasm) {
        match payload.map_err(malformed)? {
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => depth += 1,
            Payload::End(_) => depth = depth.saturating_sub(1),
            Payload::ComponentExportSection(section) if depth == 0 => {
                for export in section {
                    let name = export.map_err(malformed)?.name.name;
                    let Some((interface, version)) = name.strip_prefix(PACKAGE).and_then(|rest| rest.split_once('@'))
                    else {
                        continue;
                    };
                    if let Ok(version) = version.parse::<Version>() {
                        found.exported.entry(version).or_default().insert(interface.to_owned());
                    }
                }
            }
            Payload::ComponentImportSection(section) if depth == 0 => {
                for import in section {
                    let name = import.map_err(malformed)?.name.name;
                    found.needed.extend(name.strip_prefix(HOST_PACKAGE).map(str::to_owned));
                }
            }
            _ => {}
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(version: &str, interfaces: &[&str]) -> Vec<u8> {
        let exports: String = interfaces
            .iter()
            .map(|name| format!("(instance $i{name}) (export \"{PACKAGE}{name}@{version}\" (instance $i{name}))"))
            .collect();
        wat::parse_str(format!("(component {exports} (core module (func)))")).unwrap()
    }

    fn accepted() -> VersionReq {
        ">=0.1.0, <0.3.0".parse().unwrap()
    }

    #[test]
    fn finds_the_version() {
        let version = negotiate(&component("0.1.7", &INTERFACES), &accepted(), true).unwrap();
        assert_eq!(version.to_string(), "0.1.7");
        let current: Vec<_> = interfaces(&LIFECYCLE_SINCE).collect();
        let version = negotiate(&component("0.2.0", &current), &accepted(), true).unwrap();
        assert_eq!(version.to_string(), "0.2.0");
    }

    #[test]
    fn a_version_needs_its_own_interfaces_and_no_younger_ones() {
        assert!(negotiate(&component("0.1.0", &INTERFACES), &accepted(), true).is_ok());
        let error = negotiate(&component("0.2.0", &INTERFACES), &accepted(), true).unwrap_err();
        assert!(matches!(&error, LoadError::MissingInterface(name) if name.contains("lifecycle@0.2.0")), "{error}");
    }

    #[test]
    fn names_both_sides_of_a_mismatch() {
        let error = negotiate(&component("0.3.0", &INTERFACES), &accepted(), true).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("0.3.0") && text.contains(">=0.1.0, <0.3.0"), "{text}");
    }

    #[test]
    fn what_the_host_does_not_offer_is_named_before_compiling() {
        let exports: String = interfaces(&LIFECYCLE_SINCE)
            .map(|name| format!("(instance $i{name}) (export \"{PACKAGE}{name}@0.2.0\" (instance $i{name}))"))
            .collect();
        let importing = |name: &str| {
            let import = format!("(import \"{HOST_PACKAGE}{name}\" (instance))");
            wat::parse_str(format!("(component {import} {exports})")).unwrap()
        };
        let known = importing("tls@0.1.3");
        assert_eq!(negotiate(&known, &accepted(), true).unwrap(), LIFECYCLE_SINCE);
        for (wasm, offers_tls, name) in [
            (known, false, "tls@0.1.3"),
            (importing("tls@0.2.0"), true, "tls@0.2.0"),
            (importing("files@0.1.0"), true, "files@0.1.0"),
        ] {
            let error = negotiate(&wasm, &accepted(), offers_tls).unwrap_err();
            assert!(matches!(&error, LoadError::HostInterface(needed) if needed.ends_with(name)), "{error}");
            assert!(error.to_string().contains("does not offer"), "{error}");
        }
    }

    #[test]
    fn refuses_what_is_no_connector() {
        let module = wat::parse_str("(module)").unwrap();
        assert!(matches!(negotiate(&module, &accepted(), true), Err(LoadError::NotAComponent(_))));
        assert!(matches!(negotiate(b"\0asm", &accepted(), true), Err(LoadError::NotAComponent(_))));
        let empty = wat::parse_str("(component)").unwrap();
        assert!(matches!(negotiate(&empty, &accepted(), true), Err(LoadError::NotAConnector)));
        let partial = component("0.1.0", &["metadata", "connection"]);
        assert!(matches!(negotiate(&partial, &accepted(), true), Err(LoadError::MissingInterface(_))));
    }
}
