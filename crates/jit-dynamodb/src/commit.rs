//! What a commit does to the table: it looks at every row that it stands on, judges whether they are
//! as expected, and writes all that changes in one transaction whose conditions say so again. What
//! only the store itself read, a delivery or a count, is looked at anew when it changed between; for
//! all else that is a conflict.

use std::collections::{BTreeMap, HashMap, HashSet};

use jit_core::Timestamp;
use jit_core::audit::{ChainHead, SYSTEM_CHAIN};
use jit_core::ports::{
    COMMIT_RECORDS_LIMIT, Commit, Counter, Delivery, DeliveryKey, Idempotency, RowChange,
    SlotChange, Touch,
};

use crate::error::Fault;
use crate::item::{self, Front, Item, Read};
use crate::keys::{self, Key};
use crate::table::Condition;
use crate::transaction::{Grip, KEY_TOO_LARGE, Op, Write, check, mark};

/// A transaction that is ready to be sent.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) writes: Vec<Write>,
    /// What it takes, as stored afterwards.
    pub(crate) taken: Vec<Delivery>,
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

/// Every event that it appends.
pub(crate) fn events_of(commit: &Commit) -> Vec<Key> {
    let of_requests = commit.changes.iter().flat_map(|change| {
        let partition = keys::partition_of(change.record.id);
        let events = change.events.iter();
        events.map(move |event| keys::event(partition.clone(), event.seq))
    });
    let of_system = commit.system.iter().flat_map(|append| &append.events);
    let of_system = of_system.map(|event| keys::event(keys::SYSTEM.to_owned(), event.seq));
    of_requests.chain(of_system).collect()
}

/// The rows as they are now.
pub(crate) type Seen = HashMap<Key, Item>;

impl Plan {
    /// Judges the commit on what was seen, and says what is to be written.
    pub(crate) fn new(commit: &Commit, seen: &Seen) -> Result<Self, Fault> {
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
                    let stored = match stored.map(item::read_delivery).transpose() {
                        Ok(stored) => stored,
                        // A message is never in the way of what it tells of.
                        Err(why) => {
                            let request = touch.key.request;
                            tracing::error!(request.id = %request, error = %why, "a message is left out");
                            continue;
                        }
                    };
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
