//! What a commit does to the table: it looks at every row that it stands on, judges whether they are
//! as expected, and writes all that changes in one transaction whose conditions say so again. What
//! only the store itself read, a delivery or a count, is looked at anew when it changed between; for
//! all else that is a conflict.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use aws_sdk_dynamodb::types::{ConditionCheck, Delete, Put, TransactWriteItem};
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, SYSTEM_CHAIN};
use jit_core::ports::{
    COMMIT_RECORDS_LIMIT, Commit, Counter, Delivery, DeliveryKey, Effect, ErrorKind, Idempotency,
    RowChange, SlotChange, Touch,
};

use crate::error::{Cause, Failure, Fault, judged};
use crate::item::{self, COMMIT, Front, ITEM_LIMIT, Item, Read};
use crate::keys::{self, Key};
use crate::table::{BATCH_LIMIT, Cancelled, Condition, Reason, Table};

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
            Op::Put(item) => item::size(item),
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

/// A transaction that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<Write>,
    /// What it takes, as stored afterwards.
    pub(crate) taken: Vec<Delivery>,
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

/// Refuses, before any call, what is too large whatever is stored.
pub(crate) fn check_ceilings(commit: &Commit) -> Result<(), Fault> {
    if commit.changes.len() > COMMIT_RECORDS_LIMIT {
        return Err(Fault::TooLarge { what: "records" });
    }
    let mut writes = Vec::new();
    let mut names = stands_on(commit);
    for change in &commit.changes {
        let id = change.record.id;
        let front = Front::of(change, None);
        let record = item::record(change, &front);
        writes.push(Write::put(keys::record(id), record));
        for event in &change.events {
            let row = item::event(keys::partition_of(id), event);
            let key = keys::event(keys::partition_of(id), event.seq);
            writes.push(Write::put(key, row));
        }
        let listed = front.listed().into_iter();
        match change.expected {
            None => writes.extend(listed.map(|(key, row)| Write::put(key, row))),
            // Which of them are new depends on what is stored.
            Some(_) => names.extend(listed.map(|(key, _)| key)),
        }
    }
    for event in commit.system.iter().flat_map(|append| &append.events) {
        let row = item::event(keys::SYSTEM.to_owned(), event);
        let key = keys::event(keys::SYSTEM.to_owned(), event.seq);
        writes.push(Write::put(key, row));
    }
    for change in &commit.rows {
        let key = keys::row(change.row.table, &change.row.key);
        writes.push(Write::put(key, item::small_row(&change.row)));
    }
    let at = commit.at.unwrap_or(Timestamp::MIN);
    let touches = commit.deliveries.iter();
    names.extend(touches.map(|touch| keys::notify(&touch.key, at)));
    mark(&mut writes, NO_TOKEN);
    check(&writes)?;
    match names.iter().all(Key::is_possible) {
        true => Ok(()),
        false => Err(KEY_TOO_LARGE),
    }
}

/// As long as the token of any look.
const NO_TOKEN: &str = "00000000000000000000000000000000-0";

const KEY_TOO_LARGE: Fault = Fault::TooLarge {
    what: "bytes in the key of a row",
};

/// Refuses, before the call, what DynamoDB would.
fn check(writes: &[Write]) -> Result<(), Fault> {
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
    let unknown = |failure| Failure {
        effect: Effect::Unknown,
        ..failure
    };
    let row = table.get(mark).await.map_err(unknown)?;
    let by = row.as_ref().and_then(|row| row.get(COMMIT));
    Ok(by == Some(&item::text(token)))
}

/// Every row that the commit stands on.
pub(crate) fn stands_on(commit: &Commit) -> Vec<Key> {
    let changes = commit.changes.iter().map(|change| change.record.id);
    let records = changes.chain(commit.unchanged.iter().map(|(id, _)| *id));
    let slots = commit.slots.iter().map(|change| &change.slot.key);
    let rows = commit.rows.iter().map(|change| &change.row);
    let counters = commit.counters.iter();
    let deliveries = commit.deliveries.iter();
    let all: HashSet<Key> = records
        .map(keys::record)
        .chain(slots.map(keys::slot))
        .chain(commit.system.iter().map(|_| keys::system_head()))
        .chain(commit.inbox_done.iter().map(|key| keys::input(key)))
        .chain(
            commit
                .idempotency
                .iter()
                .map(|used| keys::idempotency(&used.key)),
        )
        .chain(rows.map(|row| keys::row(row.table, &row.key)))
        .chain(counters.map(|it| keys::counter(&it.key, it.window)))
        .chain(deliveries.map(|touch| keys::delivery(&touch.key)))
        .collect();
    all.into_iter().collect()
}

/// The rows as they are now.
pub(crate) type Seen = HashMap<Key, Item>;

impl Plan {
    /// Judges the commit on what was seen, and says what is to be written.
    pub(crate) fn new(commit: &Commit, seen: &Seen, token: &str) -> Result<Self, Fault> {
        let mut plan = Self {
            writes: Vec::new(),
            taken: Vec::new(),
        };
        plan.records(commit, seen)?;
        for change in &commit.slots {
            plan.slot(change, seen)?;
        }
        plan.system(commit, seen)?;
        for change in &commit.rows {
            plan.small_row(change, seen)?;
        }
        if let Some(used) = &commit.idempotency {
            plan.use_key(used, commit.at, seen)?;
        }
        // Only what names each thing once can be written as it was meant.
        let mut named = HashSet::new();
        if !plan.writes.iter().all(|write| named.insert(&write.key)) {
            return Err(Fault::Conflict);
        }
        plan.counters(&commit.counters, commit.at, seen)?;
        if let Some(key) = &commit.inbox_done {
            plan.input_done(key, seen)?;
        }
        plan.deliveries(
            &commit.deliveries,
            commit.at.unwrap_or(Timestamp::MIN),
            seen,
        )?;
        mark(&mut plan.writes, token);
        check(&plan.writes)?;
        Ok(plan)
    }

    fn push(&mut self, write: Write) {
        self.writes.push(write);
    }

    fn records(&mut self, commit: &Commit, seen: &Seen) -> Result<(), Fault> {
        let version = "version = :version";
        for (id, expected) in &commit.unchanged {
            let key = keys::record(*id);
            if version_of(seen.get(&key))? != Some(*expected) {
                return Err(Fault::Conflict);
            }
            // Whoever changes a record, or names it before, says so already.
            let is_change = commit.changes.iter().any(|change| change.record.id == *id);
            if is_change || self.writes.iter().any(|write| write.key == key) {
                continue;
            }
            let unchanged = Condition::when(version, [(":version", item::number(expected))]);
            let op = Op::Check;
            let check = Write {
                key,
                op,
                condition: None,
            };
            self.push(check.if_so(unchanged, Grip::Firm));
        }
        for change in &commit.changes {
            let id = change.record.id;
            let key = keys::record(id);
            let before = seen.get(&key);
            if version_of(before)? != change.expected {
                return Err(Fault::Conflict);
            }
            let as_expected = match change.expected {
                None => Condition::absent(),
                Some(expected) => Condition::when(version, [(":version", item::number(expected))]),
            };
            let before = before.map(Front::read).transpose()?;
            let front = Front::of(change, before.as_ref());
            let record = item::record(change, &front);
            self.push(Write::put(key, record).if_so(as_expected, Grip::Firm));
            let now = front.listed();
            let before = before.map(|front| front.listed()).unwrap_or_default();
            for gone in before.keys().filter(|key| !now.contains_key(key)) {
                self.push(Write::delete(gone.clone()));
            }
            for (key, item) in now {
                if before.get(&key) != Some(&item) {
                    self.push(Write::put(key, item));
                }
            }
            for event in &change.events {
                let row = item::event(keys::partition_of(id), event);
                let key = keys::event(keys::partition_of(id), event.seq);
                self.push(Write::put(key, row).if_so(Condition::absent(), Grip::Firm));
            }
        }
        Ok(())
    }

    fn slot(&mut self, change: &SlotChange, seen: &Seen) -> Result<(), Fault> {
        let key = keys::slot(&change.slot.key);
        let owner = seen.get(&key).map(item::slot_owner);
        if owner.transpose()? != change.expected {
            return Err(Fault::Conflict);
        }
        let as_expected = match change.expected {
            None => Condition::absent(),
            Some(owner) => {
                let owner = item::text(owner.to_string());
                Condition::when("owned_by = :owner", [(":owner", owner)])
            }
        };
        let owner = item::text(change.slot.owner.to_string());
        let row = item::row_with(&key, [("owned_by", owner)]);
        self.push(Write::put(key, row).if_so(as_expected, Grip::Firm));
        Ok(())
    }

    fn system(&mut self, commit: &Commit, seen: &Seen) -> Result<(), Fault> {
        let Some(append) = &commit.system else {
            return Ok(());
        };
        let key = keys::system_head();
        let stored = seen.get(&key).map(item::chain_head).transpose()?;
        if stored.unwrap_or_else(|| ChainHead::start(SYSTEM_CHAIN)) != append.expected {
            return Err(Fault::Conflict);
        }
        let as_expected = match stored {
            None => Condition::absent(),
            Some(head) => Condition::when(
                "seq = :seq AND chain_hash = :hash",
                [
                    (":seq", item::number(head.seq)),
                    (":hash", item::text(head.hash.to_string())),
                ],
            ),
        };
        let Some(newest) = append.events.last() else {
            let check = Write {
                key,
                op: Op::Check,
                condition: Some((as_expected, Grip::Firm)),
            };
            self.push(check);
            return Ok(());
        };
        let (seq, hash) = (newest.seq, newest.hash);
        let head = item::head(&ChainHead { seq, hash });
        self.push(Write::put(key, head).if_so(as_expected, Grip::Firm));
        for event in &append.events {
            let row = item::event(keys::SYSTEM.to_owned(), event);
            let key = keys::event(keys::SYSTEM.to_owned(), event.seq);
            self.push(Write::put(key, row).if_so(Condition::absent(), Grip::Firm));
        }
        Ok(())
    }

    fn small_row(&mut self, change: &RowChange, seen: &Seen) -> Result<(), Fault> {
        let key = keys::row(change.row.table, &change.row.key);
        let stored = seen.get(&key).map(item::small_row_value).transpose()?;
        if stored != change.expected.as_deref() {
            return Err(Fault::Conflict);
        }
        let as_expected = match &change.expected {
            None => Condition::absent(),
            Some(value) => Condition::when("content = :content", [(":content", item::text(value))]),
        };
        let row = item::small_row(&change.row);
        self.push(Write::put(key, row).if_so(as_expected, Grip::Firm));
        Ok(())
    }

    fn use_key(
        &mut self,
        used: &Idempotency,
        at: Option<Timestamp>,
        seen: &Seen,
    ) -> Result<(), Fault> {
        let key = keys::idempotency(&used.key);
        let before = seen.get(&key).map(item::forget_at).transpose()?;
        let unused = match before {
            None => Condition::absent(),
            Some(forgotten) if at.is_some_and(|at| forgotten <= at) => {
                let forgotten = item::micros(forgotten);
                Condition::when("forgotten_at = :before", [(":before", forgotten)])
            }
            Some(_) => return Err(Fault::Conflict),
        };
        let row = item::idempotency(used);
        self.push(Write::put(key, row).if_so(unused, Grip::Firm));
        Ok(())
    }

    /// Counts of one key and interval are one row, however often the commit names them.
    fn counters(
        &mut self,
        counters: &[Counter],
        at: Option<Timestamp>,
        seen: &Seen,
    ) -> Result<(), Fault> {
        let mut reached: BTreeMap<(&str, u64), (u32, &Counter)> = BTreeMap::new();
        for counter in counters {
            let key = keys::counter(&counter.key, counter.window);
            let stored = seen.get(&key).map(item::count).transpose()?;
            let stored = stored.filter(|(_, forgotten)| at.is_none_or(|at| at < *forgotten));
            let stored = stored.map_or(0, |(reached, _)| reached);
            let name = (counter.key.as_str(), counter.window);
            let entry = reached.entry(name).or_insert((stored, counter));
            if entry.0 >= counter.ceiling {
                let key = counter.key.clone();
                return Err(Fault::CounterFull { key });
            }
            *entry = (entry.0 + 1, counter);
        }
        for ((name, window), (reached, counter)) in reached {
            let key = keys::counter(name, window);
            let as_seen = match seen.get(&key).map(item::count).transpose()? {
                None => Condition::absent(),
                Some((before, _)) => {
                    Condition::when("reached = :before", [(":before", item::number(before))])
                }
            };
            let row = item::counter(counter, reached);
            self.push(Write::put(key, row).if_so(as_seen, Grip::Loose));
        }
        Ok(())
    }

    fn input_done(&mut self, name: &str, seen: &Seen) -> Result<(), Fault> {
        let waits = seen.get(&keys::input(name)).map(item::input).transpose()?;
        let Some(input) = waits.filter(|input| !input.is_done) else {
            return Err(Fault::InputDone);
        };
        self.writes.extend(done(name, input.received_at));
        Ok(())
    }

    fn deliveries(&mut self, touches: &[Touch], at: Timestamp, seen: &Seen) -> Result<(), Fault> {
        let mut now: BTreeMap<&DeliveryKey, (Option<Delivery>, Delivery, bool)> = BTreeMap::new();
        for touch in touches {
            let known = match now.remove(&touch.key) {
                Some(known) => Some(known),
                None => {
                    let stored = seen.get(&keys::delivery(&touch.key));
                    let stored = stored.map(item::read_delivery).transpose()?;
                    stored.map(|stored| (Some(stored.clone()), stored, false))
                }
            };
            let (before, known) = match known {
                None => (None, None),
                Some((before, known, _)) => (before, Some(known)),
            };
            let (touched, taken) = touched(touch, known, at);
            now.insert(&touch.key, (before, touched, taken));
        }
        for (before, delivery, taken) in now.into_values() {
            self.writes.extend(rewritten(before.as_ref(), &delivery));
            if taken {
                self.taken.push(delivery);
            }
        }
        Ok(())
    }
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
    if let (Ended::Again | Ended::For(Fault::Conflict), Some(mark)) = (&ended, &mark)
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

fn version_of(item: Option<&Item>) -> Result<Option<u64>, Fault> {
    let version = item.map(|item| Read::new(item, "record").number("version"));
    Ok(version.transpose()?)
}

/// A delivery with news, and whether it was taken with them.
fn touched(touch: &Touch, known: Option<Delivery>, at: Timestamp) -> (Delivery, bool) {
    let mut now = match known {
        None => Delivery {
            key: touch.key.clone(),
            version: 0,
            message: None,
            shown_seq: 0,
            attempts: 0,
            deliver_at: Some(at),
            taken_until: None,
        },
        Some(known) => Delivery {
            version: known.version + 1,
            deliver_at: Some(known.deliver_at.map_or(at, |before| before.min(at))),
            ..known
        },
    };
    let is_free = now.taken_until.is_none_or(|until| until <= at);
    let takes = touch.take_until.is_some() && is_free;
    if takes {
        now.attempts = now.attempts.saturating_add(1);
        now.taken_until = touch.take_until;
    }
    (now, takes)
}

/// Writes a delivery over the one that was seen, and the row by which it is due.
pub(crate) fn rewritten(before: Option<&Delivery>, now: &Delivery) -> Vec<Write> {
    let as_seen = match before {
        None => Condition::absent(),
        Some(before) => {
            let version = item::number(before.version);
            Condition::when("version = :version", [(":version", version)])
        }
    };
    let delivery = Write::put(keys::delivery(&now.key), item::delivery(now));
    let mut writes = vec![delivery.if_so(as_seen, Grip::Loose)];
    let due = |delivery: &Delivery| {
        delivery
            .deliver_at
            .map(|at| keys::notify(&delivery.key, at))
    };
    let (gone, due) = (before.and_then(due), due(now));
    if gone != due {
        writes.extend(gone.map(Write::delete));
        writes.extend(due.map(|key| {
            let row = item::row(&key);
            Write::put(key, row)
        }));
    }
    writes
}

/// An input is done: its key stays for its hour, its text goes, and nobody takes it any more.
pub(crate) fn done(name: &str, received_at: Timestamp) -> [Write; 2] {
    let waits = Condition::when(
        "is_done = :no AND received_at = :received",
        [
            (":no", aws_sdk_dynamodb::types::AttributeValue::Bool(false)),
            (":received", item::micros(received_at)),
        ],
    );
    let done = item::done_input(name, received_at);
    [
        Write::put(keys::input(name), done).if_so(waits, Grip::Loose),
        Write::delete(keys::input_waits(name, received_at)),
    ]
}
