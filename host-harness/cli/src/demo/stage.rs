//! [`Stage`].

use azure_iot_emulator::Emulator;

use super::clock::Clock;
use super::news::News;

/// What the workflows of a run share.
pub(super) struct Stage<'a> {
    pub(super) emulator: &'a Emulator,
    pub(super) seed: u64,
    pub(super) clock: Clock,
    pub(super) news: &'a News,
}
