//! The table as DynamoDB serves it: single calls with their deadlines, and what they cost.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::types::{
    AttributeValue, ConsumedCapacity, KeysAndAttributes, ReturnConsumedCapacity, TransactWriteItem,
};
use futures_util::future::try_join_all;

use crate::error::{Cause, Failure};
use crate::item::{self, Item, Read};
use crate::keys::Key;

/// The most rows that one call reads by key, and that one transaction writes.
/// Source: "Quotas in Amazon DynamoDB".
pub(crate) const BATCH_LIMIT: usize = 100;
/// How often the rest of a batch is asked for that DynamoDB left undone.
const REST_TRIES: usize = 5;

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
            let writes = matches!(call, "PutItem" | "UpdateItem" | "DeleteItem");
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
        let batches = keys.chunks(BATCH_LIMIT).map(|batch| self.batch(batch));
        let found = try_join_all(batches).await?;
        Ok(found.into_iter().flatten().collect())
    }

    async fn batch(&self, keys: &[Key]) -> Result<Vec<(Key, Item)>, Failure> {
        let wanted = keys.iter().map(item::row).collect();
        let mut wanted = Some(self.wanted(wanted)?);
        let mut found = Vec::new();
        for _ in 0..REST_TRIES {
            let Some(rest) = wanted.take() else {
                return Ok(found);
            };
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

    /// Changes attributes of one row, where the condition holds; whether it did.
    pub(crate) async fn update<const N: usize>(
        &self,
        key: &Key,
        (change, values): (&'static str, [(&'static str, AttributeValue); N]),
        condition: &Condition,
    ) -> Result<bool, Failure> {
        let values = values.into_iter().chain(condition.values.iter().cloned());
        let values = values
            .map(|(name, value)| (name.to_owned(), value))
            .collect();
        let answer = self
            .client
            .update_item()
            .table_name(&self.name)
            .set_key(Some(item::row(key)))
            .update_expression(change)
            .condition_expression(condition.expression)
            .set_expression_attribute_values(Some(values))
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        match answer.map_err(Failure::of) {
            Ok(answer) => {
                self.count("UpdateItem", answer.consumed_capacity());
                Ok(true)
            }
            Err(failure) => match failure.code() {
                Some("ConditionalCheckFailedException" | "TransactionConflictException") => {
                    self.count("UpdateItem", []);
                    Ok(false)
                }
                _ => Err(failure),
            },
        }
    }

    /// Writes everything or nothing. The token makes it one transaction however often it is sent
    /// within ten minutes.
    pub(crate) async fn transact(
        &self,
        items: Vec<TransactWriteItem>,
        token: &str,
    ) -> Result<(), Cancelled> {
        let answer = self
            .client
            .transact_write_items()
            .set_transact_items(Some(items))
            .client_request_token(token)
            .return_consumed_capacity(ReturnConsumedCapacity::Total)
            .send()
            .await;
        let error = match answer {
            Ok(answer) => {
                self.count("TransactWriteItems", answer.consumed_capacity());
                return Ok(());
            }
            Err(error) => error,
        };
        self.count("TransactWriteItems", []);
        let service = error.as_service_error();
        let reasons = service.and_then(|error| match error {
            aws_sdk_dynamodb::operation::transact_write_items::TransactWriteItemsError::TransactionCanceledException(
                cancelled,
            ) => Some(cancelled.cancellation_reasons().to_vec()),
            _ => None,
        });
        let Some(reasons) = reasons else {
            return Err(Cancelled::Failed(Failure::of(error)));
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
