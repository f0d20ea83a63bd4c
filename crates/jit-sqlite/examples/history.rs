//! How long questions take that are asked at each request and for each card, in a file with so many
//! records of which nearly all are over. The file is filled where it is empty.
//! `cargo run --release -p jit-sqlite --example history -- <folder> <records>`
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints what it saw"
)]

use std::error::Error;
use std::path::PathBuf;
use std::time::Instant;

use jit_core::ports::{Query, RequestStore};
use jit_core::request::{AccessRequest, RequestId, Status};
use jit_sqlite::{Options, SqliteStore};
use jit_testkit::sample;

/// Half of all requests are its.
const AGENT: &str = "agent-ci";
/// Has asked for nothing so far.
const NEWCOMER: &str = "newcomer@example.com";
/// What most requests are for.
const ASKED: &str = "groupfile/admins";
/// One record of so many is not over.
const OPEN_OF: u32 = 5_000;
const GIVEN: [Status; 4] = [
    Status::Active,
    Status::Revoking,
    Status::Settling,
    Status::Closed,
];
const THERE: [Status; 3] = [Status::Provisioning, Status::Active, Status::Revoking];
const OPEN: [Status; 5] = [
    Status::Pending,
    Status::Approved,
    Status::Provisioning,
    Status::Active,
    Status::Revoking,
];

fn record(number: u32) -> Result<AccessRequest, Box<dyn Error + Send + Sync>> {
    let status = match number % OPEN_OF {
        1 => Status::Active,
        2 => Status::Pending,
        _ => Status::Closed,
    };
    let mut request = sample::request_in(0, status);
    let mut random = [0x5a; 10];
    for (place, byte) in random.iter_mut().zip(number.to_be_bytes()) {
        *place = byte;
    }
    request.id = RequestId::new(sample::at(u64::from(number)), random);
    request.opened_at = sample::at(u64::from(number));
    request.updated_at = sample::at(u64::from(number) + 60);
    request.requester = match number % 2 {
        0 => AGENT.parse()?,
        _ => format!("person{}@example.com", number % 199).parse()?,
    };
    request.beneficiary = request.requester.clone();
    Ok(request)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder")?);
    let records: u32 = arguments.next().ok_or("say how many records")?.parse()?;
    let began = Instant::now();
    let store = SqliteStore::open(folder.join("history.db"), Options::default())?;
    println!("opened in {:.1?}", began.elapsed());
    if store.newest_commit().await?.is_none() {
        fill(&store, records).await?;
    }
    let asked = Query {
        entitlement: Some(ASKED.parse()?),
        ..Query::default()
    };
    let of = |person: &str| person.parse().map(Some);
    let questions = [
        (
            "who has it now",
            Query {
                statuses: THERE.to_vec(),
                limit: 1_000,
                ..asked.clone()
            },
        ),
        (
            "who had it",
            Query {
                statuses: GIVEN.to_vec(),
                limit: 40,
                ..asked.clone()
            },
        ),
        (
            "whether a newcomer had it",
            Query {
                principal: of(NEWCOMER)?,
                statuses: GIVEN.to_vec(),
                limit: 40,
                ..asked.clone()
            },
        ),
        (
            "whether the agent had it",
            Query {
                principal: of(AGENT)?,
                statuses: GIVEN.to_vec(),
                limit: 40,
                ..asked
            },
        ),
        (
            "what the agent has open",
            Query {
                principal: of(AGENT)?,
                statuses: OPEN.to_vec(),
                limit: 5,
                ..Query::default()
            },
        ),
        (
            "the latest of the agent",
            Query {
                principal: of(AGENT)?,
                limit: 50,
                ..Query::default()
            },
        ),
        (
            "what closed lately",
            Query {
                statuses: vec![Status::Closed],
                updated_since: Some(sample::at(u64::from(records))),
                limit: 1_000,
                ..Query::default()
            },
        ),
    ];
    for (what, query) in questions {
        let mut took = vec![];
        let mut found = 0;
        for _ in 0..20 {
            let asked = Instant::now();
            found = store.query(&query).await?.len();
            took.push(asked.elapsed());
        }
        took.sort();
        let (fastest, slowest) = (took.first().copied(), took.last().copied());
        let (fastest, slowest) = (fastest.unwrap_or_default(), slowest.unwrap_or_default());
        println!("{what}: {found} found, {fastest:.1?} to {slowest:.1?}");
    }
    Ok(())
}

async fn fill(store: &SqliteStore, records: u32) -> Result<(), Box<dyn Error + Send + Sync>> {
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    let numbers: Vec<u32> = (0..records).collect();
    for batch in numbers.chunks(8) {
        let changes = batch
            .iter()
            .map(|number| record(*number).map(sample::creation));
        let commit = sample::commit(changes.collect::<Result<Vec<_>, _>>()?);
        let store = store.clone();
        tasks.spawn(async move { store.commit(commit).await });
        if tasks.len() >= 64 {
            let written = tasks.join_next().await;
            written.transpose()?.transpose()?;
        }
    }
    while let Some(written) = tasks.join_next().await {
        written??;
    }
    println!("{records} records written in {:.1?}", began.elapsed());
    Ok(())
}
