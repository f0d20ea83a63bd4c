//! What a commit does to the tables. Every statement carries the value that it was decided on, and
//! a statement that changes no row is a conflict; the caller takes back what came before it.

use jit_core::Timestamp;
use jit_core::audit::{ChainHead, SYSTEM_CHAIN, Sealed};
use jit_core::ports::{
    COMMIT_RECORDS_LIMIT, Change, Commit, CommitError, Counter, Delivery, Idempotency,
    RECORDS_KEPT, RowChange, SlotChange, SystemAppend, Touch,
};
use jit_core::request::{AccessRequest, RequestId};
use rusqlite::{Connection, OptionalExtension, Params, params};

use crate::error::{Cause, Fault};
use crate::{read, rows};

/// Whatever is over makes room for so many that were over long before it: a history shrinks faster
/// than it grows, and no commit waits long for it.
const FORGOTTEN_AT_ONCE: i64 = 4;

/// A number as SQLite keeps it. Ours count writes and events, and stay far below the end of the
/// range; one from elsewhere stops there and fits no row.
pub(crate) fn int(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A number as it was kept.
pub(crate) fn uint(number: i64) -> u64 {
    u64::try_from(number).unwrap_or_default()
}

/// A commit with its records in stored form, so that the writer has nothing left to compute.
#[derive(Debug)]
pub(crate) struct Prepared {
    commit: Commit,
    bodies: Vec<String>,
}

impl Prepared {
    /// Refuses what is too large.
    pub(crate) fn new(commit: Commit) -> Result<Self, CommitError> {
        if commit.changes.len() > COMMIT_RECORDS_LIMIT {
            return Err(CommitError::TooLarge { what: "records" });
        }
        let body = |change: &Change| change.record.to_stored();
        let bodies = commit.changes.iter().map(body).collect();
        Ok(Self { commit, bodies })
    }

    /// Writes it. After an error some of it may be there, for the caller to take back.
    pub(crate) fn apply(&self, connection: &Connection) -> Result<Vec<Delivery>, Fault> {
        let Commit {
            changes,
            unchanged,
            slots,
            system,
            inbox_done,
            idempotency,
            counters,
            rows,
            deliveries,
            at,
            // Looked at before the transaction.
            good_for: _,
        } = &self.commit;
        for (id, version) in unchanged {
            must_be(connection, *id, *version)?;
        }
        for (change, body) in changes.iter().zip(&self.bodies) {
            write_record(connection, change, body)?;
            for event in &change.events {
                append(connection, event)?;
            }
        }
        for change in slots {
            write_slot(connection, change)?;
        }
        if let Some(append) = system {
            append_system(connection, append)?;
        }
        for change in rows {
            write_row(connection, change)?;
        }
        if let Some(used) = idempotency {
            use_key(connection, used, *at)?;
        }
        for counter in counters {
            count(connection, counter, *at)?;
        }
        let mut taken = Vec::new();
        for delivery in deliveries {
            taken.extend(touch(connection, delivery, at.unwrap_or(Timestamp::MIN))?);
        }
        if let Some(key) = inbox_done
            && !rows::inbox_done(connection, key)?
        {
            return Err(Fault::InputDone);
        }
        Ok(taken)
    }
}

/// Runs a statement that must change one row.
fn one_row(connection: &Connection, sql: &str, params: impl Params) -> Result<(), Fault> {
    match connection.prepare_cached(sql)?.execute(params)? {
        0 => Err(Fault::Conflict),
        _ => Ok(()),
    }
}

fn must_be(connection: &Connection, id: RequestId, version: u64) -> Result<(), Fault> {
    let sql = "SELECT 1 FROM request WHERE id = ?1 AND version = ?2";
    let mut statement = connection.prepare_cached(sql)?;
    match statement.exists(params![id.to_string(), int(version)])? {
        true => Ok(()),
        false => Err(Fault::Conflict),
    }
}

fn write_record(connection: &Connection, change: &Change, body: &str) -> Result<(), Fault> {
    const INSERT: &str = "
        INSERT INTO request (id, reversed, shape, version, status, requester, beneficiary,
            opened_at, updated_at, over_at, wake_at, revoke_at, provider, body)
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
        ON CONFLICT (id) DO NOTHING";
    // Who asked, for whom and when stays as it was written first, and so do its places in the indexes.
    const UPDATE: &str = "
        UPDATE request SET shape = ?2, version = ?3, status = ?4, updated_at = ?5, over_at = ?6,
            wake_at = ?7, revoke_at = ?8, provider = ?9, body = ?10
        WHERE id = ?1 AND version = ?11";
    let Change {
        record,
        expected,
        wake,
        ..
    } = change;
    let id = record.id.to_string();
    let reversed: String = id.chars().rev().collect();
    let (version, shape, status) = (int(record.version), record.shape, record.status());
    let (opened_at, updated_at) = (
        record.opened_at.unix_micros(),
        record.updated_at.unix_micros(),
    );
    let over_at = status.is_over().then_some(updated_at);
    let wake_at = wake.as_ref().map(|wake| wake.at.unix_micros());
    let revoke_at = wake.as_ref().and_then(|wake| wake.revoke_at);
    let revoke_at = revoke_at.map(Timestamp::unix_micros);
    let provider = wake.as_ref().map(|wake| wake.provider.as_str());
    let (requester, beneficiary) = (record.requester.as_str(), record.beneficiary.as_str());
    let status = status.as_str();
    match expected {
        None => one_row(
            connection,
            INSERT,
            params![
                id,
                reversed,
                shape,
                version,
                status,
                requester,
                beneficiary,
                opened_at,
                updated_at,
                over_at,
                wake_at,
                revoke_at,
                provider,
                body
            ],
        )?,
        Some(expected) => one_row(
            connection,
            UPDATE,
            params![
                id,
                shape,
                version,
                status,
                updated_at,
                over_at,
                wake_at,
                revoke_at,
                provider,
                body,
                int(*expected)
            ],
        )?,
    }
    write_parts(connection, &id, record)?;
    match over_at {
        Some(_) => forget(connection, record.updated_at),
        None => Ok(()),
    }
}

/// Removes records that were over [`RECORDS_KEPT`] ago and of which nothing is owed. Their events
/// stay, and who owns a slot. A clock that jumped ahead is not believed: somebody must have written
/// something in the middle of that time.
fn forget(connection: &Connection, now: Timestamp) -> Result<(), Fault> {
    // Asked once, and not of each record: a history that may not go yet costs nothing.
    let sql = "SELECT id FROM request
        WHERE over_at IS NOT NULL AND wake_at IS NULL AND over_at <= ?1
            AND EXISTS (SELECT 1 FROM request WHERE updated_at BETWEEN ?2 AND ?3)
        ORDER BY over_at LIMIT ?4";
    let mut long_over = connection.prepare_cached(sql)?;
    let quarter = RECORDS_KEPT / 4;
    let before = |time| (now - time).unix_micros();
    let params = params![
        before(RECORDS_KEPT),
        before(quarter * 3),
        before(quarter),
        FORGOTTEN_AT_ONCE
    ];
    let ids = long_over.query_map(params, |row| row.get::<_, String>(0))?;
    let ids: Vec<String> = ids.collect::<Result<_, _>>()?;
    for id in ids {
        for sql in [
            "DELETE FROM part WHERE request = ?1",
            "DELETE FROM delivery WHERE request = ?1",
            "DELETE FROM request WHERE id = ?1",
        ] {
            connection.prepare_cached(sql)?.execute([&id])?;
        }
    }
    Ok(())
}

/// Writes what lists the record by its entitlements; nothing where that is as it was.
fn write_parts(connection: &Connection, id: &str, record: &AccessRequest) -> Result<(), Fault> {
    let status = record.status().as_str();
    let (requester, beneficiary) = (record.requester.as_str(), record.beneficiary.as_str());
    let wanted = record.parts.iter();
    let wanted: Vec<&str> = wanted.map(|part| part.entitlement.as_str()).collect();
    let mut stored = connection.prepare_cached(
        "SELECT entitlement, (status, requester, beneficiary) = (?2, ?3, ?4)
        FROM part WHERE request = ?1",
    )?;
    let stored = stored.query_map([id, status, requester, beneficiary], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })?;
    let stored: Vec<(String, bool)> = stored.collect::<Result<_, _>>()?;
    let sql = "DELETE FROM part WHERE request = ?1 AND entitlement = ?2";
    let mut delete = connection.prepare_cached(sql)?;
    for (gone, _) in &stored {
        if !wanted.contains(&gone.as_str()) {
            delete.execute([id, gone])?;
        }
    }
    let sql = "INSERT INTO part (request, entitlement, status, requester, beneficiary)
        VALUES (?1, ?2, ?3, ?4, ?5) ON CONFLICT (request, entitlement) DO UPDATE SET
        status = excluded.status, requester = excluded.requester,
        beneficiary = excluded.beneficiary";
    let mut write = connection.prepare_cached(sql)?;
    for name in wanted {
        let is_as_it_was = |(old, same): &(String, bool)| *same && old == name;
        if !stored.iter().any(is_as_it_was) {
            write.execute([id, name, status, requester, beneficiary])?;
        }
    }
    Ok(())
}

fn append(connection: &Connection, event: &Sealed) -> Result<(), Fault> {
    let sql = "INSERT INTO event (chain, seq, at, body, hash) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (chain, seq) DO NOTHING";
    let (at, hash) = (event.at.unix_micros(), event.hash.to_string());
    let params = params![event.chain, int(event.seq), at, event.body, hash];
    one_row(connection, sql, params)
}

/// The head of the system chain, as it is kept beside the events: events that were cut off its end
/// are missed by the verifier.
pub(crate) fn system_head(connection: &Connection) -> Result<ChainHead, Cause> {
    let sql = "SELECT seq, hash FROM head WHERE chain = ?1";
    let mut statement = connection.prepare_cached(sql)?;
    let kept = statement.query_row([SYSTEM_CHAIN], |row| {
        Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
    });
    match kept.optional()? {
        None => Ok(ChainHead::start(SYSTEM_CHAIN)),
        Some((seq, hash)) => {
            let damaged = |_| Cause::Damaged { what: "chain head" };
            let hash = hash.parse().map_err(damaged)?;
            let seq = uint(seq);
            Ok(ChainHead { seq, hash })
        }
    }
}

fn append_system(connection: &Connection, append: &SystemAppend) -> Result<(), Fault> {
    if system_head(connection)? != append.expected {
        return Err(Fault::Conflict);
    }
    for event in &append.events {
        self::append(connection, event)?;
    }
    let Some(newest) = append.events.last() else {
        return Ok(());
    };
    let sql = "INSERT INTO head (chain, seq, hash) VALUES (?1, ?2, ?3)
        ON CONFLICT (chain) DO UPDATE SET seq = excluded.seq, hash = excluded.hash";
    let params = params![SYSTEM_CHAIN, int(newest.seq), newest.hash.to_string()];
    one_row(connection, sql, params)
}

fn write_slot(connection: &Connection, change: &SlotChange) -> Result<(), Fault> {
    let (key, owner) = (change.slot.key.as_str(), change.slot.owner.to_string());
    match change.expected {
        None => one_row(
            connection,
            "INSERT INTO slot (key, owner) VALUES (?1, ?2) ON CONFLICT (key) DO NOTHING",
            params![key, owner],
        ),
        Some(expected) => one_row(
            connection,
            "UPDATE slot SET owner = ?2 WHERE key = ?1 AND owner = ?3",
            params![key, owner, expected.to_string()],
        ),
    }
}

fn write_row(connection: &Connection, change: &RowChange) -> Result<(), Fault> {
    let row = &change.row;
    match &change.expected {
        None => one_row(
            connection,
            "INSERT INTO small (class, key, value) VALUES (?1, ?2, ?3)
                ON CONFLICT (class, key) DO NOTHING",
            params![row.table, row.key, row.value],
        ),
        Some(expected) => one_row(
            connection,
            "UPDATE small SET value = ?3 WHERE class = ?1 AND key = ?2 AND value = ?4",
            params![row.table, row.key, row.value, expected],
        ),
    }
}

fn use_key(
    connection: &Connection,
    used: &Idempotency,
    at: Option<Timestamp>,
) -> Result<(), Fault> {
    let forget = "DELETE FROM idempotency WHERE forget_at <= ?1";
    if let Some(at) = at {
        connection
            .prepare_cached(forget)?
            .execute([at.unix_micros()])?;
    }
    let sql = "INSERT INTO idempotency (key, fingerprint, request, forget_at)
        VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO NOTHING";
    let (fingerprint, request) = (used.fingerprint.to_string(), used.request.to_string());
    let params = params![used.key, fingerprint, request, used.forget_at.unix_micros()];
    one_row(connection, sql, params)
}

fn count(connection: &Connection, counter: &Counter, at: Option<Timestamp>) -> Result<(), Fault> {
    let full = || Fault::CounterFull {
        key: counter.key.clone(),
    };
    if counter.ceiling == 0 {
        return Err(full());
    }
    let forget = "DELETE FROM counter WHERE forget_at <= ?1";
    if let Some(at) = at {
        connection
            .prepare_cached(forget)?
            .execute([at.unix_micros()])?;
    }
    let sql = "INSERT INTO counter (key, interval, reached, forget_at) VALUES (?1, ?2, 1, ?3)
        ON CONFLICT (key, interval) DO UPDATE
        SET reached = reached + 1, forget_at = excluded.forget_at WHERE reached < ?4";
    let (window, forget_at) = (int(counter.window), counter.forget_at.unix_micros());
    let params = params![counter.key, window, forget_at, counter.ceiling];
    one_row(connection, sql, params).map_err(|fault| match fault {
        Fault::Conflict => full(),
        other => other,
    })
}

/// The delivery, where it was taken.
fn touch(connection: &Connection, touch: &Touch, at: Timestamp) -> Result<Option<Delivery>, Fault> {
    const INSERT: &str = "INSERT INTO delivery
            (request, notifier, target, version, message, shown_seq, attempts, deliver_at,
            taken_until)
        VALUES (?1, ?2, ?3, 0, NULL, 0, ?4, ?5, ?6)";
    const UPDATE: &str = "UPDATE delivery
        SET version = ?4, attempts = ?5, deliver_at = ?6, taken_until = ?7
        WHERE request = ?1 AND notifier = ?2 AND target = ?3";
    let Touch { key, take_until } = touch;
    let before = read::delivery_of(connection, key)?;
    let is_made = before.is_none();
    let mut now = before.map_or_else(
        || Delivery {
            key: key.clone(),
            version: 0,
            message: None,
            shown_seq: 0,
            attempts: 0,
            deliver_at: Some(at),
            taken_until: None,
        },
        |before| Delivery {
            version: before.version + 1,
            deliver_at: Some(before.deliver_at.map_or(at, |before| before.min(at))),
            ..before
        },
    );
    let is_free = now.taken_until.is_none_or(|until| until <= at);
    let takes = take_until.is_some() && is_free;
    if takes {
        now.attempts = now.attempts.saturating_add(1);
        now.taken_until = *take_until;
    }
    let request = key.request.to_string();
    let micros = |at: Option<Timestamp>| at.map(Timestamp::unix_micros);
    let (deliver_at, taken_until) = (micros(now.deliver_at), micros(now.taken_until));
    let Delivery {
        version, attempts, ..
    } = now;
    let (notifier, target) = (&key.notifier, &key.target);
    match is_made {
        true => one_row(
            connection,
            INSERT,
            params![request, notifier, target, attempts, deliver_at, taken_until],
        )?,
        false => one_row(
            connection,
            UPDATE,
            params![
                request,
                notifier,
                target,
                int(version),
                attempts,
                deliver_at,
                taken_until
            ],
        )?,
    }
    Ok(takes.then_some(now))
}
