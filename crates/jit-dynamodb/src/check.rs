//! The slow look at everything: whether each record, delivery and input is listed where it must be.
//! The lists are written with what they list, so there is nothing to find; a list that lacks a
//! record would be a grant that nobody takes away, and that is worth looking for another way.

use std::collections::{BTreeSet, HashMap};

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

pub(crate) async fn check(table: &Table) -> Result<Difference, Failure> {
    let (mut difference, mut begin) = (Difference::default(), None);
    loop {
        let page = table.scan(None, begin).await?;
        // A page is at most 1 MB, and nothing is remembered of it: a table may be of any size.
        check_owners(table, &page.items, &mut difference).await?;
        check_lists(table, &page.items, &mut difference).await?;
        begin = page.next;
        if begin.is_none() {
            return Ok(difference);
        }
    }
}

/// Whether what must be listed is.
async fn check_owners(
    table: &Table,
    rows: &[Item],
    difference: &mut Difference,
) -> Result<(), Failure> {
    // Every row by which something must be listed, and what that is.
    let mut demanded: HashMap<Key, Key> = HashMap::new();
    for row in rows {
        let key = Read::new(row, "row").key()?;
        if let Some(id) = keys::chain_begun(&key) {
            // A chain outlives its record, and so does the row that lists it.
            demanded.insert(keys::chain(id), key);
            continue;
        }
        let is_record = key.sk == keys::RECORD;
        if !is_record && key.sk != keys::INPUT && !keys::is_delivery(&key) {
            continue;
        }
        difference.records += u64::from(is_record);
        match Owner::read(row) {
            Ok(Some(owner)) => {
                let listed = owner.listed.into_keys();
                demanded.extend(listed.map(|it| (it, key.clone())));
            }
            // One damaged record delays no other; loading it says what is wrong.
            Ok(None) | Err(_) => difference.left_alone += u64::from(is_record),
        }
    }
    let wanted: Vec<Key> = demanded.keys().cloned().collect();
    let there = table.get_all(&wanted).await?;
    let missing = demanded
        .iter()
        .filter(|(list, _)| !there.contains_key(list));
    let unlisted: BTreeSet<&Key> = missing.map(|(_, owner)| owner).collect();
    for owner in unlisted {
        difference.missing += mend(table, owner).await?;
    }
    Ok(())
}

/// Whether the rows that list something list it as it is.
async fn check_lists(
    table: &Table,
    rows: &[Item],
    difference: &mut Difference,
) -> Result<(), Failure> {
    let mut lists: Vec<(Key, Key)> = Vec::new();
    for row in rows {
        let list = Read::new(row, "row").key()?;
        let shape: u32 = Read::new(row, "row").number("shape").unwrap_or_default();
        let owner = keys::listed(&list).filter(|_| shape <= REQUEST_SHAPE);
        lists.extend(owner.map(|owner| (list, owner)));
    }
    let owners: BTreeSet<&Key> = lists.iter().map(|(_, owner)| owner).collect();
    let owners: Vec<Key> = owners.into_iter().cloned().collect();
    let now = table.get_all(&owners).await?;
    for (list, owner) in &lists {
        let listed = match now.get(owner).map(Owner::read) {
            None => false,
            Some(Ok(Some(known))) => known.listed.contains_key(list),
            // What is not known well enough is not judged.
            Some(Ok(None) | Err(_)) => true,
        };
        if listed {
            continue;
        }
        let removed = remove(table, list, owner).await?;
        // Nothing but its expiry removes a record.
        match owner.sk == keys::RECORD && !now.contains_key(owner) {
            true => difference.forgotten += removed,
            false => difference.stray += removed,
        }
    }
    Ok(())
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
            // Whoever changed it since may have removed the row as well.
            let there = Condition::when("attribute_exists(pk)", []);
            let gone = Write::delete(list.clone()).if_so(there, Grip::Loose);
            write(table, vec![gone, unchanged], 1).await
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
