//! Whose clocks are held against ours, by what a configuration names.

use super::*;

#[test]
fn k1_whatever_is_called_over_http_is_asked_what_time_it_is() {
    let asked = |text: &str, variables: &[(&str, &str)]| -> Vec<(String, String)> {
        let config = Folder::with(text).read(variables).unwrap();
        let sources = crate::dates::sources(&config).into_iter();
        sources.map(|(name, url)| (name, url.into())).collect()
    };
    let expected = |all: &[(&str, &str)]| -> Vec<(String, String)> {
        let all = all.iter().copied();
        all.map(|(name, url)| (name.into(), url.into())).collect()
    };
    // A group file and a file of SQLite tell no time.
    assert_eq!(asked(GOOD, &[]), []);
    let aws = include_str!("../../../../../docs/examples/aws.toml");
    assert_eq!(
        asked(aws, &SLACK_TOKENS),
        expected(&[
            ("aws", "https://sts.eu-central-1.amazonaws.com/"),
            ("the store", "https://dynamodb.eu-central-1.amazonaws.com/"),
            ("slack", "https://slack.com/"),
        ])
    );
    let ana = GOOD.replace("aliases = [\"ana\"]", "telegram = 123456789");
    let services = r#"[slack]
api = "http://127.0.0.1:8090/slack/api"
[[slack.route]]
entitlements = "groupfile/*"
channel = "C0JITREQS"
[telegram]
chat_id = -1001234567890
[pagerduty]
[[rota]]
name = "primary"
pagerduty = { schedule = "PI7DH85" }
"#;
    let chats = format!("{ana}{services}");
    let secrets = [
        SLACK_TOKENS[0],
        SLACK_TOKENS[1],
        ("JIT_TELEGRAM_BOT_TOKEN", "110201543:AAHdqTcvCH1vGWJx"),
        ("JIT_PAGERDUTY_TOKEN", "u+key"),
    ];
    assert_eq!(
        asked(&chats, &secrets),
        expected(&[
            ("slack", "http://127.0.0.1:8090/"),
            ("telegram", "https://api.telegram.org/"),
            ("pagerduty", "https://api.pagerduty.com/"),
        ])
    );
}
