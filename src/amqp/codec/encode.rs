//! Values to bytes, each in its shortest form.

use super::Value;

/// Appends a value.
pub fn encode(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Null => out.push(0x40),
        Value::Boolean(true) => out.push(0x41),
        Value::Boolean(false) => out.push(0x42),
        Value::Ubyte(n) => out.extend([0x50, *n]),
        Value::Ushort(n) => fixed(0x60, &n.to_be_bytes(), out),
        Value::Uint(0) => out.push(0x43),
        Value::Uint(n) => match u8::try_from(*n) {
            Ok(small) => out.extend([0x52, small]),
            Err(_) => fixed(0x70, &n.to_be_bytes(), out),
        },
        Value::Ulong(0) => out.push(0x44),
        Value::Ulong(n) => match u8::try_from(*n) {
            Ok(small) => out.extend([0x53, small]),
            Err(_) => fixed(0x80, &n.to_be_bytes(), out),
        },
        Value::Byte(n) => fixed(0x51, &n.to_be_bytes(), out),
        Value::Short(n) => fixed(0x61, &n.to_be_bytes(), out),
        Value::Int(n) => match i8::try_from(*n) {
            Ok(small) => fixed(0x54, &small.to_be_bytes(), out),
            Err(_) => fixed(0x71, &n.to_be_bytes(), out),
        },
        Value::Long(n) => match i8::try_from(*n) {
            Ok(small) => fixed(0x55, &small.to_be_bytes(), out),
            Err(_) => fixed(0x81, &n.to_be_bytes(), out),
        },
        Value::Float(n) => fixed(0x72, &n.to_be_bytes(), out),
        Value::Double(n) => fixed(0x82, &n.to_be_bytes(), out),
        Value::Decimal32(bytes) => fixed(0x74, bytes, out),
        Value::Decimal64(bytes) => fixed(0x84, bytes, out),
        Value::Decimal128(bytes) => fixed(0x94, bytes, out),
        Value::Char(c) => fixed(0x73, &u32::from(*c).to_be_bytes(), out),
        Value::Timestamp(ms) => fixed(0x83, &ms.to_be_bytes(), out),
        Value::Uuid(bytes) => fixed(0x98, bytes, out),
        Value::Binary(bytes) => sized(0xa0, bytes, out),
        Value::String(text) => sized(0xa1, text.as_bytes(), out),
        Value::Symbol(text) => sized(0xa3, text.as_bytes(), out),
        Value::List(items) if items.is_empty() => out.push(0x45),
        Value::List(items) => compound(0xc0, items.len(), &list_body(items), out),
        Value::Map(pairs) => compound(0xc1, pairs.len() * 2, &map_body(pairs), out),
        Value::Array(items) => match array_code(items) {
            Some(code) => compound(0xe0, items.len(), &array_body(code, items), out),
            // Elements of several types cannot be an array, so they are written as a list.
            None => encode(&Value::List(items.clone()), out),
        },
        Value::Described(both) => {
            out.push(0x00);
            encode(&both.0, out);
            encode(&both.1, out);
        }
    }
}

/// Appends a described binary, such as a data section, without first copying its bytes.
pub fn encode_binary_section(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.extend([0x00, 0x53, code]);
    sized(0xa0, bytes, out);
}

fn fixed(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    out.push(code);
    out.extend_from_slice(bytes);
}

/// Appends a value with its size. `code` is the format code of the type's short form. The long form's code is 0x10
/// higher, for all variable and compound types.
fn sized(code: u8, bytes: &[u8], out: &mut Vec<u8>) {
    match u8::try_from(bytes.len()) {
        Ok(length) => out.extend([code, length]),
        Err(_) => {
            out.push(code + 0x10);
            out.extend(length32(bytes.len()));
        }
    }
    out.extend_from_slice(bytes);
}

fn compound(code: u8, count: usize, body: &[u8], out: &mut Vec<u8>) {
    match (u8::try_from(body.len() + 1), u8::try_from(count)) {
        (Ok(size), Ok(count)) => out.extend([code, size, count]),
        _ => {
            out.push(code + 0x10);
            out.extend(length32(body.len() + 4));
            out.extend(length32(count));
        }
    }
    out.extend_from_slice(body);
}

/// The length as four bytes. A length that does not fit is never sent, because frames are much smaller.
fn length32(length: usize) -> [u8; 4] {
    u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes()
}

fn list_body(items: &[Value]) -> Vec<u8> {
    let mut body = Vec::new();
    items.iter().for_each(|item| encode(item, &mut body));
    body
}

fn map_body(pairs: &[(Value, Value)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (key, value) in pairs {
        encode(key, &mut body);
        encode(value, &mut body);
    }
    body
}

/// The one format code for all elements: the widest form of their type. None if the elements have several types.
fn array_code(items: &[Value]) -> Option<u8> {
    let code = items.first().map_or(Some(0x40), element_code)?;
    items.iter().all(|item| element_code(item) == Some(code)).then_some(code)
}

fn element_code(value: &Value) -> Option<u8> {
    Some(match value {
        Value::Null => 0x40,
        Value::Boolean(_) => 0x56,
        Value::Ubyte(_) => 0x50,
        Value::Ushort(_) => 0x60,
        Value::Uint(_) => 0x70,
        Value::Ulong(_) => 0x80,
        Value::Byte(_) => 0x51,
        Value::Short(_) => 0x61,
        Value::Int(_) => 0x71,
        Value::Long(_) => 0x81,
        Value::Float(_) => 0x72,
        Value::Double(_) => 0x82,
        Value::Decimal32(_) => 0x74,
        Value::Decimal64(_) => 0x84,
        Value::Decimal128(_) => 0x94,
        Value::Char(_) => 0x73,
        Value::Timestamp(_) => 0x83,
        Value::Uuid(_) => 0x98,
        Value::Binary(_) => 0xb0,
        Value::String(_) => 0xb1,
        Value::Symbol(_) => 0xb3,
        Value::List(_) => 0xd0,
        Value::Map(_) => 0xd1,
        // The connector sends no array with these types as elements.
        Value::Array(_) | Value::Described(_) => return None,
    })
}

fn array_body(code: u8, items: &[Value]) -> Vec<u8> {
    let mut body = vec![code];
    for item in items {
        match item {
            Value::Null => {}
            Value::Boolean(b) => body.push(u8::from(*b)),
            Value::Uint(n) => body.extend(n.to_be_bytes()),
            Value::Ulong(n) => body.extend(n.to_be_bytes()),
            Value::Int(n) => body.extend(n.to_be_bytes()),
            Value::Long(n) => body.extend(n.to_be_bytes()),
            Value::Binary(bytes) => long(bytes, &mut body),
            Value::String(text) | Value::Symbol(text) => long(text.as_bytes(), &mut body),
            Value::List(items) => long_compound(items.len(), &list_body(items), &mut body),
            Value::Map(pairs) => long_compound(pairs.len() * 2, &map_body(pairs), &mut body),
            // All other types have one form only: the format code, which is left out here, and the bytes.
            other => {
                let mut one = Vec::new();
                encode(other, &mut one);
                body.extend(one.iter().skip(1));
            }
        }
    }
    body
}

fn long(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend(length32(bytes.len()));
    out.extend_from_slice(bytes);
}

fn long_compound(count: usize, body: &[u8], out: &mut Vec<u8>) {
    out.extend(length32(body.len() + 4));
    out.extend(length32(count));
    out.extend_from_slice(body);
}
