//! Lists in pages, with tokens that only the list they came from understands.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Fields, Service};
use crate::error::AwsError;
use crate::hostile::Stage;
use crate::state::State;

/// A list: what its answer calls it, the most on a page, and its entries by a key that orders them.
pub(super) struct List {
    pub(super) name: &'static str,
    pub(super) most: usize,
    pub(super) entries: Vec<(String, Value)>,
}

/// One page of a list. A token holds the last key shown, so an entry that appears or goes between
/// two pages disturbs no other.
pub(super) fn page(
    state: &mut State,
    fields: &Fields<'_>,
    mut list: List,
) -> Result<Value, AwsError> {
    let asked = fields.max_results(list.most)?.unwrap_or(list.most);
    let most = asked.min(list.most).min(state.setup.page_max.max(1));
    let question = question(fields);
    let after = match fields.text("NextToken")? {
        None | Some("") => None,
        Some(token) => Some(read(token, &question).ok_or_else(|| not_ours(fields))?),
    };
    list.entries.sort_by(|one, other| one.0.cmp(&other.0));
    let is_left = |key: &str| after.as_deref().is_none_or(|last| key > last);
    let left = list.entries.iter().filter(|(key, _)| is_left(key)).count();
    let mut answer = Map::new();
    let operation = fields.target.operation;
    if state
        .hostility(Stage::Page, operation, fields.raw)
        .is_some()
    {
        let token = write(after.as_deref().unwrap_or_default(), &question);
        answer.insert(list.name.to_owned(), json!([]));
        answer.insert("NextToken".to_owned(), json!(token));
        return Ok(Value::Object(answer));
    }
    let shown: Vec<(String, Value)> = (list.entries.into_iter())
        .filter(|(key, _)| is_left(key))
        .take(most)
        .collect();
    if let Some((last, _)) = shown.last().filter(|_| shown.len() < left) {
        answer.insert("NextToken".to_owned(), json!(write(last, &question)));
    }
    let shown: Vec<Value> = shown.into_iter().map(|(_, entry)| entry).collect();
    answer.insert(list.name.to_owned(), json!(shown));
    Ok(Value::Object(answer))
}

/// What is asked for, apart from where and how much: a token is good for the same question only.
fn question(fields: &Fields<'_>) -> String {
    let mut members = fields.members.clone();
    members.remove("NextToken");
    members.remove("MaxResults");
    let text = format!("{}{}", fields.target.operation, Value::Object(members));
    hex::encode(Sha256::digest(text)).chars().take(16).collect()
}

fn write(last: &str, question: &str) -> String {
    hex::encode(format!("{question}:{last}"))
}

fn read(token: &str, question: &str) -> Option<String> {
    let text = String::from_utf8(hex::decode(token).ok()?).ok()?;
    let (of, last) = text.split_once(':')?;
    (of == question).then(|| last.to_owned())
}

fn not_ours(fields: &Fields<'_>) -> AwsError {
    match fields.target.service {
        Service::Organizations => AwsError::new(
            "InvalidInputException",
            "You specified an invalid value for nextToken. You must get the value from the \
             response to a previous call to the API.",
        )
        .with("Reason", "INVALID_NEXT_TOKEN"),
        Service::SsoAdmin | Service::IdentityStore | Service::Iam | Service::Sts => {
            AwsError::new("ValidationException", "The pagination token is invalid.")
        }
    }
}
