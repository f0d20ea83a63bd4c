//! The contract of the port, of both adapters, against a simulated AWS: where what is changed is so at
//! once, and where it takes time to be seen and to have an effect.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sim::{AccessKey, Away, Deed, Hostility, Setup};
use jit_core::Timestamp;
use jit_core::ports::Provisioner;
use jit_core::provider::{Parameters, Target};
use jit_core::request::RequestId;
use jit_testkit::provisioner::{
    Ask, Breakage, Counterpart, ProvisionerFixture, provisioner_contract,
};
use serde_json::{Value, json};

use super::{LOGS, Scene, as_subject, ask, of_role, plain, setup};

async fn break_calls(scene: &Scene, how: Breakage) {
    let world = scene.world();
    match how {
        Breakage::Refusal => world.set_key(AccessKey::default().allowing(&[])),
        Breakage::Throttling => world.hostile("*", Hostility::Throttle),
        Breakage::Outage => world.away(Away::Refused),
        Breakage::LostReply => world.hostile("*", Hostility::LoseReply),
    }
}

async fn mend(scene: &Scene) {
    scene.world().calm();
    scene.world().set_key(AccessKey::default());
}

struct Policies {
    scene: Scene,
    known: Ask,
    alias: Ask,
}

#[async_trait]
impl ProvisionerFixture for Policies {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "aws-sim (IAM)",
            cannot_show: vec![],
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        self.scene.policies.clone()
    }

    fn now(&self) -> Timestamp {
        self.scene.now()
    }

    async fn pass(&mut self, time: Duration) {
        self.scene.pass(time);
    }

    fn known(&self) -> Ask {
        self.known.clone()
    }

    fn unknown(&self) -> Ask {
        as_subject(plain(), "user/nobody")
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        Some((self.provisioner(), self.alias.clone()))
    }

    async fn crowd(&mut self) {
        let world = self.scene.world();
        for number in 0..30 {
            let name = format!("person-{number}");
            world.add_iam_user(&name);
            world.put_policy(&format!("user/{name}"), "jit-0123456789abcdef", "{}");
        }
    }

    async fn is_effective(&mut self, _: RequestId, target: &Target, _: &Parameters) -> bool {
        self.scene.may_read(target, LOGS, self.scene.now())
    }

    async fn break_calls(&mut self, how: Breakage) {
        break_calls(&self.scene, how).await;
    }

    async fn mend(&mut self) {
        mend(&self.scene).await;
    }
}

fn policies(setup: Setup, known: Ask, alias: Ask) -> Policies {
    let setup = Setup {
        page_max: 7,
        ..setup
    };
    Policies {
        scene: Scene::of(setup),
        known,
        alias,
    }
}

fn eventual() -> Setup {
    Setup {
        iam_reads_lag: Duration::from_secs(20),
        iam_effects_lag: Duration::from_secs(40),
        ..setup()
    }
}

#[tokio::test]
async fn a_policy_on_one_session_of_a_role_passes_the_contract() {
    let alias = as_subject(plain(), "role/developers:ana@example.com");
    provisioner_contract(&mut policies(setup(), plain(), alias)).await;
}

#[tokio::test]
async fn a_policy_on_a_role_of_ones_own_passes_the_contract() {
    let own = as_subject(plain(), "role/ana-own");
    provisioner_contract(&mut policies(setup(), own.clone(), own)).await;
}

#[tokio::test]
async fn a_policy_on_a_user_passes_the_contract() {
    let user = as_subject(plain(), "user/ana");
    provisioner_contract(&mut policies(setup(), user.clone(), user)).await;
}

#[tokio::test]
async fn a_policy_passes_the_contract_where_changes_take_their_time() {
    let alias = as_subject(plain(), "role/developers:ana@example.com");
    provisioner_contract(&mut policies(eventual(), plain(), alias)).await;
}

struct Sessions(Scene);

#[async_trait]
impl ProvisionerFixture for Sessions {
    fn counterpart(&self) -> Counterpart {
        Counterpart {
            name: "aws-sim (STS)",
            cannot_show: vec![],
        }
    }

    fn provisioner(&self) -> Arc<dyn Provisioner> {
        self.0.sessions.clone()
    }

    fn now(&self) -> Timestamp {
        self.0.now()
    }

    async fn pass(&mut self, time: Duration) {
        self.0.pass(time);
    }

    fn known(&self) -> Ask {
        of_role(ask("ana@example.com", None, json!({})), "deploy")
    }

    fn unknown(&self) -> Ask {
        of_role(ask("ana@example.com", None, json!({})), "nobody")
    }

    fn alias(&self) -> Option<(Arc<dyn Provisioner>, Ask)> {
        let arn = "arn:aws:iam::111111111111:role/ci/deploy";
        Some((self.provisioner(), of_role(self.known(), arn)))
    }

    async fn is_effective(&mut self, request: RequestId, _: &Target, _: &Parameters) -> bool {
        let (world, name) = (self.0.world(), request.to_string());
        let at = self.0.now().unix_micros();
        let all = world.sessions().into_iter();
        all.filter(|it| it.name == name)
            .any(|it| world.session_allows(&it.access_key, Deed::new("s3:GetObject", LOGS), at))
    }

    async fn works(&mut self, secret: &str) -> bool {
        let key: Value = serde_json::from_str(secret).unwrap();
        let text = |name: &str| key[name].as_str().unwrap().to_owned();
        let world = self.0.world();
        let all = world.sessions().into_iter();
        let at = self.0.now().unix_micros();
        all.filter(|it| {
            it.access_key == text("AccessKeyId")
                && it.secret == text("SecretAccessKey")
                && it.token == text("SessionToken")
        })
        .any(|it| world.session_allows(&it.access_key, Deed::new("s3:GetObject", LOGS), at))
    }

    async fn break_calls(&mut self, how: Breakage) {
        break_calls(&self.0, how).await;
    }

    async fn mend(&mut self) {
        mend(&self.0).await;
    }
}

#[tokio::test]
async fn a_session_passes_the_contract() {
    provisioner_contract(&mut Sessions(Scene::new())).await;
}
