//! The texts of a template: where its places are, and what may be put there.

use jit_core::provider::Parameters;
use serde_json::Value;

use super::{AS_A_TEXT, BadParameters, IN_A_TEXT, LIST_LIMIT, VALUE_LIMIT, shortened};

/// A piece of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// As it is; policy variables of IAM too.
    Text(&'a str),
    /// The place of a parameter.
    Name(&'a str),
}

/// Whether a text may stand in a policy: `[\u0009\u000A\u000D\u0020-\u00FF]+` ("PutRolePolicy", IAM API
/// Reference).
pub(super) fn is_of_a_policy(text: &str) -> bool {
    text.chars()
        .all(|it| matches!(it, '\t' | '\n' | '\r' | ' '..='\u{ff}') && it != '\u{7f}')
}

/// The pieces of a text; nothing where a brace belongs to none.
pub(super) fn pieces(text: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        let (before, brace) = rest.split_at_checked(at)?;
        let (inside, after) = brace.strip_prefix('{')?.split_once('}')?;
        if inside.contains('{') {
            return None;
        }
        if before.ends_with('$') {
            // A variable, with its braces.
            let (variable, _) = rest.split_at_checked(at + inside.len() + 2)?;
            pieces.push(Piece::Text(variable));
        } else {
            is_name(inside).then_some(())?;
            if !before.is_empty() {
                pieces.push(Piece::Text(before));
            }
            pieces.push(Piece::Name(inside));
        }
        rest = after;
    }
    if !rest.is_empty() || pieces.is_empty() {
        pieces.push(Piece::Text(rest));
    }
    Some(pieces)
}

fn is_name(text: &str) -> bool {
    let may_stand = |it: char| it.is_ascii_alphanumeric() || matches!(it, '_' | '-' | '.');
    (1..=64).contains(&text.len()) && text.chars().all(may_stand)
}

/// Fills whatever a template has there.
pub(super) fn fill(value: &Value, parameters: &Parameters) -> Result<Value, BadParameters> {
    match value {
        Value::String(text) => match whole(text) {
            Some(name) => as_a_text(name, parameters),
            None => in_a_text(text, parameters).map(Value::from),
        },
        Value::Array(items) => {
            let mut filled = Vec::new();
            for item in items {
                match fill(item, parameters)? {
                    // A list in a list is a longer list.
                    Value::Array(more) => filled.extend(more),
                    one => filled.push(one),
                }
            }
            Ok(Value::Array(filled))
        }
        Value::Object(members) => {
            let filled = members
                .iter()
                .map(|(key, value)| Ok((key.clone(), fill(value, parameters)?)));
            filled.collect::<Result<_, _>>().map(Value::Object)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Ok(value.clone()),
    }
}

/// Whether a text has a place for any parameter.
pub(super) fn has_places(text: &str) -> bool {
    let pieces = pieces(text).into_iter().flatten();
    pieces.into_iter().any(|it| matches!(it, Piece::Name(_)))
}

/// The parameter that a text is all of.
pub(super) fn whole(text: &str) -> Option<&str> {
    match pieces(text)?.as_slice() {
        [Piece::Name(name)] => Some(name),
        _ => None,
    }
}

fn as_a_text(name: &str, parameters: &Parameters) -> Result<Value, BadParameters> {
    let allowed = [IN_A_TEXT, AS_A_TEXT].concat();
    let Value::Array(items) = given(name, parameters)? else {
        return one(name, given(name, parameters)?, &allowed).map(Value::from);
    };
    if !(1..=LIST_LIMIT).contains(&items.len()) {
        return Err(BadParameters::ListLength {
            name: shortened(name),
            length: items.len(),
        });
    }
    let items = items.iter().map(|item| one(name, item, &allowed));
    let items = items.map(|item| item.map(Value::from));
    items.collect::<Result<_, _>>().map(Value::Array)
}

fn in_a_text(text: &str, parameters: &Parameters) -> Result<String, BadParameters> {
    let mut filled = String::new();
    for piece in pieces(text).unwrap_or_default() {
        match piece {
            Piece::Text(text) => filled.push_str(text),
            Piece::Name(name) => match given(name, parameters)? {
                Value::Array(_) => return Err(BadParameters::List(shortened(name))),
                value => filled.push_str(&one(name, value, IN_A_TEXT)?),
            },
        }
    }
    Ok(filled)
}

fn given<'p>(name: &str, parameters: &'p Parameters) -> Result<&'p Value, BadParameters> {
    let given = parameters.get(name);
    given.ok_or_else(|| BadParameters::Missing(shortened(name)))
}

/// One value as the text that it becomes.
fn one(name: &str, value: &Value, allowed: &str) -> Result<String, BadParameters> {
    let name = || shortened(name);
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) if number.is_i64() || number.is_u64() => number.to_string(),
        Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(BadParameters::Sort(name()));
        }
    };
    let length = text.chars().count();
    if !(1..=VALUE_LIMIT).contains(&length) {
        return Err(BadParameters::Length {
            name: name(),
            length,
        });
    }
    let may_stand = |it: char| it.is_ascii_alphanumeric() || allowed.contains(it);
    match text.chars().find(|it| !may_stand(*it)) {
        Some(character) => Err(BadParameters::Character {
            name: name(),
            character,
            allowed: allowed.to_owned(),
        }),
        None => Ok(text),
    }
}
