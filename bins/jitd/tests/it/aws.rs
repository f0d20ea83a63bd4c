//! The preset for AWS, with processes: two daemons and a sweeper on one table, Identity Center and a
//! workspace around them; everybody lives through an asking and its end.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::time::Duration;

use aws_sim::{AccessKey, Entry, Seat, Setup, Sim, What};
use jit_testkit::server::{Server, dynoxide_in};
use serde_json::Value;
use slack_sim::{Channel, Message, SlackSim, User, Workspace};
use tempfile::TempDir;

use crate::process::{Process, jitd, program, ran, text, until};
use crate::secrets::{are_looked_through, workspace_was_told};

const PRESET: &str = include_str!("../../../../docs/examples/aws.toml");
const ANA: &str = "U012AB3CD";
const BOB: &str = "U012AB3CE";
const PRODUCTION: &str = "C012AB3CD";
const ELSEWHERE: &str = "C012AB3CE";
/// An account and what can be asked for in it.
const SHOP: &str = "222222222222";

/// The preset, at work on servers of this machine.
pub(crate) struct House {
    folder: TempDir,
    aws: Sim,
    _dynamodb: Server,
    slack: SlackSim,
    ana: String,
    read_only: String,
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            workspace_was_told(&self.slack, &[ANA, BOB], &[PRODUCTION, ELSEWHERE]);
        }
    }
}

impl House {
    /// Where access lasts as long as the preset says, or this long.
    pub(crate) async fn new(ttl: Option<&str>) -> Self {
        let aws = Sim::start(Setup {
            seat: Seat::Delegated,
            apply_min: Duration::from_secs(1),
            apply_max: Duration::from_secs(2),
            calls_per_second: Some(20),
            ..Setup::default()
        })
        .unwrap();
        let world = aws.world();
        world.add_account(SHOP, "Prod Shop");
        world.add_account("333333333333", "dev");
        let ana = world.add_user("ana@example.com", "ana@example.com");
        world.add_user("bob@example.com", "bob@example.com");
        let hour = Duration::from_secs(3_600);
        let read_only = world.add_permission_set("ReadOnlyAccess", 4 * hour);
        world.add_permission_set("AdministratorAccess", hour);
        world.add_permission_set("AllDay", 12 * hour);
        let folder = tempfile::tempdir().unwrap();
        // Beside the configuration, where secrets are looked for.
        let dynamodb = dynoxide_in(&folder.path().join("table.db"));
        let workspace = Workspace::new("T0AWS")
            .user(User::member(ANA, "Ana", "ana@example.com"))
            .user(User::member(BOB, "Bob", "bob@example.com"))
            .channel(
                Channel::public(PRODUCTION, "production")
                    .with_bot()
                    .members(&[ANA, BOB]),
            )
            .channel(
                Channel::public(ELSEWHERE, "aws")
                    .with_bot()
                    .members(&[ANA, BOB]),
            );
        let slack = SlackSim::start(workspace).await;
        let mut config = PRESET
            .replace(
                "dynamodb = \"jit\" ",
                &format!("dynamodb = \"jit\"\nendpoint = \"{}\" ", dynamodb.url()),
            )
            .replace(
                "arn:aws:sso:::instance/ssoins-1234567890abcdef",
                &world.instance_arn(),
            )
            .replace("d-1234567890", &world.identity_store_id())
            .replace(
                "kind = \"identity_center\"",
                &format!("kind = \"identity_center\"\nendpoint = \"{}\"", aws.url()),
            )
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            .replace(
                "[slack]\n",
                &format!("[slack]\napi = \"{}\"\n", slack.api_url()),
            );
        if let Some(ttl) = ttl {
            config = config.replace("ttl_default = \"4h\"", &format!("ttl_default = \"{ttl}\""));
        }
        std::fs::write(folder.path().join("aws.toml"), config).unwrap();
        let house = Self {
            folder,
            aws,
            _dynamodb: dynamodb,
            slack,
            ana,
            read_only,
        };
        let made = ran(house.command(jitd(&["dynamodb", "create-table"])));
        assert!(made.status.success(), "{}", text(&made.stderr));
        house
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.folder.path().join("aws.toml")
    }

    /// A command with this configuration and the credentials of its machine.
    pub(crate) fn command(&self, mut command: Command) -> Command {
        let key = AccessKey::default();
        command
            .env("JIT_CONFIG", self.config())
            .env("JIT_LOG_FORMAT", "json")
            .env("JIT_SLACK_BOT_TOKEN", self.slack.bot_token())
            .env("JIT_SLACK_APP_TOKEN", self.slack.app_token())
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .env("AWS_ACCESS_KEY_ID", key.id)
            .env("AWS_SECRET_ACCESS_KEY", key.secret);
        command
    }

    /// A daemon that serves, and where.
    fn daemon(&self) -> (Process, String) {
        let mut process = Process::start(self.command(jitd(&["run"])));
        let line: Value = serde_json::from_str(&process.hears("serving")).unwrap();
        let api = line["fields"]["api"].as_str().unwrap();
        (process, format!("http://{api}"))
    }

    async fn connected(&self, count: usize) {
        until("the workspace has its connections", async || {
            self.slack.connections() >= count
        })
        .await;
    }

    /// Runs a verb of `jit` as this person.
    fn ran(&self, server: &str, person: &str, arguments: &[&str]) -> Output {
        let token = self.folder.path().join(person);
        if !token.exists() {
            let token = token.display().to_string();
            let new = ["token", "new", "--principal", person, "--out", &token];
            let made = ran(self.command(program("jit", &new)));
            assert!(made.status.success(), "{}", text(&made.stderr));
        }
        let mut command = self.command(program("jit", &["--json", "--server", server]));
        command.arg("--token-file").arg(token).args(arguments);
        ran(command)
    }

    fn jit(&self, server: &str, person: &str, arguments: &[&str]) -> Value {
        let said = self.ran(server, person, arguments);
        assert!(
            said.status.success(),
            "{arguments:?}: {}",
            text(&said.stderr)
        );
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// What is said to somebody who is refused.
    fn refused(&self, server: &str, person: &str, arguments: &[&str]) -> String {
        let said = self.ran(server, person, arguments);
        assert!(
            !said.status.success(),
            "{arguments:?}: {}",
            text(&said.stdout)
        );
        text(&said.stderr)
    }

    fn is_ana_in(&self) -> bool {
        self.aws
            .world()
            .is_assigned(SHOP, &self.read_only, &self.ana)
    }

    /// When Ana's access came to be and ended, in microseconds since the epoch.
    fn ledger(&self, what: What) -> Vec<i64> {
        let mut ledger: Vec<Entry> = self.aws.world().ledger();
        ledger.retain(|entry| entry.what == what && entry.assignment.principal == self.ana);
        ledger.iter().map(|entry| entry.at_micros).collect()
    }

    /// Ana asks in Slack, as a person does: she searches, chooses, says why.
    async fn asked(&self, words: &str, entitlement: &str) {
        let ana = self.slack.user(ANA);
        assert!(ana.slash("/jit", "").in_channel(ELSEWHERE).await.acked());
        let form = ana.modal().await;
        until("it is found", async || {
            let found = form.options("target", words).await;
            found.iter().any(|it| it["value"] == entitlement)
        })
        .await;
        form.pick("target", entitlement).await;
        let form = ana
            .modal_where(|view| view.to_string().contains("\"policy\""))
            .await;
        form.fill("reason", "the checkout is down");
        form.submit().await;
    }

    async fn card(&self, channel: &str, words: &str) -> Message {
        let bob = self.slack.user(BOB);
        let wanted =
            |it: &Message| it.thread_ts.is_none() && !it.ephemeral && it.words().contains(words);
        self.slack.wait_for(&bob, channel, wanted).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn b1_b2_b3_b4_b6_d4_what_is_given_in_aws_ends_on_time_though_both_daemons_are_killed() {
    let house = House::new(Some("20s")).await;
    let (mut one, _) = house.daemon();
    let (mut two, api) = house.daemon();
    let sweeper = house.command(program("jit-sweeper", &[]));
    let _sweeper = Process::start(sweeper);
    house.connected(2).await;
    house
        .asked("shop/read", "aws/prod-shop/ReadOnlyAccess")
        .await;
    // F2: how long sessions live on is on the card before anybody decides.
    let card = house.card(PRODUCTION, "Pending").await;
    let words = card.words();
    assert!(
        words.contains("the checkout is down") && words.contains("4 h"),
        "{words}"
    );
    assert!(
        house.ledger(What::Given).is_empty(),
        "nothing before the decision"
    );
    let bob = house.slack.user(BOB);
    assert!(bob.click(&card, "jit_approve").await.acked());
    house.card(PRODUCTION, "active until").await;
    assert!(house.is_ana_in());
    let seen = house.jit(&api, "ana@example.com", &["list", "--status", "active"]);
    let request = &seen["requests"][0];
    let expires_at = request["expires_at"].as_str().unwrap().to_owned();
    one.kill();
    two.kill();
    until("the access is gone", async || !house.is_ana_in()).await;
    let expires_at: jit_core::Timestamp = expires_at.parse().unwrap();
    let gone = *house.ledger(What::Taken).last().unwrap();
    let late = gone - expires_at.unix_micros();
    assert!(late >= 0, "not before its time: {late} µs");
    assert!(late < 30_000_000, "L1: {late} µs late");
    assert_eq!(house.ledger(What::Given).len(), 1);
    assert_eq!(house.ledger(What::Taken).len(), 1);
    // S15: the table is looked through for secrets, as a file beside the configuration is.
    assert!(are_looked_through(
        house.folder.path(),
        "the checkout is down"
    ));
    // Nothing is lost: a daemon that is started again tells everybody.
    let (_three, api) = house.daemon();
    house.card(PRODUCTION, "Ended: its time is up").await;
    let id = request["id"].as_str().unwrap();
    let events = house.jit(&api, "ana@example.com", &["history", id]);
    assert!(events["events"].as_array().unwrap().len() > 6, "{events}");
    let verified = ran(house.command(program("jit", &["audit", "verify"])));
    assert!(verified.status.success(), "{}", text(&verified.stdout));
}

/// System D with the preset: the reason is mandatory, one click decides, four hours unless somebody
/// says otherwise, and who had it and why is one query.
#[tokio::test(flavor = "multi_thread")]
async fn d1_d2_d3_d7_production_access_for_four_hours_with_one_command() {
    let house = House::new(None).await;
    let (_daemon, api) = house.daemon();
    house.connected(1).await;
    let ana = house.slack.user(ANA);
    assert!(
        ana.slash("/prod-access", "")
            .in_channel(ELSEWHERE)
            .await
            .acked()
    );
    let told = |it: &Message| it.ephemeral && it.words().contains("/prod-access");
    house.slack.wait_for(&ana, ELSEWHERE, told).await;
    let typed = ana.slash("/prod-access", "\"the checkout is down\"");
    assert!(typed.in_channel(ELSEWHERE).await.acked());
    let form = ana
        .modal_where(|view| view.to_string().contains("\"policy\""))
        .await;
    assert!(
        form.view().to_string().contains("customers see"),
        "it is warned of"
    );
    form.submit().await;
    let card = house.card(PRODUCTION, "Pending").await;
    assert!(card.words().contains("the checkout is down") && card.words().contains("4 h"));
    let bob = house.slack.user(BOB);
    assert!(bob.click(&card, "jit_approve").await.acked());
    let active = house.card(PRODUCTION, "active until").await;
    assert_eq!(active.ts, card.ts, "in place");
    let id = "aws/prod-shop/AdministratorAccess";
    let had = house.jit(&api, "bob@example.com", &["list", "--entitlement", id]);
    let request = &had["requests"][0];
    assert_eq!(request["reason"], "the checkout is down");
    assert_eq!(request["ttl"], "4h");
    let instant =
        |name: &str| -> jit_core::Timestamp { request[name].as_str().unwrap().parse().unwrap() };
    let lasts = instant("expires_at").since(instant("opened_at"));
    assert!(lasts >= Duration::from_secs(4 * 3_600), "{request}");
    assert!(lasts < Duration::from_secs(4 * 3_600 + 60), "{request}");
    // Ana is done before that.
    let given = house
        .slack
        .wait_for(&ana, "dm", |it| it.words().contains("is yours until"))
        .await;
    assert!(
        given.words().contains("AWS access portal"),
        "B5: {}",
        given.words()
    );
    assert!(ana.click(&given, "jit_done").await.acked());
    until("the assignment is gone", async || {
        !house.ledger(What::Taken).is_empty()
    })
    .await;
    house.card(PRODUCTION, "Ended").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f9_b9_with_slack_down_a_terminal_asks_decides_and_ends() {
    let house = House::new(None).await;
    let (_daemon, api) = house.daemon();
    house.connected(1).await;
    house.slack.refuse_sockets(slack_sim::Switch::On);
    house.slack.cut_sockets();
    for method in [
        "chat.postMessage",
        "chat.update",
        "conversations.open",
        "views.open",
    ] {
        let faults = house.slack.faults();
        faults.fail(
            method,
            slack_sim::Fault::ServerError,
            slack_sim::Times::Always,
        );
    }
    let ask = [
        "request",
        "aws/prod-shop/ReadOnlyAccess",
        "--reason",
        "the checkout is down",
    ];
    let asked = house.jit(&api, "ana@example.com", &ask);
    // D3: four hours unless somebody says otherwise.
    assert_eq!(asked["ttl"], "4h");
    let id = asked["id"].as_str().unwrap();
    house.jit(&api, "bob@example.com", &["approve", id]);
    until("the access is there", async || house.is_ana_in()).await;
    house.jit(&api, "ana@example.com", &["end", id]);
    until("the access is gone", async || !house.is_ana_in()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn f2_sessions_that_would_outlive_the_tier_are_refused_with_the_numbers() {
    let house = House::new(None).await;
    let (_daemon, api) = house.daemon();
    let refused = |entitlement: &str| {
        let ask = ["request", entitlement, "--reason", "the checkout is down"];
        house.refused(&api, "ana@example.com", &ask)
    };
    let said = refused("aws/prod-shop/AllDay");
    assert!(said.contains("43200") && said.contains("3600"), "{said}");
    // What there is not.
    for (entitlement, why) in [
        ("aws/prod-shop/Nothing", "there is no such permission set"),
        (
            "aws/prod-nowhere/AdministratorAccess",
            "there is no such account",
        ),
    ] {
        let said = refused(entitlement);
        assert!(
            said.contains("not_grantable") && said.contains(why),
            "{said}"
        );
    }
}

/// Two names for one thing would be two tiers and two sets of approvers for it.
#[tokio::test(flavor = "multi_thread")]
async fn b1_production_is_decided_on_by_its_owners_whatever_it_is_called() {
    let house = House::new(None).await;
    let (_daemon, api) = house.daemon();
    let ask = |entitlement| ["request", entitlement, "--reason", "the checkout is down"];
    let ana = "ana@example.com";
    for other in [
        "aws/222222222222/AdministratorAccess",
        "aws/dev-shop/AdministratorAccess",
        "aws/Prod-Shop/AdministratorAccess",
        "aws/shop/AdministratorAccess",
    ] {
        let said = house.refused(&api, ana, &ask(other));
        let is_refused = ["unknown_entitlement", "not_grantable"].map(|code| said.contains(code));
        assert!(is_refused.contains(&true), "{other}: {said}");
    }
    let asked = house.jit(&api, ana, &ask("aws/prod-shop/AdministratorAccess"));
    let id = asked["id"].as_str().unwrap();
    // Carol decides on development alone.
    house.refused(&api, "carol@example.com", &["approve", id]);
    assert!(house.ledger(What::Given).is_empty());
    house.jit(&api, "bob@example.com", &["approve", id]);
    until("the access is there", async || {
        !house.ledger(What::Given).is_empty()
    })
    .await;
}
