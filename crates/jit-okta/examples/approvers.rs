//! How long it takes to find out who is in a large group, live and from what was known lately:
//! `cargo run --release -p jit-okta --example approvers`. The organization is the simulated one, with
//! 50 ms for each of its answers.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures by the machine's clock"
)]

use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use jit_core::Timestamp;
use jit_core::ports::{Clock, Directory, PortError};
use jit_core::principal::{GroupName, PrincipalId, Profile};
use jit_okta::{Auth, DirectorySettings, Okta, OktaDirectory, Settings};
use jit_testkit::time::SeededRandom;
use okta_sim::{ApiToken, Setup, Sim};

/// How long each answer of the organization takes.
const LATENCY: Duration = Duration::from_millis(50);
/// In the group.
const MEMBERS: u32 = 5_000;
/// How often what is live is measured, each time by a client that knows nothing.
const LIVE_RUNS: usize = 9;
/// How often what is remembered is.
const LATELY_RUNS: usize = 1_000;

struct Wall;

impl Clock for Wall {
    fn now(&self) -> Timestamp {
        time::OffsetDateTime::now_utc().into()
    }
}

/// A configuration that names nobody.
struct Nobody;

#[async_trait]
impl Directory for Nobody {
    async fn profile(&self, _: &PrincipalId) -> Result<Option<Profile>, PortError> {
        Ok(None)
    }
}

/// Durations in the order of their length.
struct Measured(Vec<Duration>);

impl Measured {
    fn row(&self, what: &str, aim: &str) -> String {
        let at = |part: usize| {
            let last = self.0.len().saturating_sub(1);
            let it = self.0.get(last * part / 100).copied().unwrap_or_default();
            format!("{:.3}", it.as_secs_f64() * 1_000.0)
        };
        format!(
            "| {what:<38} | {:>5} | {:>10} | {:>10} | {:>10} | {aim:<9} |",
            self.0.len(),
            at(50),
            at(99),
            at(100)
        )
    }
}

impl FromIterator<Duration> for Measured {
    fn from_iter<I: IntoIterator<Item = Duration>>(all: I) -> Self {
        let mut all: Vec<Duration> = all.into_iter().collect();
        all.sort();
        Self(all)
    }
}

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<(), Box<dyn Error>> {
    let sim = Sim::start(Setup {
        latency: LATENCY,
        ..Setup::default()
    })?;
    let world = sim.world();
    let group = world.fill("approvers", MEMBERS);
    let name: GroupName = "approvers".parse()?;
    let somebody: PrincipalId = "approvers-000007@example.com".parse()?;
    // A login that is taken gives the id of who has it.
    let user = world.add_user(somebody.as_str(), "");
    world.set_profile(&user, "managerId", "approvers-000008@example.com");
    let directory = || {
        let auth = Auth::Ssws(ApiToken::default().secret.into());
        let settings = Settings::new("okta".parse()?, sim.url(), auth);
        let okta = Okta::connect(settings, Arc::new(Wall), Arc::new(SeededRandom::new(1)))?;
        let settings = DirectorySettings {
            groups: [(name.clone(), group.clone())].into(),
            ..DirectorySettings::default()
        };
        Ok::<_, Box<dyn Error>>(OktaDirectory::new(okta, Arc::new(Nobody), settings)?)
    };

    let (mut members, mut profiles) = (Vec::new(), Vec::new());
    for _ in 0..LIVE_RUNS {
        // Okta counts by the minute; a bench that waited for it would measure that.
        world.pass(Duration::from_secs(60));
        let directory = directory()?;
        let began = Instant::now();
        let found = directory.members(&name).await?.ok_or("no such group")?;
        members.push(began.elapsed());
        if found.len() != usize::try_from(MEMBERS)? {
            return Err(format!("{} members were found", found.len()).into());
        }
        let began = Instant::now();
        let found = directory.profile(&somebody).await?.ok_or("nobody")?;
        profiles.push(began.elapsed());
        if !found.groups.contains(&name) || found.manager.is_none() {
            return Err("a profile without its group or its manager".into());
        }
    }
    let directory = directory()?;
    directory.members_lately(&name).await?;
    directory.profile_lately(&somebody).await?;
    let (mut members_lately, mut profiles_lately) = (Vec::new(), Vec::new());
    for _ in 0..LATELY_RUNS {
        let began = Instant::now();
        let found = directory.members_lately(&name).await?;
        members_lately.push(began.elapsed());
        drop(found);
        let began = Instant::now();
        let found = directory.profile_lately(&somebody).await?;
        profiles_lately.push(began.elapsed());
        drop(found);
    }

    println!("{MEMBERS} members, 200 a page, {LATENCY:?} a call\n");
    println!(
        "| {:<38} | {:>5} | {:>10} | {:>10} | {:>10} | {:<9} |",
        "ms", "runs", "p50", "p99", "longest", "aim"
    );
    println!(
        "|{0:-<40}|{0:-<7}|{0:-<12}|{0:-<12}|{0:-<12}|{0:-<11}|",
        "-"
    );
    let rows = [
        ("members, live", members, "<= 3000"),
        ("members, as known lately", members_lately, "< 1"),
        ("a profile with its manager, live", profiles, "<= 3000"),
        ("a profile, as known lately", profiles_lately, "< 1"),
    ];
    for (what, all, aim) in rows {
        println!("{}", Measured::from_iter(all).row(what, aim));
    }
    Ok(())
}
