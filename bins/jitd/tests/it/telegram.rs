//! Requests decided in a simulated chat, with processes: a daemon that Telegram calls, and one that
//! asks it.

use std::process::Command;

use jit_runtime::config::TEMPLATE;
use serde_json::{Value, json};
use telegram_sim::{Answer, Message, Sim, TOKEN};
use tempfile::TempDir;

use crate::process::{Process, fetch, jitd, program, ran, read, text, until};

const CHAT: i64 = -1_001_234_567_890;
const ANA: i64 = 111;
const BOB: i64 = 222;
/// Is in the chat, and in no configuration.
const SID: i64 = 333;
const SECRET: &str = "a_secret-of-this-test";
const PEOPLE: [(i64, &str); 3] = [(ANA, "Ana"), (BOB, "Bob"), (SID, "Sid")];

/// How clicks get to the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum By {
    Webhook,
    Poll,
}

/// The commented configuration, with a chat and a file of groups.
pub(crate) struct House {
    folder: TempDir,
    sim: Sim,
    by: By,
}

impl House {
    pub(crate) fn new(by: By, window: &str) -> Self {
        let sim = Sim::start().unwrap();
        for (person, name) in PEOPLE {
            sim.world().add_person(person, name);
        }
        sim.world().add_group(CHAT, "Access", &[ANA, BOB, SID]);
        let transport = match by {
            By::Webhook => "webhook",
            By::Poll => "poll",
        };
        let named = |config: &str, name: &str, user: i64| {
            let alias = format!("aliases = [\"{name}\"]");
            assert!(config.contains(&alias));
            config.replace(&alias, &format!("{alias}\ntelegram = {user}"))
        };
        let config = TEMPLATE
            .replace(
                "decision_window = \"4h\"",
                &format!("decision_window = \"{window}\""),
            )
            .replace("127.0.0.1:8080", "127.0.0.1:0")
            .replace("127.0.0.1:9090", "127.0.0.1:0");
        let config = named(&named(&config, "ana", ANA), "bob", BOB);
        let config = format!(
            "{config}\n[telegram]\nchat_id = {CHAT}\ntransport = \"{transport}\"\napi = \"{}\"\n",
            sim.url()
        );
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("jit.toml"), config).unwrap();
        std::fs::write(
            folder.path().join("groups"),
            "admins: root-oncall\nreaders:\n",
        )
        .unwrap();
        Self { folder, sim, by }
    }

    pub(crate) fn command(&self, mut command: Command) -> Command {
        command
            .env("JIT_CONFIG", self.folder.path().join("jit.toml"))
            .env("JIT_LOG_FORMAT", "json")
            .env("JIT_TELEGRAM_BOT_TOKEN", TOKEN);
        if self.by == By::Webhook {
            command.env("JIT_TELEGRAM_WEBHOOK_SECRET", SECRET);
        }
        command
    }

    /// A daemon that serves, where its API is, and where it is watched.
    fn daemon(&self) -> (Process, String, String) {
        let mut process = Process::start(self.command(jitd(&["run"])));
        let line: Value = serde_json::from_str(&process.hears("serving")).unwrap();
        let address = |name: &str| format!("http://{}", line["fields"][name].as_str().unwrap());
        let api = address("api");
        if self.by == By::Webhook {
            let url = format!("{api}/telegram/webhook");
            self.sim.world().set_webhook(&url, Some(SECRET));
        }
        (process, api, address("observe"))
    }

    /// Runs a verb of `jit` as this person.
    fn jit(&self, server: &str, person: &str, arguments: &[&str]) -> Value {
        let token = self.folder.path().join(person);
        if !token.exists() {
            let token = token.display().to_string();
            let new = ["token", "new", "--principal", person, "--out", &token];
            let made = ran(self.command(program("jit", &new)));
            assert!(made.status.success(), "{}", text(&made.stderr));
        }
        let mut command = self.command(program("jit", &["--json", "--server", server]));
        command.arg("--token-file").arg(token).args(arguments);
        let said = ran(command);
        assert!(
            said.status.success(),
            "{arguments:?}: {}",
            text(&said.stderr)
        );
        serde_json::from_slice(&said.stdout).unwrap()
    }

    /// Ana asks at a terminal; the id of her request.
    fn asked(&self, api: &str) -> String {
        let ask = [
            "request",
            "groupfile/admins",
            "--reason",
            "the wiki is down",
            "--ttl",
            "10m",
        ];
        let asked = self.jit(api, "ana@example.com", &ask);
        asked["id"].as_str().unwrap().to_owned()
    }

    fn status(&self, api: &str, id: &str) -> String {
        let shown = self.jit(api, "ana@example.com", &["show", id]);
        shown["status"].as_str().unwrap().to_owned()
    }

    /// The one card, once it says this.
    async fn card(&self, words: &str) -> Message {
        let mut found = None;
        until(&format!("a card says {words}"), async || {
            let mut all = self.sim.world().messages(CHAT);
            all.retain(|it| it.reply_to.is_none());
            assert!(all.len() < 2, "{all:#?}");
            found = all.pop().filter(|it| it.text.contains(words));
            found.is_some()
        })
        .await;
        found.unwrap()
    }

    /// Waits until it is written down where the card is: whoever dies before sends it again.
    async fn card_is_written_down(&self) {
        let store = rusqlite::Connection::open(self.folder.path().join("jit.db")).unwrap();
        let known =
            "SELECT count(*) FROM delivery WHERE notifier = 'telegram' AND message IS NOT NULL";
        until("the card is written down", async || {
            let known: i64 = store.query_row(known, [], |row| row.get(0)).unwrap();
            known == 1
        })
        .await;
    }

    /// Somebody presses this; what they are told.
    async fn pressed(&self, person: i64, button: &str) -> Answer {
        let world = self.sim.world();
        let card = self.card("Pending").await;
        let click = world.press(person, CHAT, card.id, button).unwrap();
        until("an answer", async || world.answer(&click).is_some()).await;
        world.answer(&click).unwrap()
    }

    fn is_ana_admin(&self) -> bool {
        let groups = read(&self.folder.path().join("groups"));
        groups
            .lines()
            .any(|it| it.starts_with("admins:") && it.contains(" ana"))
    }
}

async fn a_card_is_decided_by_whoever_may_and_by_nobody_else(by: By) {
    let house = House::new(by, "4h");
    let (mut daemon, api, _) = house.daemon();
    let id = house.asked(&api);
    let card = house.card("Pending").await;
    for words in [
        "ana@example.com",
        "groupfile/admins",
        "Administer the wiki",
        "10 min",
        &id,
    ] {
        assert!(
            card.text.contains(words),
            "{words:?} is not in {}",
            card.text
        );
    }
    let told = house.pressed(SID, "Approve").await;
    assert!(told.alert && told.text.contains("nobody here"), "{told:?}");
    let told = house.pressed(ANA, "Approve").await;
    assert!(
        told.alert && told.text.contains("somebody else must"),
        "{told:?}"
    );
    assert_eq!(house.status(&api, &id), "pending");
    assert!(!house.is_ana_admin());
    let told = house.pressed(BOB, "Approve").await;
    assert_eq!((told.text.as_str(), told.alert), ("Approved.", false));
    let active = house.card("active until").await;
    assert_eq!(active.id, card.id, "it is the same message");
    assert!(
        active
            .text
            .contains("Approved by bob@example.com for 10 min"),
        "{}",
        active.text
    );
    assert!(active.buttons.is_empty());
    assert!(house.is_ana_admin());
    house.jit(&api, "ana@example.com", &["end", &id]);
    house.card("Ended: returned early").await;
    assert!(!house.is_ana_admin());
    daemon.signal("TERM");
    assert_eq!(daemon.ends(), Some(0), "{:#?}", daemon.heard);
    let heard = daemon.heard.join("\n");
    for secret in [TOKEN, SECRET] {
        assert!(!heard.contains(secret), "{heard}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn by_webhook_a_card_is_decided_by_whoever_may_and_by_nobody_else() {
    a_card_is_decided_by_whoever_may_and_by_nobody_else(By::Webhook).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn by_poll_a_card_is_decided_by_whoever_may_and_by_nobody_else() {
    a_card_is_decided_by_whoever_may_and_by_nobody_else(By::Poll).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_button_denies_and_what_nobody_answers_lapses() {
    let house = House::new(By::Poll, "4s");
    let (_daemon, api, observe) = house.daemon();
    until("Telegram is reached", async || {
        let (status, said) = fetch("GET", &format!("{observe}/ready"), "");
        assert_eq!(status, 200, "{said}");
        said == r#"{"status":"ready","telegram":"connected"}"#
    })
    .await;
    let id = house.asked(&api);
    assert_eq!(house.pressed(BOB, "Deny").await.text, "Denied.");
    let card = house.card("Denied by bob@example.com").await;
    assert!(card.buttons.is_empty());
    assert_eq!(house.status(&api, &id), "denied");
    house.sim.world().delete(CHAT, card.id);
    let id = house.asked(&api);
    house.card("Pending").await;
    let card = house.card("Nobody answered in time").await;
    assert!(card.buttons.is_empty());
    assert_eq!(house.status(&api, &id), "lapsed");
    assert!(!house.is_ana_admin());
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_whoever_is_not_telegram_is_turned_away() {
    let house = House::new(By::Webhook, "4h");
    let (_daemon, api, _) = house.daemon();
    let id = house.asked(&api);
    let card = house.card("Pending").await;
    let data = &card.button("Approve").unwrap().data;
    let update = json!({"update_id": 1, "callback_query": {
        "id": "1", "from": {"id": BOB, "is_bot": false}, "data": data,
        "message": {"message_id": card.id, "chat": {"id": CHAT}},
    }});
    let (status, _) = fetch(
        "POST",
        &format!("{api}/telegram/webhook"),
        &update.to_string(),
    );
    assert_eq!(status, 401);
    assert_eq!(house.status(&api, &id), "pending");
    assert_eq!(house.pressed(BOB, "Approve").await.text, "Approved.");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_that_is_killed_leaves_a_card_that_the_next_one_serves() {
    let house = House::new(By::Poll, "4h");
    let (mut daemon, api, _) = house.daemon();
    let id = house.asked(&api);
    let card = house.card("Pending").await;
    house.card_is_written_down().await;
    daemon.kill();
    // Bob presses while nobody is there.
    let world = house.sim.world();
    let click = world.press(BOB, CHAT, card.id, "Approve").unwrap();
    let (_daemon, api, _) = house.daemon();
    until("an answer", async || world.answer(&click).is_some()).await;
    assert_eq!(world.answer(&click).unwrap().text, "Approved.");
    house.card("active until").await;
    assert_eq!(house.status(&api, &id), "active");
    assert!(house.is_ana_admin());
}
