//! Who is who between Telegram and this service (S10).

use std::fmt;
use std::str::FromStr;

use jit_core::principal::PrincipalId;
use serde::{Deserialize, Serialize};

/// The largest id that Telegram promises to keep to: 52 significant bits.
/// Source: <https://core.telegram.org/bots/api#user>
const LARGEST: i64 = (1 << 52) - 1;

/// A number that is not one of Telegram's ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is not {what}: {what} is a whole number such as {example}")]
pub struct BadTelegramId {
    given: String,
    what: &'static str,
    example: &'static str,
}

macro_rules! telegram_id {
    ($(#[$doc:meta])* $name:ident, $range:expr, $what:literal, $example:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "i64", into = "i64")]
        pub struct $name(i64);

        impl TryFrom<i64> for $name {
            type Error = BadTelegramId;
            fn try_from(number: i64) -> Result<Self, BadTelegramId> {
                if number != 0 && $range.contains(&number) {
                    return Ok(Self(number));
                }
                let given = number.to_string();
                Err(BadTelegramId { given, what: $what, example: $example })
            }
        }

        impl FromStr for $name {
            type Err = BadTelegramId;
            fn from_str(text: &str) -> Result<Self, BadTelegramId> {
                let number: Result<i64, _> = text.parse();
                let given = text.chars().take(60).collect();
                let bad = BadTelegramId { given, what: $what, example: $example };
                number.map_err(|_| bad)?.try_into()
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

telegram_id!(
    /// A user; the same number is their private chat with the bot.
    UserId, (1..=LARGEST), "a Telegram user id", "123456789"
);
telegram_id!(
    /// A chat: a user's number for the private chat with them, a negative number for a group.
    ChatId, (-LARGEST..=LARGEST), "a Telegram chat id", "-1001234567890"
);

/// The name by which the directory knows a Telegram user.
pub fn alias(user: UserId) -> Option<PrincipalId> {
    format!("telegram:{user}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_telegrams_or_refused() {
        assert!(UserId::try_from(123_456_789).is_ok());
        for bad in [0, -1, LARGEST + 1, i64::MIN, i64::MAX] {
            assert!(UserId::try_from(bad).is_err(), "{bad}");
        }
        assert!(ChatId::try_from(-1_001_234_567_890).is_ok());
        for bad in [0, i64::MIN, i64::MAX] {
            assert!(ChatId::try_from(bad).is_err(), "{bad}");
        }
        for bad in ["", "@channel", "1e3", "0x1", "-", "99999999999999999999"] {
            assert!(bad.parse::<ChatId>().is_err(), "{bad}");
        }
        let ana: UserId = "7".parse().unwrap();
        assert_eq!(alias(ana).unwrap().as_str(), "telegram:7");
    }
}
