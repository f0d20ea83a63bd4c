//! What the oracle is run for.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::draw::{ORDERS, case, order};
use super::sabotage::{Lie, Saboteur, Slip};
use super::{Outcome, compare, order_word};

/// How many cases the gate runs; `JIT_ORACLE_CASES` says how many otherwise.
const CASES: u64 = 6_000;
/// A saboteur has to be noticed within so many.
const NOTICED_WITHIN: u64 = 3_000;
/// How often each order of the five matters must have been told to its end, in so many cases.
const ORDER_LEAST: u64 = 15;

/// What must have been met, and how often at the least in [`CASES`] cases.
const MET: [(&str, u64); 66] = [
    ("did Approve", 1_000),
    ("did Deny", 100),
    ("did Retract", 10),
    ("did Withdraw", 200),
    ("did End", 200),
    ("did Revoke", 100),
    ("verdict Pending", 2_000),
    ("verdict Approved", 1_000),
    ("verdict Active", 500),
    ("verdict Denied", 100),
    ("verdict Withdrawn", 500),
    ("verdict Lapsed", 50),
    ("verdict Invalidated(PolicyChanged)", 80),
    ("verdict Invalidated(NoLongerEligible)", 200),
    ("verdict Invalidated(Revoked)", 100),
    ("verdict Cancelled(PolicyChanged)", 50),
    ("verdict Cancelled(NoLongerEligible)", 80),
    ("verdict Cancelled(TooLate)", 80),
    ("verdict Cancelled(Ended)", 50),
    ("verdict Cancelled(Revoked)", 20),
    ("verdict Ending(Ended)", 50),
    ("verdict Ending(Revoked)", 80),
    ("dropped", 50),
    ("put off", 200),
    ("refused UnknownPerson", 100),
    ("refused Inactive", 300),
    ("refused NothingToAskFor", 100),
    ("refused NotAllowed", 500),
    ("refused NotNow", 300),
    ("refused ForAnother", 20),
    ("refused ForAProgram", 2),
    ("refused BeneficiaryNotAllowed", 50),
    ("refused NobodyToDecide", 300),
    ("refused NotSeen", 1_000),
    ("refused Own", 200),
    ("refused NotYours", 300),
    ("refused AlreadyDecided", 1_000),
    ("refused Lapsed", 30),
    ("refused StaleDigest", 30),
    ("refused AlreadyApproved", 100),
    ("refused NothingToRetract", 100),
    ("refused NotPending", 100),
    ("refused AlreadyEnding", 1),
    ("refused AlreadyOver", 100),
    ("refused CannotTell", 100),
    ("race slow", 200),
    ("race Approve and Approve", 50),
    ("race Approve and Withdraw", 10),
    ("race Approve and End", 10),
    ("race Approve and Revoke", 10),
    ("race Approve and people", 50),
    ("race Approve and policy", 10),
    ("race Deny and people", 5),
    ("race Deny and Approve", 5),
    ("race Withdraw and Approve", 20),
    ("race End and Approve", 20),
    ("race Revoke and Approve", 10),
    ("race Withdraw and people", 10),
    ("race End and people", 10),
    ("race Revoke and people", 10),
    ("race Work and people", 30),
    ("race Work and policy", 10),
    ("race Work and End", 10),
    ("race Work and Revoke", 10),
    ("explained true", 5_000),
    ("explained false", 5_000),
];

fn from_environment(name: &str) -> Option<u64> {
    #[allow(
        clippy::disallowed_methods,
        reason = "how long to run is said from outside"
    )]
    let text = std::env::var(name).ok()?;
    Some(text.parse().expect("a whole number"))
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Runs so many cases on two threads until the two sides disagree.
fn run_all(cases: u64, saboteur: Option<Saboteur>) -> Outcome {
    let next = AtomicU64::new(0);
    let all = Mutex::new(Outcome::default());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let runtime = runtime();
                let mut counts: BTreeMap<String, u64> = BTreeMap::new();
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= cases || all.lock().unwrap().disagreement.is_some() {
                        break;
                    }
                    let outcome = runtime.block_on(compare(&case(seed), saboteur));
                    for (name, count) in outcome.counts {
                        *counts.entry(name).or_default() += count;
                    }
                    if outcome.disagreement.is_some() {
                        all.lock().unwrap().disagreement = outcome.disagreement;
                    }
                }
                let mut all = all.lock().unwrap();
                for (name, count) in counts {
                    *all.counts.entry(name).or_default() += count;
                }
            });
        }
    });
    all.into_inner().unwrap()
}

/// S5, S9 and S11 over drawn stories, in every order of the five matters.
#[test]
fn the_engine_and_the_reference_agree_on_who_may_do_what() {
    if let Some(seed) = from_environment("JIT_ORACLE_SEED") {
        let outcome = runtime().block_on(compare(&case(seed), None));
        println!("{}", case(seed));
        assert!(
            outcome.disagreement.is_none(),
            "{}",
            outcome.disagreement.unwrap_or_default()
        );
        return;
    }
    let cases = from_environment("JIT_ORACLE_CASES").unwrap_or(CASES);
    let outcome = run_all(cases, None);
    if let Some(disagreement) = outcome.disagreement {
        panic!("{disagreement}");
    }
    println!("{cases} cases: {:#?}", outcome.counts);
    if cases >= CASES {
        let rare = rare(&outcome.counts, cases);
        assert!(
            rare.is_empty(),
            "met too seldom in {cases} cases: {rare:#?}"
        );
    }
}

/// What was met too seldom.
fn rare(counts: &BTreeMap<String, u64>, cases: u64) -> Vec<String> {
    let orders = (0..ORDERS).map(|number| format!("order {}", order_word(order(number))));
    let orders = orders.map(|name| (name, ORDER_LEAST));
    let met = MET.iter().map(|(name, least)| ((*name).to_owned(), *least));
    let count = |name: &str| counts.get(name).copied().unwrap_or_default();
    let rare = met
        .chain(orders)
        .filter(|(name, least)| count(name) < least * cases / CASES);
    rare.map(|(name, least)| format!("{name}: {} of {least}", count(&name)))
        .collect()
}

#[test]
fn the_five_matters_come_in_every_order() {
    let words: std::collections::BTreeSet<String> = (0..ORDERS)
        .map(|number| order_word(order(number)))
        .collect();
    assert_eq!(words.len() as u64, ORDERS);
}

// ------------------------------------------------------------------------------------ sabotage

fn must_be_noticed(saboteur: Saboteur) {
    let outcome = run_all(NOTICED_WITHIN, Some(saboteur));
    let Some(disagreement) = outcome.disagreement else {
        panic!("{saboteur:?} was not noticed in {NOTICED_WITHIN} cases");
    };
    let first = disagreement.lines().next().unwrap_or_default();
    println!("{saboteur:?}: {first}");
}

macro_rules! noticed {
    ($($name:ident: $saboteur:expr;)*) => {$(
        #[test]
        fn $name() {
            must_be_noticed($saboteur);
        }
    )*};
}

noticed! {
    a_directory_with_stale_groups_is_noticed: Saboteur::World(Lie::StaleGroups);
    a_directory_in_which_nobody_leaves_is_noticed: Saboteur::World(Lie::LeaversAreActive);
    a_directory_that_forgets_logins_is_noticed: Saboteur::World(Lie::ForgetsLogins);
    a_directory_with_stale_managers_is_noticed: Saboteur::World(Lie::StaleManagers);
    programs_that_pass_for_people_are_noticed: Saboteur::World(Lie::ProgramsArePeople);
    a_group_that_is_empty_while_it_cannot_be_asked_is_noticed: Saboteur::World(Lie::UnknownIsEmpty);
    a_policy_that_is_never_refreshed_is_noticed: Saboteur::World(Lie::PolicyNeverRefreshed);
    a_policy_that_denies_nothing_is_noticed: Saboteur::World(Lie::NothingIsDenied);
    a_ladder_without_steps_is_noticed: Saboteur::World(Lie::LadderAtOnce);
    rules_without_hours_are_noticed: Saboteur::World(Lie::AllHours);
    a_quorum_of_one_is_noticed: Saboteur::World(Lie::OneIsEnough);
    facts_that_are_stamped_as_fresh_are_noticed: Saboteur::World(Lie::StaleFactsAreFresh);
    a_reference_that_forgets_whom_it_is_for_is_noticed: Saboteur::Reference(Slip::ForgetsBeneficiary);
    a_reference_that_counts_clicks_is_noticed: Saboteur::Reference(Slip::CountsClicks);
    a_reference_that_never_checks_again_is_noticed: Saboteur::Reference(Slip::NeverChecksAgain);
    a_reference_that_grants_without_a_look_is_noticed: Saboteur::Reference(Slip::NoLookBeforeGrant);
    a_reference_that_takes_any_digest_is_noticed: Saboteur::Reference(Slip::AnyDigest);
    a_reference_in_which_allowing_wins_is_noticed: Saboteur::Reference(Slip::AllowWins);
    a_reference_in_which_programs_decide_is_noticed: Saboteur::Reference(Slip::ProgramsDecide);
}
