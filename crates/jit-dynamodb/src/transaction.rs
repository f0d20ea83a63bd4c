//! One transaction: what it does to which rows on which conditions, how it is known again, and what
//! it means where it was not written.

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ConditionCheck, Delete, Put, TransactWriteItem};
use jit_core::ports::{Effect, ErrorKind};

use crate::error::{Cause, Failure, Fault, judged};
use crate::item::{self, COMMIT, Item};
use crate::keys::{self, Key};
use crate::table::{BATCH_LIMIT, Cancelled, Condition, Reason, Table};

/// The largest row that DynamoDB takes, in bytes of names and values.
/// Source: "Quotas in Amazon DynamoDB", items, and "DynamoDB item sizes and formats".
const ITEM_LIMIT: usize = 400 * 1_024;
/// The most bytes of one transaction. Source: "Quotas in Amazon DynamoDB".
const TRANSACTION_LIMIT: usize = 4 * 1_024 * 1_024;

/// What it means when the condition of a row does not hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Grip {
    /// What the caller decided on is not so any more.
    Firm,
    /// Something changed that only the store looked at.
    Loose,
}

/// What is done to one row.
#[derive(Debug)]
pub(crate) enum Op {
    Put(Item),
    Delete,
    Check,
}

/// A change of one row in a transaction.
#[derive(Debug)]
pub(crate) struct Write {
    pub(crate) key: Key,
    pub(crate) op: Op,
    pub(crate) condition: Option<(Condition, Grip)>,
}

impl Write {
    pub(crate) fn put(key: Key, item: Item) -> Self {
        let op = Op::Put(item);
        Self {
            key,
            op,
            condition: None,
        }
    }

    pub(crate) fn delete(key: Key) -> Self {
        Self {
            key,
            op: Op::Delete,
            condition: None,
        }
    }

    pub(crate) fn if_so(mut self, condition: Condition, grip: Grip) -> Self {
        self.condition = Some((condition, grip));
        self
    }

    /// Its size as DynamoDB counts it, at the most.
    fn size(&self) -> usize {
        match &self.op {
            Op::Put(item) => size(item),
            Op::Delete | Op::Check => self.key.pk.len() + self.key.sk.len(),
        }
    }

    fn build(self, table: &str) -> TransactWriteItem {
        const WHOLE: &str = "a write names its table, its row and what it does";
        let key = item::row(&self.key);
        let condition = self.condition.map(|(condition, _)| condition);
        let expression = condition.as_ref().map(|it| it.expression.to_owned());
        let values = condition.and_then(|it| it.values());
        let built = TransactWriteItem::builder();
        match self.op {
            Op::Put(item) => built.put(
                Put::builder()
                    .table_name(table)
                    .set_item(Some(item))
                    .set_condition_expression(expression)
                    .set_expression_attribute_values(values)
                    .build()
                    .expect(WHOLE),
            ),
            Op::Delete => built.delete(
                Delete::builder()
                    .table_name(table)
                    .set_key(Some(key))
                    .set_condition_expression(expression)
                    .set_expression_attribute_values(values)
                    .build()
                    .expect(WHOLE),
            ),
            Op::Check => built.condition_check(
                ConditionCheck::builder()
                    .table_name(table)
                    .set_key(Some(key))
                    .set_condition_expression(expression)
                    .set_expression_attribute_values(values)
                    .build()
                    .expect(WHOLE),
            ),
        }
        .build()
    }
}

/// How sending a plan ended, where it was not written.
#[derive(Debug)]
pub(crate) enum Ended {
    /// Look again: something changed that only the store looked at, or somebody else was at it.
    Again,
    /// It ends here.
    For(Fault),
}

impl From<Failure> for Ended {
    fn from(failure: Failure) -> Self {
        Self::For(Fault::Failed(failure))
    }
}

pub(crate) const KEY_TOO_LARGE: Fault = Fault::TooLarge {
    what: "bytes in the key of a row",
};

/// Refuses, before the call, what DynamoDB would.
pub(crate) fn check(writes: &[Write]) -> Result<(), Fault> {
    let too_large = |what| Err(Fault::TooLarge { what });
    if writes.len() > BATCH_LIMIT {
        return too_large("rows in one transaction");
    }
    if !writes.iter().all(|write| write.key.is_possible()) {
        return Err(KEY_TOO_LARGE);
    }
    if writes.iter().any(|write| write.size() > ITEM_LIMIT) {
        return too_large("bytes in one row");
    }
    if writes.iter().map(Write::size).sum::<usize>() > TRANSACTION_LIMIT {
        return too_large("bytes in one transaction");
    }
    Ok(())
}

/// Makes one row of a transaction say which transaction wrote it; which row that is. An event where
/// there is one: nobody writes over it, so it says so for ever.
pub(crate) fn mark(writes: &mut [Write], token: &str) -> Option<Key> {
    let is_event = |write: &Write| write.key.sk.starts_with(keys::EVENT);
    let is_put = |write: &Write| matches!(write.op, Op::Put(_));
    let place = writes
        .iter()
        .position(is_event)
        .or_else(|| writes.iter().position(is_put))?;
    let write = writes.get_mut(place)?;
    if let Op::Put(item) = &mut write.op {
        item.insert(COMMIT.to_owned(), item::text(token));
    }
    Some(write.key.clone())
}

/// Whether this transaction wrote the row. Where that cannot be read, it may have.
pub(crate) async fn was_written(table: &Table, mark: &Key, token: &str) -> Result<bool, Failure> {
    let row = table.get(mark).await.map_err(Failure::unsure)?;
    let by = row.as_ref().and_then(|row| row.get(COMMIT));
    Ok(by == Some(&item::text(token)))
}

/// Writes all of this or nothing, and nothing of it after `within` where that is given.
pub(crate) async fn send(
    table: &Table,
    mut writes: Vec<Write>,
    token: &str,
    within: Option<Duration>,
) -> Result<(), Ended> {
    if writes.is_empty() {
        return Ok(());
    }
    let mark = mark(&mut writes, token);
    check(&writes).map_err(Ended::For)?;
    let grips = writes.iter().map(|write| {
        let condition = write.condition.as_ref();
        condition.map_or(Grip::Loose, |(_, grip)| *grip)
    });
    let grips: Vec<Grip> = grips.collect();
    let items = writes.into_iter().map(|it| it.build(&table.name));
    let ended = match table.transact(items.collect(), token, within).await {
        Ok(()) => return Ok(()),
        Err(Cancelled::Failed(failure)) => return Err(failure.into()),
        Err(Cancelled::ByReasons(reasons)) => why(&reasons, &grips),
    };
    // A first try whose answer was lost may have been this very transaction.
    if let Some(mark) = &mark
        && was_written(table, mark, token).await?
    {
        return Ok(());
    }
    Err(ended)
}

/// What the reasons of a cancelled transaction come to. None of it was written.
pub(crate) fn why(reasons: &[Reason], grips: &[Grip]) -> Ended {
    let mut again = None;
    for (place, reason) in reasons.iter().enumerate() {
        let grip = grips.get(place).copied().unwrap_or(Grip::Loose);
        match (reason.code.as_str(), grip) {
            ("None", _) => {}
            ("ConditionalCheckFailed", Grip::Firm) => return Ended::For(Fault::Conflict),
            ("ConditionalCheckFailed", Grip::Loose) | ("TransactionConflict", _) => {
                again.get_or_insert(Ended::Again);
            }
            ("ItemCollectionSizeLimitExceeded", _) => {
                let what = "bytes under one partition key";
                return Ended::For(Fault::TooLarge { what });
            }
            (code, _) => {
                let (kind, _) = judged(code);
                let failure = Failure {
                    kind,
                    // Whatever the reason is: a cancelled transaction wrote nothing.
                    effect: Effect::None,
                    cause: Cause::Service {
                        code: code.to_owned(),
                        message: reason.message.clone(),
                        request: "of a cancelled transaction".to_owned(),
                    },
                };
                again = Some(Ended::For(Fault::Failed(failure)));
            }
        }
    }
    let unknown = || {
        let kind = ErrorKind::Unavailable;
        let (effect, cause) = (Effect::None, Cause::LeftUndone);
        Ended::For(Fault::Failed(Failure {
            kind,
            effect,
            cause,
        }))
    };
    again.unwrap_or_else(unknown)
}

/// The size of a row as DynamoDB counts it, at the most.
fn size(item: &Item) -> usize {
    item.iter()
        .map(|(name, value)| name.len() + value_size(value))
        .sum()
}

fn value_size(value: &AttributeValue) -> usize {
    match value {
        AttributeValue::S(text) => text.len(),
        // Two digits a byte, and one or two more; each digit is counted here.
        AttributeValue::N(digits) => digits.len() + 1,
        AttributeValue::L(values) => {
            3 + values
                .iter()
                .map(|value| 1 + value_size(value))
                .sum::<usize>()
        }
        _ => 1,
    }
}
