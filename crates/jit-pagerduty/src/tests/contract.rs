//! The contract of a rota, by a schedule and by an escalation policy.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use jit_core::ports::{Directory, Rota};
use jit_core::principal::{PrincipalId, PrincipalKind, Profile};
use jit_testkit::rota::{
    Breakage, Counterpart, Duty as TestDuty, RotaFixture, Someone, Turn, rota_contract,
};
use jit_testkit::stage::{self, People};
use okta_sim::{Away, Hostility, Operation, Reset};

use super::*;

struct Fixture {
    account: Account,
    duty: Duty,
}

impl Fixture {
    fn by(duty: impl FnOnce(&Account) -> Duty) -> Self {
        let account = Account::new();
        Self {
            duty: duty(&account),
            account,
        }
    }
}

fn name(who: Someone) -> &'static str {
    match who {
        Someone::Ana => "ana",
        Someone::Bob => "bob",
    }
}

#[async_trait]
impl RotaFixture for Fixture {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "okta-sim",
            cannot_show: vec![],
        }
    }

    fn rota(&self) -> Arc<dyn Rota> {
        Arc::new(
            PagerDuty::rota(Settings {
                duty: self.duty.clone(),
                ..self.account.settings()
            })
            .unwrap(),
        )
    }

    fn directory(&self) -> Arc<dyn Directory> {
        let people = People::default();
        for who in [Someone::Ana, Someone::Bob] {
            let profile = Profile {
                id: self.id(who),
                kind: PrincipalKind::Person,
                active: true,
                groups: BTreeSet::new(),
                groups_unknown: BTreeSet::new(),
                manager: None,
                subjects: BTreeMap::new(),
            };
            people
                .profiles
                .lock()
                .unwrap()
                .insert(self.id(who), profile);
        }
        Arc::new(people)
    }

    fn id(&self, who: Someone) -> PrincipalId {
        stage::id(name(who))
    }

    fn now(&self) -> Timestamp {
        now()
    }

    async fn duties(&mut self, duties: &[TestDuty]) {
        let world = self.account.world();
        world.clear_on_calls();
        for duty in duties {
            let user = match duty.who {
                Someone::Ana => &self.account.ana,
                Someone::Bob => &self.account.bob,
            };
            world.put_on_call(OnCall {
                user: user.clone(),
                schedule: Some(self.account.schedule.clone()),
                escalation_policy: self.account.policy.clone(),
                level: match duty.turn {
                    Turn::First => 1,
                    Turn::Second => 2,
                },
                from_micros: duty.from.map(Timestamp::unix_micros),
                until_micros: duty.until.map(Timestamp::unix_micros),
            });
        }
    }

    async fn break_calls(&mut self, how: Breakage) {
        let world = self.account.world();
        let hostile = |hostility| world.hostile(Operation::ListOnCalls, hostility);
        match how {
            Breakage::Refusal => world.configure(|setup| setup.pagerduty_tokens.clear()),
            Breakage::Throttling => hostile(Hostility::Throttle(Reset::Missing)),
            Breakage::Outage => world.away(Away::Refused),
            Breakage::Garbage => hostile(Hostility::Garbage),
            Breakage::Hang => hostile(Hostility::Hang),
        }
    }

    async fn mend(&mut self) {
        let world = self.account.world();
        world.configure(|setup| setup.pagerduty_tokens = vec![TOKEN.to_owned()]);
        world.calm();
    }
}

#[tokio::test]
async fn a_schedule_keeps_the_contract_of_a_rota() {
    rota_contract(&mut Fixture::by(Account::by_schedule)).await;
}

#[tokio::test]
async fn an_escalation_policy_keeps_the_contract_of_a_rota() {
    rota_contract(&mut Fixture::by(Account::by_policy)).await;
}
