//! The store: that it can be read and written, how it is, where it lies, and that its audit ends where
//! it should. It is opened as it is, so that an older schema stays one.

use std::path::Path;
use std::time::Duration;

use jit_core::audit::Sealed;
use jit_core::engine::{CHECKPOINT_EVERY, ClockOffset, known_time, last_checkpoint};
use jit_core::ports::{Clock, PortError, RequestStore};
use jit_dynamodb::DynamoStore;
use jit_sqlite::{Options, Schema, SqliteStore};
use tokio::time::{Instant, timeout_at};

use super::clock::{self, AREA as CLOCK};
use super::{DEADLINE, Finding, Verdict, disk, on_disk};
use crate::config::{Config, Origin, Store};

const AREA: &str = "store";
const AUDIT: &str = "audit";
/// How much sooner than the whole check the file's own check ends, so that all else is told.
const SOONER: Duration = Duration::from_secs(2);
/// A daemon leaves a checkpoint behind so often; one that is this much older was left by none that runs.
const MISSED: u32 = 3;

/// All that is to be said of the store.
pub(super) async fn store(config: &Config, clock: &dyn Clock) -> Vec<Finding> {
    let mut found = match &config.store {
        Store::Sqlite { file } => sqlite(file, &config.origin, clock).await,
        // On the heap: the future of AWS's client is a large one.
        Store::DynamoDb(settings) => match Box::pin(DynamoStore::connect(settings)).await {
            Ok(table) => {
                let what = format!(
                    "the table {} is there and ours; whether it can be written shows at the first \
                     commit",
                    settings.table
                );
                let mut found = vec![Finding::ok(AREA, what)];
                found.extend(contents(&table, clock).await);
                found
            }
            Err(error) => vec![Finding::of_sentence(AREA, &chain(&error))],
        },
    };
    if let Some(csv) = config.audit.csv.clone() {
        found.extend(on_disk(move || disk::csv(&csv)).await);
    }
    found
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}

async fn sqlite(file: &Path, origin: &Origin, clock: &dyn Clock) -> Vec<Finding> {
    let shown = file.display();
    let until = Instant::now() + DEADLINE - SOONER;
    let (path, of) = (file.to_owned(), origin.clone());
    let (mut found, store) = on_disk(move || opened(&path, &of)).await;
    let Some(store) = store else {
        return found;
    };
    let Schema { found: has, known } = store.schema();
    let can_be_written = match store.can_be_written().await {
        Ok(()) => Finding::ok(AREA, format!("{shown} can be read and written")),
        Err(error) => Finding::of_sentence(AREA, &error.to_string()),
    };
    found.insert(0, can_be_written);
    if has < known {
        let what = format!("{shown} has schema {has}, and this release brings it to {known}");
        let fix = "back up before jitd of this release opens it: jit backup FILE";
        found.push(Finding::warn(AREA, what, fix));
        return found;
    }
    let (sound, contents) = tokio::join!(sound(file, &store, until), contents(&store, clock));
    found.push(sound);
    found.extend(contents);
    found
}

/// Opens it, and says where it lies.
fn opened(file: &Path, origin: &Origin) -> (Vec<Finding>, Option<SqliteStore>) {
    let shown = file.display();
    let folder = file.parent().unwrap_or(Path::new("/"));
    let folder = match origin {
        Origin::File => folder,
        // jitd makes the folder of a configuration that nobody wrote down.
        Origin::Variables { .. } => folder.ancestors().find(|it| it.exists()).unwrap_or(folder),
    };
    let mut found = disk::folder(AREA, folder);
    if !file.exists() {
        if found.iter().all(|it| it.verdict != Verdict::Fail) {
            let what = format!("there is no {shown} yet");
            let fix = "jitd makes it when it first runs; where there was one, restore its backup";
            found.insert(0, Finding::warn(AREA, what, fix));
        }
        return (found, None);
    }
    // Where it cannot be looked at, it cannot be opened either.
    found.extend(disk::open_to_others(AREA, file).ok().flatten());
    match SqliteStore::open_as_it_is(file, Options::default()) {
        Ok(store) => (found, Some(store)),
        Err(error) => {
            found.insert(0, Finding::of_sentence(AREA, &error.to_string()));
            (found, None)
        }
    }
}

/// What SQLite says of its own file.
async fn sound(file: &Path, store: &SqliteStore, until: Instant) -> Finding {
    let shown = file.display();
    match timeout_at(until, store.integrity()).await {
        Ok(Ok(wrong)) => match wrong.first() {
            None => Finding::ok(AREA, "SQLite finds nothing wrong with the file"),
            Some(first) => {
                let what = format!("{shown} is damaged: {first}");
                let fix = "stop jitd, keep a copy of the file, and restore a backup";
                Finding::fail(AREA, what, fix)
            }
        },
        Ok(Err(error)) => Finding::of_error(AREA, &error),
        Err(_) => {
            let what = "the file is too large to be read through in a moment";
            let fix = "jit backup FILE reads all of it, and checks it";
            Finding::warn(AREA, what, fix)
        }
    }
}

/// What any store has.
async fn contents(store: &dyn RequestStore, clock: &dyn Clock) -> Vec<Finding> {
    let mut found = vec![];
    let newest = match known_time(store).await {
        Ok(newest) => newest,
        Err(error) => return vec![Finding::of_error(AREA, &error)],
    };
    found.push(match newest {
        None => Finding::ok(
            CLOCK,
            "nothing was committed yet that it could be held against",
        ),
        // It says nothing of a clock that is ahead.
        Some(newest) => {
            let behind = ClockOffset::Behind(newest.since(clock.now()));
            match clock::judged("what was written last", behind) {
                well if well.verdict == Verdict::Ok => {
                    Finding::ok(CLOCK, "this host is not behind what was written last")
                }
                wrong => wrong,
            }
        }
    });
    found.push(match audit(store, clock).await {
        Ok(finding) => finding,
        Err(error) => Finding::of_error(AUDIT, &error),
    });
    found
}

/// Whether the system chain ends where its head says, and when the chains were last checkpointed.
async fn audit(store: &dyn RequestStore, clock: &dyn Clock) -> Result<Finding, PortError> {
    let head = store.system_head().await?;
    let last = store.system_events(head.seq.saturating_sub(1), 1).await?;
    let ends_there = |last: &Sealed| (last.seq, last.hash) == (head.seq, head.hash);
    // Where it grew meanwhile, the event at the head is still the one.
    if head.seq > 0 && !last.first().is_some_and(ends_there) {
        let what = "the system chain does not end where its head says";
        let fix = "jit audit verify says what is missing; keep a copy of the store";
        return Ok(Finding::fail(AUDIT, what, fix));
    }
    let Some(at) = last_checkpoint(store).await? else {
        return Ok(Finding::ok(
            AUDIT,
            "it can be read; no checkpoint was due yet",
        ));
    };
    let newest = store.newest_commit().await?;
    let age = clock.now().since(at);
    if age > CHECKPOINT_EVERY * MISSED && newest.is_some_and(|newest| newest > at) {
        let what = format!("no checkpoint since {at}, and there is more since then");
        let fix = "see that jitd runs: it leaves one every 5 minutes";
        return Ok(Finding::warn(AUDIT, what, fix));
    }
    Ok(Finding::ok(
        AUDIT,
        format!("it can be read; the last checkpoint is of {at}"),
    ))
}
