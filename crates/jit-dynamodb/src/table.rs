//! The table as DynamoDB serves it: single calls with their deadlines, and what they cost.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError;
use aws_sdk_dynamodb::operation::update_item::UpdateItemError;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity,
    ReturnValuesOnConditionCheckFailure, TransactWriteItem,
};
use futures_util::future::try_join_all;

use crate::attempts::Attempts;
use crate::error::{Cause, Failure};
use crate::item::{self, COMMIT, Item, Read};
use crate::keys::Key;

/// The most rows that one call reads by key, and that one transaction writes.
/// Source: "Quotas in Amazon DynamoDB".
pub(crate) const BATCH_LIMIT: usize = 100;
/// How often the rest of a batch is asked for that DynamoDB left undone.
const REST_TRIES: u32 = 6;
/// The pause before the rest is asked for the first time; it doubles from time to time.
const REST_PAUSE: Duration = Duration::from_millis(20);

/// What calls have cost so far.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Usage {
    /// How many calls, by DynamoDB's name for them.
    pub calls: BTreeMap<&'static str, u64>,
    /// Read units, as DynamoDB counted them.
    pub read_units: f64,
    /// Write units, as DynamoDB counted them.
    pub write_units: f64,
}

/// One table.
pub(crate) struct Table {
    pub(crate) client: Client,
    pub(crate) name: String,
    usage: Mutex<Usage>,
}

/// A condition on one row: an expression and its values.
#[derive(Debug, Clone)]
pub(crate) struct Condition {
    pub(crate) expression: &'static str,
    pub(crate) values: Vec<(&'static str, AttributeValue)>,
}

impl Condition {
    /// The row must not exist.
    pub(crate) fn absent() -> Self {
        Self {
            expression: "attribute_not_exists(pk)",
            values: Vec::new(),
        }
    }

    pub(crate) fn when<const N: usize>(
        expression: &'static str,
        values: [(&'static str, AttributeValue); N],
    ) -> Self {
        Self {
            expression,
            values: values.to_vec(),
        }
    }

    pub(crate) fn values(&self) -> Option<HashMap<String, AttributeValue>> {
        let values = self.values.iter().cloned();
        let values: HashMap<_, _> = values
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        (!values.is_empty()).then_some(values)
    }
}

/// Which rows of a partition: between two sort keys, both included, from one end or the other.
#[derive(Debug, Clone)]
pub(crate) struct Range {
    pub(crate) pk: String,
    pub(crate) from: String,
    pub(crate) to: String,
    pub(crate) order: Order,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    Ascending,
    Descending,
}

/// A page of a partition, and where the next one begins.
pub(crate) struct Page {
    pub(crate) items: Vec<Item>,
    pub(crate) next: Option<Item>,
}

impl Table {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            client,
            name,
            usage: Mutex::default(),
        }
    }

    pub(crate) fn usage(&self) -> Usage {
        let usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        usage.clone()
    }

    fn count<'a>(
        &self,
        call: &'static str,
        consumed: impl IntoIterator<Item = &'a ConsumedCapacity>,
    ) {
        let mut usage = self.usage.lock().unwrap_or_else(PoisonError::into_inner);
        *usage.calls.entry(call).or_default() += 1;
        for one in consumed {
            let writes = matches!(call, "UpdateItem" | "TransactWriteItems");
            let all = one.capacity_units().unwrap_or_default();
            usage.read_units += one
                .read_capacity_units()
                .unwrap_or(if writes { 0.0 } else { all });
            usage.write_units +=
                one.write_capacity_units()
                    .unwrap_or(if writes { all } else { 0.0 });
        }
    }

    /// The row with this key, as it is now.
    pub(crate) async fn get(&self, key: &Key) -> Result<Option<Item>, Failure> {
        if !key.is_possible() {
            return Ok(None);
        }
        let answer = self
            .client
            .get_item()
            .table_name(&self.name)
            .set_key(Some(item::row(key)))
            .consistent_read(true)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(Failure::of)?;
        self.count("GetItem", answer.consumed_capacity());
        Ok(answer.item)
    }

    /// The rows with these keys that exist, as they are now.
    pub(crate) async fn get_all(&self, keys: &[Key]) -> Result<HashMap<Key, Item>, Failure> {
        // DynamoDB refuses a batch that names a row twice, or one that cannot be.
        let keys: HashSet<&Key> = keys.iter().filter(|key| key.is_possible()).collect();
        let keys: Vec<&Key> = keys.into_iter().collect();
        let batches = keys.chunks(BATCH_LIMIT).map(|batch| self.batch(batch));
        let found = try_join_all(batches).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn batch(&self, keys: &[&Key]) -> Result<Vec<(Key, Item)>, Failure> {
        let wanted = keys.iter().map(|key| item::row(key)).collect();
        let mut wanted = Some(self.wanted(wanted)?);
        let mut found = Vec::new();
        for time in 0..REST_TRIES {
            let Some(rest) = wanted.take() else {
                return Ok(found);
            };
            if time > 0 {
                // It is left undone where the table is asked for more than it may give.
                tokio::time::sleep(REST_PAUSE * (1 << (time - 1))).await;
            }
            let answer = self
                .client
                .batch_get_item()
                .request_items(&self.name, rest)
                .return_consumed_capacity(ReturnConsumedCapacity::Total)
                .send()
                .await
                .map_err(Failure::of)?;
            self.count("BatchGetItem", answer.consumed_capacity());
            let mut items = answer.responses.unwrap_or_default();
            for item in items.remove(&self.name).unwrap_or_default() {
                found.push((Read::new(&item, "row").key()?, item));
            }
            let mut undone = answer.unprocessed_keys.unwrap_or_default();
            wanted = undone.remove(&self.name);
        }
        match wanted {
            None => Ok(found),
            Some(_) => Err(Cause::LeftUndone.into()),
        }
    }

    fn wanted(&self, keys: Vec<Item>) -> Result<KeysAndAttributes, Failure> {
        KeysAndAttributes::builder()
            .set_keys(Some(keys))
            .consistent_read(true)
            .build()
            .map_err(|error| Cause::Dispatch(error.into()).into())
    }

    /// One page of a partition, as it is now, of at most so many rows.
    pub(crate) async fn page(
        &self,
        range: &Range,
        limit: Option<usize>,
        begin: Option<Item>,
    ) -> Result<Page, Failure> {
        let limit = limit.map(|limit| i32::try_from(limit.max(1)).unwrap_or(i32::MAX));
        let answer = self
            .client
            .query()
            .table_name(&self.name)
            .key_condition_expression("pk = :pk AND sk BETWEEN :from AND :to")
            .expression_attribute_values(":pk", item::text(&range.pk))
            .expression_attribute_values(":from", item::text(&range.from))
            .expression_attribute_values(":to", item::text(&range.to))
            .scan_index_forward(range.order == Order::Ascending)
            .consistent_read(true)
            .set_limit(limit)
            .set_exclusive_start_key(begin)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(Failure::of)?;
        self.count("Query", answer.consumed_capacity());
        Ok(Page {
            items: answer.items.unwrap_or_default(),
            next: answer.last_evaluated_key.filter(|key| !key.is_empty()),
        })
    }

    /// The first rows of a range, at most so many.
    pub(crate) async fn first(&self, range: &Range, limit: usize) -> Result<Vec<Item>, Failure> {
        let (mut found, mut begin) = (Vec::new(), None);
        while found.len() < limit {
            let page = self.page(range, Some(limit - found.len()), begin).await?;
            found.extend(page.items);
            begin = page.next;
            if begin.is_none() {
                break;
            }
        }
        Ok(found)
    }

    /// Every row of a range.
    pub(crate) async fn all(&self, range: &Range) -> Result<Vec<Item>, Failure> {
        let (mut found, mut begin) = (Vec::new(), None);
        loop {
            let page = self.page(range, None, begin).await?;
            found.extend(page.items);
            begin = page.next;
            if begin.is_none() {
                return Ok(found);
            }
        }
    }

    /// One page of the whole table, as it is now.
    pub(crate) async fn scan(
        &self,
        limit: Option<i32>,
        begin: Option<Item>,
    ) -> Result<Page, Failure> {
        let answer = self
            .client
            .scan()
            .table_name(&self.name)
            .consistent_read(true)
            .set_limit(limit)
            .set_exclusive_start_key(begin)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await
            .map_err(Failure::of)?;
        self.count("Scan", answer.consumed_capacity());
        Ok(Page {
            items: answer.items.unwrap_or_default(),
            next: answer.last_evaluated_key.filter(|key| !key.is_empty()),
        })
    }

    /// Changes attributes of one row, where the condition holds; whether it did. The token marks
    /// the row, so that a first try whose answer was lost is known again.
    pub(crate) async fn update<const N: usize>(
        &self,
        key: &Key,
        (change, values): (&'static str, [(&'static str, AttributeValue); N]),
        condition: &Condition,
        token: &str,
    ) -> Result<bool, Failure> {
        let attempts = Attempts::default();
        let mark = item::text(token);
        let values = values.into_iter().chain(condition.values.iter().cloned());
        let values = values.chain([(":mark", mark.clone())]);
        let values = values
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(item::row(key)))
            .update_expression(format!("{change}, {COMMIT} = :mark"))
            .condition_expression(condition.expression)
            .set_expression_attribute_values(Some(values))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .return_values_on_condition_check_failure(ReturnValuesOnConditionCheckFailure::AllOld)
            .customize()
            .interceptor(attempts.clone())
            .send()
            .await;
        let error = match answer {
            Ok(answer) => {
                self.count("UpdateItem", answer.consumed_capacity());
                return Ok(true);
            }
            Err(error) => error,
        };
        self.count("UpdateItem", []);
        match error.as_service_error() {
            Some(UpdateItemError::ConditionalCheckFailedException(found)) => {
                Ok(found.item().and_then(|row| row.get(COMMIT)) == Some(&mark))
            }
            Some(UpdateItemError::TransactionConflictException(_)) => Ok(false),
            _ => Err(attempts.judge(Failure::of(error))),
        }
    }

    /// Writes everything or nothing. The token makes it one transaction however often it is sent
    /// within ten minutes; nothing of it is sent after `within`, where that is given.
    pub(crate) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
        token: &str,
        within: Option<Duration>,
    ) -> Result<(), Cancelled> {
        let attempts = Attempts::default();
        let answer = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(token)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .customize()
            .interceptor(attempts.clone())
            .send();
        let answer = match within {
            None => Ok(answer.await),
            Some(within) => tokio::time::timeout(within, answer).await,
        };
        let error = match answer {
            Ok(Ok(answer)) => {
                self.count("TransactWriteItems", answer.consumed_capacity());
                return Ok(());
            }
            Ok(Err(error)) => error,
            Err(_) => {
                self.count("TransactWriteItems", []);
                return Err(Cancelled::Failed(attempts.given_up()));
            }
        };
        self.count("TransactWriteItems", []);
        let service = error.as_service_error();
        let reasons = service.and_then(|error| match error {
            TransactWriteItemsError::TransactionCanceledException(cancelled) => {
                Some(cancelled.cancellation_reasons().to_vec())
            }
            _ => None,
        });
        let Some(reasons) = reasons else {
            return Err(Cancelled::Failed(attempts.judge(Failure::of(error))));
        };
        let reasons = reasons.into_iter().map(|reason| Reason {
            code: reason.code.unwrap_or_else(|| "None".to_owned()),
            message: reason.message.unwrap_or_default(),
        });
        Err(Cancelled::ByReasons(reasons.collect()))
    }
}

/// Why DynamoDB did not write one row of a transaction; `None` where that row was no reason.
#[derive(Debug, Clone)]
pub(crate) struct Reason {
    pub(crate) code: String,
    pub(crate) message: String,
}

/// Why a transaction was not written, or why that is not known.
#[derive(Debug)]
pub(crate) enum Cancelled {
    ByReasons(Vec<Reason>),
    Failed(Failure),
}
