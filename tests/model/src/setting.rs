//! What every scenario is set in: the grid of time, who there is, what they may do, and what can be
//! asked for. Only values that the domain is given; no judgement.

use std::collections::BTreeMap;
use std::time::Duration;

use jit_core::catalog::{Catalog, Entitlement, ParameterRule};
use jit_core::lifecycle::{By, Rules};
use jit_core::policy::{Effect, Policy, Quota, Right, Rule, Tier};
use jit_core::principal::{Door, Principal, PrincipalId, PrincipalKind, Profile};
use jit_core::provider::{Parameters, SlotKey, Target};
use jit_core::request::RequestId;
use jit_core::{Timestamp, Ttl};

/// The grid of time. The lifecycle's own spans are 30 s (a call may be sent), 5 s (a record is
/// taken) and 60 s (when people are paged), so on this grid each is one step or two.
pub const TICK: Duration = Duration::from_secs(30);

/// How many ticks a call may be sent after its record was read.
pub const SENT_WITHIN: u8 = 1;

/// The instant of tick 0, in seconds since the Unix epoch: a whole number of ticks.
const START_SECS: i64 = 1_899_999_990;

/// The instant of a tick.
pub fn at(tick: u8) -> Timestamp {
    Timestamp::from_unix_micros(START_SECS * 1_000_000) + TICK * u32::from(tick)
}

/// So many ticks as a duration.
pub fn ticks(number: u8) -> Duration {
    TICK * u32::from(number)
}

/// So many ticks as a time to ask for.
pub fn ttl(number: u8) -> Ttl {
    Ttl::from_secs(ticks(number).as_secs()).expect("a scenario asks for a few ticks")
}

/// Who appears in the scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Person {
    /// Asks, and gets the access.
    Asker,
    /// May approve.
    Ann,
    /// May approve, and does so for half the time.
    Bob,
    /// May approve, and says no.
    Cid,
    /// A second name under which the directory knows Ann.
    AnnAgain,
}

impl Person {
    /// Whoever may decide.
    pub const DECIDERS: [Self; 3] = [Self::Ann, Self::Bob, Self::Cid];

    /// The id that they use.
    pub fn id(self) -> PrincipalId {
        let name = match self {
            Self::Asker => "asker",
            Self::Ann => "ann",
            Self::Bob => "bob",
            Self::Cid => "cid",
            Self::AnnAgain => "ann-again",
        };
        name.parse().expect("the names above are names")
    }

    /// What the directory says of them: whether they have their right at present is the argument.
    pub fn profile(self, standing: Standing) -> Profile {
        let group = match self {
            Self::Asker => "askers",
            Self::Ann | Self::Bob | Self::Cid | Self::AnnAgain => "approvers",
        };
        let groups = match standing {
            Standing::InGroup => [group.parse().expect("the names above are names")].into(),
            Standing::LeftGroup => [].into(),
        };
        Profile {
            id: self.id(),
            kind: PrincipalKind::Person,
            active: true,
            groups,
            groups_unknown: [].into(),
            manager: None,
            subjects: BTreeMap::new(),
        }
    }

    /// The same, authenticated.
    pub fn by(self, standing: Standing) -> By {
        By {
            profile: self.profile(standing),
            via: Principal {
                id: self.id(),
                door: Door::Embedded,
            },
        }
    }
}

/// Whether somebody still is in the group that gives them their right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Standing {
    /// They are.
    InGroup,
    /// They are not any more.
    LeftGroup,
}

/// The id of a scenario's request.
pub fn id(request: usize) -> RequestId {
    let number = u8::try_from(request).expect("a scenario has two requests");
    RequestId::new(at(0), [number; 10])
}

/// The rules and the catalogue.
#[derive(Debug)]
pub struct Setting {
    policy: Policy,
    catalog: Catalog,
}

impl Setting {
    /// A tier that needs so many approvals; one that needs none is automatic.
    pub fn new(approvals: u8) -> Self {
        let quota = Quota {
            ceiling: 9,
            per: Ttl::HOUR,
        };
        let tier = Tier {
            name: "tier".parse().expect("a name"),
            ttl_default: ttl(4),
            ttl_max: ttl(60),
            approvals,
            decision_window: ttl(DECISION_WINDOW),
            automatic: (approvals == 0).then_some(quota),
            residual_max_secs: 3_600,
        };
        let rule = |right: Right, who: &str| Rule {
            name: who.to_owned(),
            effect: Effect::Allow,
            rights: [right].into(),
            entitlements: vec!["*".parse().expect("a pattern")],
            principals: vec![who.parse().expect("a group")],
            hours: None,
            after: None,
        };
        let rules = vec![
            rule(Right::Request, "group:askers"),
            rule(Right::Approve, "group:approvers"),
        ];
        let policy = Policy::new(vec![tier], rules).expect("the rules name their tier");
        let catalog = [ENTITLEMENT, ALIAS].map(entitlement).into_iter().collect();
        Self { policy, catalog }
    }

    /// As the lifecycle takes them.
    pub fn rules(&self) -> Rules<'_> {
        Rules {
            policy: &self.policy,
            catalog: &self.catalog,
        }
    }
}

/// How long a request may wait for its decision, in ticks.
pub const DECISION_WINDOW: u8 = 6;

/// What is asked for.
pub const ENTITLEMENT: &str = "provider/thing";
/// A second name for it, for whoever keys slots by names.
pub const ALIAS: &str = "provider/alias";

fn entitlement(name: &str) -> Entitlement {
    Entitlement {
        id: name.parse().expect("the names above are names"),
        resource: "thing".to_owned(),
        title: String::new(),
        how_to_use: String::new(),
        tier: "tier".parse().expect("a name"),
        parameters: ParameterRule::Free,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    }
}

/// What a name resolves to at the provider, by an adapter that is right or by one that keys by the
/// name.
pub fn target(realm: &str) -> Target {
    let subject = "asker".parse().expect("a subject");
    Target::new(realm, subject, "thing")
}

/// The slot of that.
pub fn slot_key(realm: &str) -> SlotKey {
    target(realm).slot_key(&Parameters::new())
}
