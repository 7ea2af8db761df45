//! Triggers on the queues that a hub keeps for services.

mod cloud_to_device_message_feedback;
mod engine;
mod file_upload_notifications;

use super::shared::Trigger;

/// In the order in which a person is shown them.
pub static ALL: &[&dyn Trigger] = &[
    &cloud_to_device_message_feedback::CloudToDeviceMessageFeedback,
    &file_upload_notifications::FileUploadNotifications,
];
