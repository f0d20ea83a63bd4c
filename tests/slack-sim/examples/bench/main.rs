//! The bench of the Slack door: plays Slack for the real daemon, for both of Slack's own frameworks
//! and for an app that does nothing but the visible work, one after the other, and prints what each
//! of them took as one table. `tests/run --bench` installs what it needs and runs it; what the rows
//! mean is in `docs/BENCHMARKS.md`.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures how long things take"
)]
#![allow(clippy::print_stdout, reason = "it prints a table")]
#![allow(
    clippy::indexing_slicing,
    reason = "JSON answers null for what it does not have"
)]

mod app;
mod floor;
mod load;
mod slack;
mod table;

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};

use app::{App, Kind};
use load::{Crowd, Durations, Until, ask_at_once, ask_steadily, ask_waiting, click_waiting};
use slack::{FastSlack, Through};
use table::{Burst, Column, Run};

/// Whatever keeps the bench itself from running.
pub(crate) type Failure = Box<dyn std::error::Error + Send + Sync>;

/// The people of an ordinary day, who were all met before anything is measured.
const DAY: Crowd = Crowd {
    first_person: 0,
    people: 600,
};
/// A Web API that takes its time.
const SLOW_API: Duration = Duration::from_millis(150);
/// The first burst, of people who are met for the first time; in the second they come again with
/// others.
const BURSTS: [u32; 2] = [500, 2_000];
/// Starts of which the median is taken.
const STARTS: usize = 5;
/// An app opens its further connections one after the other.
const ALL_CONNECTED: Duration = Duration::from_millis(3_500);
/// Nothing was called for this long: what was asked is done.
const QUIET: Duration = Duration::from_millis(1_500);
const QUIET_WITHIN: Duration = Duration::from_secs(120);

#[derive(Debug, Parser)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Measure, and print the table
    Run(Settings),
    /// Be the app that does nothing but the visible work
    Floor {
        /// Where the Web API is
        api: String,
    },
}

/// Where everything is.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// The daemon
    #[arg(long)]
    pub(crate) jitd: PathBuf,
    /// A Python that has slack_bolt
    #[arg(long)]
    pub(crate) python: PathBuf,
    /// Node
    #[arg(long)]
    pub(crate) node: PathBuf,
    /// The folder in which @slack/bolt is installed
    #[arg(long)]
    pub(crate) modules: PathBuf,
    /// The folder of the two apps
    #[arg(long)]
    pub(crate) scripts: PathBuf,
    /// A folder for stores and logs; what is in it is removed
    #[arg(long)]
    folder: PathBuf,
    /// Measure this one alone: ours, python, node or floor
    #[arg(long)]
    only: Option<String>,
}

fn main() -> Result<(), Failure> {
    match Arguments::parse().verb {
        // As the daemon: a thread for each processor.
        Verb::Floor { api } => {
            let runtime = tokio::runtime::Builder::new_multi_thread();
            block_on(runtime, floor::run(api))
        }
        // One thread, so that the app has the other processors for itself.
        Verb::Run(settings) => {
            let runtime = tokio::runtime::Builder::new_current_thread();
            block_on(runtime, measure_all(&settings))
        }
    }
}

fn block_on(
    mut runtime: tokio::runtime::Builder,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    runtime.enable_all().build()?.block_on(work)
}

async fn measure_all(settings: &Settings) -> Result<(), Failure> {
    if settings.folder.exists() {
        fs::remove_dir_all(&settings.folder)?;
    }
    fs::create_dir_all(&settings.folder)?;
    let mut columns = Vec::new();
    let mut disk = Vec::new();
    for kind in Kind::ALL {
        let wanted = settings.only.as_deref();
        if wanted.is_some_and(|only| !kind.name().to_lowercase().ends_with(only)) {
            continue;
        }
        disk.extend(disk_waits(&settings.folder)?);
        eprintln!("bench: {}", kind.name());
        let run = measure(kind, settings).await;
        let run = run.map_err(|error| format!("{}: {error}", kind.name()))?;
        columns.push(Column { kind, run });
    }
    println!("{}", table::drawn(&columns));
    println!("{}", table::machine(&Durations::collect(disk)));
    Ok(())
}

/// How long the disk takes to keep a page, as a commit of a store waits for it.
fn disk_waits(folder: &Path) -> Result<Vec<Duration>, Failure> {
    let mut file = File::create(folder.join("disk"))?;
    let mut waits = Vec::new();
    for _ in 0..200 {
        file.write_all(&[7; 4_096])?;
        let began_at = Instant::now();
        file.sync_data()?;
        waits.push(began_at.elapsed());
    }
    Ok(waits)
}

async fn measure(kind: Kind, settings: &Settings) -> Result<Run, Failure> {
    let folder = |name: &str| {
        settings
            .folder
            .join(format!("{kind:?}-{name}").to_lowercase())
    };
    let mut starts = Vec::new();
    for number in 1..STARTS {
        let slack = FastSlack::start().await?;
        let folder = folder(&format!("start-{number}"));
        let mut app = App::start(kind, settings, &folder, &slack, DAY.people)?;
        starts.push(app.connected(&slack).await?);
    }
    let slack = FastSlack::start().await?;
    let mut app = App::start(kind, settings, &folder("day"), &slack, DAY.people)?;
    starts.push(app.connected(&slack).await?);
    let mut run = day(&slack, &app).await?;
    run.connected = Durations::collect(starts).median();
    drop(app);

    let slack = FastSlack::start().await?;
    let crowd = Crowd {
        first_person: 0,
        people: BURSTS.into_iter().sum(),
    };
    let mut app = App::start(kind, settings, &folder("burst"), &slack, crowd.people)?;
    app.connected(&slack).await?;
    tokio::time::sleep(ALL_CONNECTED).await;
    slack.answer_after(SLOW_API);
    let mut first = 0;
    for people in BURSTS {
        let done = ask_at_once(&slack, crowd, first..first + people).await;
        first += people;
        run.bursts.push(Burst {
            people,
            slowest: done.acks.at(100),
            late: done.acks.past(load::SLACK_WAITS) + done.unacknowledged,
            unshown: done.unshown,
        });
        quiet(&slack).await?;
    }
    Ok(run)
}

async fn quiet(slack: &FastSlack) -> Result<(), Failure> {
    let began_at = Instant::now();
    while slack.quiet_for() < QUIET {
        if began_at.elapsed() > QUIET_WITHIN {
            return Err("it does not come to rest".into());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// An ordinary day of one process.
async fn day(slack: &FastSlack, app: &App) -> Result<Run, Failure> {
    tokio::time::sleep(ALL_CONNECTED).await;
    let mut run = Run {
        connections: slack.connections(),
        ..Run::default()
    };
    // Everybody is met once.
    let met = ask_waiting(slack, DAY, 0..600, Through::All).await;
    if met.unacknowledged + met.unshown > 0 {
        let (acks, cards) = (met.unacknowledged, met.unshown);
        return Err(format!("{acks} acknowledgements and {cards} cards of 600 never came").into());
    }
    quiet(slack).await?;

    let one = ask_waiting(slack, DAY, 600..1_800, Through::One).await;
    quiet(slack).await?;
    let steady = ask_steadily(slack, DAY, 1_800..2_400, 50).await;
    quiet(slack).await?;

    let cpu = app.cpu()?;
    let asks = ask_waiting(slack, DAY, 2_400..5_400, Through::All).await;
    quiet(slack).await?;
    run.cpu_per_ask = (app.cpu()? - cpu).as_secs_f64() * 1_000.0 / 3_000.0;

    let mut cards = asks.cards;
    let rest = cards.split_off(cards.len().min(1_200));
    let rest = rest.into_iter().take(1_200).collect();
    let changes = click_waiting(slack, cards, Until::Changed).await;
    quiet(slack).await?;
    let clicks = click_waiting(slack, rest, Until::Acknowledged).await;
    quiet(slack).await?;
    run.resident = app.resident()?;

    run.lost = [&one, &steady, &changes, &clicks]
        .iter()
        .map(|done| done.unacknowledged + done.unshown)
        .sum::<usize>()
        + asks.unacknowledged
        + asks.unshown;
    run.waiting = one.acks;
    run.steady = steady.acks;
    run.changed = changes.changes;
    run.asks = asks.rate;
    run.clicks = clicks.rate;
    Ok(run)
}
