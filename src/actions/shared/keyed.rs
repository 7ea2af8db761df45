//! Ids that are the same in every attempt at the same work.

use sha2::{Digest as _, Sha256};

use crate::bindings::exports::workflow::connector::action::Call;
use crate::platform::Platform;

/// An id of 32 hexadecimal digits. With an idempotency key it is derived from the key and from `parts`, so that every
/// attempt of the same call has the same id, and other items of a batch have others. Without a key it is random.
pub fn id<'p>(platform: &dyn Platform, call: &Call, parts: impl IntoIterator<Item = &'p [u8]>) -> String {
    let Some(key) = &call.idempotency_key else {
        return format!("{:016x}{:016x}", platform.random(), platform.random());
    };
    let mut hash = Sha256::new();
    let mut add = |part: &[u8]| {
        // The length is hashed as well, so that different parts never give the same bytes.
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    };
    add(key.as_bytes());
    parts.into_iter().for_each(add);
    let digest: [u8; 32] = hash.finalize().into();
    digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect()
}
