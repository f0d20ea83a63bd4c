//! The preset for Okta, with processes: people and authority from a simulated organization, asked and
//! decided in a simulated workspace over HTTP, and from a terminal.

use std::process::{Command, Output};

use okta_sim::{ApiToken, By, Hostility, Operation, ServiceApp, Setup, Sim, UserStatus};
use serde_json::{Value, json};
use slack_sim::{Channel, Message, Mode, SlackSim, User, Workspace};
use tempfile::TempDir;

use crate::process::{Process, jitd, program, ran, read, text, until};
use crate::secrets::workspace_was_told;

const PRESET: &str = include_str!("../../../../docs/examples/okta.toml");
const ANA: &str = "U012AB3CD";
const BOB: &str = "U012AB3CE";
const CAROL: &str = "U012AB3CF";
const SECURITY: &str = "C012AB3CD";

/// A key of a service app that opens nothing but a simulator, and its public half.
const KEY: &str = "../../crates/jit-okta/src/tests/rsa.pem";
const MODULUS: &str = concat!(
    "2vL4KAyvJ70P8rbwFoZ68Fq9B7GgHPy_TFO9-ujWMHYvE9RIEX1j4BkRkhr5yiaaMJRHVAG-IFGv9iBmC7KAt0Rwljh",
    "KMnOyjioG8Z0utIRywl9YLz6lgajIYcfwn4blydnlasSU0jq9gxDeq1pfY3KJrrv0cj7l6SUs0RH29aIHziKDZ297ml",
    "jX3kOuAZBnR8M_iU7XaePozoEI2hAhwBHtYvZNuI4qY5RvTj1QO8lhMHlek0-HusHiNQ5hHzgOl2NkI75-tU3UuCc6k",
    "uOwFA4siGUAQkE21wSyL3AJvtDfPjOkjOJijV2P0fjzsLjf9Up5KPEK4qPEVSd4ETay0w",
);
const APP: &str = "0oa1b2c3d4e5f6g7h8i9";

/// The preset, at work on servers of this machine.
pub(crate) struct House {
    folder: TempDir,
    okta: Sim,
    slack: SlackSim,
    ana: String,
    bob: String,
    dave: String,
    officers: String,
    admins: String,
}

impl Drop for House {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            workspace_was_told(&self.slack, &[ANA, BOB, CAROL], &[SECURITY]);
        }
    }
}

impl House {
    pub(crate) async fn new(more: &[(&str, &str)]) -> Self {
        let key = json!({"kty": "RSA", "kid": "2026-11", "alg": "RS256", "use": "sig", "n": MODULUS, "e": "AQAB"});
        let setup = Setup {
            apps: vec![ServiceApp::new(APP, key)],
            ..Setup::default()
        };
        let okta = Sim::start(setup).unwrap();
        let world = okta.world();
        let mut ids = vec![];
        for (name, slack) in [
            ("ana", ANA),
            ("bob", BOB),
            ("carol", CAROL),
            ("dave", "U012AB3CG"),
        ] {
            let login = format!("{name}@example.com");
            let id = world.add_user(&login, &login);
            world.set_profile(&id, "slackId", slack);
            ids.push(id);
        }
        world.set_profile(&ids[0], "managerId", "carol@example.com");
        let group = |name: &str, members: &[&String]| {
            let group = world.add_group(name);
            members.iter().for_each(|user| world.join(&group, user));
            group
        };
        let engineers = group("Engineers", &[&ids[0], &ids[1], &ids[2]]);
        let officers = group("Security officers", &[&ids[1], &ids[3]]);
        let leads = group("Platform leads", &[&ids[2]]);
        let admins = group("Super admins", &[]);
        let workspace = Workspace::new("T0OKTA")
            .user(User::member(ANA, "Ana", "ana@example.com"))
            .user(User::member(BOB, "Bob", "bob@example.com"))
            .user(User::member(CAROL, "Carol", "carol@example.com"))
            .channel(
                Channel::public(SECURITY, "security")
                    .with_bot()
                    .members(&[ANA, BOB, CAROL]),
            );
        let slack = SlackSim::start(workspace).await;
        let folder = tempfile::tempdir().unwrap();
        let mut config = PRESET
            .replace("https://example.okta.com", &okta.url())
            .replace("00g1engineers0000001", &engineers)
            .replace("00g1officers00000001", &officers)
            .replace("00g1leads00000000001", &leads)
            .replace("00g1superadmins00001", &admins)
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0")
            // These tests run at any hour.
            .replace("mon-fri 09:00-18:00", "mon-sun 00:00-24:00")
            .replace(
                "[slack]\n",
                &format!("[slack]\napi = \"{}\"\n", slack.api_url()),
            );
        for (from, to) in more {
            assert!(config.contains(from), "{from}");
            config = config.replace(from, to);
        }
        std::fs::write(folder.path().join("okta.toml"), config).unwrap();
        Self {
            folder,
            slack,
            ana: ids[0].clone(),
            bob: ids[1].clone(),
            dave: ids[3].clone(),
            officers,
            admins,
            okta,
        }
    }

    pub(crate) fn command(&self, mut command: Command) -> Command {
        let config = read(&self.folder.path().join("okta.toml"));
        match config.contains("\nclient_id = ") {
            true => command.env(
                "JIT_OKTA_PRIVATE_KEY_FILE",
                std::fs::canonicalize(KEY).unwrap(),
            ),
            false => command.env("JIT_OKTA_TOKEN", ApiToken::default().secret),
        };
        command
            .env("JIT_CONFIG", self.folder.path().join("okta.toml"))
            .env("JIT_LOG_FORMAT", "json")
            .env("JIT_SLACK_BOT_TOKEN", self.slack.bot_token())
            .env("JIT_SLACK_SIGNING_SECRET", self.slack.signing_secret());
        command
    }

    /// A daemon that serves, with Slack calling it, and where it is.
    fn daemon(&self) -> (Process, String) {
        let mut process = Process::start(self.command(jitd(&["run"])));
        let line: Value = serde_json::from_str(&process.hears("serving")).unwrap();
        let base_url = format!("http://{}", line["fields"]["api"].as_str().unwrap());
        self.slack.mode(Mode::Http {
            base_url: base_url.clone(),
        });
        (process, base_url)
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

    fn refused(&self, server: &str, person: &str, arguments: &[&str]) -> String {
        let said = self.ran(server, person, arguments);
        assert!(
            !said.status.success(),
            "{arguments:?}: {}",
            text(&said.stdout)
        );
        text(&said.stderr)
    }

    /// A verb of an operator, without a server.
    fn policy(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command(program("jit", &["policy"]));
        command.args(arguments);
        let said = ran(command);
        (said.status.code(), text(&said.stdout) + &text(&said.stderr))
    }

    fn is_ana_admin(&self) -> bool {
        self.okta.world().is_member(&self.admins, &self.ana)
    }

    async fn card(&self, words: &str) -> Message {
        let bob = self.slack.user(BOB);
        let wanted =
            |it: &Message| it.thread_ts.is_none() && !it.ephemeral && it.words().contains(words);
        self.slack.wait_for(&bob, SECURITY, wanted).await
    }

    /// Ana types the command of system A and says why.
    async fn asked(&self, typed: &str) {
        let ana = self.slack.user(ANA);
        let slash = ana.slash("/request-admin", typed);
        assert!(slash.in_channel(SECURITY).await.acked());
        let form = ana
            .modal_where(|view| view.to_string().contains("\"policy\""))
            .await;
        form.fill("reason", "the directory is broken");
        form.submit().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_a2_a3_a4_a5_an_officers_check_mark_lets_ana_in_and_the_clock_lets_her_out() {
    let house = House::new(&[("ttl_default = \"30m\"", "ttl_default = \"15s\"")]).await;
    let (_daemon, api) = house.daemon();
    house.asked("").await;
    let card = house.card("Pending").await;
    let words = card.words();
    assert!(words.contains("the directory is broken"), "{words}");
    assert!(
        words.contains("oncall:security") && words.contains("the manager"),
        "{words}"
    );
    // F2: how long sessions live on is on the card before anybody decides.
    assert!(words.contains("Lives on after the end"), "{words}");
    let ana = house.slack.user(ANA);
    ana.react(&card, "white_check_mark").await;
    let hint = |it: &Message| it.ephemeral && it.words().contains("You may not decide");
    house.slack.wait_for(&ana, SECURITY, hint).await;
    assert!(!house.is_ana_admin(), "nothing before the decision");
    house.slack.user(BOB).react(&card, "white_check_mark").await;
    house.card("active until").await;
    assert!(house.is_ana_admin());
    let seen = house.jit(&api, "ana@example.com", &["list", "--status", "active"]);
    let expires_at: jit_core::Timestamp = seen["requests"][0]["expires_at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    until("the membership is gone", async || !house.is_ana_admin()).await;
    house.card("Ended: its time is up").await;
    let periods = house.okta.world().periods(&house.admins, &house.ana);
    assert_eq!(periods.len(), 1, "{periods:?}");
    let gone = periods[0].until_micros.unwrap();
    let late = gone - expires_at.unix_micros();
    assert!((0..30_000_000).contains(&late), "L1: {late} µs late");
    // A5: every step is a row.
    until("the log is whole", async || {
        let log = read(&house.folder.path().join("audit_log.csv"));
        ["requested", "approved", "activated", "settling"]
            .iter()
            .all(|it| log.contains(it))
    })
    .await;
    let log = read(&house.folder.path().join("audit_log.csv"));
    assert!(
        log.contains("bob@example.com") && log.contains("the directory is broken"),
        "{log}"
    );
    let verified = ran(house.command(program("jit", &["audit", "verify"])));
    assert!(verified.status.success(), "{}", text(&verified.stdout));
}

#[tokio::test(flavor = "multi_thread")]
async fn a1_for_somebody_else_it_takes_a_right_and_then_neither_may_decide() {
    let house = House::new(&[]).await;
    let (_daemon, _) = house.daemon();
    house.asked("bob@example.com").await;
    let ana = house.slack.user(ANA);
    ana.modal_where(|view| view.to_string().contains("do not have the right"))
        .await;
    // Carol is a lead by her group in Okta.
    let carol = house.slack.user(CAROL);
    let slash = carol.slash("/request-admin", "bob@example.com");
    assert!(slash.in_channel(SECURITY).await.acked());
    let form = carol
        .modal_where(|view| view.to_string().contains("\"policy\""))
        .await;
    form.fill("reason", "the directory is broken");
    form.submit().await;
    let card = house.card("Pending").await;
    let bob = house.slack.user(BOB);
    bob.react(&card, "white_check_mark").await;
    let hint = |it: &Message| it.ephemeral && it.words().contains("You may not decide");
    house.slack.wait_for(&bob, SECURITY, hint).await;
    assert!(!house.okta.world().is_member(&house.admins, &house.bob));
}

/// A4, with Slack away: a service app gives and takes, and nobody needs more than a terminal.
#[tokio::test(flavor = "multi_thread")]
async fn a4_a_service_app_gives_and_takes_at_a_terminal_alone() {
    let app = [
        ("# client_id = ", "client_id = "),
        ("# key_id = ", "key_id = "),
    ];
    let house = House::new(&app).await;
    let (_daemon, api) = house.daemon();
    let reason = "the directory is broken";
    let ask = ["request", "okta/super-admins", "--reason", reason];
    let asked = house.jit(&api, "ana@example.com", &ask);
    let id = asked["id"].as_str().unwrap();
    house.jit(&api, "bob@example.com", &["approve", id]);
    until("she is in the group", async || house.is_ana_admin()).await;
    house.jit(&api, "ana@example.com", &["end", id]);
    until("she is not", async || !house.is_ana_admin()).await;
    let by = house.okta.world().ledger();
    let by_app = |it: &okta_sim::Entry| it.by == By::Api(APP.to_owned());
    let of_admins = by.iter().filter(|it| it.group == house.admins);
    assert_eq!(of_admins.filter(|it| by_app(it)).count(), 2, "{by:?}");
}

/// D8, F7: nobody decides, whoever is on call is told in the thread after their time, and decides at a
/// terminal; before it they may not.
#[tokio::test(flavor = "multi_thread")]
async fn d8_f7_when_nobody_decides_whoever_is_on_call_is_told_and_does() {
    let house = House::new(&[
        ("after = \"10m\"", "after = \"5s\""),
        (
            "[\"carol@example.com\", \"dave@example.com\"]",
            "[\"carol@example.com\"]",
        ),
        (
            "turns_from = \"2026-11-23\"         # a Monday; they take turns, a week each\n",
            "",
        ),
    ])
    .await;
    let (_daemon, api) = house.daemon();
    // She never was in Slack so far: who she is there is an attribute in Okta.
    let carol = house.slack.user(CAROL);
    house.asked("").await;
    let card = house.card("Pending").await;
    assert!(card.words().contains("oncall:security"), "{}", card.words());
    let listed = house.jit(&api, "ana@example.com", &["list"]);
    let id = listed["requests"][0]["id"].as_str().unwrap();
    let said = house.refused(&api, "carol@example.com", &["approve", id]);
    assert!(said.contains("waited"), "{said}");
    until("the step has come", async || {
        let history = house.jit(&api, "ana@example.com", &["history", id]);
        history.to_string().contains("escalated")
    })
    .await;
    let told = |it: &Message| it.words().contains("Nobody decided so far");
    let line = house.slack.wait_for(&carol, SECURITY, told).await;
    assert_eq!(line.thread_ts.as_ref(), Some(&card.ts));
    assert!(line.text.contains(&format!("<@{CAROL}>")), "{}", line.text);
    assert!(!house.is_ana_admin(), "a step approves nothing");
    house.jit(&api, "carol@example.com", &["approve", id]);
    until("Ana is in the group", async || house.is_ana_admin()).await;
}

/// S9, S11: who decides is asked of Okta at the click.
#[tokio::test(flavor = "multi_thread")]
async fn c6_authority_is_what_okta_says_at_the_decision() {
    let house = House::new(&[]).await;
    let (_daemon, api) = house.daemon();
    let ask = [
        "request",
        "okta/super-admins",
        "--reason",
        "the directory is broken",
    ];
    let asked = house.jit(&api, "ana@example.com", &ask);
    let id = asked["id"].as_str().unwrap();
    let world = house.okta.world();
    world.leave(&house.officers, &house.bob);
    let said = house.refused(&api, "bob@example.com", &["approve", id]);
    assert!(
        said.contains("unknown_request"),
        "he may not even see it: {said}"
    );
    world.join(&house.officers, &house.bob);
    world.set_status(&house.bob, UserStatus::Suspended);
    // What was true three seconds ago may be answered still, and no longer.
    until("he is told that he is not active", async || {
        let said = house.refused(&api, "bob@example.com", &["approve", id]);
        said.contains("inactive_principal")
    })
    .await;
    world.set_status(&house.bob, UserStatus::Active);
    until("he is known again", async || {
        let shown = house.ran(&api, "bob@example.com", &["show", id]);
        shown.status.success()
    })
    .await;
    // Errors refuse, and nothing is lost by them.
    world.hostile(Operation::ListUserGroups, Hostility::Unavailable);
    until("he is told that something failed", async || {
        let said = house.refused(&api, "bob@example.com", &["approve", id]);
        said.contains("\"failed\"")
    })
    .await;
    world.calm();
    assert!(!house.is_ana_admin());
    until("it is approved", async || {
        let approved = house.ran(&api, "bob@example.com", &["approve", id]);
        approved.status.success()
    })
    .await;
    until("the membership is there", async || house.is_ana_admin()).await;
    house.jit(&api, "ana@example.com", &["end", id]);
    until("the membership is gone", async || !house.is_ana_admin()).await;
    let hands: Vec<By> = world.ledger().into_iter().map(|entry| entry.by).collect();
    assert!(hands.iter().any(|by| matches!(by, By::Api(_))), "{hands:?}");
}

/// Nobody else may decide: refused at once, with that sentence.
#[tokio::test(flavor = "multi_thread")]
async fn c6_where_nobody_else_may_decide_it_is_said_at_once() {
    let house = House::new(&[
        ("[[rota]]\nname = \"security\"\n", ""),
        ("[[rota.shift]]\nhours = \"mon-sun 00:00-24:00 Europe/Berlin\"\npeople = [\"carol@example.com\", \"dave@example.com\"]\nturns_from = \"2026-11-23\"         # a Monday; they take turns, a week each\n", ""),
        ("principals = [\"oncall:security\"]", "principals = [\"group:security-officers\"]"),
        ("principals = [\"manager\"]", "principals = [\"group:security-officers\"]"),
    ])
    .await;
    let (_daemon, api) = house.daemon();
    let world = house.okta.world();
    world.delete_user(&house.dave);
    world.join(&house.officers, &house.ana);
    world.leave(&house.officers, &house.bob);
    let ask = [
        "request",
        "okta/super-admins",
        "--reason",
        "the directory is broken",
    ];
    let said = house.refused(&api, "ana@example.com", &ask);
    assert!(
        said.contains("nobody_eligible") && said.contains("nobody may who is not you"),
        "{said}"
    );
    world.join(&house.officers, &house.bob);
    until("what was asked a moment ago is asked again", async || {
        house.ran(&api, "ana@example.com", &ask).status.success()
    })
    .await;
}

/// S8: what somebody else put into the group is found by the first look, and listed.
#[tokio::test(flavor = "multi_thread")]
async fn s8_a_member_by_other_hands_is_listed_and_left_alone() {
    let house = House::new(&[]).await;
    let world = house.okta.world();
    world.join(&house.admins, &house.bob);
    let (_daemon, api) = house.daemon();
    let mut found = Value::Null;
    until("it is found", async || {
        found = house.jit(&api, "bob@example.com", &["drift"]);
        !found["unexplained"].as_array().unwrap().is_empty()
    })
    .await;
    let drift = &found["unexplained"][0];
    assert_eq!(drift["provider"], "okta");
    assert_eq!(drift["subject"], house.bob.as_str());
    assert_eq!(drift["resource"], house.admins.as_str());
    assert!(
        world.is_member(&house.admins, &house.bob),
        "it is not ours to take"
    );
    let said = house.refused(&api, "ana@example.com", &["drift"]);
    assert!(said.contains("not_allowed"), "{said}");
}

/// F5: the verbs of the policy ask Okta, and need no server.
#[tokio::test(flavor = "multi_thread")]
async fn f5_the_policy_is_explained_and_looked_over_by_what_okta_says() {
    let house = House::new(&[]).await;
    let who = ["approvers", "okta/super-admins", "--for", "ana@example.com"];
    let at = [
        "--at",
        "2026-11-29T02:00:00Z",
        "--why-not",
        "carol@example.com",
    ];
    let (code, said) = house.policy(&[&who[..], &at[..]].concat());
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("  bob@example.com\n  dave@example.com\n"),
        "{said}"
    );
    assert!(
        said.contains("after 10m also oncall:security\nafter 20m also manager\n"),
        "{said}"
    );
    assert!(
        said.contains("carol@example.com may not approve it"),
        "{said}"
    );
    // A Sunday; carol has that week.
    let (_, said) = house.policy(&[&who[..], &at[..2], &["--waited", "25m"]].concat());
    assert!(said.contains("  carol@example.com\n"), "{said}");
    let (code, said) = house.policy(&["lint"]);
    assert_eq!(
        (code, said.as_str()),
        (Some(0), "nothing is wrong with what the policy comes to\n")
    );
    let world = house.okta.world();
    let officers = world.members(&house.officers);
    officers
        .iter()
        .for_each(|user| world.leave(&house.officers, user));
    let (code, said) = house.policy(&["lint"]);
    assert_eq!(code, Some(1));
    assert!(
        said.contains("nobody is in the group security-officers"),
        "{said}"
    );
    assert!(
        said.contains("nobody may revoke okta/super-admins"),
        "{said}"
    );
}
