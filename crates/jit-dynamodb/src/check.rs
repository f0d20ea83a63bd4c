//! The slow look at everything: whether each record is listed where it must be. The lists are
//! written with the records, so there is nothing to find; a list that lacks a record would be a
//! grant that nobody takes away, and that is worth looking for another way.

use std::collections::{HashMap, HashSet};

use jit_core::request::{REQUEST_SHAPE, RequestId};

use crate::commit::{Ended, Grip, Op, Write, send};
use crate::error::{Failure, Fault};
use crate::item::{self, Front, Item, Read};
use crate::keys::{self, Key};
use crate::table::{Condition, Table};
use crate::token;

/// What a check of the whole table found and mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    /// Records that were looked at.
    pub records: u64,
    /// Rows that a record should be listed by and was not; they were written.
    pub missing: u64,
    /// Rows that listed a record as it is not, or one that is gone; they were removed.
    pub stray: u64,
}

/// Whether this partition is one of the lists that [`Front::listed`] names, apart from the list of
/// all chains, which outlives the records.
fn is_list(pk: &str) -> bool {
    let lanes = ["due#revoke#", "due#other#", "updated#", "by#", "suffix#"];
    pk == keys::OPEN || pk == keys::KNOWN || lanes.iter().any(|lane| pk.starts_with(lane))
}

/// The request that a row of a list names.
fn listed_id(key: &Key) -> Option<RequestId> {
    if key.pk.starts_with("suffix#") {
        let id: String = key.sk.chars().rev().collect();
        return id.parse().ok();
    }
    key.sk.rsplit('#').next()?.parse().ok()
}

pub(crate) async fn check(table: &Table) -> Result<Difference, Failure> {
    let (mut fronts, mut lists) = (HashMap::new(), HashSet::new());
    let mut begin = None;
    loop {
        let page = table.scan(None, begin).await?;
        for row in &page.items {
            let key = Read::new(row, "row").key()?;
            if key.sk == keys::RECORD {
                // One damaged record delays no other; loading it says what is wrong.
                if let Ok(front) = Front::read(row) {
                    fronts.insert(front.id, front);
                }
            } else if is_list(&key.pk) {
                lists.insert(key);
            }
        }
        begin = page.next;
        if begin.is_none() {
            break;
        }
    }
    let mut found = Difference {
        records: fronts.len() as u64,
        ..Difference::default()
    };
    for front in fronts.values() {
        let listed = front.listed();
        if listed
            .keys()
            .all(|key| lists.contains(key) || key.pk == keys::CHAINS)
        {
            continue;
        }
        found.missing += mend(table, front.id).await?;
    }
    for key in lists {
        let id = listed_id(&key);
        let front = id.and_then(|id| fronts.get(&id));
        if !front.is_some_and(|front| front.listed().contains_key(&key)) {
            found.stray += remove(table, &key, id).await?;
        }
    }
    Ok(found)
}

/// The record as it is now, and the condition that it stays so.
async fn now(table: &Table, id: RequestId) -> Result<(Option<Front>, Write), Failure> {
    let key = keys::record(id);
    let row = table.get(&key).await?;
    let front = row.as_ref().map(Front::read).transpose()?;
    let as_seen = match &front {
        None => Condition::absent(),
        Some(front) => Condition::when(
            "version = :version",
            [(":version", item::number(front.version))],
        ),
    };
    let op = Op::Check;
    let check = Write {
        key,
        op,
        condition: None,
    };
    Ok((front, check.if_so(as_seen, Grip::Loose)))
}

/// Lists a record where it is not; how many rows were missing. What changed since the scan is
/// listed by whoever changed it.
async fn mend(table: &Table, id: RequestId) -> Result<u64, Failure> {
    let (front, unchanged) = now(table, id).await?;
    let Some(front) = front.filter(|front| front.shape <= REQUEST_SHAPE) else {
        return Ok(0);
    };
    let listed: Vec<(Key, Item)> = front.listed().into_iter().collect();
    let keys: Vec<Key> = listed.iter().map(|(key, _)| key.clone()).collect();
    let there = table.get_all(&keys).await?;
    let missing = listed
        .into_iter()
        .filter(|(key, _)| !there.contains_key(key));
    let mut writes: Vec<Write> = missing.map(|(key, row)| Write::put(key, row)).collect();
    let count = writes.len() as u64;
    if count > 0 {
        tracing::error!(request.id = %id, rows = count, "a record was missing from lists");
        writes.push(unchanged);
        sent(send(table, writes, &token(), None).await)?;
    }
    Ok(count)
}

/// Removes a row that lists nothing; how many that were.
async fn remove(table: &Table, key: &Key, id: Option<RequestId>) -> Result<u64, Failure> {
    let mut writes = vec![Write::delete(key.clone())];
    if let Some(id) = id {
        let (front, unchanged) = now(table, id).await?;
        if front.is_some_and(|front| front.listed().contains_key(key)) {
            return Ok(0);
        }
        writes.push(unchanged);
    }
    sent(send(table, writes, &token(), None).await)?;
    Ok(1)
}

/// Where the record changed meanwhile, the next check looks again.
fn sent(outcome: Result<(), Ended>) -> Result<(), Failure> {
    match outcome {
        Ok(()) | Err(Ended::Again | Ended::For(Fault::Conflict)) => Ok(()),
        Err(Ended::For(Fault::Failed(failure))) => Err(failure),
        Err(Ended::For(Fault::CounterFull { .. } | Fault::InputDone | Fault::TooLarge { .. })) => {
            Ok(())
        }
    }
}
