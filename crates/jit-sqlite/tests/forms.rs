//! Each row as it is stored, to the letter. That what was ever stored is read is shown beside the steps
//! from one schema to the next, in `schema.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

use std::path::Path;

use jit_sqlite::{Options, SqliteStore};
use jit_testkit::store::one_of_everything;
use rusqlite::Connection;

/// The rows of one of everything, as schema 4 has them.
const RELEASED: &str = include_str!("forms/4.sql");

fn open(path: &Path) -> SqliteStore {
    SqliteStore::open(path, Options::default()).unwrap()
}

/// Every row of every table as an INSERT, by table and key.
fn rows(path: &Path) -> String {
    let store = Connection::open(path).unwrap();
    let list = |sql: &str| -> Vec<String> {
        let mut statement = store.prepare(sql).unwrap();
        let rows = statement.query_map([], |row| row.get(0)).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    };
    let tables = list("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name");
    let mut all = String::new();
    for table in tables {
        let columns = list(&format!("SELECT name FROM pragma_table_info('{table}')"));
        let quoted: Vec<String> = columns.iter().map(|it| format!("quote({it})")).collect();
        let (columns, quoted) = (columns.join(", "), quoted.join(" || ', ' || "));
        let insert = format!(
            "SELECT 'INSERT INTO {table} ({columns}) VALUES (' || {quoted} || ');' \
             FROM {table} ORDER BY 1"
        );
        for row in list(&insert) {
            all += &row;
            all += "\n";
        }
    }
    all
}

#[tokio::test]
async fn every_row_is_stored_as_the_released_form_has_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jit.db");
    one_of_everything(&open(&path)).await;
    let now = rows(&path);
    if now != RELEASED {
        let file = concat!(env!("CARGO_TARGET_TMPDIR"), "/forms.sql");
        std::fs::write(file, now).unwrap();
        panic!("a stored form changed; the rows as they are now are in {file}");
    }
}
