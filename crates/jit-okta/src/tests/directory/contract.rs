//! The contract of a directory.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use jit_core::ports::Directory;
use jit_core::principal::{GroupName, PrincipalId};
use jit_testkit::directory::{
    Breakage, Change, Counterpart, DirectoryFixture, Sight, Someone, directory_contract,
};
use okta_sim::{ApiToken, Away, Hostility, Reset, Rule, UserStatus};

use super::Town;

impl Town {
    fn user(&self, who: Someone) -> &str {
        match who {
            Someone::Ana => &self.scene.ana,
            Someone::Bob => &self.scene.bob,
        }
    }
}

/// A town, and what people are called in it now.
struct Fixture {
    town: Town,
    logins: [String; 2],
}

#[async_trait]
impl DirectoryFixture for Fixture {
    fn counterpart(&self) -> Counterpart {
        let no_second = "one attribute is one name, and none is looked for in two";
        Counterpart {
            name: "okta-sim",
            cannot_show: vec![(Sight::Alias, no_second), (Sight::SharedName, no_second)],
        }
    }

    fn directory(&self) -> Arc<dyn Directory> {
        Arc::new(self.town.directory.clone())
    }

    fn names(&self, who: Someone) -> Vec<String> {
        vec![self.logins[who as usize].clone()]
    }

    fn group(&self) -> GroupName {
        "sre".parse().unwrap()
    }

    fn nobody(&self) -> PrincipalId {
        "nobody@example.com".parse().unwrap()
    }

    async fn change(&mut self, change: Change) {
        let (world, sre) = (self.town.world().clone(), self.town.sre.clone());
        match change {
            Change::Rename(who, to) => {
                world.rename(self.town.user(who), to.as_str());
                self.logins[who as usize] = to.to_string();
            }
            Change::Deactivate(who) => {
                world.set_status(self.town.user(who), UserStatus::Suspended);
            }
            Change::Activate(who) => world.set_status(self.town.user(who), UserStatus::Active),
            Change::Join(who) => world.join(&sre, self.town.user(who)),
            Change::Leave(who) => world.leave(&sre, self.town.user(who)),
        }
    }

    async fn break_calls(&mut self, how: Breakage) {
        let world = self.town.world();
        let hostile = |hostility| world.rule(Rule::every(hostility));
        match how {
            Breakage::Refusal => world.revoke_token(&ApiToken::default().id),
            Breakage::Throttling => {
                hostile(Hostility::Throttle(Reset::In(Duration::from_secs(60))))
            }
            Breakage::Outage => world.away(Away::Refused),
            Breakage::Garbage => hostile(Hostility::Garbage),
            Breakage::Hang => hostile(Hostility::Hang),
        }
    }

    async fn mend(&mut self) {
        let world = self.town.world();
        world.set_token(ApiToken::default());
        world.calm();
    }

    async fn pass(&mut self, time: Duration) {
        self.town.scene.pass(time);
    }
}

#[tokio::test]
async fn okta_keeps_the_contract_of_a_directory() {
    let logins = ["ana@example.com", "bob@example.com"].map(str::to_owned);
    directory_contract(&mut Fixture {
        town: Town::new(),
        logins,
    })
    .await;
}
