//! The slow look at everything: whether each record, delivery and input is listed where it must be.
//! The lists are written with what they list, so there is nothing to find; a list that lacks a
//! record would be a grant that nobody takes away, and that is worth looking for another way.

use std::collections::{BTreeSet, HashMap, HashSet};

use jit_core::request::REQUEST_SHAPE;

use crate::error::{Cause, Failure, Fault};
use crate::item::{self, Front, Item, Read};
use crate::keys::{self, Key};
use crate::table::{Condition, Table};
use crate::token;
use crate::transaction::{Ended, Grip, Op, Write, send};

/// What a check of the whole table found and mended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Difference {
    /// Records that were looked at.
    pub records: u64,
    /// Rows that something should be listed by and was not; they were written.
    pub missing: u64,
    /// Rows that listed something as it is not; they were removed.
    pub stray: u64,
    /// Rows that listed records which DynamoDB has removed after their time; they were removed.
    pub forgotten: u64,
    /// Records of a later release, or damaged, that were left as they are, with all that lists them.
    pub left_alone: u64,
}

impl Difference {
    /// Whether something was wrong.
    pub fn is_worth_an_alarm(&self) -> bool {
        self.missing > 0 || self.stray > 0
    }
}

/// A row that must be listed, as it is: the rows that list it, and what says that it is unchanged.
struct Owner {
    listed: HashMap<Key, Item>,
    unchanged: Condition,
}

impl Owner {
    /// None where it is to be left alone.
    fn read(row: &Item) -> Result<Option<Self>, Cause> {
        let key = Read::new(row, "row").key()?;
        let version = |version: u64| {
            Condition::when("version = :version", [(":version", item::number(version))])
        };
        if key.sk == keys::RECORD {
            let front = Front::read(row)?;
            let known = front.shape <= REQUEST_SHAPE;
            return Ok(known.then(|| Self {
                listed: front.listed(),
                unchanged: version(front.version),
            }));
        }
        if key.sk == keys::INPUT {
            let input = item::input(row)?;
            let waits = keys::input_waits(&input.key, input.received_at);
            let waits = (waits, item::input_waits(&input.key, input.received_at));
            let done = aws_sdk_dynamodb::types::AttributeValue::Bool(input.is_done);
            let received = item::micros(input.received_at);
            return Ok(Some(Self {
                listed: (!input.is_done).then_some(waits).into_iter().collect(),
                unchanged: Condition::when(
                    "is_done = :done AND received_at = :received",
                    [(":done", done), (":received", received)],
                ),
            }));
        }
        let delivery = item::read_delivery(row)?;
        let due = delivery.deliver_at.map(|at| {
            let due = keys::notify(&delivery.key, at);
            let row = item::row(&due);
            (due, row)
        });
        Ok(Some(Self {
            listed: due.into_iter().collect(),
            unchanged: version(delivery.version),
        }))
    }

    /// The owner with this key as it is now, and the check that it stays so. An error is one that is
    /// to be left alone, or a call that failed.
    async fn now(table: &Table, key: &Key) -> Result<Option<(Self, Write)>, Failure> {
        let row = table.get(key).await?;
        let owner = match row.as_ref().map(Self::read) {
            None => Some(Self {
                listed: HashMap::new(),
                unchanged: Condition::absent(),
            }),
            Some(read) => read.unwrap_or(None),
        };
        Ok(owner.map(|owner| {
            let check = Write {
                key: key.clone(),
                op: Op::Check,
                condition: Some((owner.unchanged.clone(), Grip::Loose)),
            };
            (owner, check)
        }))
    }
}

/// What a look at every row found.
#[derive(Default)]
struct Found {
    difference: Difference,
    /// Every row by which something must be listed, and what that is.
    demanded: HashMap<Key, Key>,
    /// Every row that lists something.
    lists: HashSet<Key>,
    /// What is not known well enough to be judged.
    left_alone: HashSet<Key>,
    owners: HashSet<Key>,
}

impl Found {
    fn see(&mut self, row: &Item) -> Result<(), Failure> {
        let key = Read::new(row, "row").key()?;
        let is_owner = key.sk == keys::RECORD || key.sk == keys::INPUT || keys::is_delivery(&key);
        if is_owner {
            self.difference.records += u64::from(key.sk == keys::RECORD);
            match Owner::read(row) {
                Ok(Some(owner)) => {
                    let listed = owner.listed.into_keys();
                    self.demanded.extend(listed.map(|it| (it, key.clone())));
                    self.owners.insert(key);
                }
                // One damaged record delays no other; loading it says what is wrong.
                Ok(None) | Err(_) => {
                    self.difference.left_alone += u64::from(key.sk == keys::RECORD);
                    self.left_alone.insert(key);
                }
            }
        } else if let Some(id) = keys::chain_begun(&key) {
            // A chain outlives its record, and so does the row that lists it.
            self.demanded.entry(keys::chain(id)).or_insert(key);
        } else if key.pk == keys::CHAINS || keys::listed(&key).is_some() {
            let shape: u32 = Read::new(row, "row").number("shape").unwrap_or_default();
            if shape <= REQUEST_SHAPE {
                self.lists.insert(key);
            }
        }
        Ok(())
    }
}

pub(crate) async fn check(table: &Table) -> Result<Difference, Failure> {
    let (mut found, mut begin) = (Found::default(), None);
    loop {
        let page = table.scan(None, begin).await?;
        for row in &page.items {
            found.see(row)?;
        }
        begin = page.next;
        if begin.is_none() {
            break;
        }
    }
    let Found {
        mut difference,
        demanded,
        lists,
        left_alone,
        owners,
    } = found;
    let missing = demanded.iter().filter(|(list, _)| !lists.contains(list));
    let unlisted: BTreeSet<&Key> = missing.map(|(_, owner)| owner).collect();
    for owner in unlisted {
        difference.missing += mend(table, owner).await?;
    }
    for list in &lists {
        let Some(owner) = keys::listed(list) else {
            continue;
        };
        if demanded.contains_key(list) || left_alone.contains(&owner) {
            continue;
        }
        let removed = remove(table, list, &owner).await?;
        // Nothing but its expiry removes a record.
        match owner.sk == keys::RECORD && !owners.contains(&owner) {
            true => difference.forgotten += removed,
            false => difference.stray += removed,
        }
    }
    Ok(difference)
}

/// Lists what is not listed; how many rows were missing. What changed since the scan is listed by
/// whoever changed it.
async fn mend(table: &Table, owner: &Key) -> Result<u64, Failure> {
    if let Some(id) = keys::chain_begun(owner) {
        let key = keys::chain(id);
        let row = item::row(&key);
        let absent = Write::put(key, row).if_so(Condition::absent(), Grip::Loose);
        return write(table, vec![absent], 1).await;
    }
    let Some((now, unchanged)) = Owner::now(table, owner).await? else {
        return Ok(0);
    };
    let keys: Vec<Key> = now.listed.keys().cloned().collect();
    let there = table.get_all(&keys).await?;
    let missing = now.listed.into_iter();
    let missing = missing.filter(|(key, _)| !there.contains_key(key));
    let mut writes: Vec<Write> = missing.map(|(key, row)| Write::put(key, row)).collect();
    let count = writes.len() as u64;
    if count > 0 {
        tracing::error!(row = owner.pk, rows = count, "it was missing from lists");
        writes.push(unchanged);
    }
    write(table, writes, count).await
}

/// Removes a row that lists nothing; how many that were.
async fn remove(table: &Table, list: &Key, owner: &Key) -> Result<u64, Failure> {
    match Owner::now(table, owner).await? {
        Some((now, unchanged)) if !now.listed.contains_key(list) => {
            write(table, vec![Write::delete(list.clone()), unchanged], 1).await
        }
        _ => Ok(0),
    }
}

/// Where something changed meanwhile nothing is written, and the next check looks again.
async fn write(table: &Table, writes: Vec<Write>, count: u64) -> Result<u64, Failure> {
    match send(table, writes, &token(), None).await {
        Ok(()) => Ok(count),
        Err(Ended::For(Fault::Failed(failure))) => Err(failure),
        Err(Ended::Again | Ended::For(_)) => Ok(0),
    }
}
