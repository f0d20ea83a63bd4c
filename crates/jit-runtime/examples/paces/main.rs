//! How fast the lifecycle is on this machine, beside the machine's own limits in the same run:
//! `cargo run --release -p jit-runtime --example paces -- [ROWS]`. ROWS are how many records the
//! large store holds, a million unless said otherwise. The store is a file under the target folder,
//! the provider a set in memory. What is missed is printed, and is no failure.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints what it saw"
)]

mod limits;
mod local;
mod steps;
mod stores;

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

/// As in the programs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// Durations in the order of their length.
pub(crate) struct Measured(Vec<Duration>);

impl Measured {
    pub(crate) fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        Self(all)
    }

    /// In milliseconds; the last one at 100.
    pub(crate) fn at(&self, percent: usize) -> f64 {
        let last = self.0.len().saturating_sub(1);
        let it = self.0.get(last * percent / 100).copied();
        it.unwrap_or_default().as_secs_f64() * 1_000.0
    }
}

/// What a figure should be.
pub(crate) enum Aim {
    AtMost(f64),
    AtLeast(f64),
    None,
}

/// One line of the table.
pub(crate) fn row(what: &str, figure: f64, aim: Aim) {
    let digits = usize::from(figure < 100.0) * 2;
    let (aim, verdict) = match aim {
        Aim::AtMost(most) => (format!("<= {most}"), figure <= most),
        Aim::AtLeast(least) => (format!(">= {least}"), figure >= least),
        Aim::None => (String::new(), true),
    };
    let verdict = match (aim.is_empty(), verdict) {
        (true, _) => "",
        (false, true) => "met",
        (false, false) => "MISSED",
    };
    println!("| {what:<62} | {figure:>12.digits$} | {aim:<10} | {verdict:<6} |");
}

#[tokio::main]
async fn main() -> Result<(), Failed> {
    let rows = std::env::args()
        .nth(1)
        .map_or(Ok(1_000_000), |it| it.parse())?;
    let folder = tempfile::Builder::new()
        .prefix("paces")
        .tempdir_in(target())?;
    let folder = folder.path();
    println!(
        "| {:<62} | {:>12} | {:<10} | {:<6} |",
        "what", "", "aim", ""
    );
    println!("|{0:-<64}|{0:-<14}|{0:-<12}|{0:-<8}|", "");
    let commits = limits::all(folder).await?;
    steps::appended(folder).await?;
    steps::lifecycles(folder, commits).await?;
    steps::at_one_instant(folder).await?;
    steps::behind_a_slow_provider(folder).await?;
    steps::verified(folder).await?;
    let mut took = vec![];
    for size in [1_000, rows] {
        let file = folder.join(format!("history{size}.db"));
        let store = stores::filled(&file, size).await?;
        took.push(steps::due(&store, size).await?);
        steps::lateness(&store, size).await?;
    }
    for (nothing, ten) in took.iter().skip(1) {
        let (few_nothing, few_ten) = took.first().copied().unwrap_or_default();
        row(
            "due, nothing: large store / small store",
            nothing / few_nothing,
            Aim::AtMost(1.3),
        );
        row(
            "due, ten: large store / small store",
            ten / few_ten,
            Aim::AtMost(1.3),
        );
    }
    Ok(())
}

/// Where cargo keeps what it builds: on a disk, which a folder for temporary files need not be.
fn target() -> PathBuf {
    let set = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    set.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../target"))
}
