//! How long it takes to list an organization of 1,000 accounts and 100 permission sets from a
//! simulated AWS, and to find something among the 100,000 at each keystroke.
//! `tests/aws/bench/run` runs it.
#![expect(
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement reads the clock and prints what it saw"
)]

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sim::{Setup, Sim};
use jit_core::catalog::{Catalog, Family, ProviderName};
use jit_core::engine::{ClockTrust, Engine, EngineParts};
use jit_core::policy::{Effect, Policy, Right, Rule};
use jit_core::ports::{Clock, Provisioner};
use jit_core::principal::{PrincipalKind, Profile};
use jit_identity_center::{Budget, IdentityCenter, Limits, Settings};
use jit_testkit::sample;
use jit_testkit::stage::{self, Beeper, People, via};
use jit_testkit::store::MemoryStore;
use jit_testkit::time::{ManualClock, SeededRandom};

const ACCOUNTS: u32 = 1_000;
const SETS: u32 = 100;
const TIMES: u32 = 20;
/// What a person types, and how it is cut off at each keystroke: found at the beginning, inside,
/// everywhere, nowhere.
const TYPED: [&str; 5] = ["", "account-00999/Set00042", "set00042", "00", "zzz"];

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let sim = Sim::start(Setup::default().manual(sample::start().unix_micros()))?;
    sim.world().fill(ACCOUNTS, SETS);
    let clock: Arc<dyn Clock> = Arc::new(ManualClock::at(sample::start()));
    let provider: ProviderName = "aws".parse()?;
    let aws = Arc::new(connected(&sim, provider.clone(), &clock).await?);

    let began = Instant::now();
    let offers = aws.offers().await?;
    println!(
        "{} offers listed over HTTP in {:?}",
        offers.len(),
        began.elapsed()
    );
    let began = Instant::now();
    aws.offers().await?;
    println!(
        "  again, the permission sets remembered: {:?}",
        began.elapsed()
    );

    let engine = engine(provider.clone(), aws, clock)?;
    let began = Instant::now();
    let found = engine.discover(&provider).await?;
    println!(
        "{found} of them listed and made findable in {:?}",
        began.elapsed()
    );

    for who in ["everything", "one account", "nothing"] {
        let caller = via(&who.replace(' ', "-"));
        let mut first = None;
        let (mut worst, mut at) = (Duration::ZERO, String::new());
        for typed in TYPED {
            for end in 0..=typed.len() {
                let text = typed.get(..end).unwrap_or_default();
                for _ in 0..TIMES {
                    let began = Instant::now();
                    let found = engine.search(&caller, text, 100).await;
                    found.map_err(|error| format!("{error:?}"))?;
                    let took = began.elapsed();
                    if first.is_none() {
                        first = Some(took);
                    } else if took >= worst {
                        (worst, at) = (took, text.to_owned());
                    }
                }
            }
        }
        let first = first.unwrap_or_default();
        println!(
            "who may ask for {who}: first keystroke {first:?}, slowest of all others {worst:?}, at {at:?}"
        );
    }
    Ok(())
}

async fn connected(
    sim: &Sim,
    provider: ProviderName,
    clock: &Arc<dyn Clock>,
) -> Result<IdentityCenter, Box<dyn Error>> {
    let world = sim.world();
    let settings = Settings {
        endpoint_url: Some(sim.url()),
        ..Settings::new(
            provider,
            world.region(),
            world.instance_arn(),
            world.identity_store_id(),
        )
    };
    let ample = Limits {
        calls_per_second: 1_000_000,
        ..Limits::default()
    };
    let budget = Arc::new(Budget::new(ample, Arc::clone(clock)));
    let connected = IdentityCenter::connect(settings, budget, Arc::clone(clock));
    Ok(Box::pin(connected).await?)
}

fn engine(
    provider: ProviderName,
    aws: Arc<IdentityCenter>,
    clock: Arc<dyn Clock>,
) -> Result<Engine, Box<dyn Error>> {
    let people = Arc::new(People::default());
    for (name, group) in [
        ("everything", "all"),
        ("one-account", "one"),
        ("nothing", "none"),
    ] {
        let profile = Profile {
            id: stage::id(name),
            kind: PrincipalKind::Person,
            active: true,
            groups: [group.parse()?].into(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: BTreeMap::new(),
        };
        let mut profiles = people.profiles.lock().map_err(|_| "poisoned")?;
        profiles.insert(stage::id(name), profile);
    }
    let rule = |group: &str, right, pattern: &str| -> Result<Rule, Box<dyn Error>> {
        Ok(Rule {
            name: format!("{group} {pattern}"),
            effect: Effect::Allow,
            rights: [right].into(),
            entitlements: vec![pattern.parse()?],
            principals: vec![format!("group:{group}").parse()?],
            hours: None,
            after: None,
        })
    };
    let mut rules = vec![
        rule("all", Right::Request, "aws/*")?,
        rule("one", Right::Request, "aws/account-00999/*")?,
    ];
    // What a company has: a team for each few accounts.
    for team in 0..50 {
        let pattern = format!("aws/account-{team:03}*/*");
        rules.push(rule(&format!("team-{team}"), Right::Request, &pattern)?);
        rules.push(rule(&format!("owners-{team}"), Right::Approve, &pattern)?);
    }
    let families = ["aws/*/ReadOnly*", "aws/prod-*", "aws/*"];
    let family = |pattern: &str| -> Result<Family, Box<dyn Error>> {
        Ok(Family {
            pattern: pattern.parse()?,
            title: "AWS".to_owned(),
            how_to_use: "Open the AWS access portal.".to_owned(),
            tier: "standard".parse()?,
        })
    };
    let families: Result<Vec<Family>, _> = families.into_iter().map(family).collect();
    let parts = EngineParts {
        store: Arc::new(MemoryStore::new()),
        directory: people,
        provisioners: [(provider, aws as Arc<dyn Provisioner>)].into(),
        notifiers: Vec::new(),
        pager: Arc::new(Beeper::default()),
        clock,
        random: Arc::new(SeededRandom::new(1)),
        policy: Policy::new(vec![stage::tier("standard", 1)], rules)?,
        catalog: Catalog::default().with_families(families?),
    };
    Ok(Engine::new(parts, ClockTrust::Compared)?)
}
