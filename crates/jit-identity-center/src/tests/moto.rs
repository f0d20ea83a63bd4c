//! A second opinion: moto, which nobody here wrote. It cannot run the contract of the port, because
//! it cannot list operations in progress, and `inspect` rests on that. So what can be driven is, and
//! what it cannot show is printed.

use std::collections::BTreeSet;
use std::sync::Arc;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use aws_sdk_identitystore::types::{Email, Name};
use aws_sdk_organizations::types::OrganizationFeatureSet;
use jit_core::ports::{Clock, Effect, ErrorKind, Provisioner};
use jit_core::provider::{Answer, Target};
use jit_testkit::provisioner::{Breakage, Counterpart, Sight};
use jit_testkit::sample;
use jit_testkit::server::{Server, moto};
use jit_testkit::time::ManualClock;

use super::{AMPLE, EIGHT_HOURS, PATIENT, ask, connected, grant, inspect, resolve, revoke};
use crate::{IdentityCenter, Settings};

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
            (
                Sight::Breakage(Breakage::Throttling),
                "it has no quota, of calls or of operations",
            ),
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

/// What else of Identity Center it does not do.
const ELSEWISE: [&str; 8] = [
    "operations in progress: every operation is SUCCEEDED in its first answer, and \
     ListAccountAssignmentCreationStatus is a 500, so `inspect` is an error here and no clause that \
     reads back through it can run",
    "one assignment for a repeated creation: it keeps a row for each, and one deletion takes one of \
     them away",
    "the ARN of a permission set as AWS documents it: its own has another shape",
    "an unknown user, permission set or account at a creation: all are accepted",
    "the id of a deletion: it is the creation's",
    "the management account: it is assigned like any other",
    "ConflictException, FAILED, FailureReason: nothing ever fails",
    "signatures and their dates: any are accepted",
];

struct Moto {
    server: Server,
    config: SdkConfig,
    clock: Arc<ManualClock>,
    adapter: Arc<IdentityCenter>,
    instance: String,
    account: String,
    management: String,
    set: String,
    user: String,
}

impl Moto {
    async fn furnished() -> Self {
        let server = moto();
        let credentials = Credentials::new("AKIAMOTO", "secret", None, None, "test");
        let config = SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url(server.url())
            .http_client(aws_smithy_http_client::Builder::new().build_http())
            .sleep_impl(aws_smithy_async::rt::sleep::SharedAsyncSleep::new(
                aws_smithy_async::rt::sleep::TokioSleep::new(),
            ))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .build();
        let organizations = aws_sdk_organizations::Client::new(&config);
        let made = organizations
            .create_organization()
            .feature_set(OrganizationFeatureSet::All);
        let organization = made.send().await.unwrap().organization.unwrap();
        let made = organizations
            .create_account()
            .account_name("Production")
            .email("production@example.com");
        let account = made.send().await.unwrap().create_account_status.unwrap();
        let sso = aws_sdk_ssoadmin::Client::new(&config);
        let instances = sso
            .list_instances()
            .send()
            .await
            .unwrap()
            .instances
            .unwrap();
        let instance = instances[0].instance_arn().unwrap().to_owned();
        let store = instances[0].identity_store_id().unwrap().to_owned();
        let made = sso
            .create_permission_set()
            .instance_arn(&instance)
            .name("ReadOnly")
            .session_duration("PT8H");
        let set = made.send().await.unwrap().permission_set.unwrap();
        let users = aws_sdk_identitystore::Client::new(&config);
        let name = Name::builder().given_name("Ana").family_name("Example");
        let email = Email::builder().value("ana@example.com").primary(true);
        let made = users
            .create_user()
            .identity_store_id(&store)
            .user_name("ana")
            .display_name("Ana")
            .name(name.build())
            .emails(email.build());
        let user = made.send().await.unwrap().user_id;

        let clock = Arc::new(ManualClock::at(sample::start()));
        let settings = Settings {
            endpoint_url: Some(server.url()),
            pace: PATIENT,
            ..Settings::new("aws".parse().unwrap(), "eu-central-1", &instance, store)
        };
        let credentials = config.credentials_provider().unwrap();
        let adapter = connected(settings, AMPLE, &clock, credentials, None);
        Self {
            server,
            config,
            clock,
            adapter,
            instance,
            account: account.account_id.unwrap(),
            management: organization.master_account_id.unwrap(),
            set: set.permission_set_arn.unwrap(),
            user,
        }
    }

    fn soon(&self) -> jit_core::Timestamp {
        self.clock.now() + std::time::Duration::from_secs(30)
    }

    /// Who has it, not through the adapter.
    async fn rows(&self) -> Vec<String> {
        let sso = aws_sdk_ssoadmin::Client::new(&self.config);
        let listed = sso
            .list_account_assignments()
            .instance_arn(&self.instance)
            .account_id(&self.account)
            .permission_set_arn(&self.set);
        let listed = listed.send().await.unwrap().account_assignments;
        let listed = listed.unwrap_or_default().into_iter();
        listed.filter_map(|it| it.principal_id).collect()
    }

    /// Who has it, through the adapter.
    async fn standing(&self, target: &Target) -> usize {
        let page = self.adapter.standing(&target.resource, None).await.unwrap();
        let ours = page.items.iter().filter(|it| it.target == *target);
        ours.count()
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
    assert!(moto.server.url().starts_with("http://127.0.0.1:"));
    let aws = &moto.adapter;
    assert_eq!(aws.describe().check(), Ok(()));

    // What is offered is found by its name and by its ids, and they are one target.
    let offers = aws.offers().await.unwrap();
    let names: BTreeSet<&str> = offers.iter().map(|offer| offer.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["production/ReadOnly"]));
    let by_name = resolve(aws, &ask("ana@example.com", "production/ReadOnly")).await;
    let by_name = by_name.unwrap();
    let by_id = format!("{}/{}", moto.account, moto.set);
    assert_eq!(by_name.target.resource, by_id);
    assert_eq!(by_name.target.subject.as_str(), moto.user);
    assert_eq!(by_name.residual, Some(EIGHT_HOURS));
    let again = resolve(aws, &ask("ana@example.com", &by_id)).await;
    assert_eq!(again.unwrap().target, by_name.target);
    for (who, what) in [
        ("eve@example.com", "production/ReadOnly"),
        ("ana@example.com", "production/NoSuchSet"),
        ("ana@example.com", "nowhere/ReadOnly"),
        ("ana@example.com", "999999999999/ReadOnly"),
    ] {
        let error = resolve(aws, &ask(who, what)).await.unwrap_err();
        assert_eq!(error.effect, Effect::None);
        assert!(
            matches!(error.kind, ErrorKind::NotFound | ErrorKind::Misconfigured),
            "{who} {what}: {}",
            error.chain()
        );
    }
    let management = format!("{}/ReadOnly", moto.management);
    let error = resolve(aws, &ask("ana@example.com", &management)).await;
    assert_eq!(error.unwrap_err().kind, ErrorKind::Misconfigured);

    // Nothing is sent too late.
    let target = by_name.target;
    let now = moto.clock.now();
    assert_eq!(
        grant(aws, &target, now).await.unwrap_err().effect,
        Effect::None
    );
    assert_eq!(moto.rows().await, [""; 0]);

    // Given, listed, taken, and taken again.
    let granted = grant(aws, &target, moto.soon()).await.unwrap();
    assert_eq!(granted, Answer::Applied);
    assert_eq!(moto.rows().await, [moto.user.as_str()]);
    assert_eq!(moto.standing(&target).await, 1);
    assert_eq!(
        revoke(aws, &target, now).await.unwrap_err().effect,
        Effect::None
    );
    assert_eq!(moto.standing(&target).await, 1);
    let revoked = revoke(aws, &target, moto.soon()).await.unwrap();
    assert_eq!(revoked, Answer::Applied);
    assert_eq!(moto.rows().await, [""; 0]);
    assert_eq!(moto.standing(&target).await, 0);
    let again = revoke(aws, &target, moto.soon()).await.unwrap();
    assert_eq!(again, Answer::Applied, "what is gone is gone");

    // Another realm is another instance's.
    let mut foreign = target.clone();
    foreign.realm = "arn:aws:sso:::instance/ssoins-0000000000000000".to_owned();
    let error = grant(aws, &foreign, moto.soon()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Misconfigured);
    assert_eq!(moto.rows().await, [""; 0]);

    // What cannot be read is an error, never an answer.
    let error = inspect(aws, &target).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unavailable, "{}", error.chain());
}

/// A granted row that moto doubles is found by the listing: an end that takes one of two away is
/// not believed because the deletion said SUCCEEDED.
#[tokio::test]
async fn moto_s_second_row_is_seen_after_one_deletion() {
    let moto = Moto::furnished().await;
    let resource = format!("{}/{}", moto.account, moto.set);
    let target = Target::new(&moto.instance, moto.user.parse().unwrap(), resource);
    for _ in 0..2 {
        grant(&moto.adapter, &target, moto.soon()).await.unwrap();
    }
    assert_eq!(moto.rows().await.len(), 2, "moto keeps a row for each");
    revoke(&moto.adapter, &target, moto.soon()).await.unwrap();
    assert!(moto.standing(&target).await > 0, "one is left, and is seen");
    revoke(&moto.adapter, &target, moto.soon()).await.unwrap();
    assert_eq!(moto.standing(&target).await, 0);
}
