//! Direct methods, and messages to and from devices.

mod invoke_direct_method;
mod message;
mod purge_cloud_to_device_messages;
#[cfg(feature = "amqp")]
mod send_cloud_to_device_message;
mod send_device_to_cloud_message;

use super::shared::Action;

/// The actions, in the order in which a person sees them.
pub static ALL: &[&dyn Action] = &[
    &invoke_direct_method::InvokeDirectMethod,
    #[cfg(feature = "amqp")]
    &send_cloud_to_device_message::SendCloudToDeviceMessage,
    &purge_cloud_to_device_messages::PurgeCloudToDeviceMessages,
    &send_device_to_cloud_message::SendDeviceToCloudMessage,
];
