//! Rows as DynamoDB keeps them, and what is read of them.

use std::collections::HashMap;
use std::str::FromStr;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use jit_core::Timestamp;
use jit_core::audit::{ChainHead, Sealed};
use jit_core::ports::{Change, Counter, Delivery, DeliveryKey, Idempotency, Row, Urgency, Wake};
use jit_core::request::{AccessRequest, RequestId, Status};

use crate::error::Cause;
use crate::keys::{self, Key};

/// The attribute by which DynamoDB removes a row, in seconds since the epoch.
pub(crate) const FORGET_AT: &str = "forget_at";
/// The attribute that names the transaction which wrote a row; one row of each has it.
pub(crate) const COMMIT: &str = "written_by";

/// A row: attributes by name.
pub(crate) type Item = HashMap<String, AttributeValue>;

pub(crate) fn text(text: impl Into<String>) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn number(number: impl ToString) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn micros(at: Timestamp) -> AttributeValue {
    number(at.unix_micros())
}

/// A row with nothing but its key.
pub(crate) fn row(key: &Key) -> Item {
    Item::from([
        ("pk".to_owned(), text(&key.pk)),
        ("sk".to_owned(), text(&key.sk)),
    ])
}

/// A row with these attributes.
pub(crate) fn row_with<const N: usize>(key: &Key, more: [(&str, AttributeValue); N]) -> Item {
    let mut item = row(key);
    item.extend(more.map(|(name, value)| (name.to_owned(), value)));
    item
}

/// Reads a row of which this release knows what it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'a> {
    item: &'a Item,
    what: &'static str,
}

impl<'a> Read<'a> {
    pub(crate) fn new(item: &'a Item, what: &'static str) -> Self {
        Self { item, what }
    }

    fn damaged(&self) -> Cause {
        Cause::Damaged { what: self.what }
    }

    pub(crate) fn text(&self, name: &str) -> Result<&'a str, Cause> {
        let value = self.item.get(name).and_then(|value| value.as_s().ok());
        value.map(String::as_str).ok_or_else(|| self.damaged())
    }

    pub(crate) fn parsed<T: FromStr>(&self, name: &str) -> Result<T, Cause> {
        self.text(name)?.parse().map_err(|_| self.damaged())
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<T, Cause> {
        self.number_if(name)?.ok_or_else(|| self.damaged())
    }

    pub(crate) fn number_if<T: FromStr>(&self, name: &str) -> Result<Option<T>, Cause> {
        let Some(value) = self.item.get(name) else {
            return Ok(None);
        };
        let number = value.as_n().ok().and_then(|number| number.parse().ok());
        number.map(Some).ok_or_else(|| self.damaged())
    }

    pub(crate) fn instant(&self, name: &str) -> Result<Timestamp, Cause> {
        self.instant_if(name)?.ok_or_else(|| self.damaged())
    }

    pub(crate) fn instant_if(&self, name: &str) -> Result<Option<Timestamp>, Cause> {
        Ok(self.number_if(name)?.map(Timestamp::from_unix_micros))
    }

    pub(crate) fn flag(&self, name: &str) -> Result<bool, Cause> {
        let value = self.item.get(name).and_then(|value| value.as_bool().ok());
        value.copied().ok_or_else(|| self.damaged())
    }

    fn texts(&self, name: &str) -> Result<Vec<String>, Cause> {
        let list = self.item.get(name).and_then(|value| value.as_l().ok());
        let list = list.ok_or_else(|| self.damaged())?.iter();
        let list = list.map(|value| value.as_s().cloned().map_err(|_| self.damaged()));
        list.collect()
    }

    /// Which row it is.
    pub(crate) fn key(&self) -> Result<Key, Cause> {
        Ok(Key::new(self.text("pk")?, self.text("sk")?))
    }

    /// The id at the end of a sort key.
    pub(crate) fn id_in_sort(&self) -> Result<RequestId, Cause> {
        let sort = self.text("sk")?;
        let id = sort.rsplit('#').next().unwrap_or(sort);
        id.parse().map_err(|_| self.damaged())
    }
}

// -------------------------------------------------------------------------------------- records

/// What is known of a record without reading its body: enough to know each row that lists it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Front {
    pub(crate) id: RequestId,
    pub(crate) version: u64,
    pub(crate) shape: u32,
    is_over: bool,
    /// Whether there are events of it.
    has_chain: bool,
    people: Vec<String>,
    entitlements: Vec<String>,
    pub(crate) updated_at: Timestamp,
    pub(crate) wake: Option<Wake>,
}

impl Front {
    /// Of a record as it is to be, over the one that is stored.
    pub(crate) fn of(change: &Change, before: Option<&Self>) -> Self {
        let record = &change.record;
        let people = [record.requester.as_str(), record.beneficiary.as_str()];
        let things = record.parts.iter().map(|part| part.entitlement.as_str());
        Self {
            id: record.id,
            version: record.version,
            shape: record.shape,
            is_over: record.status().is_over(),
            has_chain: !change.events.is_empty() || before.is_some_and(|it| it.has_chain),
            people: people.map(str::to_owned).to_vec(),
            entitlements: things.map(str::to_owned).collect(),
            updated_at: record.updated_at,
            wake: change.wake.clone(),
        }
    }

    pub(crate) fn read(item: &Item) -> Result<Self, Cause> {
        let read = Read::new(item, "record");
        let wake = match read.instant_if("wake_at")? {
            None => None,
            Some(at) => Some(Wake {
                at,
                revoke_at: read.instant_if("revoke_at")?,
                provider: read.parsed("provider")?,
            }),
        };
        Ok(Self {
            id: read.parsed("id")?,
            version: read.number("version")?,
            shape: read.number("shape")?,
            is_over: read.parsed::<Status>("status")?.is_over(),
            has_chain: read.flag("has_chain")?,
            people: vec![
                read.text("requester")?.to_owned(),
                read.text("beneficiary")?.to_owned(),
            ],
            entitlements: read.texts("entitlements")?,
            updated_at: read.instant("updated_at")?,
            wake,
        })
    }

    /// Every row that lists this record, by key.
    pub(crate) fn listed(&self) -> HashMap<Key, Item> {
        let id = self.id.to_string();
        let mut keys = vec![
            keys::known(self.id),
            keys::updated(self.updated_at, self.id),
            keys::suffix(&id),
        ];
        let people = self.people.iter();
        keys.extend(people.map(|person| Key::new(keys::people_partition(person), &id)));
        let things = self.entitlements.iter();
        keys.extend(things.map(|thing| Key::new(keys::things_partition(thing), &id)));
        if !self.is_over {
            keys.push(keys::open(self.id));
        }
        if self.has_chain {
            keys.push(keys::chain(self.id));
        }
        let mut rows: HashMap<Key, Item> = HashMap::new();
        rows.extend(keys.into_iter().map(|key| {
            let item = row(&key);
            (key, item)
        }));
        rows.extend(self.due_row());
        rows
    }

    /// The row of the due lane.
    pub(crate) fn due_row(&self) -> Option<(Key, Item)> {
        let wake = self.wake.as_ref()?;
        let lane = match wake.revoke_at {
            Some(_) => Urgency::Revoke,
            None => Urgency::Other,
        };
        let key = keys::due(lane, wake.at, self.id);
        let mut item = row_with(
            &key,
            [
                ("wake_at", micros(wake.at)),
                ("provider", text(wake.provider.as_str())),
                ("shape", number(self.shape)),
            ],
        );
        let revoke_at = wake
            .revoke_at
            .map(|at| ("revoke_at".to_owned(), micros(at)));
        item.extend(revoke_at);
        Some((key, item))
    }
}

/// The row of a record.
pub(crate) fn record(change: &Change, front: &Front) -> Item {
    let AccessRequest {
        id,
        version,
        shape,
        requester,
        beneficiary,
        updated_at,
        ..
    } = &change.record;
    let status = change.record.status();
    let things = change.record.parts.iter();
    let things = things.map(|part| text(part.entitlement.as_str()));
    let mut item = row_with(
        &keys::record(*id),
        [
            ("id", text(id.to_string())),
            ("version", number(version)),
            ("shape", number(shape)),
            ("status", text(status.as_str())),
            ("requester", text(requester.as_str())),
            ("beneficiary", text(beneficiary.as_str())),
            ("entitlements", AttributeValue::L(things.collect())),
            ("updated_at", micros(*updated_at)),
            ("has_chain", AttributeValue::Bool(front.has_chain)),
            ("body", text(change.record.to_stored())),
        ],
    );
    if let Some(wake) = &change.wake {
        item.insert("wake_at".to_owned(), micros(wake.at));
        item.insert("provider".to_owned(), text(wake.provider.as_str()));
        let revoke_at = wake
            .revoke_at
            .map(|at| ("revoke_at".to_owned(), micros(at)));
        item.extend(revoke_at);
    }
    // Never on a record that anything is owed of: it would be removed with what must be revoked.
    if status.is_over() && change.wake.is_none() {
        let forgotten = keys::record_forgotten(*updated_at);
        item.insert(FORGET_AT.to_owned(), number(forgotten));
    }
    item
}

pub(crate) fn body(item: &Item) -> Result<AccessRequest, Cause> {
    let row = Read::new(item, "record");
    let record = AccessRequest::from_stored(row.text("body")?)?;
    // One that says that it is another is nobody's.
    match row.text("pk")? == keys::partition_of(record.id) {
        true => Ok(record),
        false => Err(row.damaged()),
    }
}

// --------------------------------------------------------------------------------------- chains

pub(crate) fn event(partition: String, event: &Sealed) -> Item {
    row_with(
        &keys::event(partition, event.seq),
        [
            ("chain", text(&event.chain)),
            ("seq", number(event.seq)),
            ("at", micros(event.at)),
            ("body", text(&event.body)),
            ("hash", text(event.hash.to_string())),
        ],
    )
}

pub(crate) fn sealed(item: &Item) -> Result<Sealed, Cause> {
    let read = Read::new(item, "event");
    Ok(Sealed {
        chain: read.text("chain")?.to_owned(),
        seq: read.number("seq")?,
        at: read.instant("at")?,
        body: read.text("body")?.to_owned(),
        hash: read.parsed("hash")?,
    })
}

pub(crate) fn head(head: &ChainHead) -> Item {
    row_with(
        &keys::system_head(),
        [
            ("seq", number(head.seq)),
            ("chain_hash", text(head.hash.to_string())),
        ],
    )
}

pub(crate) fn chain_head(item: &Item) -> Result<ChainHead, Cause> {
    let read = Read::new(item, "chain head");
    Ok(ChainHead {
        seq: read.number("seq")?,
        hash: read.parsed("chain_hash")?,
    })
}

// ----------------------------------------------------------------------------------- deliveries

pub(crate) fn delivery(delivery: &Delivery) -> Item {
    let key = &delivery.key;
    let mut item = row_with(
        &keys::delivery(key),
        [
            ("request", text(key.request.to_string())),
            ("notifier", text(&key.notifier)),
            ("target", text(&key.target)),
            ("version", number(delivery.version)),
            ("shown_seq", number(delivery.shown_seq)),
            ("attempts", number(delivery.attempts)),
        ],
    );
    let message = delivery.message.as_ref().map(text);
    let deliver_at = delivery.deliver_at.map(micros);
    let taken_until = delivery.taken_until.map(micros);
    let more = [
        ("message", message),
        ("deliver_at", deliver_at),
        ("taken_until", taken_until),
    ];
    item.extend(
        more.into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?))),
    );
    item
}

pub(crate) fn read_delivery(item: &Item) -> Result<Delivery, Cause> {
    let read = Read::new(item, "delivery");
    let message = item.contains_key("message").then(|| read.text("message"));
    Ok(Delivery {
        key: DeliveryKey {
            request: read.parsed("request")?,
            notifier: read.text("notifier")?.to_owned(),
            target: read.text("target")?.to_owned(),
        },
        version: read.number("version")?,
        message: message.transpose()?.map(str::to_owned),
        shown_seq: read.number("shown_seq")?,
        attempts: read.number("attempts")?,
        deliver_at: read.instant_if("deliver_at")?,
        taken_until: read.instant_if("taken_until")?,
    })
}

// ------------------------------------------------------------------------------------ small rows

pub(crate) fn slot_owner(item: &Item) -> Result<RequestId, Cause> {
    Read::new(item, "slot").parsed("owned_by")
}

pub(crate) fn small_row(row: &Row) -> Item {
    let key = keys::row(row.table, &row.key);
    row_with(
        &key,
        [("name", text(&row.key)), ("content", text(&row.value))],
    )
}

pub(crate) fn small_row_value(item: &Item) -> Result<&str, Cause> {
    Read::new(item, "row").text("content")
}

pub(crate) fn read_small_row(table: &'static str, item: &Item) -> Result<Row, Cause> {
    let read = Read::new(item, "row");
    Ok(Row {
        table,
        key: read.text("name")?.to_owned(),
        value: read.text("content")?.to_owned(),
    })
}

pub(crate) fn idempotency(used: &Idempotency) -> Item {
    row_with(
        &keys::idempotency(&used.key),
        [
            ("fingerprint", text(used.fingerprint.to_string())),
            ("request", text(used.request.to_string())),
            ("forgotten_at", micros(used.forget_at)),
            (FORGET_AT, number(keys::seconds(used.forget_at))),
        ],
    )
}

pub(crate) fn read_idempotency(key: &str, item: &Item) -> Result<Idempotency, Cause> {
    let read = Read::new(item, "used key");
    Ok(Idempotency {
        key: key.to_owned(),
        fingerprint: read.parsed("fingerprint")?,
        request: read.parsed("request")?,
        forget_at: read.instant("forgotten_at")?,
    })
}

/// When a row may be forgotten, to the microsecond.
pub(crate) fn forget_at(item: &Item) -> Result<Timestamp, Cause> {
    Read::new(item, "used key").instant("forgotten_at")
}

pub(crate) fn counter(counter: &Counter, reached: u32) -> Item {
    row_with(
        &keys::counter(&counter.key, counter.window),
        [
            ("reached", number(reached)),
            ("forgotten_at", micros(counter.forget_at)),
            (FORGET_AT, number(keys::seconds(counter.forget_at))),
        ],
    )
}

/// What a count has reached, and when it may be forgotten.
pub(crate) fn count(item: &Item) -> Result<(u32, Timestamp), Cause> {
    let read = Read::new(item, "count");
    Ok((read.number("reached")?, read.instant("forgotten_at")?))
}

// ---------------------------------------------------------------------------------------- inbox

/// How long the key of an input is kept.
pub(crate) const INPUT_KEPT: Duration = Duration::from_secs(3_600);

/// An input, or what is left of one that is done.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    pub(crate) key: String,
    pub(crate) text: String,
    pub(crate) received_at: Timestamp,
    pub(crate) taken_at: Timestamp,
    pub(crate) is_done: bool,
}

pub(crate) fn new_input(key: &str, input: &str, received_at: Timestamp) -> Item {
    row_with(
        &keys::input(key),
        [
            ("name", text(key)),
            ("content", text(input)),
            ("received_at", micros(received_at)),
            ("taken_at", micros(received_at)),
            ("is_done", AttributeValue::Bool(false)),
        ],
    )
}

/// Only what is done may be removed by DynamoDB.
pub(crate) fn done_input(key: &str, received_at: Timestamp) -> Item {
    row_with(
        &keys::input(key),
        [
            ("name", text(key)),
            ("content", text("")),
            ("received_at", micros(received_at)),
            ("taken_at", micros(received_at)),
            ("is_done", AttributeValue::Bool(true)),
            (FORGET_AT, number(keys::seconds(received_at + INPUT_KEPT))),
        ],
    )
}

pub(crate) fn input_waits(key: &str, received_at: Timestamp) -> Item {
    let row = keys::input_waits(key, received_at);
    row_with(&row, [("name", text(key))])
}

pub(crate) fn input(item: &Item) -> Result<Input, Cause> {
    let read = Read::new(item, "input");
    Ok(Input {
        key: read.text("name")?.to_owned(),
        text: read.text("content")?.to_owned(),
        received_at: read.instant("received_at")?,
        taken_at: read.instant("taken_at")?,
        is_done: read.flag("is_done")?,
    })
}
