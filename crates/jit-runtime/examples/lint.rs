//! How long it takes to look over a large policy:
//! `cargo run --release -p jit-runtime --example lint`. 1,000 rules over 500 entitlements, 200 groups,
//! and 2,000 people who are each in ten of them.

#![expect(clippy::print_stdout, reason = "a bench prints what it measured")]
#![expect(
    clippy::disallowed_methods,
    reason = "a bench measures by the machine's clock"
)]

use std::error::Error;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

use jit_runtime::config::{Config, Environment};
use jit_runtime::reach::{self, Everybody};

const RULES: usize = 1_000;
const PEOPLE: usize = 2_000;
const GROUPS: usize = 200;
const ENTITLEMENTS: usize = 500;
const RUNS: usize = 9;
/// What is asked of it.
const AIM: Duration = Duration::from_secs(2);

const HEAD: &str = r#"[store]
sqlite = "jit.db"
[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"
[[tier]]
name = "standard"
ttl_default = "1h"
ttl_max = "8h"
approvals = 2
"#;

/// Every third rule is about everything that begins alike, every fifth has hours, every seventh is a
/// step, every eleventh denies.
fn configuration() -> Result<String, std::fmt::Error> {
    let mut text = HEAD.to_owned();
    for at in 0..ENTITLEMENTS {
        write!(
            text,
            "[[entitlement]]\nid = \"groupfile/e{at}\"\ntitle = \"E\"\ntier = \"standard\"\n"
        )?;
    }
    for at in 0..RULES {
        let denies = at % 11 == 0;
        let right = if at % 2 == 0 && !denies {
            "request"
        } else {
            "approve"
        };
        let on = match at % 3 {
            0 => format!("groupfile/e{}*", at % 50),
            _ => format!("groupfile/e{}", at * 7 % ENTITLEMENTS),
        };
        write!(
            text,
            "[[rule]]\nname = \"r{at}\"\nrights = [\"{right}\"]\nentitlements = [\"{on}\"]\n\
             principals = [\"group:g{}\", \"p{}@example.com\"]\n",
            at % GROUPS,
            at * 3 % PEOPLE,
        )?;
        if denies {
            text.push_str("effect = \"deny\"\n");
        } else if at % 7 == 0 && right == "approve" {
            text.push_str("after = \"10m\"\n");
        }
        if at % 5 == 0 {
            text.push_str("hours = \"mon-fri 09:00-18:00 Europe/Berlin\"\n");
        }
    }
    for at in 0..PEOPLE {
        let groups: Vec<String> = (0..10)
            .map(|nth| format!("\"g{}\"", (at * 13 + nth * 17) % GROUPS))
            .collect();
        let groups = groups.join(", ");
        write!(
            text,
            "[[person]]\nid = \"p{at}@example.com\"\ngroups = [{groups}]\n"
        )?;
    }
    Ok(text)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::temp_dir().join(format!("jit-lint-{}.toml", std::process::id()));
    std::fs::write(&file, configuration()?)?;
    let measured = measure(&file).await;
    std::fs::remove_file(&file)?;
    let (mut read, mut looked, found) = measured?;
    read.sort();
    looked.sort();
    let row = |what: &str, all: &[Duration], aim: &str| {
        let at = |at: usize| all.get(at).map_or(0.0, Duration::as_secs_f64);
        let (median, longest) = (at(all.len() / 2), at(all.len() - 1));
        println!(
            "| {what} | {:.0} | {:.0} | {aim} |",
            median * 1e3,
            longest * 1e3
        );
    };
    println!(
        "{RULES} rules, {PEOPLE} people, {ENTITLEMENTS} entitlements, {RUNS} runs; {found} findings"
    );
    println!("| what, ms | median | longest | aim |\n|---|---|---|---|");
    row("the configuration is read and checked", &read, "");
    let met = if looked.last() <= Some(&AIM) {
        "met"
    } else {
        "MISSED"
    };
    row("it is looked over", &looked, &format!("<= 2000: {met}"));
    Ok(())
}

async fn measure(
    file: &std::path::Path,
) -> Result<(Vec<Duration>, Vec<Duration>, usize), Box<dyn Error>> {
    let (mut read, mut looked, mut found) = (vec![], vec![], 0);
    for _ in 0..RUNS {
        let start = Instant::now();
        let config = Config::read(file, &Environment::default())?;
        read.push(start.elapsed());
        let start = Instant::now();
        let (policy, people) = (&config.policy, &config.people);
        let everybody = Everybody::of(policy, people, people, config.leads_to()).await;
        found = reach::lint(policy, &config.catalog, &everybody)
            .findings
            .len();
        looked.push(start.elapsed());
    }
    Ok((read, looked, found))
}
