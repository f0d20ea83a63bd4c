//! What a run is set in: the providers' natures, the tiers, the rules and the catalogue.

use std::collections::BTreeSet;
use std::time::Duration;

use jit_core::Ttl;
use jit_core::catalog::{Catalog, Entitlement, ParameterRule};
use jit_core::policy::{Effect, Policy, Quota, Right, Rule, Tier, Who};
use jit_core::principal::PrincipalId;
use jit_core::provider::{Description, Kind, NativeExpiry};
use jit_testkit::hostile::{Apply, Nature};
use jit_testkit::time::SeededRandom;

/// The realm of the standing provider.
pub(crate) const REALM: &str = "sim";

pub(crate) fn ttl(text: &str) -> Ttl {
    text.parse().unwrap()
}

/// The one that falls back, and to what.
const FALLS_BACK: (&str, &str) = ("mt/token", "sp/token");

fn entitlement(id: &str, resource: &str, tier: &str) -> Entitlement {
    let (falls, to) = FALLS_BACK;
    Entitlement {
        id: id.parse().unwrap(),
        resource: resource.to_owned(),
        title: String::new(),
        how_to_use: String::new(),
        tier: tier.parse().unwrap(),
        parameters: ParameterRule::Free,
        display: None,
        template: None,
        allows: String::new(),
        fallback: (id == falls).then(|| to.parse().unwrap()),
    }
}

/// Everything that can be asked for, less what a change of the configuration took out.
pub(crate) fn catalog(removed: &BTreeSet<&'static str>) -> Catalog {
    let all = [
        ("st/admins", "admins", "two"),
        ("st/ops", "ops", "one"),
        ("st/alias", "ops", "one"),
        ("st/auto", "ops", "none"),
        ("st/gone", "gone", "one"),
        ("mt/token", "token", "one"),
        ("sp/token", "token", "one"),
    ];
    all.into_iter()
        .filter(|(id, ..)| !removed.contains(id))
        .map(|(id, resource, tier)| entitlement(id, resource, tier))
        .collect()
}

fn tier(name: &str, approvals: u8, ttl_max: Ttl) -> Tier {
    let quota = Quota {
        ceiling: 3,
        per: ttl("10m"),
    };
    Tier {
        name: name.parse().unwrap(),
        ttl_default: ttl("2m"),
        ttl_max,
        approvals,
        decision_window: ttl("5m"),
        automatic: (approvals == 0).then_some(quota),
        residual_max_secs: 3_600,
    }
}

fn rule(right: &[Right], who: &str) -> Rule {
    Rule {
        name: who.to_owned(),
        effect: Effect::Allow,
        rights: right.iter().copied().collect(),
        entitlements: vec!["*".parse().unwrap()],
        principals: vec![who.parse::<Who>().unwrap()],
        hours: None,
        after: None,
    }
}

/// The policy with this ceiling, and nothing for these people.
pub(crate) fn policy(ttl_max: Ttl, denied: &BTreeSet<PrincipalId>) -> Policy {
    let tiers = vec![
        tier("two", 2, ttl_max),
        tier("one", 1, ttl_max),
        tier("none", 0, ttl_max),
    ];
    let mut rules = vec![
        rule(&[Right::Request], "group:asker"),
        rule(&[Right::Request], "agent:*"),
        rule(&[Right::OnBehalfOf], "group:lead"),
        rule(&[Right::Approve], "group:approver"),
        rule(&[Right::Revoke], "group:security"),
        rule(&[Right::Operate], "group:operator"),
        rule(&[Right::Audit], "group:auditor"),
    ];
    if !denied.is_empty() {
        rules.push(Rule {
            name: "denied".to_owned(),
            effect: Effect::Deny,
            rights: [Right::Request, Right::Approve].into(),
            entitlements: vec!["*".parse().unwrap()],
            principals: denied.iter().cloned().map(Who::Principal).collect(),
            hours: None,
            after: None,
        });
    }
    Policy::new(tiers, rules).unwrap()
}

fn seconds(random: &SeededRandom, most: u64) -> Duration {
    Duration::from_secs(random.below(most + 1))
}

/// The standing provider. `room` is the part of V for wrong clocks: exactly as much as the clocks
/// of the run are ever apart, so that a second less is a second too little.
pub(crate) fn standing(random: &SeededRandom, room: Duration) -> Nature {
    let shape = random.below(4);
    // Short windows let a reply come after the end of everything.
    let (longest_v, longest_a) = match random.below(2) {
        0 => (8, 5),
        _ => (60, 30),
    };
    let (v, a, apply, pending_visible) = match shape {
        0 => (Duration::ZERO, Duration::ZERO, Apply::AtOnce, true),
        1 => (
            room + seconds(random, 10),
            Duration::ZERO,
            Apply::AtOnce,
            true,
        ),
        2 | 3 => (
            room + seconds(random, longest_v),
            seconds(random, longest_a),
            Apply::Later,
            shape == 2,
        ),
        _ => unreachable!("drawn below four"),
    };
    let native_expiry = match random.below(4) {
        0 => NativeExpiry::Exact,
        _ => NativeExpiry::None,
    };
    Nature {
        realm: REALM.to_owned(),
        description: Description {
            kind: Kind::Standing,
            native_expiry,
            revocable: true,
            pending_visible,
            listable: true,
            accepted_within: v,
            applied_within: a,
            residual: Duration::ZERO,
        },
        apply,
        skew_allowance: room.min(v),
    }
}

/// A provider of credentials.
pub(crate) fn minted(random: &SeededRandom, room: Duration, realm: &str) -> Nature {
    let life = Duration::from_secs(60 + random.below(600));
    let (native_expiry, revocable, listable) = match random.below(6) {
        0 => (NativeExpiry::Exact, true, true),
        1 => (NativeExpiry::None, true, true),
        2 => (NativeExpiry::AtMost(life), true, false),
        3 => (NativeExpiry::AtMost(life), false, false),
        4 => (NativeExpiry::Exact, true, false),
        _ => (NativeExpiry::Exact, false, false),
    };
    Nature {
        realm: realm.to_owned(),
        description: Description {
            kind: Kind::Minted,
            native_expiry,
            revocable,
            pending_visible: false,
            listable,
            accepted_within: room + seconds(random, 30),
            applied_within: Duration::ZERO,
            residual: if revocable {
                Duration::ZERO
            } else {
                Duration::from_secs(900)
            },
        },
        apply: Apply::AtOnce,
        skew_allowance: room,
    }
}
