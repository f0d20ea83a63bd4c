//! Writes that are not a commit: the inbox, and how far a message is.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::ports::{Delivery, Inbox, InboxItem};
use rusqlite::{Connection, Row, params};

use crate::commit::int;
use crate::error::{Cause, Fault};
use crate::read;

/// How long the key of an input is kept.
const KEPT: Duration = Duration::from_secs(3_600);
/// How long a taken input is left to whoever took it.
const TAKEN: Duration = Duration::from_secs(30);

pub(crate) fn inbox_put(
    connection: &Connection,
    key: &str,
    input: &str,
    received_at: Timestamp,
) -> Result<Inbox, Fault> {
    let hour_ago = received_at.unix_micros() - micros(KEPT);
    let forget = "DELETE FROM inbox WHERE done = 1 AND received_at <= ?1";
    connection.prepare_cached(forget)?.execute([hour_ago])?;
    let sql = "INSERT INTO inbox (key, input, received_at, taken_at, done)
        VALUES (?1, ?2, ?3, ?3, 0)
        ON CONFLICT (key) DO UPDATE SET input = excluded.input,
            received_at = excluded.received_at,
            taken_at = excluded.taken_at, done = 0
        WHERE received_at <= ?4";
    let params = params![key, input, received_at.unix_micros(), hour_ago];
    match connection.prepare_cached(sql)?.execute(params)? {
        0 => Ok(Inbox::Seen),
        _ => Ok(Inbox::New),
    }
}

/// Whether there is anything to take, without the lock of a writer.
pub(crate) fn inbox_waits(connection: &Connection, now: Timestamp) -> Result<bool, Cause> {
    let sql = "SELECT 1 FROM inbox WHERE done = 0 AND (taken_at IS NULL OR taken_at <= ?1)";
    let mut statement = connection.prepare_cached(sql)?;
    Ok(statement.exists([left_alone_since(now)])?)
}

pub(crate) fn inbox_take(
    connection: &Connection,
    now: Timestamp,
    limit: usize,
) -> Result<Vec<InboxItem>, Fault> {
    let sql = "SELECT key, input, received_at FROM inbox
        WHERE done = 0 AND (taken_at IS NULL OR taken_at <= ?1)
        ORDER BY received_at, key LIMIT ?2";
    let item = |row: &Row<'_>| {
        Ok(InboxItem {
            key: row.get(0)?,
            input: row.get(1)?,
            received_at: Timestamp::from_unix_micros(row.get(2)?),
        })
    };
    let mut statement = connection.prepare_cached(sql)?;
    let params = params![left_alone_since(now), int(limit as u64)];
    let items = statement.query_map(params, item)?;
    let items: Vec<InboxItem> = items.collect::<Result<_, _>>()?;
    let sql = "UPDATE inbox SET taken_at = ?2 WHERE key = ?1";
    for item in &items {
        let params = params![item.key, now.unix_micros()];
        connection.prepare_cached(sql)?.execute(params)?;
    }
    Ok(items)
}

/// The key stays for its hour; the input has served. Whether it was there and not done before.
pub(crate) fn inbox_done(connection: &Connection, key: &str) -> Result<bool, Fault> {
    let sql = "UPDATE inbox SET done = 1, input = '' WHERE key = ?1 AND done = 0";
    Ok(connection.prepare_cached(sql)?.execute([key])? > 0)
}

pub(crate) fn deliveries_take(
    connection: &Connection,
    notifier: &str,
    now: Timestamp,
    until: Timestamp,
    limit: usize,
) -> Result<Vec<Delivery>, Fault> {
    let mut due = read::deliveries_due(connection, &[notifier.to_owned()], now, limit)?;
    for delivery in &mut due {
        delivery.version += 1;
        delivery.attempts = delivery.attempts.saturating_add(1);
        delivery.taken_until = Some(until);
        delivery_update(connection, delivery)?;
    }
    Ok(due)
}

pub(crate) fn delivery_update(connection: &Connection, delivery: &Delivery) -> Result<(), Fault> {
    let sql = "UPDATE delivery SET version = ?4, message = ?5, shown_seq = ?6, attempts = ?7,
            deliver_at = ?8, taken_until = ?9
        WHERE request = ?1 AND notifier = ?2 AND target = ?3 AND version = ?4 - 1";
    let key = &delivery.key;
    let params = params![
        key.request.to_string(),
        key.notifier,
        key.target,
        int(delivery.version),
        delivery.message,
        int(delivery.shown_seq),
        delivery.attempts,
        delivery.deliver_at.map(Timestamp::unix_micros),
        delivery.taken_until.map(Timestamp::unix_micros),
    ];
    match connection.prepare_cached(sql)?.execute(params)? {
        0 => Err(Fault::Conflict),
        _ => Ok(()),
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// An input that was taken then or before may be taken again.
fn left_alone_since(now: Timestamp) -> i64 {
    now.unix_micros() - micros(TAKEN)
}
