//! The table itself: making it, knowing it again, and what its users may do.

use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::error::SdkError;
use aws_sdk_dynamodb::operation::describe_table::DescribeTableError;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, KeySchemaElement, KeyType, PointInTimeRecoverySpecification,
    ScalarAttributeType, TableDescription, TableStatus, TimeToLiveSpecification,
};
use jit_core::ports::{ErrorKind, PortError};
use serde_json::{Value, json};

use crate::error::{Cause, Failure, OpenError};
use crate::item::{self, FORGET_AT, Read};
use crate::keys;
use crate::table::{Condition, Table};

/// The newest form of the table that this release knows.
const SCHEMA: u32 = 1;
/// How long a new table may take until it can be used.
const MADE_WITHIN: Duration = Duration::from_secs(120);
/// How often backups are asked for that a new table cannot have yet.
const BACKUP_TRIES: u32 = 120;
/// How often it is looked at meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What daemons, sweepers and operator verbs may do to the table. The conditions and writes of a
/// transaction need the permissions of the single calls.
/// Source: "Amazon DynamoDB Transactions: How it works", IAM permissions.
pub const ACTIONS: [&str; 9] = [
    "dynamodb:BatchGetItem",
    "dynamodb:ConditionCheckItem",
    "dynamodb:DeleteItem",
    "dynamodb:DescribeTable",
    "dynamodb:GetItem",
    "dynamodb:PutItem",
    "dynamodb:Query",
    "dynamodb:Scan",
    "dynamodb:UpdateItem",
];

/// What `create-table` needs besides.
pub const ADMIN_ACTIONS: [&str; 3] = [
    "dynamodb:CreateTable",
    "dynamodb:UpdateContinuousBackups",
    "dynamodb:UpdateTimeToLive",
];

/// The table as CloudFormation makes it: kept when its stack is deleted, restorable to any second
/// of the last 35 days, paid by the call.
pub fn cloudformation(table: &str) -> Value {
    json!({
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": "The store of JIT Access",
        "Resources": {
            "Store": {
                "Type": "AWS::DynamoDB::Table",
                "DeletionPolicy": "Retain",
                "UpdateReplacePolicy": "Retain",
                "Properties": {
                    "TableName": table,
                    "BillingMode": "PAY_PER_REQUEST",
                    "DeletionProtectionEnabled": true,
                    "AttributeDefinitions": [
                        {"AttributeName": "pk", "AttributeType": "S"},
                        {"AttributeName": "sk", "AttributeType": "S"},
                    ],
                    "KeySchema": [
                        {"AttributeName": "pk", "KeyType": "HASH"},
                        {"AttributeName": "sk", "KeyType": "RANGE"},
                    ],
                    "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": true},
                    "TimeToLiveSpecification": {"AttributeName": FORGET_AT, "Enabled": true},
                },
            },
        },
        "Outputs": {"TableArn": {"Value": {"Fn::GetAtt": ["Store", "Arn"]}}},
    })
}

/// Makes the table, or finds it made, and turns on what protects it: removal only on purpose,
/// restoring to any second, expiry of closed rows.
///
/// # Errors
/// [`OpenError`]: there is a table of this name that is not ours, or AWS refuses.
pub async fn create_table(client: &Client, table: &str) -> Result<(), OpenError> {
    let unreachable = |failure: Failure, operation| unreachable(table, failure, operation);
    match describe(client, table).await {
        Ok(_) => {}
        Err(OpenError::Missing { .. }) => {
            let made = make(client, table).await;
            made.map_err(|failure| unreachable(failure, "create the table"))?;
        }
        Err(other) => return Err(other),
    }
    ready(client, table).await?;
    // Nothing is changed of a table that is somebody else's.
    recognise(client, table).await?;
    let expiry = TimeToLiveSpecification::builder()
        .attribute_name(FORGET_AT)
        .enabled(true)
        .build();
    let expiry = expiry.map_err(|error| Failure::from(Cause::Dispatch(error.into())));
    let expiry = expiry.map_err(|failure| unreachable(failure, "turn on expiry"))?;
    let expires = client.update_time_to_live().table_name(table);
    let expires = expires.time_to_live_specification(expiry).send().await;
    if let Err(failure) = expires.map_err(Failure::of) {
        // It is turned on already: DynamoDB calls that invalid, as it does where it is turned on
        // for another attribute.
        let is_ours = !failure.says("different AttributeName");
        match failure.code() {
            Some("ValidationException") if is_ours => {}
            _ => return Err(unreachable(failure, "turn on expiry")),
        }
    }
    let restorable = PointInTimeRecoverySpecification::builder()
        .point_in_time_recovery_enabled(true)
        .build();
    let restorable = restorable.map_err(|error| Failure::from(Cause::Dispatch(error.into())));
    let restorable = restorable.map_err(|failure| unreachable(failure, "turn on backups"))?;
    let backups = client.update_continuous_backups().table_name(table);
    let backups = backups.point_in_time_recovery_specification(restorable);
    let turn_on = || async {
        let answer = backups.clone().send().await;
        answer.map(drop).map_err(Failure::of)
    };
    let mut turned_on = turn_on().await;
    for _ in 0..BACKUP_TRIES {
        // A table that was just made takes some seconds until it can have them.
        match &turned_on {
            Err(it) if it.code() == Some("ContinuousBackupsUnavailableException") => {}
            _ => break,
        }
        tokio::time::sleep(LOOK_EVERY).await;
        turned_on = turn_on().await;
    }
    if let Err(failure) = turned_on {
        match failure.code() {
            // Servers that are not AWS have no backups to turn on.
            Some("UnknownOperationException") => {
                tracing::warn!("this server keeps no continuous backups");
            }
            _ => return Err(unreachable(failure, "turn on backups")),
        }
    }
    Ok(())
}

async fn make(client: &Client, table: &str) -> Result<(), Failure> {
    let attribute = |name: &str| {
        AttributeDefinition::builder()
            .attribute_name(name)
            .attribute_type(ScalarAttributeType::S)
            .build()
            .expect("an attribute has a name and a type")
    };
    let key = |name: &str, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .expect("a key has a name and a type")
    };
    let made = client
        .create_table()
        .table_name(table)
        .attribute_definitions(attribute("pk"))
        .attribute_definitions(attribute("sk"))
        .key_schema(key("pk", KeyType::Hash))
        .key_schema(key("sk", KeyType::Range))
        .billing_mode(BillingMode::PayPerRequest)
        .deletion_protection_enabled(true)
        .send()
        .await;
    match made.map_err(Failure::of) {
        Ok(_) => Ok(()),
        // Somebody else makes it at the same time.
        Err(failure) if failure.code() == Some("ResourceInUseException") => Ok(()),
        Err(failure) => Err(failure),
    }
}

/// Waits until a table that is being made can be used.
async fn ready(client: &Client, table: &str) -> Result<(), OpenError> {
    let waiting = async {
        loop {
            let described = describe(client, table).await?;
            match described.table_status() {
                Some(TableStatus::Creating | TableStatus::Updating) => {
                    tokio::time::sleep(LOOK_EVERY).await;
                }
                _ => return Ok(()),
            }
        }
    };
    match tokio::time::timeout(MADE_WITHIN, waiting).await {
        Ok(done) => done,
        Err(_) => Err(OpenError::NotReady {
            table: table.to_owned(),
            status: "still being made".to_owned(),
        }),
    }
}

fn unreachable(table: &str, failure: Failure, operation: &'static str) -> OpenError {
    OpenError::Unreachable {
        table: table.to_owned(),
        source: failure.during(operation),
    }
}

async fn describe(client: &Client, table: &str) -> Result<TableDescription, OpenError> {
    let described = client.describe_table().table_name(table).send().await;
    let missing = |error: &SdkError<DescribeTableError>| {
        let error = error.as_service_error();
        error.is_some_and(DescribeTableError::is_resource_not_found_exception)
    };
    match described {
        Ok(answer) => Ok(answer
            .table
            .unwrap_or_else(|| TableDescription::builder().build())),
        Err(error) if missing(&error) => {
            let region = client.config().region();
            Err(OpenError::Missing {
                table: table.to_owned(),
                region: region.map_or_else(|| "no region".to_owned(), ToString::to_string),
            })
        }
        Err(error) => Err(unreachable(table, Failure::of(error), "describe the table")),
    }
}

/// Makes sure that a table is a store of ours before anything else is done to it. One that is
/// empty becomes ours.
pub(crate) async fn recognise(client: &Client, name: &str) -> Result<(), OpenError> {
    let table = name.to_owned();
    let rows = Table::new(client.clone(), table.clone());
    // Nearly always it is marked, and then nothing else is asked: what describes tables may be away
    // while reads and writes, and with them the revokes, go on.
    match rows.get(&keys::marker()).await {
        Ok(Some(row)) if form_of(&row).is_ok_and(|it| it.is_some_and(|it| it <= SCHEMA)) => {
            return Ok(());
        }
        Err(failure) if failure.kind == ErrorKind::Unavailable => {
            return Err(unreachable(name, failure, "look for its marker"));
        }
        // Whatever it is, the description of the table says it better.
        Ok(_) | Err(_) => {}
    }
    let described = describe(client, name).await?;
    match described.table_status() {
        Some(TableStatus::Active | TableStatus::Updating) => {}
        other => {
            let status = other.map_or("of unknown state", TableStatus::as_str);
            return Err(OpenError::NotReady {
                table,
                status: status.to_owned(),
            });
        }
    }
    let is_key = |name: &str, kind: &KeyType| {
        let mut schema = described.key_schema().iter();
        let mut types = described.attribute_definitions().iter();
        schema.any(|key| key.attribute_name() == name && key.key_type() == kind)
            && types.any(|it| {
                it.attribute_name() == name && *it.attribute_type() == ScalarAttributeType::S
            })
    };
    if !is_key("pk", &KeyType::Hash) || !is_key("sk", &KeyType::Range) {
        return Err(OpenError::OtherKeys { table });
    }
    let found = marked(&rows).await;
    let found = found.map_err(|failure| unreachable(name, failure, "look for its marker"))?;
    match found {
        None => Err(OpenError::Foreign { table }),
        Some(found) if found > SCHEMA => Err(OpenError::Newer {
            table,
            found,
            known: SCHEMA,
        }),
        Some(_) => Ok(()),
    }
}

/// The schema that a marker says; none where it is not ours.
fn form_of(row: &item::Item) -> Result<Option<u32>, Cause> {
    let read = Read::new(row, "marker");
    match read.text("application") {
        Ok("jit-access") => read.number("form").map(Some),
        _ => Ok(None),
    }
}

/// The schema that the table has; none where its rows are not ours.
async fn marked(table: &Table) -> Result<Option<u32>, Failure> {
    if let Some(row) = table.get(&keys::marker()).await? {
        return Ok(form_of(&row)?);
    }
    if !table.scan(Some(1), None).await?.items.is_empty() {
        // Another process may have made it ours between the two looks.
        let row = table.get(&keys::marker()).await?;
        return Ok(row.as_ref().map(form_of).transpose()?.flatten());
    }
    let row = [
        (":application", item::text("jit-access")),
        (":form", item::number(SCHEMA)),
    ];
    let change = ("SET application = :application, form = :form", row);
    table
        .update(
            &keys::marker(),
            change,
            &Condition::absent(),
            &crate::token(),
        )
        .await?;
    let row = table.get(&keys::marker()).await?;
    Ok(row.as_ref().map(form_of).transpose()?.flatten())
}

/// A table that could not be opened, as an error of the port.
impl From<OpenError> for PortError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::Unreachable { source, .. } => source,
            other => {
                let kind = ErrorKind::Misconfigured;
                PortError::nothing_done("dynamodb", "open the table", kind).because(other)
            }
        }
    }
}
