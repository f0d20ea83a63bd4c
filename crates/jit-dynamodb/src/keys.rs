//! The names of the rows. Everything is in one table with a partition key `pk` and a sort key `sk`;
//! what is listed has rows of its own there, written in the transaction that changes what they
//! list. A global secondary index is read some time later than it is written, and a read that
//! begins after a commit must see it.

use jit_core::Timestamp;
use jit_core::ports::{DeliveryKey, RECORDS_KEPT, Urgency};
use jit_core::provider::SlotKey;
use jit_core::request::RequestId;

/// Partition and sort key of one row.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    pub(crate) pk: String,
    pub(crate) sk: String,
}

impl Key {
    /// Whether DynamoDB can have a row of this name.
    pub(crate) fn is_possible(&self) -> bool {
        self.pk.len() <= PK_LIMIT && self.sk.len() <= SK_LIMIT
    }

    pub(crate) fn new(pk: impl Into<String>, sk: impl Into<String>) -> Self {
        Self {
            pk: pk.into(),
            sk: sk.into(),
        }
    }
}

/// The longest partition key and sort key that DynamoDB takes, in bytes.
/// Source: "Quotas in Amazon DynamoDB", partition keys and sort keys.
const PK_LIMIT: usize = 2_048;
const SK_LIMIT: usize = 1_024;

/// Over how many partitions a list that every commit writes is spread. One partition takes 1 000
/// write units a second, of which a commit needs four; and a pass over what is due asks each of
/// them, every second, whether anything is due or not.
const SHARDS: u8 = 2;

/// Every shard.
pub(crate) fn shards() -> impl Iterator<Item = u8> {
    0..SHARDS
}

/// The shard of a request. Ids end in random bits.
fn shard(id: RequestId) -> u8 {
    id.to_string().bytes().last().unwrap_or_default() % SHARDS
}

/// An instant in a sort key: microseconds in twenty digits, so that text sorts as time does.
pub(crate) fn instant(at: Timestamp) -> String {
    format!("{:020}", at.unix_micros().max(0))
}

/// Above every sort key that begins with this one, whatever follows, and above no other but itself.
/// DynamoDB orders text by its bytes in UTF-8, which is the order of its characters.
pub(crate) fn end_of(prefix: &str) -> String {
    let mut end = prefix.to_owned();
    let last = end.pop().map_or(0, u32::from);
    end.push(char::from_u32(last + 1).unwrap_or(char::MAX));
    end
}

/// Text within a key in front of more text: it holds no `#` of its own.
fn plain(text: &str) -> String {
    text.replace('%', "%25").replace('#', "%23")
}

pub(crate) const RECORD: &str = "record";
pub(crate) const EVENT: &str = "event#";
const DELIVERY: &str = "delivery#";
pub(crate) const INPUTS: &str = "inbox";
pub(crate) const OPEN: &str = "open";
pub(crate) const KNOWN: &str = "known";
pub(crate) const CHAINS: &str = "chains";
pub(crate) const SYSTEM: &str = "system";

/// The partition of a request: its record, its chain and its deliveries.
pub(crate) fn partition_of(id: RequestId) -> String {
    format!("req#{id}")
}

pub(crate) fn record(id: RequestId) -> Key {
    Key::new(partition_of(id), RECORD)
}

/// The event with this number, in whichever chain's partition.
pub(crate) fn event_sort(seq: u64) -> String {
    format!("{EVENT}{seq:020}")
}

pub(crate) fn event(partition: String, seq: u64) -> Key {
    Key::new(partition, event_sort(seq))
}

/// Behind every event of a chain.
pub(crate) fn events_end() -> String {
    end_of(EVENT)
}

pub(crate) fn system_head() -> Key {
    Key::new("system#head", "head")
}

pub(crate) fn slot(key: &SlotKey) -> Key {
    Key::new(format!("slot#{key}"), "slot")
}

pub(crate) fn delivery(key: &DeliveryKey) -> Key {
    let sort = format!("{DELIVERY}{}#{}", plain(&key.notifier), key.target);
    Key::new(partition_of(key.request), sort)
}

pub(crate) fn deliveries_prefix() -> &'static str {
    DELIVERY
}

pub(crate) const INPUT: &str = "input";

pub(crate) fn input(key: &str) -> Key {
    Key::new(format!("inbox#{key}"), INPUT)
}

/// An input that is not done, in the order in which they came.
pub(crate) fn input_waits(key: &str, received_at: Timestamp) -> Key {
    Key::new(INPUTS, format!("{}#{key}", instant(received_at)))
}

pub(crate) fn idempotency(key: &str) -> Key {
    Key::new(format!("once#{key}"), "once")
}

pub(crate) fn counter(key: &str, window: u64) -> Key {
    Key::new(format!("count#{key}"), format!("{window:020}"))
}

pub(crate) fn rows(table: &str) -> String {
    format!("row#{table}")
}

pub(crate) fn row(table: &str, key: &str) -> Key {
    Key::new(rows(table), format!("row#{key}"))
}

/// What marks the table as a store of ours.
pub(crate) fn marker() -> Key {
    Key::new("store", "marker")
}

// ------------------------------------------------------------------------------------- listings

/// The due lane of records that wait for a revoke, or for anything else.
pub(crate) fn due_partition(lane: Urgency, shard: u8) -> String {
    match lane {
        Urgency::Revoke => format!("due#revoke#{shard}"),
        Urgency::Other => format!("due#other#{shard}"),
    }
}

pub(crate) fn due(lane: Urgency, wake_at: Timestamp, id: RequestId) -> Key {
    let sort = format!("{}#{id}", instant(wake_at));
    Key::new(due_partition(lane, shard(id)), sort)
}

/// The due lane of a notifier.
pub(crate) fn notify_partition(notifier: &str) -> String {
    format!("due#notify#{}", plain(notifier))
}

pub(crate) fn notify(key: &DeliveryKey, deliver_at: Timestamp) -> Key {
    let sort = format!("{}#{}#{}", instant(deliver_at), key.request, key.target);
    Key::new(notify_partition(&key.notifier), sort)
}

/// The delivery that a row of a notifier's due lane stands for.
pub(crate) fn delivery_of_due(notifier: &str, sort: &str) -> Option<Key> {
    let mut parts = sort.splitn(3, '#');
    let (_, request, target) = (parts.next()?, parts.next()?, parts.next()?);
    Some(delivery(&DeliveryKey {
        request: request.parse().ok()?,
        notifier: notifier.to_owned(),
        target: target.to_owned(),
    }))
}

pub(crate) fn is_delivery(key: &Key) -> bool {
    key.pk.starts_with("req#") && key.sk.starts_with(DELIVERY)
}

/// The request whose chain begins with this row.
pub(crate) fn chain_begun(key: &Key) -> Option<RequestId> {
    let id = key.pk.strip_prefix("req#")?;
    (key.sk == event_sort(1)).then(|| id.parse().ok())?
}

/// What a row of a list stands for: a record, a delivery or an input. None for all other rows, and
/// for the list of chains, which names what may have no record any more.
pub(crate) fn listed(list: &Key) -> Option<Key> {
    let Key { pk, sk } = list;
    if let Some(notifier) = pk.strip_prefix("due#notify#") {
        let mut parts = sk.splitn(3, '#');
        let (_, request, target) = (parts.next()?, parts.next()?, parts.next()?);
        let sort = format!("{DELIVERY}{notifier}#{target}");
        return Some(Key::new(format!("req#{request}"), sort));
    }
    if pk == INPUTS {
        return Some(input(sk.split_once('#')?.1));
    }
    let id = match pk.starts_with("suffix#") {
        true => reversed(sk),
        false => sk.rsplit('#').next()?.to_owned(),
    };
    let lanes = ["due#revoke#", "due#other#", "updated#", "by#", "suffix#"];
    let is_list = pk == OPEN || pk == KNOWN || lanes.iter().any(|lane| pk.starts_with(lane));
    is_list.then(|| id.parse().ok())?.map(record)
}

/// Records in the order of their newest commit.
pub(crate) fn updated_partition(shard: u8) -> String {
    format!("updated#{shard}")
}

pub(crate) fn updated(updated_at: Timestamp, id: RequestId) -> Key {
    let sort = format!("{}#{id}", instant(updated_at));
    Key::new(updated_partition(shard(id)), sort)
}

/// Records whose story is not over.
pub(crate) fn open(id: RequestId) -> Key {
    Key::new(OPEN, id.to_string())
}

/// Every record.
pub(crate) fn known(id: RequestId) -> Key {
    Key::new(KNOWN, id.to_string())
}

/// Everything that ever had a chain; these rows outlive the records.
pub(crate) fn chain(id: RequestId) -> Key {
    Key::new(CHAINS, id.to_string())
}

pub(crate) fn people_partition(person: &str) -> String {
    format!("by#person#{person}")
}

pub(crate) fn things_partition(entitlement: &str) -> String {
    format!("by#entitlement#{entitlement}")
}

/// How many characters of an id's end are part of a partition key.
pub(crate) const SUFFIX: usize = 5;

fn reversed(text: &str) -> String {
    text.chars().rev().collect()
}

/// The partition and the beginning of the sort key of ids that end like this.
pub(crate) fn suffix(end: &str) -> Key {
    let sort = reversed(end);
    let partition: String = sort.chars().take(SUFFIX).collect();
    Key::new(format!("suffix#{partition}"), sort)
}

/// When DynamoDB may remove a record that was last changed then, in seconds since the epoch.
pub(crate) fn record_forgotten(updated_at: Timestamp) -> i64 {
    seconds(updated_at + RECORDS_KEPT)
}

/// An instant as DynamoDB's expiry of rows reads it. Rows go some time after it; what must be exact
/// does not rest on it.
pub(crate) fn seconds(at: Timestamp) -> i64 {
    at.unix_micros() / 1_000_000
}
