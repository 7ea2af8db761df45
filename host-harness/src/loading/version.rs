//! Determines which version of the interface a component was built on, from its bytes and before anything is compiled.

use std::collections::{BTreeMap, BTreeSet};

use semver::{Version, VersionReq};
use wasmparser::{Parser, Payload};

use crate::call::exports::{LIFECYCLE_SINCE, PACKAGE, export_name};
use crate::error::LoadError;

/// The interfaces that a connector must export in every version.
const INTERFACES: [&str; 5] = ["metadata", "connection", "discovery", "trigger", "action"];

/// The interfaces that a connector of this version must export.
fn interfaces(version: &Version) -> impl Iterator<Item = &'static str> {
    INTERFACES.into_iter().chain((*version >= LIFECYCLE_SINCE).then_some("lifecycle"))
}

/// The newest version that `accepted` allows and of which the component exports every interface.
///
/// # Errors
///
/// [`LoadError::NotAComponent`], [`LoadError::NotAConnector`], [`LoadError::InterfaceVersion`] and
/// [`LoadError::MissingInterface`].
pub(crate) fn negotiate(wasm: &[u8], accepted: &VersionReq) -> Result<Version, LoadError> {
    let exported = exported_interfaces(wasm)?;
    if exported.is_empty() {
        return Err(LoadError::NotAConnector);
    }
    let Some((version, found)) = exported.iter().rev().find(|(version, _)| accepted.matches(version)) else {
        return Err(LoadError::InterfaceVersion {
            exported: exported.into_keys().collect(),
            accepted: accepted.clone(),
        });
    };
    match interfaces(version).find(|name| !found.contains(*name)) {
        Some(name) => Err(LoadError::MissingInterface(export_name(name, version))),
        None => Ok(version.clone()),
    }
}

fn exported_interfaces(wasm: &[u8]) -> Result<BTreeMap<Version, BTreeSet<String>>, LoadError> {
    let malformed = |error: wasmparser::BinaryReaderError| LoadError::NotAComponent(error.to_string());
    if !Parser::is_component(wasm) {
        return Err(LoadError::NotAComponent("this is no WebAssembly component".to_owned()));
    }
    let mut found = BTreeMap::<Version, BTreeSet<String>>::new();
    // Components and modules can be nested; only the exports of the outermost component count.
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
                        found.entry(version).or_default().insert(interface.to_owned());
                    }
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
        let version = negotiate(&component("0.1.7", &INTERFACES), &accepted()).unwrap();
        assert_eq!(version.to_string(), "0.1.7");
        let current: Vec<_> = interfaces(&LIFECYCLE_SINCE).collect();
        let version = negotiate(&component("0.2.0", &current), &accepted()).unwrap();
        assert_eq!(version.to_string(), "0.2.0");
    }

    #[test]
    fn a_version_needs_its_own_interfaces_and_no_younger_ones() {
        assert!(negotiate(&component("0.1.0", &INTERFACES), &accepted()).is_ok());
        let error = negotiate(&component("0.2.0", &INTERFACES), &accepted()).unwrap_err();
        assert!(matches!(&error, LoadError::MissingInterface(name) if name.contains("lifecycle@0.2.0")), "{error}");
    }

    #[test]
    fn names_both_sides_of_a_mismatch() {
        let error = negotiate(&component("0.3.0", &INTERFACES), &accepted()).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("0.3.0") && text.contains(">=0.1.0, <0.3.0"), "{text}");
    }

    #[test]
    fn refuses_what_is_no_connector() {
        let module = wat::parse_str("(module)").unwrap();
        assert!(matches!(negotiate(&module, &accepted()), Err(LoadError::NotAComponent(_))));
        assert!(matches!(negotiate(b"\0asm", &accepted()), Err(LoadError::NotAComponent(_))));
        let empty = wat::parse_str("(component)").unwrap();
        assert!(matches!(negotiate(&empty, &accepted()), Err(LoadError::NotAConnector)));
        let partial = component("0.1.0", &["metadata", "connection"]);
        assert!(matches!(negotiate(&partial, &accepted()), Err(LoadError::MissingInterface(_))));
    }
}
