//! The identity store: who the users are.

use serde_json::{Value, json};

use super::fields::{Fields, PATH, STORE, TEXT, USER};
use super::page::{List, page};
use crate::error::AwsError;
use crate::people::{User, user_arn};
use crate::state::State;

const MOST: usize = 100;

pub(super) fn describe_user(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let asked = fields.required("IdentityStoreId", STORE)?;
    let id = fields.required("UserId", USER)?;
    let store = known_store(state, &asked)?;
    let id = id.rsplit_once('/').map_or(id.as_str(), |(_, id)| id);
    match state.users.get(id) {
        Some(user) => Ok(user.shown(&store, id)),
        None => Err(no_such_user(id)),
    }
}

pub(super) fn list_users(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let store = known_store(state, &fields.required("IdentityStoreId", STORE)?)?;
    let filters = fields.list("Filters")?;
    if filters.len() > 1 {
        let limit = "1 validation error detected: Value at 'filters' failed to satisfy \
                     constraint: Member must have length less than or equal to 1";
        return Err(AwsError::new("ValidationException", limit));
    }
    let wanted = match filters.first() {
        Some(filter) => Some(filter_of(filter)?),
        None => None,
    };
    let entries = (state.users.iter())
        .filter(|(_, user)| wanted.as_ref().is_none_or(|it| it.takes(user)))
        .map(|(id, user)| (id.clone(), user.shown(&store, id)))
        .collect();
    page(
        state,
        fields,
        List {
            name: "Users",
            most: MOST,
            entries,
        },
    )
}

pub(super) fn get_user_id(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let store = known_store(state, &fields.required("IdentityStoreId", STORE)?)?;
    let Some(by) = fields.inside("AlternateIdentifier")? else {
        return Err(fields.missing("AlternateIdentifier"));
    };
    let wanted = match (by.inside("UniqueAttribute")?, by.inside("ExternalId")?) {
        (Some(unique), None) => {
            let path = unique.required("AttributePath", PATH)?;
            let value = unique.required("AttributeValue", TEXT)?;
            match path.to_ascii_lowercase().as_str() {
                "username" => Wanted::Name(value),
                "emails.value" => Wanted::Email(value),
                _ => return Err(no_such_path(&path)),
            }
        }
        (None, Some(external)) => Wanted::Issued {
            issuer: external.required("Issuer", TEXT)?,
            id: external.required("Id", TEXT)?,
        },
        _ => {
            let why = "AlternateIdentifier must have exactly one of ExternalId, UniqueAttribute";
            return Err(AwsError::new("ValidationException", why));
        }
    };
    match state.users.iter().find(|(_, user)| wanted.takes(user)) {
        Some((id, _)) => Ok(json!({
            "IdentityStoreId": store, "UserId": id, "UserArn": user_arn(id),
        })),
        None => Err(AwsError::not_found("USER not found.").with("ResourceType", "USER")),
    }
}

/// Which users are meant.
enum Wanted {
    Name(String),
    Email(String),
    External(String),
    Issued { issuer: String, id: String },
}

impl Wanted {
    fn takes(&self, user: &User) -> bool {
        match self {
            Self::Name(name) => user.user_name == *name,
            Self::Email(email) => user.email.as_ref() == Some(email),
            Self::External(id) => user.external_ids.iter().any(|it| it.1 == *id),
            Self::Issued { issuer, id } => {
                (user.external_ids.iter()).any(|it| it.0 == *issuer && it.1 == *id)
            }
        }
    }
}

fn filter_of(filter: &Fields<'_>) -> Result<Wanted, AwsError> {
    let path = filter.required("AttributePath", PATH)?;
    let value = filter.required("AttributeValue", TEXT)?;
    match path.as_str() {
        "UserName" => Ok(Wanted::Name(value)),
        "ExternalId" => Ok(Wanted::External(value)),
        _ => Err(no_such_path(&path)),
    }
}

fn no_such_path(path: &str) -> AwsError {
    let why = format!("Unsupported attribute path: {path}");
    AwsError::new("ValidationException", why)
}

fn no_such_user(id: &str) -> AwsError {
    AwsError::not_found("USER not found.")
        .with("ResourceType", "USER")
        .with("ResourceId", id)
}

fn known_store(state: &State, asked: &str) -> Result<String, AwsError> {
    let store = state.identity_store();
    let id = asked.rsplit_once('/').map_or(asked, |(_, id)| id);
    if id != store {
        return Err(AwsError::not_found("IDENTITY_STORE not found.")
            .with("ResourceType", "IDENTITY_STORE")
            .with("ResourceId", id));
    }
    Ok(store)
}
