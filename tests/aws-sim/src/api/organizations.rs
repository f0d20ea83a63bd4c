//! AWS Organizations: which accounts there are.

use serde_json::{Value, json};

use super::fields::{ACCOUNT, Fields};
use super::page::{List, page};
use crate::clock::epoch_seconds;
use crate::error::AwsError;
use crate::people::Account;
use crate::state::State;

/// The longest page that the model allows.
const MOST: usize = 20;

pub(super) fn list_accounts(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let entries = (state.accounts.iter())
        .map(|(id, account)| (id.clone(), shown(state, id, account)))
        .collect();
    page(
        state,
        fields,
        List {
            name: "Accounts",
            most: MOST,
            entries,
        },
    )
}

pub(super) fn describe_account(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let id = fields.required("AccountId", ACCOUNT)?;
    match state.accounts.get(&id) {
        Some(account) => Ok(json!({"Account": shown(state, &id, account)})),
        None => Err(AwsError::new(
            "AccountNotFoundException",
            "You specified an account that doesn't exist.",
        )),
    }
}

pub(super) fn describe_organization(
    state: &mut State,
    _fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    let (management, id) = (&state.setup.management_account, state.organization());
    let email = state.accounts.get(management).map(|it| it.email.clone());
    Ok(json!({"Organization": {
        "Id": id,
        "Arn": format!("arn:aws:organizations::{management}:organization/{id}"),
        "FeatureSet": "ALL",
        "MasterAccountArn": format!("arn:aws:organizations::{management}:account/{id}/{management}"),
        "MasterAccountId": management,
        "MasterAccountEmail": email.unwrap_or_default(),
        "AvailablePolicyTypes": [{"Type": "SERVICE_CONTROL_POLICY", "Status": "ENABLED"}],
    }}))
}

fn shown(state: &State, id: &str, account: &Account) -> Value {
    let word = if account.suspended {
        "SUSPENDED"
    } else {
        "ACTIVE"
    };
    let (owner, organization) = (&state.setup.management_account, state.organization());
    json!({
        "Id": id, "Arn": format!("arn:aws:organizations::{owner}:account/{organization}/{id}"),
        "Email": account.email, "Name": account.name, "Status": word, "State": word,
        "JoinedMethod": if id == owner { "INVITED" } else { "CREATED" },
        "JoinedTimestamp": epoch_seconds(account.joined_at),
    })
}
