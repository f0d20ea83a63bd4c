//! What is read, one function per question. Each runs in one transaction, so it sees one state of
//! the file whatever is written meanwhile.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jit_core::Timestamp;
use jit_core::audit::{SYSTEM_CHAIN, Sealed};
use jit_core::ports::{Delivery, DeliveryKey, Due, Idempotency, Query, Row as SmallRow, Urgency};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, REQUEST_SHAPE, RequestId, Slot};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params, params_from_iter};

use crate::commit::{int, uint};
use crate::error::Cause;

/// The most records that a query returns.
const QUERY_LIMIT: usize = 1_000;
/// The most ids that are remembered as told in the log.
const TOLD_LIMIT: usize = 1_000;

/// Which records were left out of a listing and said so: once each, for `due` is asked every
/// second.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(Mutex<BTreeSet<String>>);

impl LeftOut {
    fn say(&self, id: &str, why: &dyn std::fmt::Display) {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() < TOLD_LIMIT && told.insert(id.to_owned()) {
            tracing::warn!(request.id = id, error = %why, "a record is left out of listings");
        }
    }
}

fn damaged(what: &'static str) -> Cause {
    Cause::Damaged { what }
}

fn parsed<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, Cause> {
    text.parse().map_err(|_| damaged(what))
}

pub(crate) fn load(connection: &Connection, id: RequestId) -> Result<Option<AccessRequest>, Cause> {
    let mut statement = connection.prepare_cached("SELECT body FROM request WHERE id = ?1")?;
    let body = statement.query_row([id.to_string()], |row| row.get::<_, String>(0));
    let body = body.optional()?;
    let read = body.map(|body| AccessRequest::from_stored(&body));
    Ok(read.transpose()?)
}

pub(crate) fn story(
    connection: &Connection,
    id: RequestId,
) -> Result<Option<(AccessRequest, Vec<Sealed>)>, Cause> {
    let Some(request) = load(connection, id)? else {
        return Ok(None);
    };
    Ok(Some((request, events(connection, id)?)))
}

pub(crate) fn slot(connection: &Connection, key: &SlotKey) -> Result<Option<Slot>, Cause> {
    let mut statement = connection.prepare_cached("SELECT owner FROM slot WHERE key = ?1")?;
    let owner = statement.query_row([key.as_str()], |row| row.get::<_, String>(0));
    let Some(owner) = owner.optional()? else {
        return Ok(None);
    };
    let owner = parsed(&owner, "slot")?;
    let key = key.clone();
    Ok(Some(Slot { key, owner }))
}

const DUE_REVOKES: &str =
    "SELECT id, wake_at, provider, shape FROM request INDEXED BY request_revoke
    WHERE revoke_at <= ?1 AND wake_at <= ?1 ORDER BY revoke_at, wake_at, id";
const DUE_OTHERS: &str = "SELECT id, wake_at, provider, shape FROM request
    WHERE wake_at <= ?1 AND (revoke_at IS NULL OR revoke_at > ?1) ORDER BY wake_at, id";

pub(crate) fn due(
    connection: &Connection,
    left_out: &LeftOut,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Due>, Cause> {
    let mut due = Vec::new();
    for (kind, sql) in [(Urgency::Revoke, DUE_REVOKES), (Urgency::Other, DUE_OTHERS)] {
        let mut statement = connection.prepare_cached(sql)?;
        let mut rows = statement.query([now.unix_micros()])?;
        // No LIMIT: a record of a later release must not take the place of one that can be tended.
        while due.len() < limit {
            let Some(row) = rows.next()? else { break };
            let id: String = row.get(0)?;
            if is_newer(row, 3)? {
                left_out.say(&id, &"a later release wrote it");
                continue;
            }
            // One damaged row delays no other.
            let provider: String = row.get(2)?;
            let (Ok(id), Ok(provider)) = (id.parse(), provider.parse()) else {
                left_out.say(&id, &"its row is damaged");
                continue;
            };
            due.push(Due {
                id,
                wake_at: Timestamp::from_unix_micros(row.get(1)?),
                provider,
                urgency: kind,
            });
        }
    }
    Ok(due)
}

const NEWEST_COMMIT: &str = "SELECT max(updated_at) FROM request";

pub(crate) fn newest_commit(connection: &Connection) -> Result<Option<Timestamp>, Cause> {
    let mut statement = connection.prepare_cached(NEWEST_COMMIT)?;
    let micros: Option<i64> = statement.query_row([], |row| row.get(0))?;
    Ok(micros.map(Timestamp::from_unix_micros))
}

fn is_newer(row: &Row<'_>, column: usize) -> Result<bool, Cause> {
    Ok(row.get::<_, i64>(column)? > i64::from(REQUEST_SHAPE))
}

pub(crate) fn query(
    connection: &Connection,
    left_out: &LeftOut,
    query: &Query,
) -> Result<Vec<AccessRequest>, Cause> {
    let (sql, values) = statement_of(query);
    let limit = query.limit.clamp(1, QUERY_LIMIT);
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(values))?;
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(row) = rows.next()? else { break };
        match AccessRequest::from_stored(row.get_ref(1)?.as_str().unwrap_or_default()) {
            Ok(request) => found.push(request),
            Err(error) => left_out.say(&row.get::<_, String>(0)?, &error),
        }
    }
    Ok(found)
}

/// The statement of a query: only the conditions that it names.
fn statement_of(query: &Query) -> (String, Vec<Value>) {
    let mut conditions: Vec<String> = Vec::new();
    let mut values: Vec<Value> = Vec::new();
    let mut add = |condition: &str, given: Vec<Value>| {
        conditions.push(condition.to_owned());
        values.extend(given);
    };
    let text = |text: &str| Value::from(text.to_owned());
    let micros = |at: Timestamp| Value::from(at.unix_micros());
    if let Some(id) = &query.principal {
        let id = text(id.as_str());
        add("(requester = ? OR beneficiary = ?)", vec![id.clone(), id]);
    }
    if let Some(id) = &query.entitlement {
        let of_part = "id IN (SELECT request FROM part WHERE entitlement = ?)";
        add(of_part, vec![text(id.as_str())]);
    }
    if !query.statuses.is_empty() {
        let places = vec!["?"; query.statuses.len()].join(", ");
        let statuses = query.statuses.iter();
        let statuses = statuses.map(|status| text(status.as_str())).collect();
        add(&format!("status IN ({places})"), statuses);
    }
    if let Some(from) = query.from {
        add("(over_at IS NULL OR over_at >= ?)", vec![micros(from)]);
    }
    if let Some(until) = query.until {
        add("opened_at < ?", vec![micros(until)]);
    }
    if let Some(since) = query.updated_since {
        add("updated_at >= ?", vec![micros(since)]);
    }
    if let Some(after) = query.after {
        add("id < ?", vec![text(&after.to_string())]);
    }
    let given = match conditions.is_empty() {
        true => String::new(),
        false => format!("WHERE {}", conditions.join(" AND ")),
    };
    let sql = format!("SELECT id, body FROM request {given} ORDER BY id DESC");
    (sql, values)
}

/// Ids have no character behind ~, so these are all that begin with the reversed suffix.
const BY_SUFFIX: &str = "SELECT id FROM request WHERE reversed >= ?1 AND reversed < ?1 || '~'
    ORDER BY reversed LIMIT 2";

pub(crate) fn by_suffix(connection: &Connection, suffix: &str) -> Result<Vec<RequestId>, Cause> {
    if suffix.len() < 5 {
        return Ok(Vec::new());
    }
    let reversed: String = suffix.chars().rev().collect();
    let mut statement = connection.prepare_cached(BY_SUFFIX)?;
    let ids = statement.query_map([reversed], |row| row.get::<_, String>(0))?;
    ids.map(|id| parsed(&id?, "request id")).collect()
}

fn sealed(row: &Row<'_>) -> Result<Sealed, Cause> {
    Ok(Sealed {
        chain: row.get(0)?,
        seq: uint(row.get(1)?),
        at: Timestamp::from_unix_micros(row.get(2)?),
        body: row.get(3)?,
        hash: parsed(&row.get::<_, String>(4)?, "event hash")?,
    })
}

fn chain(
    connection: &Connection,
    name: &str,
    after: u64,
    limit: i64,
) -> Result<Vec<Sealed>, Cause> {
    let sql = "SELECT chain, seq, at, body, hash FROM event
        WHERE chain = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_and_then(params![name, int(after), limit], sealed)?;
    rows.collect()
}

pub(crate) fn events(connection: &Connection, id: RequestId) -> Result<Vec<Sealed>, Cause> {
    chain(connection, &id.to_string(), 0, -1)
}

pub(crate) fn system_events(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<Sealed>, Cause> {
    chain(connection, SYSTEM_CHAIN, after, int(limit as u64))
}

pub(crate) fn chains(
    connection: &Connection,
    after: Option<RequestId>,
    limit: usize,
) -> Result<Vec<RequestId>, Cause> {
    // One step through the index per chain, not one per event. Not `seq = 1` alone: a chain that
    // lost its first event is still listed, for the verifier to find.
    let sql = "SELECT chain FROM event WHERE chain > ?1 AND chain < 'req.'
        ORDER BY chain LIMIT 1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut name = after.map_or_else(|| "req-".to_owned(), |after| after.to_string());
    let mut ids = Vec::new();
    while ids.len() < limit {
        let next = statement.query_row([&name], |row| row.get::<_, String>(0));
        let Some(next) = next.optional()? else { break };
        ids.push(parsed(&next, "chain name")?);
        name = next;
    }
    Ok(ids)
}

fn delivery(row: &Row<'_>) -> Result<Delivery, Cause> {
    Ok(Delivery {
        key: DeliveryKey {
            request: parsed(&row.get::<_, String>(0)?, "delivery")?,
            notifier: row.get(1)?,
            target: row.get(2)?,
        },
        version: uint(row.get(3)?),
        message: row.get(4)?,
        shown_seq: uint(row.get(5)?),
        attempts: row.get(6)?,
        deliver_at: row
            .get::<_, Option<i64>>(7)?
            .map(Timestamp::from_unix_micros),
        taken_until: row
            .get::<_, Option<i64>>(8)?
            .map(Timestamp::from_unix_micros),
    })
}

pub(crate) fn delivery_of(
    connection: &Connection,
    key: &DeliveryKey,
) -> Result<Option<Delivery>, Cause> {
    let sql = "SELECT request, notifier, target, version, message, shown_seq, attempts, deliver_at,
        taken_until
        FROM delivery WHERE request = ?1 AND notifier = ?2 AND target = ?3";
    let mut statement = connection.prepare_cached(sql)?;
    let params = params![key.request.to_string(), key.notifier, key.target];
    let mut rows = statement.query_and_then(params, delivery)?;
    rows.next().transpose()
}

pub(crate) fn deliveries(
    connection: &Connection,
    request: RequestId,
) -> Result<Vec<Delivery>, Cause> {
    let sql = "SELECT request, notifier, target, version, message, shown_seq, attempts, deliver_at,
        taken_until
        FROM delivery WHERE request = ?1 ORDER BY notifier, target";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_and_then([request.to_string()], delivery)?;
    rows.collect()
}

const DELIVERIES_DUE: &str =
    "SELECT request, notifier, target, version, message, shown_seq, attempts, deliver_at,
        taken_until
    FROM delivery WHERE notifier = ?1 AND deliver_at <= ?2
        AND (taken_until IS NULL OR taken_until <= ?2)
    ORDER BY deliver_at, request, target LIMIT ?3";

pub(crate) fn deliveries_due(
    connection: &Connection,
    notifiers: &[String],
    now: Timestamp,
    limit: usize,
) -> Result<Vec<Delivery>, Cause> {
    let notifiers: BTreeSet<&String> = notifiers.iter().collect();
    let mut due: Vec<Delivery> = Vec::new();
    for notifier in notifiers {
        let mut statement = connection.prepare_cached(DELIVERIES_DUE)?;
        let params = params![notifier, now.unix_micros(), int(limit as u64)];
        let rows = statement.query_and_then(params, delivery)?;
        due.extend(rows.collect::<Result<Vec<Delivery>, Cause>>()?);
    }
    due.sort_by(|one, two| (one.deliver_at, &one.key).cmp(&(two.deliver_at, &two.key)));
    due.truncate(limit);
    Ok(due)
}

pub(crate) fn idempotency(
    connection: &Connection,
    key: &str,
) -> Result<Option<Idempotency>, Cause> {
    let sql = "SELECT fingerprint, request, forget_at FROM idempotency WHERE key = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query([key])?;
    let Some(row) = rows.next()? else {
        return Ok(None);
    };
    Ok(Some(Idempotency {
        key: key.to_owned(),
        fingerprint: parsed(&row.get::<_, String>(0)?, "used key")?,
        request: parsed(&row.get::<_, String>(1)?, "used key")?,
        forget_at: Timestamp::from_unix_micros(row.get(2)?),
    }))
}

pub(crate) fn row(
    connection: &Connection,
    table: &'static str,
    key: &str,
) -> Result<Option<SmallRow>, Cause> {
    let sql = "SELECT value FROM small WHERE class = ?1 AND key = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    let value = statement.query_row([table, key], |row| row.get::<_, String>(0));
    let value = value.optional()?;
    Ok(value.map(|value| SmallRow {
        table,
        key: key.to_owned(),
        value,
    }))
}

pub(crate) fn rows(connection: &Connection, table: &'static str) -> Result<Vec<SmallRow>, Cause> {
    let sql = "SELECT key, value FROM small WHERE class = ?1 ORDER BY key";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([table], |row| {
        Ok(SmallRow {
            table,
            key: row.get(0)?,
            value: row.get(1)?,
        })
    })?;
    Ok(rows.collect::<Result<_, _>>()?)
}

/// What SQLite finds wrong with the file; nothing where it is sound. The check itself stops at what
/// it cannot read past; that is a finding too.
pub(crate) fn quick_check(connection: &Connection) -> Result<Vec<String>, Cause> {
    let mut statement = connection.prepare("PRAGMA quick_check")?;
    let mut findings = Vec::new();
    for line in statement.query_map([], |row| row.get::<_, String>(0))? {
        match line {
            Ok(line) if line == "ok" => {}
            Ok(line) => findings.push(line),
            Err(error) if error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt) => {
                findings.push(error.to_string());
                break;
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listing_costs_what_it_lists_and_not_what_exists() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jit.db");
        let busy = std::time::Duration::from_secs(5);
        let (_, connection) = crate::schema::open(&path, busy).unwrap();
        for (sql, index) in [
            (DUE_REVOKES, "request_revoke"),
            (DUE_OTHERS, "request_due"),
            (NEWEST_COMMIT, "request_updated"),
            (DELIVERIES_DUE, "delivery_due"),
            (BY_SUFFIX, "sqlite_autoindex_request_2"),
        ] {
            let explain = format!("EXPLAIN QUERY PLAN {sql}");
            let mut statement = connection.prepare(&explain).unwrap();
            for place in 1..=statement.parameter_count() {
                statement.raw_bind_parameter(place, 1).unwrap();
            }
            let mut rows = statement.raw_query();
            let mut plan = Vec::new();
            while let Some(row) = rows.next().unwrap() {
                plan.push(row.get::<_, String>(3).unwrap());
            }
            assert_eq!(plan.len(), 1, "no sorting and no second table: {plan:?}");
            assert!(
                plan[0].starts_with("SEARCH") && plan[0].contains(index),
                "{plan:?}"
            );
        }
    }
}
