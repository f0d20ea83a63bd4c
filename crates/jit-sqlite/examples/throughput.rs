//! How many commits a second a file takes from so many callers at once, and how long one waits.
//! `cargo run --release -p jit-sqlite --example throughput -- <folder> <callers> <commits>`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints what it saw"
)]

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jit_core::ports::RequestStore;
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?);
    let callers: u16 = arguments.next().ok_or("say how many callers")?.parse()?;
    let commits: u16 = arguments.next().ok_or("say how many commits")?.parse()?;
    let store = SqliteStore::open(folder.join("throughput.db"), Options::default())?;
    let each = commits / callers;
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for caller in 0..callers {
        let store = store.clone();
        tasks.spawn(async move {
            let mut waits = Vec::new();
            for number in 0..each {
                let change = sample::creation(sample::request(caller * each + number));
                let asked = Instant::now();
                store.commit(sample::commit([change])).await?;
                waits.push(asked.elapsed());
            }
            Ok::<_, jit_core::ports::CommitError>(waits)
        });
    }
    let mut waits: Vec<Duration> = Vec::new();
    while let Some(done) = tasks.join_next().await {
        waits.extend(done??);
    }
    let took = began.elapsed();
    waits.sort();
    let at = |percent: usize| waits.get(waits.len() * percent / 100).copied();
    let rate = waits.len() as f64 / took.as_secs_f64();
    println!(
        "{callers} callers, {} commits in {took:.2?}: {rate:.0} a second, p50 {:?}, p99 {:?}",
        waits.len(),
        at(50),
        at(99)
    );
    Ok(())
}
