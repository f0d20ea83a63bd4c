//! The audit as it is read: the events of one chain, and the names of the chains.

use jit_core::Timestamp;
use jit_core::audit::{SYSTEM_CHAIN, Sealed};
use jit_core::request::RequestId;
use rusqlite::{Connection, OptionalExtension, Row, params};

use crate::commit::{int, uint};
use crate::error::Cause;
use crate::read::parsed;

fn sealed(chain: &str, row: &Row<'_>) -> Result<Sealed, Cause> {
    let hash = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
    Ok(Sealed {
        chain: chain.to_owned(),
        seq: uint(row.get(0)?),
        at: Timestamp::from_unix_micros(row.get(1)?),
        body: row.get(2)?,
        hash: parsed(hash, "event hash")?,
    })
}

fn chain(
    connection: &Connection,
    name: &str,
    (after, until): (i64, i64),
    limit: i64,
) -> Result<Vec<Sealed>, Cause> {
    let sql = "SELECT seq, at, body, hash FROM event
        WHERE chain = ?1 AND seq > ?2 AND seq <= ?3 ORDER BY seq LIMIT ?4";
    let mut statement = connection.prepare_cached(sql)?;
    let rows =
        statement.query_and_then(params![name, after, until, limit], |row| sealed(name, row))?;
    rows.collect()
}

pub(crate) fn events(connection: &Connection, id: RequestId) -> Result<Vec<Sealed>, Cause> {
    chain(connection, &id.to_string(), (i64::MIN, i64::MAX), -1)
}

pub(crate) fn system_events(
    connection: &Connection,
    after: u64,
    limit: usize,
) -> Result<Vec<Sealed>, Cause> {
    // No event of ours has a number below 1. What somebody put in there is for the verifier, however
    // much it is, and takes nobody's place.
    let mut events = match after {
        0 => chain(connection, SYSTEM_CHAIN, (i64::MIN, 0), -1)?,
        _ => vec![],
    };
    let numbered = (int(after), i64::MAX);
    events.extend(chain(
        connection,
        SYSTEM_CHAIN,
        numbered,
        int(limit as u64),
    )?);
    Ok(events)
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
