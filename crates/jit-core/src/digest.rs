//! SHA-256 over canonical JSON: what an approval is bound to and what the audit chains are made of.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// A SHA-256 digest, shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// The digest of these pieces, one after the other.
    pub fn of_parts(parts: &[&[u8]]) -> Self {
        let mut hasher = Sha256::new();
        parts.iter().for_each(|part| hasher.update(part));
        Self(hasher.finalize().into())
    }

    /// The first 16 hexadecimal digits: what a button or a command carries.
    pub fn prefix(&self) -> String {
        self.to_string().chars().take(16).collect()
    }

    /// The bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The digits of a digest.
type Digits = [u8; 64];

impl Digest {
    fn digits<'a>(&self, room: &'a mut Digits) -> &'a str {
        let fits = const_hex::encode_to_slice(self.0, room);
        fits.expect("64 digits stand for 32 bytes");
        std::str::from_utf8(room).expect("hexadecimal digits are ASCII")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.digits(&mut [0; 64]))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A text that is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest is 64 hexadecimal digits")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;
    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let mut bytes = [0; 32];
        match const_hex::decode_to_slice(text, &mut bytes) {
            // A prefix that names the notation is left out by the decoder, and is none of ours.
            Ok(()) if text.len() == 64 => Ok(Self(bytes)),
            _ => Err(BadDigest),
        }
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.digits(&mut [0; 64]))
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer)
    }
}

/// The digest of a value's canonical JSON: object keys sorted by their bytes, no white space.
pub fn sha256_json(value: &impl Serialize) -> Digest {
    let mut text = vec![];
    serde_json::to_value(value)
        .and_then(|value| canonical(&value, &mut text))
        .expect("the domain's own types have string keys and finite numbers, so they serialise");
    Digest::of(&text)
}

fn canonical(value: &Value, out: &mut Vec<u8>) -> serde_json::Result<()> {
    match value {
        Value::Object(fields) => {
            let mut sorted: Vec<_> = fields.iter().collect();
            sorted.sort_by(|left, right| left.0.cmp(right.0));
            out.push(b'{');
            for (at, (key, value)) in sorted.into_iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                serde_json::to_writer(&mut *out, key)?;
                out.push(b':');
                canonical(value, out)?;
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                canonical(item, out)?;
            }
            out.push(b']');
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            serde_json::to_writer(out, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_order_of_keys_changes_nothing_and_every_value_does() {
        let one: Value = serde_json::from_str(r#"{"b":[1,{"y":1,"x":2}],"a":"q"}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{ "a":"q", "b":[1,{"x":2,"y":1}] }"#).unwrap();
        assert_eq!(sha256_json(&one), sha256_json(&two));
        assert_ne!(
            sha256_json(&one),
            sha256_json(&json!({"a":"q","b":[{"x":2,"y":1},1]}))
        );
        let hello = sha256_json(&json!("hello"));
        assert_eq!(hello, Digest::of(b"\"hello\""));
        assert_eq!(hello.to_string().parse::<Digest>().unwrap(), hello);
    }

    #[test]
    fn a_digest_is_its_64_digits_and_nothing_else() {
        let digest = Digest::of(b"some text");
        let text = digest.to_string();
        assert!(text.len() == 64 && text == text.to_lowercase(), "{text}");
        assert_eq!(text.to_uppercase().parse(), Ok(digest));
        let bad = |text: &str| text.parse::<Digest>().unwrap_err();
        for text in [
            &format!("0x{text}"),
            &format!("0x{}", &text[..62]),
            &format!(" {}", &text[..63]),
            &format!("g{}", &text[..63]),
            &format!("{text}0"),
            &text[..62],
            "",
        ] {
            assert_eq!(bad(text), BadDigest, "{text}");
        }
    }
}
