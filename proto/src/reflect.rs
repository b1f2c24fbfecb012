//! JSON of protobuf messages, by their descriptors: for dumps, golden files and `render`.

use std::sync::LazyLock;

use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};

/// Descriptors of every message of this crate.
pub static POOL: LazyLock<DescriptorPool> = LazyLock::new(|| {
    DescriptorPool::decode(include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin")).as_slice())
        .expect("the descriptor set is written by this crate's build script")
});

/// The protobuf JSON (snake-case field names, as Envoy's own documents write them) of an encoded
/// message.
///
/// # Errors
/// When `full_name` is not in [`POOL`] or `bytes` are not such a message; the text says which.
pub fn to_json(full_name: &str, bytes: &[u8]) -> Result<serde_json::Value, String> {
    let descriptor = POOL
        .get_message_by_name(full_name)
        .ok_or_else(|| format!("unknown message {full_name}"))?;
    let message =
        DynamicMessage::decode(descriptor, bytes).map_err(|e| format!("not a {full_name}: {e}"))?;
    let options = SerializeOptions::new().use_proto_field_name(true);
    message
        .serialize_with_options(serde_json::value::Serializer, &options)
        .map_err(|e| format!("{full_name} has no JSON form: {e}"))
}
