//! What `[telegram]` promises.

use jit_core::ports::Directory;
use jit_telegram::Transport;

use super::*;

const TOKEN: (&str, &str) = ("JIT_TELEGRAM_BOT_TOKEN", "110201543:AAHdqTcvCH1vGWJx");
const SECRET: (&str, &str) = ("JIT_TELEGRAM_WEBHOOK_SECRET", "0123456789abcdef_-XY");

/// The small configuration with Ana in a chat.
fn with(table: &str) -> String {
    let text = GOOD.replace("aliases = [\"ana\"]", "telegram = 123456789");
    format!("{text}[telegram]\n{table}\n")
}

const GROUP: &str = "chat_id = -1001234567890";

/// The one problem, with these variables.
#[track_caller]
fn refused_with(text: &str, variables: &[(&str, &str)], expected: &[&str]) {
    let told = told(Folder::with(text).read(variables));
    assert_eq!(told.len(), 1, "{told:#?}");
    for part in expected {
        assert!(told[0].contains(part), "{part:?} is not in {:?}", told[0]);
    }
}

#[tokio::test]
async fn a_chat_and_a_token_are_enough_and_a_person_is_known_by_their_id() {
    let config = Folder::with(&with(GROUP)).read(&[TOKEN]).unwrap();
    let telegram = config.telegram.unwrap();
    assert_eq!(i64::from(telegram.chat), -1_001_234_567_890);
    assert!(matches!(telegram.transport, Transport::Poll));
    assert_eq!(telegram.api.to_string(), "https://api.telegram.org");
    assert_eq!(telegram.bot_token.expose_secret(), TOKEN.1);
    let ana = "telegram:123456789".parse().unwrap();
    let profile = config.people.profile(&ana).await.unwrap().unwrap();
    assert_eq!(profile.id.as_str(), "ana@example.com");
    assert!(read(GOOD).unwrap().telegram.is_none());
    assert!(config.slack.is_none());
    assert!(!format!("{telegram:?}").contains("AAHdqTcvCH1vGWJx"));
}

#[test]
fn a_webhook_needs_a_secret_that_telegram_takes() {
    let text = with(&format!("{GROUP}\ntransport = \"webhook\""));
    let config = Folder::with(&text).read(&[TOKEN, SECRET]).unwrap();
    let telegram = config.telegram.unwrap();
    assert!(matches!(telegram.transport, Transport::Webhook(_)));
    assert!(!format!("{telegram:?}").contains(SECRET.1));
    refused_with(
        &text,
        &[TOKEN],
        &["29: ", "JIT_TELEGRAM_WEBHOOK_SECRET", "_FILE"],
    );
    let old = ("JIT_TELEGRAM_WEBHOOK_SECRET_OLD", "the-one-before_0123");
    let both = Folder::with(&text).read(&[TOKEN, SECRET, old]).unwrap();
    let both = both.telegram.unwrap().transport;
    assert!(matches!(&both, Transport::Webhook(both) if both.len() == 2));
    // The one before by itself is none.
    let alone = ["29: ", "JIT_TELEGRAM_WEBHOOK_SECRET;"];
    refused_with(&text, &[TOKEN, old], &alone);
    let told = ["JIT_TELEGRAM_WEBHOOK_SECRET_OLD: ", "16 to 256"];
    refused_with(&text, &[TOKEN, SECRET, (old.0, "short")], &told);
    for bad in ["short", "with.a.dot.and.more", &"x".repeat(257)] {
        let variables = [TOKEN, (SECRET.0, bad)];
        let told = ["JIT_TELEGRAM_WEBHOOK_SECRET: ", "16 to 256"];
        refused_with(&text, &variables, &told);
    }
}

#[test]
fn whoever_calls_nobody_needs_no_token() {
    let text = with(&format!("{GROUP}\ntransport = \"webhook\""));
    let folder = Folder::with(&text);
    let none = Environment::default();
    let config = Config::read_before_tokens(&folder.path("jit.toml"), &none);
    assert!(config.unwrap().telegram.is_some());
}

#[test]
fn secrets_come_from_files_too() {
    let folder = Folder::with(&with(GROUP));
    folder.write("token", "110201543:AAHdqTcvCH1vGWJx\n");
    let config = folder
        .read(&[("JIT_TELEGRAM_BOT_TOKEN_FILE", "token")])
        .unwrap();
    assert_eq!(config.telegram.unwrap().bot_token.expose_secret(), TOKEN.1);
}

#[test]
fn what_is_wrong_is_told_with_its_line() {
    refused_with(&with(GROUP), &[], &["29: ", "JIT_TELEGRAM_BOT_TOKEN"]);
    for (table, told) in [
        ("transport = \"poll\"", &["29: ", "lacks chat_id"][..]),
        ("chat_id = \"-100\"", &["30: ", "without quotes"]),
        ("chat_id = 0", &["30: ", "Telegram chat id"]),
        (
            "chat_id = 9223372036854775807",
            &["30: ", "Telegram chat id"],
        ),
        ("chat_id = 1.5", &["30: ", "not a number"]),
    ] {
        refused_with(&with(table), &[TOKEN], told);
    }
    for (more, told) in [
        ("transport = \"socket\"", &["31: ", "poll"][..]),
        ("api = \"http://api.telegram.org\"", &["31: ", "https://"]),
        ("api = \"https://user@example.com\"", &["31: "]),
        ("chat = 1", &["31: ", "chat_id"]),
    ] {
        refused_with(&with(&format!("{GROUP}\n{more}")), &[TOKEN], told);
    }
    let loopback = with(&format!("{GROUP}\napi = \"http://127.0.0.1:8081\""));
    assert!(Folder::with(&loopback).read(&[TOKEN]).is_ok());
}

#[test]
fn a_telegram_id_is_a_number_and_leads_to_one_person() {
    let second = "[[person]]\nid = \"bob@example.com\"\ntelegram = 123456789\n";
    let text = with(GROUP).replace("[telegram]", &format!("{second}[telegram]"));
    refused_with(
        &text,
        &[TOKEN],
        &["31: ", "leads to ana@example.com already, on line 23"],
    );
    for bad in ["\"123\"", "0", "-5", "4503599627370496"] {
        let text = with(GROUP).replace("telegram = 123456789", &format!("telegram = {bad}"));
        let told = told(Folder::with(&text).read(&[TOKEN]));
        assert!(told[0].starts_with("23: "), "{told:#?}");
    }
}

#[test]
fn a_chat_in_which_nobody_could_decide_is_told() {
    let text = with(GROUP).replace("telegram = 123456789\n", "");
    refused_with(
        &text,
        &[TOKEN],
        &["28: ", "nobody could decide", "telegram = 123456789"],
    );
}
