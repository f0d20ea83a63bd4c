//! Who says what a session of a role is called, by the trust policy of the role. Pure; nothing here asks
//! AWS.

use serde_json::{Map, Value};

use crate::template::{fits, read_json, texts};

/// Actions whose caller writes the session's name into the call ("AssumeRole" and
/// "AssumeRoleWithWebIdentity", STS API Reference). By SAML it is an attribute of what the identity
/// provider signed ("Configure SAML assertions for the authentication response", IAM User Guide).
const NAMED_BY_THE_CALLER: [&str; 2] = ["sts:assumerole", "sts:assumerolewithwebidentity"];
/// The key by which a trust policy holds the name to something ("IAM and AWS STS condition context keys",
/// IAM User Guide).
const NAME: &str = "sts:rolesessionname";
/// Operators by which it is held to just that.
const HOLDING: [&str; 3] = ["StringEquals", "StringEqualsIgnoreCase", "StringLike"];
/// The variables that say who calls and that the caller does not choose: the name of a user, and a tag of
/// whoever calls, which is as good as whoever sets tags ("IAM policy elements: Variables and tags" and
/// "AWS global condition context keys", IAM User Guide).
const WHO_CALLS: [&str; 2] = ["aws:username", "aws:principaltag/"];

/// Whether nobody who may assume the role chooses what the session is called.
pub(crate) fn binds_names(document: &str) -> bool {
    let Ok(Value::Object(document)) = read_json(document) else {
        return false;
    };
    let statements: Vec<&Value> = match document.get("Statement") {
        Some(Value::Array(statements)) => statements.iter().collect(),
        Some(statement) => vec![statement],
        None => Vec::new(),
    };
    let mut callers = vec![];
    for statement in statements {
        let Value::Object(statement) = statement else {
            return false;
        };
        if leaves_names(statement) {
            if !holds_names(statement) {
                return false;
            }
            // Of two statements whoever both let in may take either name.
            let caller = statement.get("Principal");
            if callers.contains(&caller) {
                return false;
            }
            callers.push(caller);
        }
    }
    true
}

/// Whether it allows a call that names the session.
fn leaves_names(statement: &Map<String, Value>) -> bool {
    let denies = statement.get("Effect").and_then(Value::as_str) == Some("Deny");
    let named = statement.get("Action").map(texts).is_none_or(|actions| {
        let names = |action: &&str| NAMED_BY_THE_CALLER.iter().any(|it| fits(action, it));
        actions.iter().any(names)
    });
    !denies && named
}

/// Whether one of its conditions, all of which must hold, leaves one name to each caller.
fn holds_names(statement: &Map<String, Value>) -> bool {
    let conditions = statement.get("Condition").and_then(Value::as_object);
    let holding = conditions.into_iter().flatten();
    let holding = holding.filter(|(operator, _)| HOLDING.contains(&operator.as_str()));
    let keys = holding.filter_map(|(_, keys)| keys.as_object()).flatten();
    let mut names = keys.filter(|(key, _)| key.eq_ignore_ascii_case(NAME));
    names.any(|(_, values)| match texts(values).as_slice() {
        [] => false,
        [one] if one.contains("${") => is_one_name(one),
        // One name for whoever it lets in, which must be one.
        [one] => is_one_name(one) && is_one_caller(statement.get("Principal")),
        // Of a list of names each caller may take any.
        several => several
            .iter()
            .all(|it| it.contains("${") && is_one_name(it)),
    })
}

/// Whether a statement lets in one user or one role, and not an account, or everybody.
fn is_one_caller(principal: Option<&Value>) -> bool {
    let principal = principal.and_then(Value::as_object);
    let arn = principal.and_then(|principal| match principal.len() {
        1 => principal.get("AWS")?.as_str(),
        _ => None,
    });
    arn.is_some_and(|arn| {
        let named = arn.contains(":user/") || arn.contains(":role/");
        named && !arn.contains(['*', '?'])
    })
}

/// Whether a value is one name for each caller: no wildcard, and no variable that they fill themselves.
fn is_one_name(value: &str) -> bool {
    let mut rest = value;
    while let Some((before, behind)) = rest.split_once("${") {
        let Some((variable, after)) = behind.split_once('}') else {
            return false;
        };
        let variable = variable.to_ascii_lowercase();
        // With a default, which stands behind a comma, all who have none would be called alike.
        let known = WHO_CALLS.iter().any(|it| variable.starts_with(it));
        if before.contains(['*', '?']) || !known || variable.contains(',') {
            return false;
        }
        rest = after;
    }
    !rest.contains(['*', '?'])
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn allowing(more: Value) -> Value {
        let mut statement = json!({
            "Effect": "Allow", "Action": "sts:AssumeRole",
            "Principal": {"AWS": "arn:aws:iam::111111111111:root"},
        });
        for (key, value) in more.as_object().unwrap() {
            statement[key] = value.clone();
        }
        statement
    }

    fn binds(statements: Value) -> bool {
        binds_names(&json!({"Version": "2012-10-17", "Statement": statements}).to_string())
    }

    fn held(operator: &str, values: Value) -> Value {
        allowing(json!({"Condition": {operator: {"sts:RoleSessionName": values}}}))
    }

    #[test]
    fn a_name_is_bound_where_each_who_may_assume_the_role_has_one() {
        for statement in [
            held("StringLike", json!("${aws:username}")),
            held("StringEquals", json!("${aws:PrincipalTag/email}")),
            held(
                "StringEquals",
                json!(["${aws:username}", "${aws:PrincipalTag/email}"]),
            ),
            allowing(json!({
                "Principal": {"AWS": "arn:aws:iam::111111111111:user/ana"},
                "Condition": {"StringEquals": {"sts:RoleSessionName": "ana@example.com"}},
            })),
            held("StringEqualsIgnoreCase", json!("x-${aws:username}")),
            allowing(
                json!({"Condition": {"StringLike": {"STS:rolesessionname": "${aws:username}"}}}),
            ),
            allowing(json!({"Action": "sts:AssumeRoleWithSAML", "Principal": {"Federated": "x"}})),
            allowing(json!({"Action": ["sts:TagSession", "sts:SetSourceIdentity"]})),
            allowing(json!({"Effect": "Deny"})),
        ] {
            assert!(binds(statement.clone()), "{statement}");
        }
        assert!(binds(json!([])), "whom nobody may assume nobody names");
    }

    #[test]
    fn a_name_is_free_where_anybody_who_may_assume_the_role_chooses_it() {
        for statement in [
            allowing(json!({})),
            allowing(json!({"Principal": "*"})),
            allowing(json!({"Action": "sts:*"})),
            allowing(json!({"Action": ["sts:AssumeRoleWithSAML", "STS:assumerole"]})),
            allowing(json!({"Action": "*"})),
            // The name is a parameter of that call as well.
            allowing(json!({"Action": "sts:AssumeRoleWithWebIdentity"})),
            allowing(json!({"Condition": {"StringEquals": {"aws:PrincipalOrgID": "o-1"}}})),
            held("StringNotEquals", json!("root")),
            // One name for everybody in the account.
            held("StringEquals", json!("ana@example.com")),
            held("StringEquals", json!("${aws:SourceIdentity}")),
            held("StringEquals", json!("${aws:SourceIp}")),
            held(
                "StringEquals",
                json!("${aws:PrincipalTag/email, 'ana@example.com'}"),
            ),
            held("StringLikeIfExists", json!("${aws:username}")),
            held("ForAllValues:StringEquals", json!("${aws:username}")),
            held("StringLike", json!("*")),
            held("StringLike", json!("${aws:username}*")),
            held("StringLike", json!("*@example.com")),
            held(
                "StringEquals",
                json!(["ana@example.com", "bob@example.com"]),
            ),
            held("StringEquals", json!("${sts:RoleSessionName}")),
            held("StringEquals", json!("${aws:RequestTag/name}")),
            held("StringEquals", json!("${aws:username")),
            held("StringEquals", json!([])),
            json!([
                held("StringLike", json!("${aws:username}")),
                allowing(json!({}))
            ]),
            json!({"Effect": "Allow", "NotAction": "sts:TagSession", "Principal": "*"}),
            json!(["x"]),
        ] {
            assert!(!binds(statement.clone()), "{statement}");
        }
        for unreadable in ["", "[]", "{", r#"{"Statement": [], "Statement": []}"#] {
            assert!(!binds_names(unreadable), "{unreadable}");
        }
    }

    #[test]
    fn of_two_statements_one_caller_may_take_either_name() {
        let tag = held("StringEquals", json!("${aws:PrincipalTag/email}"));
        let name = held("StringEquals", json!("${aws:username}"));
        assert!(binds(json!([name])) && binds(json!([tag])));
        assert!(!binds(json!([name, tag])));
    }
}
