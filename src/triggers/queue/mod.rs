//! Triggers on the queues that a hub keeps for services.

mod engine;

use crate::triggers::shared::operations;

// The order is the one in which a person sees the triggers.
operations! {
    cloud_to_device_message_feedback,
    file_upload_notifications,
}
