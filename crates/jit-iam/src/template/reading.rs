//! What a template may have: held against what can be bound to a person and an end.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::text::{Piece, is_of_a_policy, pieces, whole};
use super::{BadTemplate, END, SESSION, shortened, texts};

/// The operators of conditions ("IAM JSON policy elements: Condition operators", IAM User Guide).
const OPERATORS: [&str; 27] = [
    "ArnEquals",
    "ArnLike",
    "ArnNotEquals",
    "ArnNotLike",
    "BinaryEquals",
    "Bool",
    "DateEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateNotEquals",
    "IpAddress",
    "NotIpAddress",
    "Null",
    "NumericEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericNotEquals",
    "StringEquals",
    "StringEqualsIgnoreCase",
    "StringLike",
    "StringNotEquals",
    "StringNotEqualsIgnoreCase",
    "StringNotLike",
];

/// Operators under which a value can let more through than whoever wrote the template meant: a network
/// of all addresses, a condition turned round, and whatever is not what was named.
const WIDENING: [&str; 4] = ["Bool", "IpAddress", "NotIpAddress", "Null"];

/// The places that a template has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Places {
    /// The names of all parameters.
    pub(super) all: BTreeSet<String>,
    /// Those that are all of an `Action` or `Resource`.
    pub(super) whole: BTreeSet<String>,
}

pub(super) fn not_allowed(at: &str, what: impl Into<String>, instead: &'static str) -> BadTemplate {
    BadTemplate::NotAllowed {
        at: at.to_owned(),
        what: what.into(),
        instead,
    }
}

pub(super) fn missing(at: &str, what: &'static str) -> BadTemplate {
    BadTemplate::Missing {
        at: at.to_owned(),
        what,
    }
}

pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// One statement, without its Sid: ours stands in its place.
pub(super) fn read_statement(
    at: &str,
    statement: &Value,
    places: &mut Places,
) -> Result<Map<String, Value>, BadTemplate> {
    let Value::Object(statement) = statement else {
        return Err(not_allowed(at, "anything else", "write an object"));
    };
    for (key, value) in statement {
        match key.as_str() {
            "Effect" if value == "Allow" => {}
            "Effect" => {
                return Err(not_allowed(at, "another Effect", "write \"Allow\""));
            }
            "Sid" if value.is_string() => {}
            "Action" | "Resource" => {
                let at = format!("{at}, {key}");
                places
                    .all
                    .extend(read_values(&at, value, Value::is_string)?);
                let texts = texts(value).into_iter();
                places
                    .whole
                    .extend(texts.filter_map(whole).map(str::to_owned));
            }
            "Condition" => places.all.extend(read_conditions(at, value)?),
            key => {
                let instead = "write Sid, Effect, Action, Resource and Condition only";
                return Err(not_allowed(at, quoted(key), instead));
            }
        }
    }
    for (key, what) in [
        ("Effect", "an Effect"),
        ("Action", "an Action"),
        ("Resource", "a Resource"),
    ] {
        if !statement.contains_key(key) {
            return Err(missing(at, what));
        }
    }
    let mut statement = statement.clone();
    statement.remove("Sid");
    Ok(statement)
}

fn read_conditions(at: &str, conditions: &Value) -> Result<BTreeSet<String>, BadTemplate> {
    let at = format!("{at}, Condition");
    let mut names = BTreeSet::new();
    let Value::Object(conditions) = conditions else {
        return Err(not_allowed(&at, "anything else", "write an object"));
    };
    for (operator, keys) in conditions {
        let at = format!("{at}, {operator}");
        let bare = ["ForAllValues:", "ForAnyValue:"]
            .iter()
            .find_map(|set| operator.strip_prefix(set))
            .unwrap_or(operator);
        let bare = bare.strip_suffix("IfExists").unwrap_or(bare);
        if !OPERATORS.contains(&bare) {
            let instead = "write an operator of IAM, in its own letter case";
            return Err(not_allowed(&at, quoted(operator), instead));
        }
        let Value::Object(keys) = keys else {
            return Err(not_allowed(&at, "anything else", "write an object"));
        };
        let mut seen = BTreeSet::new();
        for (key, value) in keys {
            let at = format!("{at}, {key}");
            let lower = key.to_lowercase();
            if key.contains(['{', '}']) {
                return Err(BadTemplate::Brace { at });
            }
            if !is_of_a_policy(key) {
                return Err(not_allowed(&at, "this key", "write Latin letters"));
            }
            // IAM compares keys without regard to case, so two spellings are one key twice.
            if !seen.insert(lower.clone()) {
                let instead = "write it once, with a list of values";
                return Err(not_allowed(&at, "the same key twice", instead));
            }
            if lower == SESSION.1 || bare == END.0 && lower == END.1.to_lowercase() {
                let instead = "who may use it and until when is put there for each request";
                return Err(not_allowed(&at, "this condition", instead));
            }
            let is_value = |it: &Value| it.is_string() || it.is_boolean() || it.is_number();
            let put = read_values(&at, value, is_value)?;
            let widens = WIDENING.contains(&bare) || bare.contains("Not");
            if let Some(name) = put.first().filter(|_| widens) {
                let instead = "write the values there, because with another one more is allowed";
                return Err(not_allowed(&at, format!("the place {{{name}}}"), instead));
            }
            names.extend(put);
        }
    }
    Ok(names)
}

/// One value or a list of some, and the places in them.
fn read_values(
    at: &str,
    value: &Value,
    is_value: impl Fn(&Value) -> bool,
) -> Result<BTreeSet<String>, BadTemplate> {
    let mut names = BTreeSet::new();
    let values = match value {
        Value::Array(items) => items.iter().collect(),
        value => vec![value],
    };
    if values.is_empty() {
        return Err(missing(at, "a value"));
    }
    for value in values {
        if !is_value(value) {
            return Err(not_allowed(
                at,
                "anything else",
                "write a text or a list of texts",
            ));
        }
        let Value::String(text) = value else {
            continue;
        };
        if !is_of_a_policy(text) {
            let instead = "write characters up to U+00FF, which is all that IAM takes";
            return Err(not_allowed(at, "this character", instead));
        }
        let pieces = pieces(text).ok_or_else(|| BadTemplate::Brace { at: at.to_owned() })?;
        names.extend(pieces.into_iter().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name.to_owned()),
            Piece::Text(_) => None,
        }));
    }
    Ok(names)
}
