//! The audit as CSV: one row per event, the same for the live file and for `jit audit export`. The
//! store's chains are the audit; a CSV file is a copy for people and for tools, and proves nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use jit_core::audit::{Actor, AuditEvent, Fact, SystemEvent};
use jit_core::catalog::EntitlementId;
use jit_core::ports::{Announcement, ErrorKind, Notifier, PortError, Told};
use jit_core::request::{AccessRequest, RequestId};
use serde::Serialize;
use serde_json::Value;

/// The columns, in order. New ones are added at the end; none is renamed or reused.
///
/// `time` RFC 3339 in UTC · `request` the id, empty for facts of no request · `seq` the number in
/// its chain; with `request` it names the event · `event` what happened · `actor` a canonical id,
/// `system` or `operator` · `via` the door, and `as NAME` where they came under another name ·
/// `requester`, `beneficiary` · `entitlement`, several with a space between · `status` after the
/// event · `ttl` as it was asked · `expires_at` once it is known · `reason` in somebody's own words
/// · `detail` everything else that the event holds, as JSON · `previous_hash` of the event before
/// it in its chain.
pub const COLUMNS: [&str; 15] = [
    "time",
    "request",
    "seq",
    "event",
    "actor",
    "via",
    "requester",
    "beneficiary",
    "entitlement",
    "status",
    "ttl",
    "expires_at",
    "reason",
    "detail",
    "previous_hash",
];

/// One event as cells, in the order of [`COLUMNS`].
///
/// A cell that a spreadsheet would take for a formula begins with an apostrophe, so that nobody's
/// reason runs on the machine of whoever opens the file. A character that acts on a terminal or
/// reorders text is written as JSON writes it, `\u001b`, so that the file can be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row([String; COLUMNS.len()]);

/// What every row of one request says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Asked {
    request: String,
    requester: String,
    beneficiary: String,
    entitlements: String,
    ttl: String,
}

impl Asked {
    /// As the record of the request says.
    pub fn of_record(request: &AccessRequest) -> Self {
        let parts = request.parts.iter().map(|part| part.entitlement.as_str());
        Self {
            request: request.id.to_string(),
            requester: request.requester.to_string(),
            beneficiary: request.beneficiary.to_string(),
            entitlements: parts.collect::<Vec<_>>().join(" "),
            ttl: request.ttl.to_string(),
        }
    }

    /// As the event says that begins its chain, which outlives the record; none of another event.
    pub fn of_first(request: RequestId, event: &AuditEvent) -> Option<Self> {
        let (
            Actor::Principal { id, .. },
            Fact::Requested {
                beneficiary,
                entitlements,
                ttl,
                ..
            },
        ) = (&event.actor, &event.event.what)
        else {
            return None;
        };
        let parts = entitlements.iter().map(EntitlementId::as_str);
        Some(Self {
            request: request.to_string(),
            requester: id.to_string(),
            beneficiary: beneficiary.to_string(),
            entitlements: parts.collect::<Vec<_>>().join(" "),
            ttl: ttl.to_string(),
        })
    }
}

impl Row {
    /// An event of a request of which this was asked.
    pub fn of_request(asked: &Asked, event: &AuditEvent) -> Self {
        let fact = FactCells::of(&event.event.what);
        let (actor, via) = actor_cells(&event.actor);
        let expires_at = event.event.expires_at;
        Self([
            event.at.to_string(),
            asked.request.clone(),
            event.seq.to_string(),
            fact.event,
            actor,
            via,
            asked.requester.clone(),
            asked.beneficiary.clone(),
            asked.entitlements.clone(),
            event.event.status.to_string(),
            asked.ttl.clone(),
            expires_at.map_or_else(String::new, |at| at.to_string()),
            fact.reason,
            fact.detail,
            event.prev.to_string(),
        ])
        .inert()
    }

    /// An event of the system chain.
    pub fn of_system(event: &SystemEvent) -> Self {
        let fact = FactCells::of(&event.event);
        let (actor, via) = actor_cells(&event.actor);
        let mut cells = [const { String::new() }; COLUMNS.len()];
        let filled = [
            ("time", event.at.to_string()),
            ("seq", event.seq.to_string()),
            ("event", fact.event),
            ("actor", actor),
            ("via", via),
            ("expires_at", fact.expires_at),
            ("reason", fact.reason),
            ("detail", fact.detail),
            ("previous_hash", event.prev.to_string()),
        ];
        for (column, text) in filled {
            let cell = COLUMNS
                .iter()
                .zip(&mut cells)
                .find(|(name, _)| **name == column);
            if let Some((_, cell)) = cell {
                *cell = text;
            }
        }
        Self(cells).inert()
    }

    fn inert(mut self) -> Self {
        for cell in &mut self.0 {
            let first = cell.trim_start_matches(' ').chars().next();
            if matches!(first, Some('=' | '+' | '-' | '@' | '\t' | '\r' | '\n')) {
                cell.insert(0, '\'');
            }
            if cell.contains(acts) {
                *cell = cell.chars().map(seen).collect();
            }
        }
        self
    }
}

/// Whether a character may do something else than be seen: control characters, marks that turn the
/// direction of text, line separators, and characters of no width. Names and reasons have none;
/// what a provider calls its resources may.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// The same as something that can only be seen; within a JSON text the same value.
fn seen(c: char) -> String {
    if !acts(c) {
        return c.to_string();
    }
    let mut units = [0; 2];
    let escapes = c.encode_utf16(&mut units).iter();
    escapes.map(|unit| format!("\\u{unit:04x}")).collect()
}

/// The rows of a request, one for each of these events of it.
pub fn rows<'e>(
    request: &AccessRequest,
    events: impl IntoIterator<Item = &'e AuditEvent>,
) -> Vec<Row> {
    let asked = Asked::of_record(request);
    events
        .into_iter()
        .map(|event| Row::of_request(&asked, event))
        .collect()
}

/// The line that begins a file.
pub fn header() -> Vec<u8> {
    lines_of([COLUMNS])
}

/// These rows as lines of a file, without the header.
pub fn lines(rows: &[Row]) -> Vec<u8> {
    lines_of(rows.iter().map(|row| &row.0))
}

fn lines_of<R, C>(records: impl IntoIterator<Item = R>) -> Vec<u8>
where
    R: IntoIterator<Item = C>,
    C: AsRef<[u8]>,
{
    let mut writer = ::csv::Writer::from_writer(Vec::new());
    for record in records {
        writer
            .write_record(record)
            .expect("every row has the same number of cells, and memory takes them all");
    }
    writer
        .into_inner()
        .expect("memory takes what is still in the buffer")
}

/// What a fact holds, by its serialised form, so that a new fact needs no new code here.
struct FactCells {
    event: String,
    reason: String,
    expires_at: String,
    detail: String,
}

impl FactCells {
    fn of(fact: &impl Serialize) -> Self {
        let value = serde_json::to_value(fact)
            .expect("a fact has string keys and finite numbers, so it serialises");
        let Value::Object(mut fields) = value else {
            return Self {
                event: value.to_string(),
                reason: String::new(),
                expires_at: String::new(),
                detail: String::new(),
            };
        };
        let mut text = |key| match fields.remove(key) {
            Some(Value::String(text)) => text,
            _ => String::new(),
        };
        let (event, reason, expires_at) = (text("fact"), text("reason"), text("expires_at"));
        fields.retain(|_, value| !value.is_null());
        let detail = match fields.is_empty() {
            true => String::new(),
            false => Value::Object(fields).to_string(),
        };
        Self {
            event,
            reason,
            expires_at,
            detail,
        }
    }
}

fn actor_cells(actor: &Actor) -> (String, String) {
    match actor {
        Actor::Principal { id, via } => {
            let door = serde_json::to_value(via.door).ok();
            let door = door.as_ref().and_then(Value::as_str).unwrap_or_default();
            let via = match via.id == *id {
                true => door.to_owned(),
                false => format!("{door} as {}", via.id),
            };
            (id.to_string(), via)
        }
        Actor::System => ("system".to_owned(), String::new()),
        Actor::Operator => ("operator".to_owned(), String::new()),
    }
}

/// The live file, usually `audit_log.csv`: every event of every request, appended as it is told.
///
/// Rows are on the disk when `announce` returns. Like every announcement they come at least once:
/// what `shown_seq` says was written is not written again, but a crash between the append and the
/// store's note of it repeats the rows; `request` and `seq` tell them apart. The file is opened
/// for each append, so it may be renamed at any time; a new one begins with the header. It is made
/// with mode 0600. Several processes may append to it.
#[derive(Debug, Clone)]
pub struct CsvSink {
    file: Arc<PathBuf>,
    /// One append at a time in this process; the file's lock is for the others.
    turn: Arc<Mutex<()>>,
}

impl CsvSink {
    /// A sink that appends to this file, which need not exist.
    pub fn new(file: impl Into<PathBuf>) -> Self {
        Self {
            file: Arc::new(file.into()),
            turn: Arc::default(),
        }
    }
}

#[async_trait]
impl Notifier for CsvSink {
    fn name(&self) -> &'static str {
        "csv"
    }

    fn targets(&self, _request: &AccessRequest) -> Vec<String> {
        vec!["file".to_owned()]
    }

    async fn announce(&self, announcement: Announcement<'_>) -> Result<Told, PortError> {
        let shown = announcement.delivery.shown_seq;
        let news = announcement.news.iter().filter(|event| event.seq > shown);
        let rows = rows(announcement.request, news);
        let sink = self.clone();
        let append = move || {
            let _turn = sink.turn.lock().unwrap_or_else(PoisonError::into_inner);
            append(&sink.file, &rows)
        };
        // Every failure is worth another try: a row that is given up is missing for ever.
        let failed = || PortError::maybe_done("csv", "append", ErrorKind::Unavailable);
        tokio::task::spawn_blocking(append)
            .await
            // Not in the words of a panic, which may quote what the process holds.
            .map_err(|error| failed().because(std::io::Error::from(error)))?
            .map_err(|error| failed().because(error))?;
        Ok(Told {
            message: Some("appended".to_owned()),
            again_at: None,
        })
    }
}

/// Appends rows and brings them to the disk, all or none of them.
fn append(path: &Path, rows: &[Row]) -> std::io::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut file = OpenOptions::new()
        .read(true)
        .append(true)
        .create(true)
        .mode(0o600)
        .open(path)?;
    file.try_lock().map_err(|error| match error {
        TryLockError::Error(error) => error,
        TryLockError::WouldBlock => std::io::Error::other("another process is appending"),
    })?;
    let length = file.metadata()?.len();
    let mut text = match length {
        0 => header(),
        _ if ends_a_line(&mut file)? => Vec::new(),
        // A crash cut the last line; ours begin on a new one.
        _ => b"\n".to_vec(),
    };
    text.extend(lines(rows));
    let written = file.write_all(&text).and_then(|()| file.sync_all());
    if let Err(error) = written {
        // Half a row would make the next one unreadable. If this fails too, the new line above
        // helps.
        let _ = file.set_len(length);
        return Err(error);
    }
    if length == 0 {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()?;
    }
    Ok(())
}

fn ends_a_line(file: &mut File) -> std::io::Result<bool> {
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

#[cfg(test)]
mod tests;
