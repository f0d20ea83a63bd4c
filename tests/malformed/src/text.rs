//! Durations, instants and names, as anybody may type them.

use std::fmt::{Debug, Display};
use std::str::FromStr;

use jit_core::catalog::{EntitlementId, Pattern, ProviderName};
use jit_core::policy::{TierName, Who};
use jit_core::principal::{GroupName, PrincipalId, Subject};
use jit_core::request::{IdempotencyKey, Reason, RequestId, Status};
use jit_core::time::TTL_LIMIT_SECS;
use jit_core::{Timestamp, Ttl};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::assert_sentence;

/// A duration is read as it is written, or refused with a sentence; the text and its JSON agree.
pub fn duration(text: &str) {
    let Some(read) = read::<Ttl>(text) else {
        return;
    };
    assert!((1..=TTL_LIMIT_SECS).contains(&read.as_secs()), "{text:?}");
    let (digits, unit) = text.split_at(text.len() - 1);
    let unit: u64 = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        other => panic!("{other:?} is no unit"),
    };
    let number: u64 = digits.parse().unwrap();
    assert_eq!(u64::from(read.as_secs()), number * unit, "{text:?}");
}

/// So many seconds are a duration, or one second past a limit.
pub fn seconds(secs: u64) {
    let read = Ttl::from_secs(secs);
    let fits = secs >= 1 && secs <= u64::from(TTL_LIMIT_SECS);
    assert_eq!(read.is_ok(), fits, "{secs}");
    match read {
        Ok(ttl) => assert_eq!(ttl.to_string().parse(), Ok(ttl)),
        Err(error) => assert_sentence(&error.to_string()),
    }
}

/// An instant is read as it is written, or refused with a sentence.
pub fn instant(text: &str) {
    let Some(read) = read::<Timestamp>(text) else {
        return;
    };
    assert!(
        (Timestamp::MIN..=Timestamp::MAX).contains(&read),
        "{text:?}"
    );
    // What is shown is read back to the microsecond.
    let micros = read.unix_micros();
    assert_eq!(Timestamp::from_unix_micros(micros), read);
}

/// Every name that a call or a file may carry.
pub fn name(text: &str) {
    let _ = read::<RequestId>(text);
    let _ = read::<EntitlementId>(text);
    let _ = read::<PrincipalId>(text);
    let _ = read::<ProviderName>(text);
    let _ = read::<GroupName>(text);
    let _ = read::<TierName>(text);
    let _ = read::<Reason>(text);
    let _ = read::<Subject>(text);
    let _ = read::<Status>(text);
    for refused in [
        text.parse::<IdempotencyKey>()
            .err()
            .map(|it| it.to_string()),
        text.parse::<Pattern>().err().map(|it| it.to_string()),
        text.parse::<Who>().err().map(|it| it.to_string()),
    ] {
        refused
            .iter()
            .for_each(|sentence| assert_sentence(sentence));
    }
}

/// Reads a text both ways in which texts come in. What is taken is shown in a form that is taken
/// for the same; what is refused is refused with a sentence.
fn read<T>(text: &str) -> Option<T>
where
    T: FromStr<Err: Display> + Display + Debug + PartialEq + Serialize + DeserializeOwned,
{
    let json = serde_json::to_string(text).unwrap();
    let as_json = serde_json::from_str::<T>(&json);
    match text.parse::<T>() {
        Ok(value) => {
            assert_eq!(as_json.unwrap(), value, "{text:?}");
            let again = value.to_string().parse::<T>();
            assert_eq!(again.ok().as_ref(), Some(&value), "{text:?}");
            let stored = serde_json::to_string(&value).unwrap();
            assert_eq!(serde_json::from_str::<T>(&stored).unwrap(), value);
            Some(value)
        }
        Err(error) => {
            assert_sentence(&error.to_string());
            assert!(as_json.is_err(), "{text:?}");
            None
        }
    }
}
