//! Policy documents: what IAM takes for one, how long it is, and what it allows. The evaluator knows
//! what is used here and is honest about the rest: a condition that it cannot judge allows nothing.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::error::AwsError;

/// The operators that IAM knows ("IAM JSON policy elements: Condition operators", IAM User Guide).
const OPERATORS: [&str; 27] = [
    "StringEquals",
    "StringNotEquals",
    "StringEqualsIgnoreCase",
    "StringNotEqualsIgnoreCase",
    "StringLike",
    "StringNotLike",
    "NumericEquals",
    "NumericNotEquals",
    "NumericLessThan",
    "NumericLessThanEquals",
    "NumericGreaterThan",
    "NumericGreaterThanEquals",
    "DateEquals",
    "DateNotEquals",
    "DateLessThan",
    "DateLessThanEquals",
    "DateGreaterThan",
    "DateGreaterThanEquals",
    "Bool",
    "BinaryEquals",
    "IpAddress",
    "NotIpAddress",
    "ArnEquals",
    "ArnLike",
    "ArnNotEquals",
    "ArnNotLike",
    "Null",
];

/// What IAM counts of a document: everything but white space ("IAM and AWS STS quotas").
pub(crate) fn size(document: &str) -> usize {
    document.chars().filter(|it| !it.is_whitespace()).count()
}

// --------------------------------------------------------------------------------- the grammar

fn malformed(why: impl Into<String>) -> AwsError {
    AwsError::new("MalformedPolicyDocument", why)
}

/// Whether IAM takes a text for the policy of an identity or a session.
pub(crate) fn check(text: &str) -> Result<(), AwsError> {
    let syntax = || malformed("Syntax errors in policy.");
    let document: Value = serde_json::from_str(text).map_err(|_| syntax())?;
    let document = document.as_object().ok_or_else(syntax)?;
    let known = ["Version", "Id", "Statement"];
    if document.keys().any(|key| !known.contains(&key.as_str())) {
        return Err(syntax());
    }
    match document.get("Version").map(Value::as_str) {
        None | Some(Some("2012-10-17" | "2008-10-17")) => {}
        Some(_) => {
            return Err(malformed(
                "Policy document must be version 2012-10-17 or greater.",
            ));
        }
    }
    let statements = statements(document);
    if statements.is_empty() {
        return Err(syntax());
    }
    let mut sids = BTreeSet::new();
    for statement in statements {
        let statement = statement.as_object().ok_or_else(syntax)?;
        check_statement(statement)?;
        let sid = statement.get("Sid").and_then(Value::as_str);
        if let Some(sid) = sid.filter(|sid| !sid.is_empty())
            && !sids.insert(sid)
        {
            return Err(malformed(
                "Statement IDs (SID) in a single policy must be unique.",
            ));
        }
    }
    Ok(())
}

fn statements(document: &Map<String, Value>) -> Vec<&Value> {
    match document.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().collect(),
        Some(statement) => vec![statement],
        None => Vec::new(),
    }
}

fn check_statement(statement: &Map<String, Value>) -> Result<(), AwsError> {
    let syntax = || malformed("Syntax errors in policy.");
    for (key, value) in statement {
        match key.as_str() {
            "Sid" => {
                let sid = value.as_str().ok_or_else(syntax)?;
                if !sid.bytes().all(|it| it.is_ascii_alphanumeric()) {
                    let why = "Statement IDs (SID) can only contain alphanumeric characters.";
                    return Err(malformed(why));
                }
            }
            "Effect" if matches!(value.as_str(), Some("Allow" | "Deny")) => {}
            "Action" | "NotAction" => {
                let actions = texts(value).ok_or_else(syntax)?;
                if actions.is_empty() || actions.iter().any(|it| *it != "*" && !it.contains(':')) {
                    let why = "Actions/Conditions must be prefaced by a vendor, e.g., iam, sdb, \
                               ec2, etc.";
                    return Err(malformed(why));
                }
                let may_stand = |it: char| it.is_ascii_alphanumeric() || "-*?".contains(it);
                let mut vendors = actions.iter().filter_map(|it| it.split_once(':'));
                if let Some((vendor, _)) = vendors.find(|(it, _)| !it.chars().all(may_stand)) {
                    return Err(malformed(format!("Vendor {vendor} is not valid")));
                }
            }
            "Resource" | "NotResource" => {
                let resources = texts(value).ok_or_else(syntax)?;
                let bad = |it: &&&str| **it != "*" && !it.starts_with("arn:");
                if let Some(bad) = resources.iter().find(bad) {
                    let why = format!("Resource {bad} must be in ARN format or \"*\".");
                    return Err(malformed(why));
                }
                if resources.is_empty() {
                    return Err(syntax());
                }
            }
            "Condition" => check_condition(value).ok_or_else(syntax)??,
            "Principal" | "NotPrincipal" => {
                return Err(malformed("Policy document should not specify a principal."));
            }
            _ => return Err(syntax()),
        }
    }
    let one_of =
        |one: &str, other: &str| statement.contains_key(one) != statement.contains_key(other);
    let is_whole = statement.contains_key("Effect")
        && one_of("Action", "NotAction")
        && one_of("Resource", "NotResource");
    is_whole.then_some(()).ok_or_else(syntax)
}

fn check_condition(value: &Value) -> Option<Result<(), AwsError>> {
    for (operator, keys) in value.as_object()? {
        let bare = operator
            .split_once(':')
            .map_or(operator.as_str(), |it| it.1);
        let bare = bare.strip_suffix("IfExists").unwrap_or(bare);
        if !OPERATORS.contains(&bare) {
            let why = format!("Invalid Condition type : {operator}.");
            return Some(Err(malformed(why)));
        }
        for values in keys.as_object()?.values() {
            values_of(values)?;
        }
    }
    Some(Ok(()))
}

/// One text, or several.
fn texts(value: &Value) -> Option<Vec<&str>> {
    match value {
        Value::String(text) => Some(vec![text]),
        Value::Array(items) => items.iter().map(Value::as_str).collect(),
        _ => None,
    }
}

/// One value of a condition, or several, as texts.
fn values_of(value: &Value) -> Option<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        _ => None,
    };
    match value {
        Value::Array(items) => items.iter().map(text).collect(),
        value => text(value).map(|it| vec![it]),
    }
}

// ------------------------------------------------------------------------------- the evaluation

/// What somebody wants to do, and what is known of the call.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    pub(crate) action: &'a str,
    pub(crate) resource: &'a str,
    /// By the key's name in lower case: keys of conditions are compared so.
    pub(crate) context: BTreeMap<String, String>,
    /// In microseconds since 1970.
    pub(crate) at: i64,
}

/// Whether these policies together allow it: one allows and none denies.
pub(crate) fn allow<'d>(
    documents: impl IntoIterator<Item = &'d str>,
    question: &Question<'_>,
) -> bool {
    let mut allowed = false;
    for text in documents {
        let Ok(Value::Object(document)) = serde_json::from_str(text) else {
            continue;
        };
        for statement in statements(&document) {
            let denies = statement["Effect"] == "Deny";
            match applies(statement, question) {
                // What cannot be judged allows nothing, and denies whatever it might.
                None if denies => return false,
                Some(true) if denies => return false,
                Some(applies) => allowed |= applies,
                None => {}
            }
        }
    }
    allowed
}

/// Whether a statement is about this; nothing where that cannot be judged.
fn applies(statement: &Value, question: &Question<'_>) -> Option<bool> {
    let actions = texts(&statement["Action"])?;
    let action = question.action.to_lowercase();
    let acts = (actions.iter()).any(|it| fits(&it.to_lowercase(), &action));
    let resources = texts(&statement["Resource"])?;
    let is_meant = resources
        .iter()
        .any(|it| filled(it, question).is_some_and(|pattern| fits(&pattern, question.resource)));
    let condition = match &statement["Condition"] {
        Value::Null => true,
        condition => holds(condition, question)?,
    };
    Some(acts && is_meant && condition)
}

fn holds(condition: &Value, question: &Question<'_>) -> Option<bool> {
    let mut all = true;
    for (operator, keys) in condition.as_object()? {
        for (key, values) in keys.as_object()? {
            let values = values_of(values)?;
            let given = match key.to_lowercase().as_str() {
                "aws:currenttime" => Some(rfc3339(question.at)),
                key => question.context.get(key).cloned(),
            };
            let judge: fn(&str, &str) -> bool = match operator.as_str() {
                "StringEquals" => |wanted, given| wanted == given,
                "StringLike" => fits,
                "DateLessThan" => |wanted, given| {
                    let (wanted, given) = (instant(wanted), instant(given));
                    wanted
                        .zip(given)
                        .is_some_and(|(wanted, given)| given < wanted)
                },
                _ => return None,
            };
            // A key that the call does not have is like nothing.
            let is_so = given.is_some_and(|given| {
                values.iter().any(|wanted| {
                    filled(wanted, question).is_some_and(|wanted| judge(&wanted, &given))
                })
            });
            all &= is_so;
        }
    }
    Some(all)
}

/// A text with its policy variables filled in; nothing where the call does not have one of them.
fn filled(text: &str, question: &Question<'_>) -> Option<String> {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, variable)) = rest.split_once("${") {
        let (name, after) = variable.split_once('}')?;
        out.push_str(before);
        out.push_str(question.context.get(&name.to_lowercase())?);
        rest = after;
    }
    out.push_str(rest);
    Some(out)
}

/// Whether a text fits a pattern with `*` and `?`.
pub(crate) fn fits(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut at, mut from) = (0, 0);
    // Where to go on after the last star took one character more.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match (pattern.get(from), text.get(at)) {
            (Some('*'), _) => {
                star = Some((from, at));
                from += 1;
            }
            (Some('?'), _) => (at, from) = (at + 1, from + 1),
            (Some(wanted), Some(given)) if wanted == given => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((of, taken)) => {
                    star = Some((of, taken + 1));
                    (at, from) = (taken + 1, of + 1);
                }
                None => return false,
            },
        }
    }
    pattern.iter().skip(from).all(|it| *it == '*')
}

fn instant(text: &str) -> Option<i128> {
    let at = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    Some(at.unix_timestamp_nanos())
}

/// A time as documents and answers write it.
pub(crate) fn rfc3339(at: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(at) * 1_000).ok();
    at.and_then(|it| it.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{Question, allow, check, fits};

    const NOON: i64 = 1_767_268_800_000_000; // 2026-01-01T12:00:00Z

    fn statement(more: Value) -> Value {
        let mut statement = json!({
            "Effect": "Allow", "Action": "s3:Get*", "Resource": "arn:aws:s3:::logs/*",
        });
        for (key, value) in more.as_object().unwrap() {
            statement[key] = value.clone();
        }
        statement
    }

    fn allows(statements: Value, action: &str, resource: &str, at: i64) -> bool {
        let question = Question {
            action,
            resource,
            context: [("aws:userid", "AROA:ana"), ("aws:username", "ana")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            at,
        };
        let document = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
        check(&document).unwrap();
        allow([document.as_str()], &question)
    }

    #[test]
    fn wildcards_are_like_iam_s() {
        for (pattern, text, is) in [
            ("*", "", true),
            ("a*c", "abbc", true),
            ("a*c*e", "abcde", true),
            ("a?c", "abc", true),
            ("a?c", "ac", false),
            ("a*b", "abab", true),
            ("abc", "ab", false),
            ("ab", "abc", false),
        ] {
            assert_eq!(fits(pattern, text), is, "{pattern} {text}");
        }
    }

    #[test]
    fn an_allow_is_about_its_action_its_resource_and_its_conditions() {
        let (read, logs) = ("s3:getobject", "arn:aws:s3:::logs/a");
        let plain = statement(json!({}));
        assert!(allows(plain.clone(), read, logs, NOON));
        assert!(!allows(plain.clone(), "s3:PutObject", logs, NOON));
        assert!(!allows(plain.clone(), read, "arn:aws:s3:::Logs/a", NOON));
        let until = statement(json!({"Condition": {
            "DateLessThan": {"aws:CurrentTime": "2026-01-01T12:00:00Z"},
            "StringEquals": {"aws:userid": ["AROA:bob", "AROA:ana"]},
        }}));
        assert!(allows(until.clone(), read, logs, NOON - 1));
        assert!(!allows(until, read, logs, NOON));
        let other = json!({"Condition": {"StringEquals": {"aws:userid": "AROA:bob"}}});
        assert!(!allows(statement(other), read, logs, NOON));
        let missing = json!({"Condition": {"StringLike": {"aws:RequestedRegion": "*"}}});
        assert!(!allows(statement(missing), read, logs, NOON));
        let own = json!({"Resource": "arn:aws:s3:::logs/${aws:username}/*"});
        assert!(allows(
            statement(own.clone()),
            read,
            "arn:aws:s3:::logs/ana/x",
            NOON
        ));
        assert!(!allows(
            statement(own),
            read,
            "arn:aws:s3:::logs/bob/x",
            NOON
        ));
        let unknown = json!({"Condition": {"Bool": {"aws:SecureTransport": "true"}}});
        assert!(!allows(statement(unknown.clone()), read, logs, NOON));
        let denied = json!([plain, statement(json!({"Effect": "Deny"}))]);
        assert!(!allows(denied, read, logs, NOON));
        let mut maybe = statement(unknown);
        maybe["Effect"] = json!("Deny");
        assert!(!allows(
            json!([statement(json!({})), maybe]),
            read,
            logs,
            NOON
        ));
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        for (document, why) in [
            (json!([]), "Syntax"),
            (json!({"Version": "2012-10-17"}), "Syntax"),
            (json!({"Statement": [], "Version": "2012-10-17"}), "Syntax"),
            (
                json!({"Version": "2020-01-01", "Statement": statement(json!({}))}),
                "version",
            ),
            (
                json!({"Statement": statement(json!({"Sid": "a-b"}))}),
                "alphanumeric",
            ),
            (
                json!({"Statement": statement(json!({"Action": "read"}))}),
                "vendor",
            ),
            (
                json!({"Statement": statement(json!({"Resource": "logs"}))}),
                "ARN",
            ),
            (
                json!({"Statement": statement(json!({"Effect": "allow"}))}),
                "Syntax",
            ),
            (
                json!({"Statement": statement(json!({"Principal": "*"}))}),
                "principal",
            ),
            (
                json!({"Statement": statement(json!({"NotAction": "s3:*"}))}),
                "Syntax",
            ),
            (
                json!({"Statement": statement(json!({"Condition": {"Like": {"a": "b"}}}))}),
                "Like",
            ),
            (
                json!({"Statement": [statement(json!({"Sid": "A"})), statement(json!({"Sid": "A"}))]}),
                "unique",
            ),
        ] {
            let error = check(&document.to_string()).unwrap_err();
            assert_eq!(error.code, "MalformedPolicyDocument");
            assert!(
                error.message().contains(why),
                "{document}: {}",
                error.message()
            );
        }
    }
}
