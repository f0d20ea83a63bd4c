//! STS: sessions of roles.

use std::time::Duration;

use serde_json::{Value, json};

use super::fields::{Fields, Shape};
use crate::clock::micros;
use crate::document::{self, rfc3339};
use crate::error::AwsError;
use crate::identity::{Session, Sort};
use crate::setup::AccessKey;
use crate::state::{Caller, State};

const ROLE: Shape = Shape {
    min: 20,
    max: 2_048,
    pattern: "[\\u0009\\u000A\\u000D\\u0020-\\u007E\\u0085\\u00A0-\\uD7FF\\uE000-\\uFFFD]+",
    is: |_| true,
};

const SESSION_NAME: Shape = Shape {
    min: 2,
    max: 64,
    pattern: "[\\w+=,.@-]*",
    is: |it| {
        it.chars()
            .all(|c| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c))
    },
};

const POLICY: Shape = Shape {
    min: 1,
    max: 2_048,
    pattern: "[\\u0009\\u000A\\u000D\\u0020-\\u00FF]+",
    is: |it| {
        it.chars()
            .all(|c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{ff}'))
    },
};

/// The shortest session, the longest, and the longest that a session may open.
const SHORTEST: u64 = 900;
const LONGEST: u64 = 43_200;
const CHAINED: u64 = 3_600;

pub(super) fn assume_role(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let arn = fields.required("RoleArn", ROLE)?;
    let name = fields.required("RoleSessionName", SESSION_NAME)?;
    let policy = fields.optional("Policy", POLICY)?;
    let seconds = match fields.text("DurationSeconds")? {
        None => CHAINED,
        Some(text) => text
            .parse::<u64>()
            .ok()
            .filter(|it| (SHORTEST..=LONGEST).contains(it))
            .ok_or_else(|| {
                let why = format!(
                    "1 validation error detected: Value '{text}' at 'durationSeconds' failed to \
                     satisfy constraint: Member must have value between {SHORTEST} and {LONGEST}"
                );
                AwsError::new("ValidationError", why)
            })?,
    };
    let caller = state.caller.clone();
    let known = (state.identities.known.iter())
        .find(|(who, _)| who.0 == Sort::Role && state.arn(who) == arn);
    // One that is not there is not told from one that may not be assumed.
    let trusted = known.filter(|(_, role)| {
        let held = role.session_name.as_deref();
        (role.trusted.iter()).any(|it| it == "*" || *it == caller.arn)
            && held.is_none_or(|held| is_called(&caller, held, &name))
    });
    let Some((who, role)) = trusted else {
        let why = format!(
            "User: {} is not authorized to perform: sts:AssumeRole on resource: {arn}",
            caller.arn
        );
        return Err(AwsError::denied(why));
    };
    let invalid = |why: &str| Err(AwsError::new("ValidationError", why));
    if caller.is_session && seconds > CHAINED {
        return invalid(
            "The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by \
             role chaining",
        );
    }
    if seconds > role.max_session_s {
        return invalid(
            "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.",
        );
    }
    let (role, role_id) = (who.1.clone(), role.id.clone());
    let mut packed = 0;
    if let Some(policy) = &policy {
        document::check(policy)?;
        packed = document::size(policy) * 100 / state.setup.packed_policy_max.max(1);
        if packed > 100 {
            let why = format!(
                "Packed policy consumes {packed}% of allotted space, please use \
                               smaller policy."
            );
            return Err(AwsError::new("PackedPolicyTooLarge", why));
        }
    }
    let expires_at = state
        .moment
        .saturating_add(micros(Duration::from_secs(seconds)));
    let session = Session {
        assumed_role_id: format!("{role_id}:{name}"),
        access_key: state.draw_id("ASIA", 16),
        secret: state.draw_id("", 40),
        token: format!("{}/+==", state.draw_id("IQoJb3JpZ2luX2Vj", 300)),
        role,
        name,
        policy,
        expires_at_micros: expires_at,
    };
    let account = &state.setup.management_account;
    let answer = json!({
        "Credentials": {
            "AccessKeyId": session.access_key, "SecretAccessKey": session.secret,
            "SessionToken": session.token,
            "Expiration": rfc3339(expires_at - expires_at % 1_000_000),
        },
        "AssumedRoleUser": {
            "AssumedRoleId": session.assumed_role_id,
            "Arn": format!("arn:aws:sts::{account}:assumed-role/{}/{}", session.role, session.name),
        },
        "PackedPolicySize": packed,
    });
    let key = AccessKey {
        session_token: Some(session.token.clone()),
        expires_at_micros: Some(expires_at),
        ..AccessKey::new(&session.access_key, &session.secret)
    };
    state.keys.insert(key.id.clone(), key);
    let id = session.access_key.clone();
    state.identities.sessions.insert(id, session);
    Ok(answer)
}

/// Whether a caller's session may be called this by a pattern. Of variables it knows `aws:username`,
/// which only a user has.
fn is_called(caller: &Caller, pattern: &str, name: &str) -> bool {
    let user = caller.arn.split_once(":user/");
    let user = user.and_then(|(_, path)| path.rsplit('/').next());
    let user = user.filter(|_| !caller.is_session);
    let pattern = match user {
        Some(user) => pattern.replace("${aws:username}", user),
        None => pattern.to_owned(),
    };
    !pattern.contains("${") && document::fits(&pattern, name)
}

pub(super) fn get_caller_identity(state: &mut State, _: &Fields<'_>) -> Result<Value, AwsError> {
    let caller = &state.caller;
    Ok(json!({
        "Arn": caller.arn, "UserId": caller.user_id, "Account": state.setup.management_account,
    }))
}
