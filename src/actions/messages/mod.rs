//! Direct methods, and messages to and from devices.

mod message;

use crate::actions::shared::operations;

// The order is the one in which a person sees the actions.
operations! {
    invoke_direct_method,
    invoke_module_direct_method,
    reach_device,
    #[cfg(feature = "amqp")]
    send_cloud_to_device_message,
    #[cfg(feature = "amqp")]
    send_cloud_to_device_message_and_wait,
    purge_cloud_to_device_messages,
    send_device_to_cloud_message,
}
