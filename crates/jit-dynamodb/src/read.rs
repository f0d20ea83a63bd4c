//! What is read, one function per question. Every read is a consistent one: it sees each commit that
//! returned before it began.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, PoisonError};

use futures_util::future::try_join_all;
use jit_core::Timestamp;
use jit_core::audit::Sealed;
use jit_core::ports::{Delivery, Due, Query, Row, Urgency};
use jit_core::request::{AccessRequest, REQUEST_SHAPE, RequestId, Status};

use crate::error::{Cause, Failure};
use crate::item::{self, Item, Read};
use crate::keys::{self, Key};
use crate::lists::Lists;
use crate::table::{BATCH_LIMIT, Order, Range, Table};

/// The most records that a query returns.
const QUERY_LIMIT: usize = 1_000;
/// The fewest rows that are looked at in one go.
const LEAST: usize = 10;
/// The most records that are looked at in one go.
const LOOK_LIMIT: usize = 1_000;
/// The most ids that are remembered as told in the log.
const TOLD_LIMIT: usize = 1_000;

/// Which records were left out of a listing and said so: once each, for `due` is asked every
/// second.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Mutex<BTreeSet<String>>);

impl LeftOut {
    pub(crate) fn say(&self, id: &str, why: &dyn std::fmt::Display) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_LIMIT && told.insert(id.to_owned()) {
            tracing::warn!(request.id = id, error = %why, "a record is left out of listings");
        }
    }
}

/// How many rows to look at for so many that are wanted: some are left out, by what else is asked
/// for or because somebody has them.
pub(crate) fn look(wanted: usize) -> usize {
    wanted.saturating_mul(2).clamp(LEAST, BATCH_LIMIT)
}

fn ascending(pk: impl Into<String>, from: impl Into<String>, to: impl Into<String>) -> Range {
    Range {
        pk: pk.into(),
        from: from.into(),
        to: to.into(),
        order: Order::Ascending,
    }
}

/// Every row of a partition whose sort keys begin with this.
fn beginning(pk: impl Into<String>, prefix: &str) -> Range {
    ascending(pk, prefix, keys::end_of(prefix))
}

pub(crate) async fn load(table: &Table, id: RequestId) -> Result<Option<AccessRequest>, Failure> {
    let row = table.get(&keys::record(id)).await?;
    Ok(row.as_ref().map(item::body).transpose()?)
}

/// The record is read before its chain, and names the newest event that belongs to it; those events
/// are there and never change, so both are of one instant.
pub(crate) async fn story(
    table: &Table,
    id: RequestId,
) -> Result<Option<(AccessRequest, Vec<Sealed>)>, Failure> {
    let Some(request) = load(table, id).await? else {
        return Ok(None);
    };
    let mut chain = events(table, id).await?;
    chain.retain(|event| event.seq <= request.chain.seq);
    Ok(Some((request, chain)))
}

/// Where the events behind this one begin. None of ours has the number 0; one that somebody put in is
/// there for the verifier.
fn first_behind(after: u64) -> String {
    match after {
        0 => keys::event_sort(0),
        after => keys::event_sort(after.saturating_add(1)),
    }
}

async fn chain(table: &Table, partition: String, after: u64) -> Result<Vec<Sealed>, Failure> {
    let from = first_behind(after);
    let range = ascending(partition, from, keys::events_end());
    let rows = table.all(&range).await?;
    Ok(rows.iter().map(item::sealed).collect::<Result<_, _>>()?)
}

pub(crate) async fn events(table: &Table, id: RequestId) -> Result<Vec<Sealed>, Failure> {
    chain(table, keys::partition_of(id), 0).await
}

pub(crate) async fn system_events(
    table: &Table,
    after: u64,
    limit: usize,
) -> Result<Vec<Sealed>, Failure> {
    let from = first_behind(after);
    let range = ascending(keys::SYSTEM, from, keys::events_end());
    let rows = table.first(&range, limit).await?;
    Ok(rows.iter().map(item::sealed).collect::<Result<_, _>>()?)
}

// ------------------------------------------------------------------------------------------ due

/// What waits in one lane and shard up to this instant; at most `limit` rows where one is given.
async fn due_rows(
    table: &Table,
    lane: Urgency,
    shard: u8,
    now: Timestamp,
    limit: Option<usize>,
) -> Result<Vec<Item>, Failure> {
    let to = keys::end_of(&keys::instant(now));
    let range = ascending(
        keys::due_partition(lane, shard),
        keys::instant(Timestamp::MIN),
        to,
    );
    match limit {
        Some(limit) => table.first(&range, limit).await,
        None => table.all(&range).await,
    }
}

/// A row of the due lane with the instant from which it is due as a revoke.
struct Waiting {
    due: Due,
    revoke_at: Option<Timestamp>,
}

fn waiting(item: &Item, now: Timestamp, left_out: &LeftOut) -> Option<Waiting> {
    let read = Read::new(item, "due row");
    let sort = read.text("sk").unwrap_or_default();
    let shape: u32 = read.number("shape").unwrap_or_default();
    if shape > REQUEST_SHAPE {
        left_out.say(sort, &"a later release wrote it");
        return None;
    }
    let row = || {
        let revoke_at = read.instant_if("revoke_at")?;
        let urgency = match revoke_at.is_some_and(|at| at <= now) {
            true => Urgency::Revoke,
            false => Urgency::Other,
        };
        let due = Due {
            id: read.id_in_sort()?,
            wake_at: read.instant("wake_at")?,
            provider: read.parsed("provider")?,
            urgency,
        };
        Ok::<_, Cause>(Waiting { due, revoke_at })
    };
    // One damaged row delays no other.
    row().map_err(|why| left_out.say(sort, &why)).ok()
}

/// Revokes are read whole, for what is the longest due as a revoke is not what woke up first; of
/// all else as many as are asked for.
pub(crate) async fn due(
    table: &Table,
    left_out: &LeftOut,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, Failure> {
    if limit == 0 {
        return Ok(Vec::new());
    }
    let revokes = keys::shards().map(|shard| due_rows(table, Urgency::Revoke, shard, now, None));
    let others = keys::shards().map(|shard| others(table, left_out, shard, now, limit));
    // A record moves from the others to the revokes and hardly ever back, so that whoever reads them
    // in this order misses none on its way.
    let others = try_join_all(others).await;
    let revokes = try_join_all(revokes).await?;
    // What waits for no revoke holds none back.
    let others = match others {
        Ok(others) => others,
        Err(failure) if revokes.iter().all(Vec::is_empty) => return Err(failure),
        Err(failure) => {
            let error = failure.during("list what waits for no revoke");
            tracing::warn!(error = %error.chain(), "only revokes are listed");
            Vec::new()
        }
    };
    let revokes = revokes.iter().flatten();
    let revokes = revokes.filter_map(|row| waiting(row, now, left_out));
    let mut all: Vec<Waiting> = revokes.chain(others.into_iter().flatten()).collect();
    all.sort_by_key(|it| {
        let (wake_at, id) = (it.due.wake_at, it.due.id);
        match it.due.urgency {
            Urgency::Revoke => (Urgency::Revoke, it.revoke_at, wake_at, id),
            Urgency::Other => (Urgency::Other, None, wake_at, id),
        }
    });
    Ok(all.into_iter().take(limit).map(|it| it.due).collect())
}

/// What waits for no revoke in one shard: as many as asked for of those that can be tended.
async fn others(
    table: &Table,
    left_out: &LeftOut,
    shard: u8,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Waiting>, Failure> {
    let mut look = limit;
    loop {
        let rows = due_rows(table, Urgency::Other, shard, now, Some(look)).await?;
        let all = rows.len() < look;
        let found = rows.iter().filter_map(|row| waiting(row, now, left_out));
        let found: Vec<Waiting> = found.take(limit).collect();
        // A record of a later release must not take the place of one that can be tended.
        if all || found.len() == limit {
            return Ok(found);
        }
        look = look.saturating_mul(2);
    }
}

pub(crate) async fn newest_commit(table: &Table) -> Result<Option<Timestamp>, Failure> {
    let newest = keys::shards().map(|shard| async move {
        let range = Range {
            pk: keys::updated_partition(shard),
            from: keys::instant(Timestamp::MIN),
            to: keys::end_of(&keys::instant(Timestamp::MAX)),
            order: Order::Descending,
        };
        let row = table.first(&range, 1).await?;
        let sort = row.first().map(|row| Read::new(row, "row").text("sk"));
        Ok::<_, Failure>(sort.transpose()?.and_then(instant_of))
    });
    let newest = try_join_all(newest).await?;
    Ok(newest.into_iter().flatten().max())
}

/// The instant at the beginning of a sort key.
fn instant_of(sort: &str) -> Option<Timestamp> {
    let digits = sort.split('#').next()?;
    digits.parse().ok().map(Timestamp::from_unix_micros)
}

// --------------------------------------------------------------------------------------- queries

/// Where the ids of a query are listed.
enum Listing {
    /// In each of these partitions by id.
    Partitions(Vec<String>),
    /// By their newest commit, in every shard.
    Updated(Timestamp),
}

fn listing(query: &Query) -> Listing {
    let mut partitions = Vec::new();
    if is_open(query) {
        partitions.push(keys::OPEN.to_owned());
    }
    if let Some(person) = &query.principal {
        partitions.push(keys::people_partition(person.as_str()));
    }
    if let Some(thing) = &query.entitlement {
        partitions.push(keys::things_partition(thing.as_str()));
    }
    match query.updated_since {
        Some(since) if partitions.is_empty() => Listing::Updated(since),
        None if partitions.is_empty() => Listing::Partitions(vec![keys::KNOWN.to_owned()]),
        Some(_) | None => Listing::Partitions(partitions),
    }
}

/// Whether it asks for nothing that is over.
fn is_open(query: &Query) -> bool {
    !query.statuses.is_empty() && !query.statuses.iter().any(|status| status.is_over())
}

pub(crate) async fn query(
    table: &Table,
    left_out: &LeftOut,
    query: &Query,
) -> Result<Vec<AccessRequest>, Failure> {
    let limit = query.limit.clamp(1, QUERY_LIMIT);
    match listing(query) {
        Listing::Updated(since) => {
            let ids = updated_since(table, since).await?;
            let after = query.after;
            let ids = ids.into_iter().rev();
            let ids: Vec<RequestId> = ids.filter(|id| after.is_none_or(|it| *id < it)).collect();
            let mut found = Vec::new();
            for ids in ids.chunks(BATCH_LIMIT) {
                found.extend(records(table, left_out, query, ids).await?);
                if found.len() >= limit {
                    break;
                }
            }
            found.truncate(limit);
            Ok(found)
        }
        Listing::Partitions(partitions) => {
            let mut look = match partitions.len() {
                1 => look(limit),
                // One that ends within so many rows is read in one go.
                _ => BATCH_LIMIT,
            };
            let mut lists = Lists::of((table, left_out), partitions, query.after, look).await?;
            let mut found = Vec::new();
            loop {
                let ids = lists.next(look).await?;
                found.extend(records(table, left_out, query, &ids).await?);
                if found.len() >= limit || ids.len() < look {
                    found.truncate(limit);
                    return Ok(found);
                }
                // What finds little is asked in fewer and larger calls, not in more.
                look = look.saturating_mul(2).min(LOOK_LIMIT);
            }
        }
    }
}

async fn updated_since(table: &Table, since: Timestamp) -> Result<BTreeSet<RequestId>, Failure> {
    let rows = keys::shards().map(|shard| async move {
        let to = keys::end_of(&keys::instant(Timestamp::MAX));
        let range = ascending(keys::updated_partition(shard), keys::instant(since), to);
        table.all(&range).await
    });
    let rows = try_join_all(rows).await?;
    let ids = rows.iter().flatten();
    let ids = ids.map(|row| Read::new(row, "row").id_in_sort());
    Ok(ids.collect::<Result<_, _>>()?)
}

/// The records with these ids that the query asks for, in this order.
async fn records(
    table: &Table,
    left_out: &LeftOut,
    query: &Query,
    ids: &[RequestId],
) -> Result<Vec<AccessRequest>, Failure> {
    let ids = ids.iter().filter(|id| query.after != Some(**id));
    let ids: Vec<RequestId> = ids.copied().collect();
    let keys: Vec<Key> = ids.iter().map(|id| keys::record(*id)).collect();
    let rows = table.get_all(&keys).await?;
    let read = |id: &RequestId| {
        let row = rows.get(&keys::record(*id))?;
        let read = item::body(row);
        read.map_err(|why| left_out.say(&id.to_string(), &why)).ok()
    };
    let found = ids.iter().filter_map(read);
    Ok(found.filter(|request| fits(query, request)).collect())
}

fn fits(query: &Query, request: &AccessRequest) -> bool {
    let Query {
        principal,
        entitlement,
        statuses,
        from,
        until,
        updated_since,
        after,
        limit: _,
    } = query;
    let status: Status = request.status();
    let over_at = status.is_over().then_some(request.updated_at);
    let mut things = request.parts.iter().map(|part| &part.entitlement);
    principal
        .as_ref()
        .is_none_or(|id| request.requester == *id || request.beneficiary == *id)
        && entitlement
            .as_ref()
            .is_none_or(|id| things.any(|thing| thing == id))
        && (statuses.is_empty() || statuses.contains(&status))
        && from.is_none_or(|from| over_at.is_none_or(|over_at| over_at >= from))
        && until.is_none_or(|until| request.opened_at < until)
        && updated_since.is_none_or(|since| request.updated_at >= since)
        && after.is_none_or(|after| request.id < after)
}

pub(crate) async fn rows(table: &Table, name: &'static str) -> Result<Vec<Row>, Failure> {
    let rows = table.all(&beginning(keys::rows(name), "row#")).await?;
    let found = rows.iter().map(|row| item::read_small_row(name, row));
    Ok(found.collect::<Result<_, _>>()?)
}

pub(crate) async fn by_suffix(table: &Table, suffix: &str) -> Result<Vec<RequestId>, Failure> {
    if suffix.chars().count() < keys::SUFFIX {
        return Ok(Vec::new());
    }
    let end = keys::suffix(suffix);
    if !end.is_possible() {
        return Ok(Vec::new());
    }
    let Key { pk, sk } = end;
    let rows = table.first(&beginning(pk, &sk), 2).await?;
    let ids = rows.iter().map(|row| {
        let sort = Read::new(row, "row").text("sk")?;
        let id: String = sort.chars().rev().collect();
        id.parse().map_err(|_| Cause::Damaged { what: "row" })
    });
    Ok(ids.collect::<Result<_, _>>()?)
}

pub(crate) async fn chains(
    table: &Table,
    after: Option<RequestId>,
    limit: usize,
) -> Result<Vec<RequestId>, Failure> {
    // Ids are of one length, so what is behind one begins with it and a little more.
    let from = after.map_or_else(|| "req-".to_owned(), |after| format!("{after} "));
    let range = ascending(keys::CHAINS, from, keys::end_of("req-"));
    let rows = table.first(&range, limit).await?;
    let ids = rows.iter().map(|row| Read::new(row, "row").parsed("sk"));
    Ok(ids.collect::<Result<_, _>>()?)
}

// ------------------------------------------------------------------------------------ deliveries

pub(crate) async fn deliveries(
    table: &Table,
    request: RequestId,
) -> Result<Vec<Delivery>, Failure> {
    let range = beginning(keys::partition_of(request), keys::deliveries_prefix());
    let rows = table.all(&range).await?;
    let found = rows.iter().map(item::read_delivery);
    let mut found: Vec<Delivery> = found.collect::<Result<_, _>>()?;
    found.sort_by(|one, two| one.key.cmp(&two.key));
    Ok(found)
}

pub(crate) async fn deliveries_due(
    table: &Table,
    left_out: &LeftOut,
    notifiers: &[String],
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Delivery>, Failure> {
    let notifiers: BTreeSet<&String> = notifiers.iter().collect();
    let due = notifiers
        .into_iter()
        .map(|name| due_of(table, left_out, name, now, limit));
    let due = try_join_all(due).await?;
    let mut due: Vec<Delivery> = due.into_iter().flatten().collect();
    due.sort_by(|one, two| (one.deliver_at, &one.key).cmp(&(two.deliver_at, &two.key)));
    due.truncate(limit);
    Ok(due)
}

/// What is due of one notifier and not taken, the longest due first.
async fn due_of(
    table: &Table,
    left_out: &LeftOut,
    notifier: &str,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Delivery>, Failure> {
    let from = keys::instant(Timestamp::MIN);
    let to = keys::end_of(&keys::instant(now));
    let range = ascending(keys::notify_partition(notifier), from, to);
    let mut named = BTreeSet::new();
    let (mut found, mut begin) = (Vec::new(), None);
    while found.len() < limit {
        let page = table
            .page(&range, Some(look(limit - found.len())), begin)
            .await?;
        // One damaged row delays no other; two that list one delivery give it once.
        let keys = page.items.iter().filter_map(|row| {
            let sort = Read::new(row, "due row").text("sk").unwrap_or_default();
            let key = keys::delivery_of_due(notifier, sort);
            key.or_else(|| {
                left_out.say(sort, &Cause::Damaged { what: "due row" });
                None
            })
        });
        let keys: Vec<Key> = keys.collect();
        let rows: HashMap<Key, Item> = table.get_all(&keys).await?;
        for key in &keys {
            let delivery = rows.get(key).and_then(|row| {
                let delivery = item::read_delivery(row);
                delivery.map_err(|why| left_out.say(&key.pk, &why)).ok()
            });
            let Some(delivery) = delivery.filter(|it| named.insert(it.key.clone())) else {
                continue;
            };
            let is_due = delivery.deliver_at.is_some_and(|at| at <= now);
            if is_due && delivery.taken_until.is_none_or(|until| until <= now) {
                found.push(delivery);
            }
        }
        begin = page.next;
        if begin.is_none() {
            break;
        }
    }
    found.truncate(limit);
    Ok(found)
}
