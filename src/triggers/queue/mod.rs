//! Triggers on the queues that a hub keeps for services.

mod cloud_to_device_message_feedback;
mod engine;
mod file_upload_notifications;

use super::shared::Trigger;

/// The order here is the order in which a person sees the triggers.
pub static ALL: &[&dyn Trigger] = &[
    &cloud_to_device_message_feedback::CloudToDeviceMessageFeedback,
    &file_upload_notifications::FileUploadNotifications,
];
