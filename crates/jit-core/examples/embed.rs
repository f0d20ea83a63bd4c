//! A whole lifecycle inside a program of one's own: Ana asks, Bob approves, the access appears in a
//! system that this file brings along, and the clock takes it away.
//!
//! Run it with `cargo run -p jit-core --example embed`.

#![allow(clippy::print_stdout, reason = "an example shows what happens")]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use jit_core::catalog::{Entitlement, ParameterRule};
use jit_core::engine::{ClockTrust, Engine, EngineParts, NewRequest, Verb, verify_audit};
use jit_core::policy::{Effect, Policy, Right, Rule, Tier};
use jit_core::ports::{
    Alarm, Directory, GrantCall, InspectCall, Pager, PortError, Provisioner, RequestStore,
    RevokeCall,
};
use jit_core::principal::{Door, Principal, PrincipalId, PrincipalKind, Profile, Subject};
use jit_core::provider::{Answer, Description, Parameters, Presence, Resolved, Target};
use jit_core::request::Status;
use jit_testkit::store::MemoryStore;
use jit_testkit::time::{ManualClock, SeededRandom};

/// The system that gives the access: here, who may drive the crane.
#[derive(Default)]
struct Crane(Mutex<BTreeSet<Subject>>);

impl Crane {
    fn drivers(&self) -> std::sync::MutexGuard<'_, BTreeSet<Subject>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Provisioner for Crane {
    fn describe(&self) -> Description {
        Description::immediate()
    }

    async fn resolve(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        _: &Parameters,
    ) -> Result<Resolved, PortError> {
        let (subject, resource) = (beneficiary.id.to_subject(), &entitlement.resource);
        Ok(Target::new("crane", subject, resource).into())
    }

    async fn grant(&self, call: GrantCall<'_>) -> Result<Answer, PortError> {
        self.drivers().insert(call.target.subject.clone());
        Ok(Answer::Applied)
    }

    async fn revoke(&self, call: RevokeCall<'_>) -> Result<Answer, PortError> {
        self.drivers().remove(&call.target.subject);
        Ok(Answer::Applied)
    }

    async fn inspect(&self, call: InspectCall<'_>) -> Result<Presence, PortError> {
        let is_driver = self.drivers().contains(&call.target.subject);
        Ok(Presence::of(is_driver))
    }
}

/// Knows people: here everybody at example.com, and Bob is a foreman.
struct Everybody;

#[async_trait]
impl Directory for Everybody {
    async fn profile(&self, id: &PrincipalId) -> Result<Option<Profile>, PortError> {
        let is_foreman = id.as_str() == "bob@example.com";
        let group = if is_foreman { "foremen" } else { "crew" };
        Ok(group.parse().ok().map(|group| Profile {
            id: id.clone(),
            kind: PrincipalKind::Person,
            active: true,
            groups: [group].into(),
            groups_unknown: Default::default(),
            manager: None,
            subjects: BTreeMap::new(),
        }))
    }
}

/// Wakes somebody up: here it prints.
struct Bell;

#[async_trait]
impl Pager for Bell {
    async fn page(&self, alarm: &Alarm) -> Result<(), PortError> {
        eprintln!("ALARM {}", alarm.summary);
        Ok(())
    }
}

fn policy() -> Result<Policy, Box<dyn Error>> {
    let tier = Tier {
        name: "heavy".parse()?,
        ttl_default: "30m".parse()?,
        ttl_max: "2h".parse()?,
        approvals: 1,
        decision_window: "15m".parse()?,
        automatic: None,
        residual_max_secs: 0,
    };
    let rule = |right, who: &str| -> Result<Rule, Box<dyn Error>> {
        Ok(Rule {
            name: who.to_owned(),
            effect: Effect::Allow,
            rights: [right].into(),
            entitlements: vec!["crane/*".parse()?],
            principals: vec![who.parse()?],
            hours: None,
            after: None,
        })
    };
    let rules = vec![
        rule(Right::Request, "group:crew")?,
        rule(Right::Approve, "group:foremen")?,
    ];
    Ok(Policy::new(vec![tier], rules)?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (crane, clock) = (
        Arc::new(Crane::default()),
        Arc::new(ManualClock::at("2026-01-31T09:00:00Z".parse()?)),
    );
    let store = Arc::new(MemoryStore::new());
    let drive = Entitlement {
        id: "crane/drive".parse()?,
        resource: "crane 7".to_owned(),
        title: "Drive crane 7".to_owned(),
        how_to_use: "The key is in the box.".to_owned(),
        tier: "heavy".parse()?,
        parameters: ParameterRule::Refused,
        display: None,
        template: None,
        allows: String::new(),
        fallback: None,
    };
    let engine = Engine::new(
        EngineParts {
            store: store.clone(),
            directory: Arc::new(Everybody),
            provisioners: BTreeMap::from([("crane".parse()?, crane.clone() as _)]),
            notifiers: vec![],
            pager: Arc::new(Bell),
            clock: clock.clone(),
            random: Arc::new(SeededRandom::new(7)),
            policy: policy()?,
            catalog: [drive].into_iter().collect(),
        },
        ClockTrust::Compared,
    )?;
    let caller = |name: &str| -> Result<Principal, Box<dyn Error>> {
        let id = format!("{name}@example.com").parse()?;
        Ok(Principal {
            id,
            door: Door::Embedded,
        })
    };

    let ask = NewRequest {
        beneficiary: None,
        parts: vec![("crane/drive".parse()?, Parameters::new())],
        ttl: Some("20m".parse()?),
        reason: "lift the roof".parse()?,
        idempotency_key: None,
    };
    let request = engine.open(&caller("ana")?, ask).await?;
    println!("{} is {}", request.id, request.status());

    let approve = Verb::Approve {
        ttl: None,
        digest: request.digest().prefix(),
    };
    engine.handle(&caller("bob")?, request.id, approve).await?;
    // A service does this all the time, for whatever `engine.due` lists.
    engine.tend(request.id).await?;
    println!("drivers: {:?}", crane.drivers());
    assert_eq!(crane.drivers().len(), 1);

    clock.advance(Duration::from_secs(20 * 60));
    engine.tend(request.id).await?;
    println!("drivers: {:?}", crane.drivers());
    assert!(crane.drivers().is_empty());

    let record = store.load(request.id).await?.ok_or("the record is gone")?;
    assert_eq!(record.status(), Status::Closed);
    let report = verify_audit(&*store).await?;
    assert!(report.problems.is_empty());
    println!(
        "{} is {}, {} events verified",
        record.id,
        record.status(),
        report.events
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_embedded_lifecycle_runs_from_the_ask_to_the_proof() {
        super::main().unwrap();
    }
}
