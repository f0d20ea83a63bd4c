//! A second opinion: moto, which nobody here wrote. It enforces nothing and judges no policy, so what
//! can be driven is, and what it cannot show is printed.

use std::sync::Arc;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use jit_core::Timestamp;
use jit_core::ports::{Clock, Effect, ErrorKind, Provisioner, Purpose};
use jit_core::provider::{Answer, Presence, Target};
use jit_testkit::provisioner::{Breakage, Counterpart, Sight};
use jit_testkit::sample;
use jit_testkit::server::{Server, moto};
use jit_testkit::time::ManualClock;
use serde_json::{Value, json};

use super::{Given, HOUR, as_subject, ask, budget, grant, in_bucket, mint, of_role, plain};
use super::{resolve, revoke};
use crate::{AssumedRole, Settings, TemporaryPolicy};

/// What of the contract's sights moto cannot show, and why.
fn counterpart() -> Counterpart {
    Counterpart {
        name: "moto",
        cannot_show: vec![
            (
                Sight::Paging,
                "a page has a hundred, and so many users are not made for it here",
            ),
            (Sight::Breakage(Breakage::Refusal), "it enforces no policy"),
            (Sight::Breakage(Breakage::Throttling), "it has no quota"),
            (
                Sight::Breakage(Breakage::Outage),
                "it is there or it is not",
            ),
            (
                Sight::Breakage(Breakage::LostReply),
                "it answers what it does",
            ),
        ],
    }
}

/// What else of IAM and STS it does not do.
const ELSEWISE: [&str; 4] = [
    "whether a policy allows anything: it keeps them and judges none",
    "limits, reserved roles, names: it takes them all",
    "the trust policy of a role, and whether there is a role: every session is opened",
    "signatures and their dates: any are accepted",
];

struct Moto {
    _server: Server,
    iam: aws_sdk_iam::Client,
    clock: Arc<ManualClock>,
    policies: TemporaryPolicy,
    sessions: AssumedRole,
}

impl Moto {
    async fn furnished() -> Self {
        let server = moto();
        let credentials = Credentials::new("AKIAMOTO", "secret", None, None, "test");
        let sleep = aws_smithy_async::rt::sleep::TokioSleep::new();
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(server.url())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(sleep))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let iam = aws_sdk_iam::Client::new(&config);
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole",
            "Condition": {"StringLike": {"sts:RoleSessionName": "${aws:username}"}},
        }]});
        for name in ["developers", "deploy"] {
            let made = iam.create_role().role_name(name);
            let made = made.assume_role_policy_document(trust.to_string());
            made.send().await.unwrap();
        }
        iam.create_user().user_name("ana").send().await.unwrap();
        let who = aws_sdk_sts::Client::new(&config).get_caller_identity();
        let account = who.send().await.unwrap().account.unwrap();
        let clock = Arc::new(ManualClock::at(sample::start()));
        let settings = Settings {
            endpoint_url: Some(server.url()),
            role: Some("developers".to_owned()),
            ..Settings::new("aws-iam".parse().unwrap(), account)
        };
        let (port, of) = (clock.clone(), budget(&clock));
        let policies = TemporaryPolicy::with_sdk_config(
            settings.clone(),
            of.clone(),
            port.clone(),
            config.clone(),
        );
        let sessions = AssumedRole::with_sdk_config(settings, of, port, config);
        Self {
            _server: server,
            iam,
            clock,
            policies: policies.unwrap(),
            sessions: sessions.unwrap(),
        }
    }

    fn soon(&self) -> Timestamp {
        self.clock.now() + Duration::from_secs(30)
    }

    /// The policies of the role that all have, not through the adapter.
    async fn names(&self) -> Vec<String> {
        let listed = self.iam.list_role_policies().role_name("developers");
        listed.send().await.unwrap().policy_names
    }

    async fn seen(&self, given: &Given<'_>, purpose: Purpose) -> Presence {
        let look = jit_core::ports::InspectCall {
            send_before: Some(self.soon()),
            ..given.look(purpose)
        };
        self.policies.inspect(look).await.unwrap()
    }

    async fn standing(&self, target: &Target) -> usize {
        let page = self
            .policies
            .standing(&target.resource, None)
            .await
            .unwrap();
        page.items.iter().filter(|it| it.target == *target).count()
    }
}

#[tokio::test]
async fn moto_agrees_with_what_it_can_show() {
    let counterpart = counterpart();
    for (sight, why) in &counterpart.cannot_show {
        eprintln!("{} cannot show {sight}: {why}", counterpart.name);
    }
    for what in ELSEWISE {
        eprintln!("{} does not show {what}", counterpart.name);
    }
    let moto = Moto::furnished().await;
    for ask in [plain(), as_subject(plain(), "user/ana"), in_bucket("logs")] {
        let target = resolve(&moto.policies, &ask).await.unwrap().target;
        let first = Given {
            request: sample::id(1),
            ask: &ask,
            target: &target,
            expires_at: moto.clock.now() + HOUR,
        };
        let late = grant(&moto.policies, &first, moto.clock.now()).await;
        assert_eq!(late.unwrap_err().effect, Effect::None);
        assert_eq!(moto.seen(&first, Purpose::TakeAway).await, Presence::Absent);
        let given = grant(&moto.policies, &first, moto.soon()).await.unwrap();
        assert_eq!(given, Answer::Accepted);
        assert_eq!(moto.seen(&first, Purpose::Give).await, Presence::Present);
        assert_eq!(
            moto.seen(&first, Purpose::TakeAway).await,
            Presence::Present
        );
        assert_eq!(moto.standing(&target).await, 1);
        // Another request takes it over: one policy, whose it is now.
        let second = Given {
            request: sample::id(2),
            expires_at: moto.clock.now() + 2 * HOUR,
            ..first.clone()
        };
        grant(&moto.policies, &second, moto.soon()).await.unwrap();
        assert_eq!(moto.seen(&first, Purpose::Give).await, Presence::Absent);
        assert_eq!(moto.seen(&second, Purpose::Give).await, Presence::Present);
        for _ in 0..2 {
            let revoked = revoke(&moto.policies, &second, moto.soon()).await;
            assert_eq!(revoked.unwrap(), Answer::Accepted);
        }
        assert_eq!(
            moto.seen(&second, Purpose::TakeAway).await,
            Presence::Absent
        );
        assert_eq!(moto.standing(&target).await, 0);
        assert_eq!(moto.names().await, [""; 0]);
    }
    let nobody = as_subject(plain(), "user/nobody");
    let error = resolve(&moto.policies, &nobody).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::NotFound, "{}", error.chain());
}

#[tokio::test]
async fn moto_opens_a_session_as_it_is_asked() {
    let moto = Moto::furnished().await;
    let ask = of_role(ask("ana@example.com", None, json!({})), "deploy");
    let target = resolve(&moto.sessions, &ask).await.unwrap().target;
    let given = Given {
        request: sample::id(1),
        ask: &ask,
        target: &target,
        expires_at: moto.clock.now() + HOUR,
    };
    let minted = mint(&moto.sessions, &given, moto.soon()).await.unwrap();
    let key: Value = serde_json::from_str(minted.secret.expose()).unwrap();
    assert_eq!(key["Version"], 1);
    assert!(key["AccessKeyId"].as_str().unwrap().starts_with("ASIA"));
    let handle = minted.handle.unwrap().0;
    assert!(handle.ends_with(&format!(":{}", sample::id(1))), "{handle}");
}
