//! What is read, one function per question. Each runs in one transaction, so it sees one state of
//! the file whatever is written meanwhile.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use jit_core::Timestamp;
use jit_core::audit::Sealed;
use jit_core::ports::{Delivery, DeliveryKey, Due, Idempotency, Query, Row as SmallRow, Urgency};
use jit_core::provider::SlotKey;
use jit_core::request::{AccessRequest, REQUEST_SHAPE, RequestId, Slot, Status};
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OptionalExtension, Row, params, params_from_iter};

use crate::chains;
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

pub(crate) fn parsed<T: std::str::FromStr>(text: &str, what: &'static str) -> Result<T, Cause> {
    text.parse().map_err(|_| damaged(what))
}

pub(crate) fn load(connection: &Connection, id: RequestId) -> Result<Option<AccessRequest>, Cause> {
    let mut statement = connection.prepare_cached("SELECT body FROM request WHERE id = ?1")?;
    let body = statement.query_row([id.to_string()], |row| row.get::<_, String>(0));
    let body = body.optional()?;
    body.map(|body| record(&body, Ok(id))).transpose()
}

/// The record in a row of this name. One that says that it is another is nobody's.
fn record(body: &str, name: Result<RequestId, Cause>) -> Result<AccessRequest, Cause> {
    let (record, name) = (AccessRequest::from_stored(body)?, name?);
    match record.id == name {
        true => Ok(record),
        false => Err(damaged("record: it says that it is another")),
    }
}

pub(crate) fn story(
    connection: &Connection,
    id: RequestId,
) -> Result<Option<(AccessRequest, Vec<Sealed>)>, Cause> {
    let Some(request) = load(connection, id)? else {
        return Ok(None);
    };
    Ok(Some((request, chains::events(connection, id)?)))
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

/// A record that a list names, where it is one of those that were asked for.
const RECORD: &str = "SELECT body FROM request WHERE id = ?1
    AND (?2 IS NULL OR over_at IS NULL OR over_at >= ?2)
    AND (?3 IS NULL OR opened_at < ?3)
    AND (?4 IS NULL OR updated_at >= ?4)";

pub(crate) fn query(
    connection: &Connection,
    left_out: &LeftOut,
    query: &Query,
) -> Result<Vec<AccessRequest>, Cause> {
    let limit = query.limit.clamp(1, QUERY_LIMIT);
    let (sql, values) = listing_of(query);
    let mut listing = connection.prepare_cached(&sql)?;
    let mut listed = listing.query(params_from_iter(values))?;
    let mut by_name = connection.prepare_cached(RECORD)?;
    let micros = |at: Option<Timestamp>| at.map(Timestamp::unix_micros);
    let (from, until) = (micros(query.from), micros(query.until));
    let since = micros(query.updated_since);
    let mut found = Vec::new();
    while found.len() < limit {
        let Some(row) = listed.next()? else { break };
        let id: String = row.get(0)?;
        let mut fits = by_name.query(params![id, from, until, since])?;
        let Some(row) = fits.next()? else { continue };
        let body = row.get_ref(0)?.as_str().unwrap_or_default();
        match record(body, parsed(&id, "record")) {
            Ok(request) => found.push(request),
            Err(error) => left_out.say(&id, &error),
        }
    }
    Ok(found)
}

/// What a statement is given, in the order of its places.
#[derive(Default)]
struct Values(Vec<Value>);

impl Values {
    fn place(&mut self, value: impl Into<Value>) -> String {
        self.0.push(value.into());
        format!("?{}", self.0.len())
    }
}

/// Where requests are listed: a table with the index to go through, its column of their ids, and
/// what they are listed by.
struct List {
    table: String,
    id: &'static str,
    given: Vec<String>,
}

/// Whoever is named asks, or is asked for.
const ROLES: [&str; 2] = ["requester", "beneficiary"];

fn lists_of(query: &Query, values: &mut Values) -> Vec<List> {
    let list = |table: &str, id, given: &[String]| List {
        table: table.to_owned(),
        id,
        given: given.to_vec(),
    };
    let person = query.principal.as_ref();
    let person = person.map(|person| values.place(person.to_string()));
    let thing = query.entitlement.as_ref();
    let thing = thing.map(|thing| format!("entitlement = {}", values.place(thing.to_string())));
    match (person, thing) {
        (Some(person), Some(thing)) => Vec::from(ROLES.map(|role| {
            let table = format!("part INDEXED BY part_by_{role}");
            let given = [format!("{role} = {person}"), thing.clone()];
            list(&table, "request", &given)
        })),
        (Some(person), None) => Vec::from(ROLES.map(|role| {
            let table = format!("request INDEXED BY request_by_{role}");
            list(&table, "id", &[format!("{role} = {person}")])
        })),
        (None, Some(thing)) => {
            let table = "part INDEXED BY part_by_entitlement";
            vec![list(table, "request", &[thing])]
        }
        (None, None) => match query.updated_since {
            // What is open is few, what changed may be fewer than what is over.
            Some(since) if !is_open(query) => {
                let since = values.place(since.unix_micros());
                let table = "request INDEXED BY request_updated";
                vec![list(table, "id", &[format!("updated_at >= {since}")])]
            }
            Some(_) | None => match query.statuses.is_empty() {
                true => vec![list("request", "id", &[])],
                false => vec![list("request INDEXED BY request_status", "id", &[])],
            },
        },
    }
}

/// Whether it asks for nothing that is over.
fn is_open(query: &Query) -> bool {
    !query.statuses.is_empty() && !query.statuses.iter().any(|status| status.is_over())
}

/// The ids of what a query may find, from the newest to the oldest: a list for each status, each in
/// the order of its index. SQLite merges them and steps no further than its caller asks, so a
/// question costs what it finds. When a story was going on is asked of each record; lists do not
/// say it, but for what changed since some instant.
fn listing_of(query: &Query) -> (String, Vec<Value>) {
    let mut values = Values::default();
    let lists = lists_of(query, &mut values);
    let after = query.after.map(|after| values.place(after.to_string()));
    let mut statuses: BTreeSet<Status> = query.statuses.iter().copied().collect();
    if statuses.is_empty() && (query.principal.is_some() || query.entitlement.is_some()) {
        statuses.extend(Status::ALL);
    }
    let statuses = statuses.into_iter();
    let statuses = statuses.map(|it| format!("status = {}", values.place(it.as_str().to_owned())));
    let mut statuses: Vec<Option<String>> = statuses.map(Some).collect();
    if statuses.is_empty() {
        statuses.push(None);
    }
    let select = |List { table, id, given }: &List, status: Option<&String>| {
        let after = after.as_ref().map(|after| format!("{id} < {after}"));
        let given = given.iter().chain(status).cloned().chain(after);
        let given: Vec<String> = given.collect();
        match given.is_empty() {
            true => format!("SELECT {id} FROM {table}"),
            false => format!("SELECT {id} FROM {table} WHERE {}", given.join(" AND ")),
        }
    };
    let selects = lists.iter().flat_map(|list| {
        let statuses = statuses.iter();
        statuses.map(|status| select(list, status.as_ref()))
    });
    let selects: Vec<String> = selects.collect();
    // Not UNION ALL: whoever asks for themselves is listed in both roles.
    let sql = format!("{} ORDER BY 1 DESC", selects.join(" UNION "));
    (sql, values.0)
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
    use rusqlite::StatementStatus;
    use tempfile::TempDir;

    fn opened() -> (TempDir, Connection) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jit.db");
        let busy = std::time::Duration::from_secs(5);
        let (_, connection) = crate::schema::open(&path, busy).unwrap();
        (folder, connection)
    }

    /// How SQLite goes through its tables: a step of its plan each, without those that merge.
    fn plan(connection: &Connection, sql: &str) -> Vec<String> {
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let mut statement = connection.prepare(&explain).unwrap();
        for place in 1..=statement.parameter_count() {
            statement.raw_bind_parameter(place, 1).unwrap();
        }
        let mut rows = statement.raw_query();
        let mut plan: Vec<String> = Vec::new();
        while let Some(row) = rows.next().unwrap() {
            plan.push(row.get(3).unwrap());
        }
        plan.retain(|step| !["MERGE (UNION)", "LEFT", "RIGHT"].contains(&step.as_str()));
        plan
    }

    #[test]
    fn a_listing_costs_what_it_lists_and_not_what_exists() {
        let (_folder, connection) = opened();
        for (sql, index) in [
            (DUE_REVOKES, "request_revoke"),
            (DUE_OTHERS, "request_due"),
            (NEWEST_COMMIT, "request_updated"),
            (DELIVERIES_DUE, "delivery_due"),
            (BY_SUFFIX, "sqlite_autoindex_request_2"),
            (RECORD, "sqlite_autoindex_request_1"),
        ] {
            let plan = plan(&connection, sql);
            assert_eq!(plan.len(), 1, "no sorting and no second table: {plan:?}");
            assert!(
                plan[0].starts_with("SEARCH") && plan[0].contains(index),
                "{plan:?}"
            );
        }
    }

    const OPEN: [Status; 2] = [Status::Pending, Status::Active];
    const GIVEN: [Status; 3] = [Status::Active, Status::Settling, Status::Closed];

    /// Every question that names somebody, something or a status, with the indexes that answer it.
    fn questions() -> Vec<(Query, Vec<&'static str>)> {
        let person = Some("ana@example.com".parse().unwrap());
        let thing = Some("groupfile/admins".parse().unwrap());
        let by = |principal: &Option<_>, entitlement: &Option<_>, statuses: &[Status]| Query {
            principal: principal.clone(),
            entitlement: entitlement.clone(),
            statuses: statuses.to_vec(),
            limit: 5,
            ..Query::default()
        };
        let mut questions = vec![];
        for statuses in [&OPEN[..], &GIVEN[..], &[]] {
            let people = vec![
                "request_by_requester (requester=? AND status=?",
                "request_by_beneficiary (beneficiary=? AND status=?",
            ];
            questions.push((by(&person, &None, statuses), people));
            let both = vec![
                "part_by_requester (requester=? AND entitlement=? AND status=?",
                "part_by_beneficiary (beneficiary=? AND entitlement=? AND status=?",
            ];
            questions.push((by(&person, &thing, statuses), both));
            let things = vec!["part_by_entitlement (entitlement=? AND status=?"];
            questions.push((by(&None, &thing, statuses), things));
            if !statuses.is_empty() {
                let all = vec!["request_status (status=?"];
                questions.push((by(&None, &None, statuses), all));
            }
        }
        questions
    }

    #[test]
    fn a_query_goes_through_the_lists_of_what_it_names_and_sorts_nothing() {
        let (_folder, connection) = opened();
        for (query, indexes) in questions() {
            for after in [None, Some(jit_testkit::sample::id(7))] {
                let query = Query {
                    after,
                    ..query.clone()
                };
                let plan = plan(&connection, &listing_of(&query).0);
                let statuses = match query.statuses.len() {
                    0 => Status::ALL.len(),
                    some => some,
                };
                assert_eq!(plan.len(), indexes.len() * statuses, "{plan:?}");
                for step in &plan {
                    let index = indexes.iter().find(|index| step.contains(*index));
                    assert!(index.is_some(), "{step} for {query:?}");
                    assert!(step.starts_with("SEARCH") && step.contains("COVERING"));
                    assert_eq!(after.is_some(), step.contains("<?"), "{step}");
                }
            }
        }
    }

    /// So many requests of ana for one thing: the newest three are open, all others were closed.
    fn fill(connection: &Connection, records: i64) {
        let sql = "WITH RECURSIVE numbers (number) AS
                (SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?1)
            INSERT INTO request (id, reversed, shape, version, status, requester, beneficiary,
                opened_at, updated_at, body)
            SELECT printf('%08d', number), printf('%08d', number), 1, 1,
                CASE WHEN number > ?1 - 3 THEN 'active' ELSE 'closed' END,
                'ana@example.com', 'ana@example.com', number, number, '' FROM numbers";
        connection.execute(sql, [records]).unwrap();
        let sql = "INSERT INTO part SELECT id, 'groupfile/admins', status, requester, beneficiary
            FROM request";
        connection.execute(sql, []).unwrap();
    }

    /// What SQLite does for the first ids of this, in steps of its machine.
    fn steps(connection: &Connection, query: &Query) -> i32 {
        let (sql, values) = listing_of(query);
        let mut statement = connection.prepare(&sql).unwrap();
        let mut rows = statement.query(params_from_iter(values)).unwrap();
        for _ in 0..query.limit {
            if rows.next().unwrap().is_none() {
                break;
            }
        }
        drop(rows);
        for status in [StatementStatus::FullscanStep, StatementStatus::Sort] {
            assert_eq!(statement.get_status(status), 0, "{sql}");
        }
        statement.get_status(StatementStatus::VmStep)
    }

    #[test]
    fn a_long_history_costs_a_query_no_step_more() {
        let (few, many) = (opened(), opened());
        fill(&few.1, 20);
        fill(&many.1, 5_000);
        for (query, _) in questions() {
            let (few, many) = (steps(&few.1, &query), steps(&many.1, &query));
            assert_eq!(few, many, "{query:?}");
        }
    }

    #[test]
    fn what_changed_lately_is_found_by_when_it_changed_unless_it_is_open() {
        let (_folder, connection) = opened();
        for (statuses, index) in [
            (&[][..], "request_updated"),
            (&[Status::Closed], "request_updated"),
            (&OPEN, "request_status"),
        ] {
            let lately = Query {
                statuses: statuses.to_vec(),
                updated_since: Some(jit_testkit::sample::start()),
                ..Query::default()
            };
            let plan = plan(&connection, &listing_of(&lately).0);
            let steps = plan.iter().filter(|step| step.starts_with("SEARCH"));
            assert_eq!(steps.clone().count(), statuses.len().max(1), "{plan:?}");
            assert!(steps.clone().all(|step| step.contains(index)), "{plan:?}");
        }
    }
}
