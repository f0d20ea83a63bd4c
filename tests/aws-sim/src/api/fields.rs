//! Reads the members of a request and holds them against the limits of the service's model.

use serde_json::{Map, Value};

use super::{Service, Target};
use crate::error::AwsError;

/// What the model says of a string: how long it is, and what it looks like.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shape {
    pub(super) min: usize,
    pub(super) max: usize,
    /// The model's own words for `is`.
    pub(super) pattern: &'static str,
    pub(super) is: fn(&str) -> bool,
}

pub(super) const INSTANCE: Shape = Shape {
    min: 10,
    max: 1224,
    pattern: "arn:aws(-[a-z]{1,5}){0,3}:sso:::instance/(sso)?ins-[a-zA-Z0-9-.]{16}",
    is: |it| after_arn(it, ":sso:::instance/").is_some_and(is_instance_id),
};

pub(super) const SET: Shape = Shape {
    min: 10,
    max: 1224,
    pattern: "arn:aws(-[a-z]{1,5}){0,3}:sso:::permissionSet/(sso)?ins-[a-zA-Z0-9-.]{16}/\
              ps-[a-zA-Z0-9-./]{16}",
    is: |it| {
        after_arn(it, ":sso:::permissionSet/")
            .and_then(|rest| rest.split_once('/'))
            .is_some_and(|(instance, set)| is_instance_id(instance) && is_set_id(set))
    },
};

pub(super) const ACCOUNT: Shape = Shape {
    min: 12,
    max: 12,
    pattern: "\\d{12}",
    is: |it| it.len() == 12 && it.bytes().all(|b| b.is_ascii_digit()),
};

pub(super) const PRINCIPAL: Shape = Shape {
    min: 1,
    max: 47,
    pattern: "([0-9a-f]{10}-|)[A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-\
              [A-Fa-f0-9]{12}",
    is: is_resource_id,
};

pub(super) const REQUEST: Shape = Shape {
    min: 36,
    max: 36,
    pattern: "\\b[0-9a-f]{8}\\b-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-\\b[0-9a-f]{12}\\b",
    is: |it| is_uuid(it) && !it.bytes().any(|b| b.is_ascii_uppercase()),
};

pub(super) const USER: Shape = Shape {
    min: 1,
    max: 100,
    pattern: "(arn:aws[a-z-]*:identitystore:::(user|group|membership)/)?([0-9a-f]{10}-|)\
              [A-Fa-f0-9]{8}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{4}-[A-Fa-f0-9]{12}",
    is: |it| {
        is_resource_id(
            it.strip_prefix("arn:aws:identitystore:::user/")
                .unwrap_or(it),
        )
    },
};

pub(super) const STORE: Shape = Shape {
    min: 1,
    max: 93,
    pattern: "(arn:aws[a-z-]*:identitystore::\\d{12}:identitystore/)?(d-[0-9a-f]{10}|[0-9a-f]{8}-\
              [0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})",
    is: |it| {
        let id = it.rsplit_once('/').map_or(it, |(_, id)| id);
        id.strip_prefix("d-")
            .map_or_else(|| is_uuid(id), |hex| hex.len() == 10 && is_hex(hex))
    },
};

pub(super) const PATH: Shape = Shape {
    min: 1,
    max: 255,
    pattern: "\\p{L}+(?:\\.\\p{L}+){0,2}",
    is: |it| {
        it.split('.')
            .all(|part| !part.is_empty() && part.chars().all(char::is_alphabetic))
    },
};

pub(super) const TEXT: Shape = Shape {
    min: 1,
    max: 1024,
    pattern: "[\\p{L}\\p{M}\\p{S}\\p{N}\\p{P}\\t\\n\\r ]+",
    is: |it| {
        !it.chars()
            .any(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r'))
    },
};

fn after_arn<'a>(text: &'a str, rest: &str) -> Option<&'a str> {
    let (partition, rest) = text.strip_prefix("arn:aws")?.split_once(rest)?;
    let fine =
        |part: &str| (1..=5).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_lowercase());
    let known = partition.is_empty() || partition.strip_prefix('-')?.split('-').all(fine);
    known.then_some(rest)
}

fn is_instance_id(text: &str) -> bool {
    let text = text.strip_prefix("sso").unwrap_or(text);
    text.strip_prefix("ins-")
        .is_some_and(|it| it.len() == 16 && it.bytes().all(is_name))
}

fn is_set_id(text: &str) -> bool {
    text.strip_prefix("ps-")
        .is_some_and(|it| it.len() == 16 && it.bytes().all(|b| is_name(b) || b == b'/'))
}

fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.'
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_hexdigit())
}

fn is_uuid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths: Vec<usize> = parts.iter().map(|it| it.len()).collect();
    lengths == [8, 4, 4, 4, 12] && parts.into_iter().all(is_hex)
}

fn is_resource_id(text: &str) -> bool {
    match text.split_once('-') {
        Some((directory, rest)) if directory.len() == 10 => is_hex(directory) && is_uuid(rest),
        _ => is_uuid(text),
    }
}

/// The members of one request.
#[derive(Debug)]
pub(crate) struct Fields<'a> {
    pub(super) target: Target,
    /// The body as it came, which rules of hostility look into.
    pub(super) raw: &'a str,
    pub(super) members: &'a Map<String, Value>,
}

impl Fields<'_> {
    /// A member that must be there.
    pub(super) fn required(&self, name: &str, shape: Shape) -> Result<String, AwsError> {
        match self.optional(name, shape)? {
            Some(text) => Ok(text),
            None => Err(self.missing(name)),
        }
    }

    /// A member that may be there.
    pub(super) fn optional(&self, name: &str, shape: Shape) -> Result<Option<String>, AwsError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let length = text.chars().count();
        if length < shape.min {
            let limit = format!(
                "Member must have length greater than or equal to {}",
                shape.min
            );
            return Err(self.broken(name, text, &limit, "MIN_LENGTH_EXCEEDED"));
        }
        if length > shape.max {
            let limit = format!(
                "Member must have length less than or equal to {}",
                shape.max
            );
            return Err(self.broken(name, text, &limit, "MAX_LENGTH_EXCEEDED"));
        }
        if !(shape.is)(text) {
            let limit = format!(
                "Member must satisfy regular expression pattern: {}",
                shape.pattern
            );
            return Err(self.broken(name, text, &limit, "INVALID_PATTERN"));
        }
        Ok(Some(text.to_owned()))
    }

    /// A member that is one of these words, if it is there.
    pub(super) fn word(&self, name: &str, of: &[&str]) -> Result<Option<String>, AwsError> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        if !of.contains(&text) {
            let limit = format!("Member must satisfy enum value set: [{}]", of.join(", "));
            return Err(self.broken(name, text, &limit, "INVALID_ENUM"));
        }
        Ok(Some(text.to_owned()))
    }

    /// A member that must be one of these words.
    pub(super) fn required_word(&self, name: &str, of: &[&str]) -> Result<String, AwsError> {
        match self.word(name, of)? {
            Some(text) => Ok(text),
            None => Err(self.missing(name)),
        }
    }

    /// How many entries a page is asked to have.
    pub(super) fn max_results(&self, most: usize) -> Result<Option<usize>, AwsError> {
        let value = match self.members.get("MaxResults") {
            None | Some(Value::Null) => return Ok(None),
            Some(value) => value,
        };
        let Some(number) = value.as_i64() else {
            return Err(wrong_type());
        };
        let text = number.to_string();
        match usize::try_from(number) {
            Ok(number) if (1..=most).contains(&number) => Ok(Some(number)),
            Ok(number) if number > most => {
                let limit = format!("Member must have value less than or equal to {most}");
                Err(self.broken("MaxResults", &text, &limit, "MAX_VALUE_EXCEEDED"))
            }
            Ok(_) | Err(_) => {
                let limit = "Member must have value greater than or equal to 1";
                Err(self.broken("MaxResults", &text, limit, "MIN_VALUE_EXCEEDED"))
            }
        }
    }

    /// A structure inside, if it is there.
    pub(super) fn inside(&self, name: &str) -> Result<Option<Fields<'_>>, AwsError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::Object(members)) => Ok(Some(Fields {
                target: self.target,
                raw: self.raw,
                members,
            })),
            Some(_) => Err(wrong_type()),
        }
    }

    /// The members of a list of structures.
    pub(super) fn list(&self, name: &str) -> Result<Vec<Fields<'_>>, AwsError> {
        let items = match self.members.get(name) {
            None | Some(Value::Null) => return Ok(Vec::new()),
            Some(Value::Array(items)) => items,
            Some(_) => return Err(wrong_type()),
        };
        let each = items.iter().map(|item| match item {
            Value::Object(members) => Ok(Fields {
                target: self.target,
                raw: self.raw,
                members,
            }),
            _ => Err(wrong_type()),
        });
        each.collect()
    }

    pub(super) fn text(&self, name: &str) -> Result<Option<&str>, AwsError> {
        match self.members.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type()),
        }
    }

    pub(super) fn missing(&self, name: &str) -> AwsError {
        let what = format!("Value null at '{}'", lower_first(name));
        self.invalid(&what, "Member must not be null", "INPUT_REQUIRED")
    }

    fn broken(&self, name: &str, value: &str, limit: &str, reason: &str) -> AwsError {
        let what = format!("Value '{value}' at '{}'", lower_first(name));
        self.invalid(&what, limit, reason)
    }

    fn invalid(&self, what: &str, limit: &str, reason: &str) -> AwsError {
        let message =
            format!("1 validation error detected: {what} failed to satisfy constraint: {limit}");
        match self.target.service {
            Service::Organizations => {
                AwsError::new("InvalidInputException", message).with("Reason", reason)
            }
            Service::SsoAdmin | Service::IdentityStore => {
                AwsError::new("ValidationException", message)
            }
            Service::Iam | Service::Sts => AwsError::new("ValidationError", message),
        }
    }
}

/// A member is not of the type that the model has.
fn wrong_type() -> AwsError {
    AwsError::front("SerializationException", "")
}

fn lower_first(name: &str) -> String {
    let mut letters = name.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(letters).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::{ACCOUNT, INSTANCE, PATH, PRINCIPAL, REQUEST, SET, STORE, USER};

    #[test]
    fn the_models_patterns_are_kept() {
        let uuid = "a1b2c3d4-1234-4abc-8def-0123456789ab";
        assert!((INSTANCE.is)(
            "arn:aws:sso:::instance/ssoins-7223a4b5c6d7e8f9"
        ));
        assert!((INSTANCE.is)(
            "arn:aws-us-gov:sso:::instance/ins-7223a4b5c6d7e8f9"
        ));
        assert!(!(INSTANCE.is)(
            "arn:aws:sso:::instance/ssoins-7223a4b5c6d7e8f"
        ));
        assert!(!(INSTANCE.is)(
            "arn:aws-x1:sso:::instance/ssoins-7223a4b5c6d7e8f9"
        ));
        assert!((SET.is)(
            "arn:aws:sso:::permissionSet/ssoins-7223a4b5c6d7e8f9/ps-7223a4b5c6d7e8f9"
        ));
        assert!(!(SET.is)(
            "arn:aws:sso:::permissionSet/ssoins-7223a4b5c6d7e8f9/ps-7223a4b5c6d7e8"
        ));
        assert!((ACCOUNT.is)("123456789012") && !(ACCOUNT.is)("12345678901a"));
        assert!((PRINCIPAL.is)(uuid) && (PRINCIPAL.is)(&format!("906700abcd-{uuid}")));
        assert!(!(PRINCIPAL.is)("ana") && !(PRINCIPAL.is)(&format!("90670-{uuid}")));
        assert!((REQUEST.is)(uuid) && !(REQUEST.is)(&uuid.to_uppercase()));
        assert!((USER.is)(&format!("arn:aws:identitystore:::user/{uuid}")));
        assert!((STORE.is)("d-9067001234") && !(STORE.is)("d-90670"));
        assert!((PATH.is)("emails.value") && !(PATH.is)("emails..value"));
    }
}
