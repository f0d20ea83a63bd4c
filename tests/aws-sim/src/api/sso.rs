//! IAM Identity Center as its administrators call it: `sso-admin`.

use serde_json::{Value, json};

use super::fields::{ACCOUNT, Fields, INSTANCE, PRINCIPAL, REQUEST, SET};
use super::page::{List, page};
use crate::assignment::{Assignment, Kind, Operation, PrincipalType, Status};
use crate::clock::{epoch_seconds, micros};
use crate::error::AwsError;
use crate::hostile::{Hostility, Stage};
use crate::people::iso_duration;
use crate::setup::{Notices, Seat};
use crate::state::State;

/// The longest page that the model allows.
const MOST: usize = 100;

const PRINCIPAL_TYPES: [&str; 2] = ["USER", "GROUP"];
const STATUSES: [&str; 3] = ["IN_PROGRESS", "FAILED", "SUCCEEDED"];
const PROVISIONING: [&str; 2] = [
    "LATEST_PERMISSION_SET_PROVISIONED",
    "LATEST_PERMISSION_SET_NOT_PROVISIONED",
];

pub(super) fn list_instances(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let arn = state.instance_arn();
    let owner = state.setup.management_account.clone();
    let instance = json!({
        "InstanceArn": arn, "IdentityStoreId": state.identity_store(),
        "OwnerAccountId": owner, "CreatedDate": 1_700_000_000, "Status": "ACTIVE",
    });
    let list = List {
        name: "Instances",
        most: MOST,
        entries: vec![(arn, instance)],
    };
    page(state, fields, list)
}

pub(super) fn list_sets(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let sets = state.sets.keys().cloned().collect();
    page(state, fields, plain("PermissionSets", sets))
}

pub(super) fn describe_set(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let arn = permission_set(state, fields)?;
    let Some(set) = state.sets.get(&arn) else {
        return Err(no_such_set(&arn));
    };
    Ok(json!({"PermissionSet": {
        "Name": set.name, "PermissionSetArn": arn, "CreatedDate": epoch_seconds(set.created_at),
        "SessionDuration": iso_duration(set.session_s),
    }}))
}

pub(super) fn list_assignments(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let account = fields.required("AccountId", ACCOUNT)?;
    let set = permission_set(state, fields)?;
    known_account(state, &account)?;
    let is_meant = |it: &Assignment| it.account == account && it.permission_set == set;
    let entries = assignments(state, fields, is_meant);
    page(
        state,
        fields,
        List {
            name: "AccountAssignments",
            most: MOST,
            entries,
        },
    )
}

pub(super) fn list_for_principal(
    state: &mut State,
    fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let principal = fields.required("PrincipalId", PRINCIPAL)?;
    let kind = principal_type(fields)?;
    let account = match fields.inside("Filter")? {
        Some(filter) => filter.optional("AccountId", ACCOUNT)?,
        None => None,
    };
    let is_meant = |it: &Assignment| {
        it.principal == principal
            && it.principal_type == kind
            && account
                .as_ref()
                .is_none_or(|account| it.account == *account)
    };
    let entries = assignments(state, fields, is_meant);
    page(
        state,
        fields,
        List {
            name: "AccountAssignments",
            most: MOST,
            entries,
        },
    )
}

pub(super) fn create(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let status = begin(state, fields, Kind::Create)?;
    Ok(json!({"AccountAssignmentCreationStatus": status}))
}

pub(super) fn delete(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let status = begin(state, fields, Kind::Delete)?;
    Ok(json!({"AccountAssignmentDeletionStatus": status}))
}

pub(super) fn describe_creation(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let status = describe(state, fields, Kind::Create)?;
    Ok(json!({"AccountAssignmentCreationStatus": status}))
}

pub(super) fn describe_deletion(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    let status = describe(state, fields, Kind::Delete)?;
    Ok(json!({"AccountAssignmentDeletionStatus": status}))
}

pub(super) fn list_creations(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    list_statuses(state, fields, Kind::Create)
}

pub(super) fn list_deletions(state: &mut State, fields: &Fields<'_>) -> Result<Value, AwsError> {
    list_statuses(state, fields, Kind::Delete)
}

pub(super) fn list_sets_of_account(
    state: &mut State,
    fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let account = fields.required("AccountId", ACCOUNT)?;
    let status = fields.word("ProvisioningStatus", &PROVISIONING)?;
    known_account(state, &account)?;
    let mut sets: Vec<String> = (state.assignments.iter())
        .filter(|it| it.account == account && is_latest(status.as_deref()))
        .map(|it| it.permission_set.clone())
        .collect();
    sets.sort();
    sets.dedup();
    page(state, fields, plain("PermissionSets", sets))
}

pub(super) fn list_accounts_of_set(
    state: &mut State,
    fields: &Fields<'_>,
) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let set = permission_set(state, fields)?;
    let status = fields.word("ProvisioningStatus", &PROVISIONING)?;
    let mut accounts: Vec<String> = (state.assignments.iter())
        .filter(|it| it.permission_set == set && is_latest(status.as_deref()))
        .map(|it| it.account.clone())
        .collect();
    accounts.dedup();
    page(state, fields, plain("AccountIds", accounts))
}

/// Nobody changes permission sets here, so every provisioned one is the latest.
fn is_latest(asked: Option<&str>) -> bool {
    asked != Some("LATEST_PERMISSION_SET_NOT_PROVISIONED")
}

/// Accepts a creation or deletion, or says why not.
fn begin(state: &mut State, fields: &Fields<'_>, kind: Kind) -> Result<Value, AwsError> {
    let assignment = wanted(state, fields)?;
    if state.setup.seat == Seat::Delegated && assignment.account == state.setup.management_account {
        return Err(AwsError::denied(
            "Access to the management account is only allowed from the management account.",
        ));
    }
    if state.setup.notices == Notices::AtOnce
        && let Some(why) = state.refusal(kind, &assignment)
    {
        return Err(AwsError::not_found(why));
    }
    let outstanding_max = state.setup.outstanding_max;
    let open = state.in_progress();
    if open.iter().any(|it| it.assignment == assignment) {
        return Err(AwsError::conflict(fields.target.service));
    }
    if open.len() >= outstanding_max {
        return Err(AwsError::throttled(fields.target.service));
    }
    let operation = planned(state, fields, kind, assignment);
    let shown = status(&operation, &Status::InProgress);
    state.begin(operation);
    Ok(shown)
}

/// What a creation or deletion asks for.
fn wanted(state: &State, fields: &Fields<'_>) -> Result<Assignment, AwsError> {
    let asked = fields.required("InstanceArn", INSTANCE)?;
    let account = fields.required("TargetId", ACCOUNT)?;
    fields.required_word("TargetType", &["AWS_ACCOUNT"])?;
    let permission_set = fields.required("PermissionSetArn", SET)?;
    let principal_type = principal_type(fields)?;
    let principal = fields.required("PrincipalId", PRINCIPAL)?;
    known_instance(state, &asked)?;
    if !state.sets.contains_key(&permission_set) {
        return Err(no_such_set(&permission_set));
    }
    Ok(Assignment {
        account,
        permission_set,
        principal,
        principal_type,
    })
}

/// An accepted operation: how it will go, and when.
fn planned(
    state: &mut State,
    fields: &Fields<'_>,
    kind: Kind,
    assignment: Assignment,
) -> Operation {
    let (name, raw) = (fields.target.operation, fields.raw);
    let (least, most) = (micros(state.setup.apply_min), micros(state.setup.apply_max));
    let span = u64::try_from(most.saturating_sub(least)).unwrap_or(0);
    let drawn = state.draw() % span.saturating_add(1);
    let mut takes = least.saturating_add(i64::try_from(drawn).unwrap_or(0));
    if let Some(Hostility::ApplyAfter(time)) = state.hostility(Stage::Apply, name, raw) {
        takes = micros(time);
    }
    let is_frozen = state.hostility(Stage::Freeze, name, raw).is_some();
    let doomed = match state.hostility(Stage::Fail, name, raw) {
        Some(Hostility::Fail(why)) => Some(why),
        _ => None,
    };
    let status_lag = match state.hostility(Stage::Status, name, raw) {
        Some(Hostility::StatusAfter(time)) => micros(time),
        _ => 0,
    };
    Operation {
        kind,
        request_id: state.draw_uuid(),
        assignment,
        created_at: state.moment,
        due: (!is_frozen).then(|| state.moment.saturating_add(takes)),
        status_lag,
        doomed,
        outcome: None,
    }
}

fn describe(state: &mut State, fields: &Fields<'_>, kind: Kind) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let name = match kind {
        Kind::Create => "AccountAssignmentCreationRequestId",
        Kind::Delete => "AccountAssignmentDeletionRequestId",
    };
    let request_id = fields.required(name, REQUEST)?;
    match state.operations.get(&request_id) {
        Some(operation) if operation.kind == kind => {
            Ok(status(operation, &operation.status(state.moment)))
        }
        _ => Err(AwsError::not_found(format!(
            "Could not find the request with id {request_id}"
        ))),
    }
}

fn list_statuses(state: &mut State, fields: &Fields<'_>, kind: Kind) -> Result<Value, AwsError> {
    instance(state, fields)?;
    let wanted = match fields.inside("Filter")? {
        Some(filter) => filter.word("Status", &STATUSES)?,
        None => None,
    };
    let mut entries = Vec::new();
    for (number, id) in state.history.iter().enumerate() {
        let Some(operation) = state.operations.get(id).filter(|it| it.kind == kind) else {
            continue;
        };
        let word = operation.status(state.moment).word();
        if wanted.as_ref().is_none_or(|it| it == word) {
            let shown = json!({
                "Status": word, "RequestId": id, "CreatedDate": epoch_seconds(operation.created_at),
            });
            entries.push((format!("{number:020}"), shown));
        }
    }
    let name = match kind {
        Kind::Create => "AccountAssignmentsCreationStatus",
        Kind::Delete => "AccountAssignmentsDeletionStatus",
    };
    page(
        state,
        fields,
        List {
            name,
            most: MOST,
            entries,
        },
    )
}

/// A status in full.
fn status(operation: &Operation, status: &Status) -> Value {
    let it = &operation.assignment;
    let mut shown = json!({
        "Status": status.word(), "RequestId": operation.request_id,
        "TargetId": it.account, "TargetType": "AWS_ACCOUNT",
        "PermissionSetArn": it.permission_set,
        "PrincipalType": it.principal_type.word(), "PrincipalId": it.principal,
        "CreatedDate": epoch_seconds(operation.created_at),
    });
    if let (Status::Failed(why), Some(shown)) = (status, shown.as_object_mut()) {
        shown.insert("FailureReason".to_owned(), json!(why));
    }
    shown
}

/// The assignments that are meant, as the API shows them; by hostility, as they once were.
fn assignments(
    state: &mut State,
    fields: &Fields<'_>,
    is_meant: impl Fn(&Assignment) -> bool,
) -> Vec<(String, Value)> {
    let show = |it: &Assignment| {
        let key = format!(
            "{} {} {} {}",
            it.account,
            it.permission_set,
            it.principal_type.word(),
            it.principal
        );
        let shown = json!({
            "AccountId": it.account, "PermissionSetArn": it.permission_set,
            "PrincipalType": it.principal_type.word(), "PrincipalId": it.principal,
        });
        (key, shown)
    };
    let name = fields.target.operation;
    match state.hostility(Stage::Stale, name, fields.raw) {
        Some(Hostility::Stale(by)) => {
            let then = state.moment.saturating_sub(micros(by));
            let once = state.assignments_at(then);
            once.iter().filter(|it| is_meant(it)).map(show).collect()
        }
        _ => (state.assignments.iter())
            .filter(|it| is_meant(it))
            .map(show)
            .collect(),
    }
}

/// A list of strings.
fn plain(name: &'static str, entries: Vec<String>) -> List {
    List {
        name,
        most: MOST,
        entries: (entries.into_iter())
            .map(|it| (it.clone(), Value::String(it)))
            .collect(),
    }
}

fn principal_type(fields: &Fields<'_>) -> Result<PrincipalType, AwsError> {
    let word = fields.required_word("PrincipalType", &PRINCIPAL_TYPES)?;
    Ok(if word == "GROUP" {
        PrincipalType::Group
    } else {
        PrincipalType::User
    })
}

fn instance(state: &State, fields: &Fields<'_>) -> Result<(), AwsError> {
    known_instance(state, &fields.required("InstanceArn", INSTANCE)?)
}

fn known_instance(state: &State, arn: &str) -> Result<(), AwsError> {
    if arn != state.instance_arn() {
        let why = format!("Could not find the instance {arn}");
        return Err(AwsError::not_found(why));
    }
    Ok(())
}

fn known_account(state: &State, account: &str) -> Result<(), AwsError> {
    if !state.accounts.contains_key(account) {
        let why = format!("Could not find the account {account}");
        return Err(AwsError::not_found(why));
    }
    Ok(())
}

fn permission_set(state: &State, fields: &Fields<'_>) -> Result<String, AwsError> {
    let arn = fields.required("PermissionSetArn", SET)?;
    if !state.sets.contains_key(&arn) {
        return Err(no_such_set(&arn));
    }
    Ok(arn)
}

fn no_such_set(arn: &str) -> AwsError {
    let id = arn.rsplit_once('/').map_or(arn, |(_, id)| id);
    AwsError::not_found(format!("Could not find PermissionSet with id {id}"))
}
