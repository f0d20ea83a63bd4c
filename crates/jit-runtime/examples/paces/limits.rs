//! What this machine can do, with none of our code in the way.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use rusqlite::Connection;
use sha2::{Digest, Sha256};

use crate::{Aim, Failed, row};

const TIMES: u32 = 1_000;
const HASHES: u32 = 1_000_000;

/// Commits a second of one row each, by one writer.
pub(crate) async fn all(folder: &Path) -> Result<f64, Failed> {
    let folder = folder.to_owned();
    tokio::task::spawn_blocking(move || {
        row(
            "machine: fdatasync of 4 KiB, a second",
            synced(&folder)?,
            Aim::None,
        );
        let commits = committed(&folder)?;
        row(
            "machine: commits of SQLite, one row each, a second",
            commits,
            Aim::None,
        );
        row(
            "machine: SHA-256 of 500 bytes in a chain, a second",
            hashed(),
            Aim::None,
        );
        Ok(commits)
    })
    .await?
}

fn synced(folder: &Path) -> Result<f64, Failed> {
    let mut file = std::fs::File::create(folder.join("synced"))?;
    let began = Instant::now();
    for _ in 0..TIMES {
        file.write_all(&[7; 4_096])?;
        file.sync_data()?;
    }
    Ok(f64::from(TIMES) / began.elapsed().as_secs_f64())
}

fn committed(folder: &Path) -> Result<f64, Failed> {
    let connection = Connection::open(folder.join("bare.db"))?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.execute("CREATE TABLE bare (number INTEGER, body TEXT)", [])?;
    let body = "x".repeat(500);
    let began = Instant::now();
    for number in 0..TIMES {
        let sql = "INSERT INTO bare VALUES (?1, ?2)";
        connection.prepare_cached(sql)?.execute((number, &body))?;
    }
    Ok(f64::from(TIMES) / began.elapsed().as_secs_f64())
}

fn hashed() -> f64 {
    let mut body = [7_u8; 500];
    let began = Instant::now();
    for _ in 0..HASHES {
        let hash = Sha256::digest(body);
        let (head, _) = body.split_at_mut(hash.len());
        head.copy_from_slice(&hash);
    }
    f64::from(HASHES) / began.elapsed().as_secs_f64()
}
