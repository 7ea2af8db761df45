//! The services' error codes from `error_codes.csv`: one row for each code, looked up by number or by name.

use crate::error::{EffectState, ErrorCode, Retry};

/// The data file. Its first lines explain the columns.
const TABLE: &str = include_str!("error_codes.csv");

/// The meaning of one error code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Entry {
    /// The code's six digits, if they are known.
    pub number: Option<u32>,
    /// The code's symbolic name.
    pub name: &'static str,
    /// The connector's own error code for it.
    pub code: ErrorCode,
    /// The connector's retry advice.
    pub retry: Retry,
    /// The possible effect of a change that was answered with this code: none or unknown.
    pub effect: EffectState,
    /// The kind of thing that is gone, if the code reports one.
    pub about: Option<Subject>,
}

/// The kind of thing that a code reports as gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A device identity, and with it the device's twin.
    Device,
    /// A module identity.
    Module,
    Job,
    /// An automatic device configuration.
    Configuration,
    /// An enrollment, an enrollment group or a registration. DPS has several code names for each of them.
    Provisioning,
    /// Something that an enrollment refers to, but not the enrollment itself.
    Reference,
}

impl Entry {
    /// The entry with this six-digit number.
    pub fn by_number(number: u32) -> Option<Self> {
        Self::all().find(|entry| entry.number == Some(number))
    }

    /// The entry with this name, in upper or lower case: the spelling differs between Microsoft's own texts.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::all().find(|entry| entry.name.eq_ignore_ascii_case(name))
    }

    /// All entries, in the order of the file.
    pub fn all() -> impl Iterator<Item = Self> {
        rows().filter_map(Self::read)
    }

    fn read(row: &'static str) -> Option<Self> {
        let mut columns = row.split(',');
        let mut next = || columns.next();
        let (number, name, code, retry, effect, about) = (next()?, next()?, next()?, next()?, next()?, next()?);
        Some(Self {
            number: if number.is_empty() { None } else { Some(number.parse().ok()?) },
            name,
            code: code_of(code)?,
            retry: retry_of(retry)?,
            effect: match effect {
                "none" => EffectState::None,
                "unknown" => EffectState::Unknown,
                _ => return None,
            },
            about: if about.is_empty() { None } else { Some(Subject::read(about)?) },
        })
    }
}

impl Subject {
    fn read(text: &str) -> Option<Self> {
        Some(match text {
            "device" => Self::Device,
            "module" => Self::Module,
            "job" => Self::Job,
            "configuration" => Self::Configuration,
            "enrollment" | "enrollment-group" | "registration" | "operation" => Self::Provisioning,
            "linked-hub" | "certificate-authority" | "settings" => Self::Reference,
            _ => return None,
        })
    }
}

/// What a code of the service means, by its six digits or by its name; none if the table does not know it.
pub fn meaning(code: &str) -> Option<ErrorCode> {
    let entry = match code.parse() {
        Ok(number) => Entry::by_number(number),
        Err(_) => Entry::by_name(code),
    };
    entry.map(|entry| entry.code)
}

/// The data rows, without comments and the heading.
fn rows() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#')).skip(1)
}

fn code_of(text: &str) -> Option<ErrorCode> {
    Some(match text {
        "auth-failed" => ErrorCode::AuthFailed,
        "conflict" => ErrorCode::Conflict,
        "device-offline" => ErrorCode::DeviceOffline,
        "invalid-input" => ErrorCode::InvalidInput,
        "not-found" => ErrorCode::NotFound,
        "payload-too-large" => ErrorCode::PayloadTooLarge,
        "precondition-failed" => ErrorCode::PreconditionFailed,
        "protocol" => ErrorCode::Protocol,
        "quota-exceeded" => ErrorCode::QuotaExceeded,
        "rate-limited" => ErrorCode::RateLimited,
        "timeout" => ErrorCode::Timeout,
        "unavailable" => ErrorCode::Unavailable,
        "unsupported" => ErrorCode::Unsupported,
        _ => return None,
    })
}

fn retry_of(text: &str) -> Option<Retry> {
    Some(match text {
        "never" => Retry::Never,
        "backoff" => Retry::Backoff,
        "after-reauthentication" => Retry::AfterReauthentication,
        "after-reconfiguration" => Retry::AfterReconfiguration,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of rows in the table, and of rows with a number. A change of the file must state the new counts here.
    const ROWS: usize = 224;
    const NUMBERED: usize = 203;

    #[test]
    fn every_row_is_read() {
        assert!(TABLE.contains("\nnumber,name,code,retry,effect,about,source\n"));
        assert_eq!((rows().count(), Entry::all().count()), (ROWS, ROWS));
        assert_eq!(Entry::all().filter(|entry| entry.number.is_some()).count(), NUMBERED);
        for row in rows() {
            let source = row.split(',').nth(6);
            assert!(matches!(source, Some("hub" | "dps" | "sdk" | "api" | "order")), "{row}");
            assert_eq!(row.split(',').count(), 7, "{row}");
        }
    }

    #[test]
    fn a_code_is_found_by_number_and_by_name_and_means_one_thing() {
        for entry in Entry::all() {
            if let Some(number) = entry.number {
                assert_eq!(Entry::by_number(number), Some(entry), "a number stands in one row");
                assert!((400_000..600_000).contains(&number), "{number}");
            }
            let named = Entry::by_name(&entry.name.to_lowercase()).expect("found by name");
            // Two names have two numbers each in Microsoft's documents; both numbers have the same meaning.
            assert_eq!(Entry { number: entry.number, ..named }, entry);
        }
        let twice = |name: &str| Entry::all().filter(|entry| entry.name == name).count() == 2;
        let mut names: Vec<_> = Entry::all().map(|entry| entry.name).filter(|name| twice(name)).collect();
        names.dedup();
        assert_eq!(names, ["DeviceNotOnline", "PartitionNotFound"]);
        assert_eq!(Entry::by_name("DeviceNotOnline").and_then(|entry| entry.number), Some(404_103));
    }

    #[test]
    fn only_these_say_that_something_is_gone() {
        let gone: Vec<u32> =
            Entry::all().filter(|entry| entry.code == ErrorCode::NotFound).filter_map(|entry| entry.number).collect();
        let expected: Vec<u32> =
            [404_001, 404_002, 404_010].into_iter().chain(404_201..=404_211).chain([404_301]).collect();
        assert_eq!(gone, expected);
        for entry in Entry::all() {
            assert_eq!(entry.about.is_some(), entry.code == ErrorCode::NotFound, "{}", entry.name);
        }
    }

    /// All names of the service's API description must be in the table.
    #[test]
    fn the_published_names_are_there() {
        let Some(folder) = std::env::var_os("AZURE_API_SPECS") else { return };
        let path = std::path::Path::new(&folder).join("iothub-service.json");
        let text = std::fs::read_to_string(path).expect("the description");
        let description: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let names = &description["definitions"]["DeviceRegistryOperationError"]["properties"]["errorCode"]["enum"];
        let names = names.as_array().expect("a list of names");
        assert!(names.len() > 150);
        for name in names.iter().filter_map(serde_json::Value::as_str).filter(|name| *name != "InvalidErrorCode") {
            assert_eq!(Entry::by_name(name).map(|entry| entry.name), Some(name));
        }
    }
}
