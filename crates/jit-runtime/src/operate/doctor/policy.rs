//! Whether what the policy promises can happen: everybody whom rules name is there, and somebody can
//! decide on each thing. It is `policy lint`, told line by line.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::ports::Clock;

use super::super::policy::Scene;
use super::{Finding, Tokens, counted, remedy};
use crate::config::Config;
use crate::reach::{self, Gravity};

const AREA: &str = "policy";
/// So many people that looking all of them up takes longer are for `policy lint`.
const SOON: Duration = Duration::from_secs(8);
/// How many lines with the same advice are told; the others are counted.
const ALIKE: usize = 3;

/// What lint says, with the directory as it answers now.
pub(super) async fn policy(config: &Config, tokens: Tokens, clock: &dyn Clock) -> Vec<Finding> {
    if tokens == Tokens::SomeMissing && config.pagerduty.is_some() {
        let what = "not looked at: PagerDuty would be asked who is on call, and a token is missing";
        return vec![Finding::warn(AREA, what, "set it, and run this again")];
    }
    let scene = match Scene::new(config.clone(), clock.now(), Duration::ZERO) {
        Ok(scene) => scene,
        Err(error) => return vec![Finding::of_sentence(AREA, &error.to_string())],
    };
    let Ok(everybody) = tokio::time::timeout(SOON, scene.everybody()).await else {
        let what = "not everybody whom it names could be looked up in a moment";
        return vec![Finding::warn(AREA, what, "jit policy lint takes its time")];
    };
    let report = reach::lint(&config.policy, &config.catalog, &everybody);
    let mut found = vec![];
    for (why, kind) in everybody.unanswered() {
        found.push(Finding::fail("people", why, remedy(*kind)));
    }
    let mut alike: BTreeMap<(Gravity, &str), usize> = BTreeMap::new();
    for told in &report.findings {
        let so_far = alike.entry((told.gravity, &told.instead)).or_default();
        *so_far += 1;
        if *so_far <= ALIKE {
            found.push(of(told.gravity, &told.what, &told.instead));
        }
    }
    for ((gravity, instead), count) in alike {
        if let Some(more @ 1..) = count.checked_sub(ALIKE) {
            let what = format!("{more} more are wrong in the same way");
            let fix = format!("{instead}; jit policy lint names all of them");
            found.push(of(gravity, &what, &fix));
        }
    }
    if report.everybody_is_locked_out {
        let what = "everybody is locked out: nothing that can be asked for can be had";
        let fix = "let somebody ask, and enough people approve";
        found.push(Finding::fail(AREA, what, fix));
    }
    if found.is_empty() {
        let rules = counted(config.policy.rules().len(), "rule");
        let what = format!("{rules}: everybody named is there, and somebody decides on everything");
        found.push(Finding::ok(AREA, what));
    }
    found
}

fn of(gravity: Gravity, what: &str, instead: &str) -> Finding {
    match gravity {
        Gravity::LockOut => Finding::fail(AREA, what, instead),
        Gravity::Loop | Gravity::Doubt => Finding::warn(AREA, what, instead),
    }
}
