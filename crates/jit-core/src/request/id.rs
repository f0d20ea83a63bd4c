//! The names of a request and the words that came with it, checked once at the edge.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::principal::{BadName, checked_name};
use crate::time::Timestamp;

/// Crockford's base 32 in lower case: no i, l, o, u.
const CROCKFORD: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The id of a request: `req-` and 26 characters of Crockford base 32 over a UUID version 7, so
/// that ids sort by the time they were made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// In every order it comes after all others.
    pub(crate) const LAST: Self = Self(uuid::Uuid::max());

    /// An id made at this instant from ten random bytes.
    pub fn new(at: Timestamp, random: [u8; 10]) -> Self {
        let millis = at.unix_micros().unsigned_abs() / 1_000;
        Self(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"req-00000000000000000000000000";
        let mut number = self.0.as_u128();
        for letter in text.iter_mut().skip(4).rev() {
            let digit = usize::try_from(number & 31).unwrap_or_default();
            *letter = CROCKFORD.get(digit).copied().unwrap_or(b'0');
            number >>= 5;
        }
        f.write_str(std::str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

/// A text that is not a request id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a request id is req- and 26 letters and digits, as printed when the request was made")]
pub struct BadRequestId;

impl FromStr for RequestId {
    type Err = BadRequestId;
    fn from_str(text: &str) -> Result<Self, BadRequestId> {
        let digits = text.strip_prefix("req-").ok_or(BadRequestId)?;
        if digits.len() != 26 {
            return Err(BadRequestId);
        }
        let mut number: u128 = 0;
        for (place, letter) in digits.bytes().enumerate() {
            let letter = letter.to_ascii_lowercase();
            let digit = CROCKFORD
                .iter()
                .position(|known| *known == letter)
                .ok_or(BadRequestId)?;
            // 26 digits hold 130 bits: the first may only use its lower three.
            if place == 0 && digit > 7 {
                return Err(BadRequestId);
            }
            number = (number << 5) | digit as u128;
        }
        Ok(Self(Uuid::from_u128(number)))
    }
}

impl Serialize for RequestId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RequestId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::read(deserializer)
    }
}

/// Why somebody asks, denies or revokes, in their own words: 1 to 1 000 characters, none of them a
/// control character or an invisible one that reorders text.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Reason(String);
checked_name!(Reason);

impl Reason {
    fn check(text: &str) -> Result<String, BadName> {
        let text = text.trim();
        let bad = |rule| Err(BadName::new("a reason", text, rule));
        // Marks that reorder or hide text, line separators, and tags.
        let reorders = |c: char| {
            matches!(c,
                '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}'
                | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
        };
        if text.is_empty() {
            return bad("say in a few words why");
        }
        if text.chars().count() > 1_000 {
            return bad("at most 1000 characters");
        }
        if text.chars().any(|c| c.is_control() || reorders(c)) {
            return bad("no control characters, line breaks or text direction marks");
        }
        Ok(text.to_owned())
    }
}

/// A name that a caller gives to one ask, so that asking twice makes one request: 1 to 200
/// printable ASCII characters without spaces.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey(String);
checked_name!(IdempotencyKey);

impl IdempotencyKey {
    fn check(text: &str) -> Result<String, BadName> {
        let plain = text.bytes().all(|byte| byte.is_ascii_graphic());
        if !plain || !(1..=200).contains(&text.len()) {
            let rule = "1 to 200 letters, digits and signs without spaces";
            return Err(BadName::new("an Idempotency-Key", text, rule));
        }
        Ok(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reasons_are_bounded_and_inert() {
        assert!("".parse::<Reason>().is_err());
        assert!("   ".parse::<Reason>().is_err());
        assert!("a".repeat(1_000).parse::<Reason>().is_ok());
        assert!("a".repeat(1_001).parse::<Reason>().is_err());
        assert!("é".repeat(1_000).parse::<Reason>().is_ok());
        for bad in [
            "a\u{0}b",
            "a\nb",
            "a\u{1b}[31m",
            "a\u{202e}b",
            "a\u{2066}b",
            "a\u{85}b",
        ] {
            assert!(bad.parse::<Reason>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn idempotency_keys_are_bounded() {
        assert!("".parse::<IdempotencyKey>().is_err());
        assert!("k".parse::<IdempotencyKey>().is_ok());
        assert!("k".repeat(200).parse::<IdempotencyKey>().is_ok());
        assert!("k".repeat(201).parse::<IdempotencyKey>().is_err());
        assert!("a b".parse::<IdempotencyKey>().is_err());
        assert!("ä".parse::<IdempotencyKey>().is_err());
    }

    #[test]
    fn malformed_ids_are_refused() {
        let good = RequestId::new(Timestamp::from_unix_micros(1_700_000_000_000_000), [7; 10]);
        assert_eq!(good.to_string().len(), 30);
        for bad in [
            "",
            "req-",
            "req-abc",
            "01hq",
            "req-zzzzzzzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert!(bad.parse::<RequestId>().is_err(), "{bad:?}");
        }
        assert!(format!("{good}x").parse::<RequestId>().is_err());
        assert!(
            good.to_string()
                .replace("req-", "REQ-")
                .parse::<RequestId>()
                .is_err()
        );
    }

    #[test]
    fn what_is_said_of_a_damaged_record_is_short_and_on_one_line() {
        let value = format!("\n\u{1b}[31m{}", "x".repeat(5_000));
        let text = serde_json::json!({"shape": 1, "id": value}).to_string();
        let damaged = crate::request::AccessRequest::from_stored(&text).unwrap_err();
        let why = std::error::Error::source(&damaged).unwrap().to_string();
        assert!(
            why.len() < 300 && !why.contains(char::is_control),
            "{why:?}"
        );
        let text = serde_json::json!({"shape": value}).to_string();
        let damaged = crate::request::AccessRequest::from_stored(&text).unwrap_err();
        let why = std::error::Error::source(&damaged).unwrap().to_string();
        assert!(
            why.len() < 300 && !why.contains(char::is_control),
            "{why:?}"
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn ids_survive_a_round_trip_and_sort_by_time(
            early in 0_i64..1 << 50, later in 0_i64..1 << 50, random: [u8; 10],
        ) {
            let at = |micros| RequestId::new(Timestamp::from_unix_micros(micros), random);
            let (one, two) = (at(early), at(later));
            prop_assert_eq!(one.to_string().parse::<RequestId>().unwrap(), one);
            if early / 1_000 < later / 1_000 {
                prop_assert!(one < two);
                prop_assert!(one.to_string() < two.to_string());
            }
        }

        #[test]
        fn no_text_makes_an_id_or_a_record_panic(text in ".{0,60}") {
            let _ = text.parse::<RequestId>();
            let _ = crate::request::AccessRequest::from_stored(&text);
        }
    }
}
