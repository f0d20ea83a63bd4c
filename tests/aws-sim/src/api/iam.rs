//! IAM: roles, users and their inline policies.

use serde_json::{Map, Value, json};

use super::fields::{Fields, Shape};
use super::query::encoded;
use crate::document::{self, rfc3339};
use crate::error::AwsError;
use crate::hostile::Stage;
use crate::identity::{Identity, Sort, Who};
use crate::state::State;

/// The inline policies of a role, and of a user, together ("IAM and AWS STS quotas").
const ROLE_MOST: usize = 10_240;
const USER_MOST: usize = 2_048;

fn is_name(text: &str) -> bool {
    let extra = "_+=,.@-";
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || extra.contains(c))
}

const NAME: Shape = Shape {
    min: 1,
    max: 64,
    pattern: "[\\w+=,.@-]+",
    is: is_name,
};

const POLICY_NAME: Shape = Shape { max: 128, ..NAME };

const DOCUMENT: Shape = Shape {
    min: 1,
    max: 131_072,
    pattern: "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
    is: |it| {
        it.chars()
            .all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
    },
};

pub(super) fn get_role(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let who = known(state, fields, Sort::Role)?;
    Ok(json!({"Role": shown(state, &who)}))
}

pub(super) fn get_user(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let who = known(state, fields, Sort::User)?;
    Ok(json!({"User": shown(state, &who)}))
}

pub(super) fn put_role_policy(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    put(state, fields, Sort::Role)
}

pub(super) fn put_user_policy(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    put(state, fields, Sort::User)
}

pub(super) fn get_role_policy(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    get(state, fields, Sort::Role)
}

pub(super) fn get_user_policy(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    get(state, fields, Sort::User)
}

pub(super) fn delete_role_policy(
    state: &mut State,
    fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    delete(state, fields, Sort::Role)
}

pub(super) fn delete_user_policy(
    state: &mut State,
    fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    delete(state, fields, Sort::User)
}

pub(super) fn list_role_policies(
    state: &mut State,
    fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    list(state, fields, Sort::Role)
}

pub(super) fn list_user_policies(
    state: &mut State,
    fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    list(state, fields, Sort::User)
}

fn put(state: &mut State, fields: &Fields<'_>, sort: Sort) -> Result<Value, AwsError> {
    let name = fields.required("PolicyName", POLICY_NAME)?;
    let document = fields.required("PolicyDocument", DOCUMENT)?;
    let who = modifiable(state, fields, sort)?;
    document::check(&document)?;
    let others = state.policies_kept(&who).into_iter();
    let others = others.filter(|(of, _)| *of != name);
    let sum: usize = others.map(|(_, it)| document::size(it)).sum();
    let most = match sort {
        Sort::Role => ROLE_MOST,
        Sort::User => USER_MOST,
    };
    if sum + document::size(&document) > most {
        let (word, of) = (sort.word(), &who.1);
        let why = format!("Maximum policy size of {most} bytes exceeded for {word} {of}");
        return Err(AwsError::new("LimitExceeded", why).status(409));
    }
    state.set_policy(&who, &name, Some(&document));
    Ok(Value::Null)
}

fn get(state: &mut State, fields: &Fields<'_>, sort: Sort) -> Result<Value, AwsError> {
    let name = fields.required("PolicyName", POLICY_NAME)?;
    let who = known(state, fields, sort)?;
    let read = state.policies_read(&who);
    let Some(document) = read.get(name.as_str()) else {
        return Err(no_policy(sort, &name));
    };
    Ok(json!({
        named(sort): who.1, "PolicyName": name, "PolicyDocument": encoded(document),
    }))
}

fn delete(state: &mut State, fields: &Fields<'_>, sort: Sort) -> Result<Value, AwsError> {
    let name = fields.required("PolicyName", POLICY_NAME)?;
    let who = modifiable(state, fields, sort)?;
    if !state.policies_kept(&who).contains_key(name.as_str()) {
        return Err(no_policy(sort, &name));
    }
    state.set_policy(&who, &name, None);
    Ok(Value::Null)
}

fn list(state: &mut State, fields: &Fields<'_>, sort: Sort) -> Result<Value, AwsError> {
    let who = known(state, fields, sort)?;
    let names: Vec<(String, Value)> = (state.policies_read(&who).into_keys())
        .map(|name| (name.to_owned(), json!(name)))
        .collect();
    let (names, marker) = page(state, fields, names)?;
    let mut answer = Map::from_iter([("PolicyNames".to_owned(), json!(names))]);
    answer.extend(marked(marker));
    Ok(Value::Object(answer))
}

/// Roles and users with their inline policies, those that are filtered for.
pub(super) fn details(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let kinds = [
        "User",
        "Role",
        "Group",
        "LocalManagedPolicy",
        "AWSManagedPolicy",
    ];
    let mut filter = Vec::new();
    for number in 1.. {
        let Some(kind) = fields.word(&format!("Filter.member.{number}"), &kinds)? else {
            break;
        };
        filter.push(kind);
    }
    let is_asked = |sort: Sort| {
        let kind = match sort {
            Sort::Role => "Role",
            Sort::User => "User",
        };
        filter.is_empty() || filter.iter().any(|it| it == kind)
    };
    let entries: Vec<(String, Value)> = (state.identities.known.keys())
        .filter(|(sort, _)| is_asked(*sort))
        .map(|who| (format!("{}/{}", who.0.word(), who.1), detail(state, who)))
        .collect();
    let (entries, marker) = page(state, fields, entries)?;
    let (roles, users): (Vec<Value>, Vec<Value>) = entries
        .into_iter()
        .partition(|it| it.get("RoleName").is_some());
    let mut answer = Map::from_iter([
        ("RoleDetailList".to_owned(), json!(roles)),
        ("UserDetailList".to_owned(), json!(users)),
        ("GroupDetailList".to_owned(), json!([])),
        ("Policies".to_owned(), json!([])),
    ]);
    answer.extend(marked(marker));
    Ok(Value::Object(answer))
}

fn detail(state: &State, who: &Who) -> Value {
    let policies: Vec<Value> = (state.policies_read(who).into_iter())
        .map(|(name, document)| json!({"PolicyName": name, "PolicyDocument": encoded(document)}))
        .collect();
    let mut shown = shown(state, who);
    let list = match who.0 {
        Sort::Role => "RolePolicyList",
        Sort::User => "UserPolicyList",
    };
    if let Some(shown) = shown.as_object_mut() {
        shown.remove("MaxSessionDuration");
        shown.insert(list.to_owned(), json!(policies));
    }
    shown
}

/// The entries of one page, and where the next begins.
fn page(
    state: &mut State,
    fields: &Fields<'_>,
    mut entries: Vec<(String, Value)>,
) -> Result<(Vec<Value>, Option<String>), AwsError> {
    let asked = match fields.text("MaxItems")? {
        None => 100,
        Some(text) => text
            .parse::<usize>()
            .ok()
            .filter(|it| (1..=1_000).contains(it))
            .ok_or_else(|| AwsError::new("ValidationError", "Invalid MaxItems"))?,
    };
    let most = asked.min(state.setup.page_max.max(1));
    let after = match fields.text("Marker")? {
        None => None,
        Some(marker) => {
            let read = hex::decode(marker).ok();
            let read = read.and_then(|it| String::from_utf8(it).ok());
            Some(read.ok_or_else(|| AwsError::new("ValidationError", "Invalid Marker"))?)
        }
    };
    entries.sort_by(|one, other| one.0.cmp(&other.0));
    entries.retain(|(key, _)| after.as_ref().is_none_or(|last| key > last));
    let operation = fields.target.operation;
    if (state.hostility(Stage::Page, operation, fields.raw)).is_some() {
        return Ok((Vec::new(), Some(hex::encode(after.unwrap_or_default()))));
    }
    let is_more = entries.len() > most;
    entries.truncate(most);
    let last = entries.last().filter(|_| is_more);
    let marker = last.map(|(key, _)| hex::encode(key));
    Ok((entries.into_iter().map(|(_, it)| it).collect(), marker))
}

fn marked(marker: Option<String>) -> Vec<(String, Value)> {
    let mut members = vec![("IsTruncated".to_owned(), json!(marker.is_some()))];
    members.extend(marker.map(|it| ("Marker".to_owned(), json!(it))));
    members
}

fn named(sort: Sort) -> &'static str {
    match sort {
        Sort::Role => "RoleName",
        Sort::User => "UserName",
    }
}

fn known(state: &State, fields: &Fields<'_>, sort: Sort) -> Result<Who, AwsError> {
    let name = fields.required(named(sort), NAME)?;
    let who = (sort, name);
    if state.identities.known.contains_key(&who) {
        return Ok(who);
    }
    let word = sort.word();
    let why = format!("The {word} with name {} cannot be found.", who.1);
    Err(AwsError::new("NoSuchEntity", why).status(404))
}

fn modifiable(state: &State, fields: &Fields<'_>, sort: Sort) -> Result<Who, AwsError> {
    let who = known(state, fields, sort)?;
    let path = state.identities.known.get(&who).map(|it| it.path.as_str());
    let is_reserved = path.is_some_and(|path| {
        path.starts_with("/aws-reserved/") || path.starts_with("/aws-service-role/")
    });
    if sort == Sort::Role && is_reserved {
        let why = format!(
            "Cannot perform the operation on the protected role '{}' - this role is only \
             modifiable by AWS",
            who.1
        );
        return Err(AwsError::new("UnmodifiableEntity", why));
    }
    Ok(who)
}

fn no_policy(sort: Sort, name: &str) -> AwsError {
    let why = format!(
        "The {} policy with name {name} cannot be found.",
        sort.word()
    );
    AwsError::new("NoSuchEntity", why).status(404)
}

fn shown(state: &State, who: &Who) -> Value {
    let Some(identity) = state.identities.known.get(who) else {
        return Value::Null;
    };
    let Identity {
        path,
        id,
        created_at,
        trusted,
        session_name,
        max_session_s,
    } = identity;
    let (arn, created) = (state.arn(who), rfc3339(created_at - created_at % 1_000_000));
    match who.0 {
        Sort::Role => {
            let mut allow = json!({
                "Effect": "Allow", "Principal": {"AWS": trusted}, "Action": "sts:AssumeRole",
            });
            if let (Some(name), Value::Object(allow)) = (session_name, &mut allow) {
                let condition = json!({"StringLike": {"sts:RoleSessionName": name}});
                allow.insert("Condition".to_owned(), condition);
            }
            let trust = json!({"Version": "2012-10-17", "Statement": [allow]});
            json!({
                "Path": path, "RoleName": who.1, "RoleId": id, "Arn": arn, "CreateDate": created,
                "AssumeRolePolicyDocument": encoded(&trust.to_string()),
                "MaxSessionDuration": max_session_s,
            })
        }
        Sort::User => json!({
            "Path": path, "UserName": who.1, "UserId": id, "Arn": arn, "CreateDate": created,
        }),
    }
}
