//! `slack check` and `slack manifest` against a workspace: each thing that can be wrong with it is
//! found, comes with what to do, and shows no secret.

use std::collections::BTreeSet;

use jit_slack::{
    CheckParts, Commands, EmailMatch, Finding, Names, Reach, Settings, Transport, UserGroupId,
    check, manifest,
};
use secrecy::SecretString;
use slack_sim::{Channel, Disconnect, Fault, SlackSim, Times, User, Workspace};

use crate::world::settings;

/// What somebody may have written.
struct Setup {
    bot_token: Option<&'static str>,
    app_token: Option<&'static str>,
    settings: Settings,
    people: Vec<(&'static str, &'static str)>,
    groups: Vec<&'static str>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            bot_token: None,
            app_token: None,
            settings: settings(),
            people: vec![("ana@example.com", "U0ANA"), ("bob@example.com", "U0BOB")],
            groups: vec!["S0OFFICERS"],
        }
    }
}

async fn checked(slack: &SlackSim, setup: &Setup) -> Vec<Finding> {
    let secret = |text: &str| SecretString::from(text.to_owned());
    let bot_token = secret(setup.bot_token.unwrap_or(slack.bot_token()));
    let app_token = secret(setup.app_token.unwrap_or(slack.app_token()));
    let people = setup.people.iter();
    let names: Names = people
        .map(|(id, user)| (id.parse().unwrap(), user.parse().unwrap()))
        .collect();
    let groups: BTreeSet<UserGroupId> = setup.groups.iter().map(|it| it.parse().unwrap()).collect();
    let (api, transport) = (slack.api_url(), Transport::Socket { app_token });
    let parts = CheckParts {
        settings: &setup.settings,
        api: &api,
        bot_token: &bot_token,
        transport: &transport,
        names: &names,
        groups,
    };
    let found = check(&parts).await.unwrap();
    let told = format!("{found:?} {}", serde_json::to_string(&found).unwrap());
    for secret in [
        slack.bot_token(),
        slack.app_token(),
        slack.signing_secret(),
        "another-life",
    ] {
        assert!(!told.contains(secret), "{told}");
    }
    for finding in &found {
        assert_eq!(finding.ok, finding.fix.is_none(), "{finding:?}");
    }
    found
}

/// The only thing that is wrong.
fn only_wrong(found: &[Finding]) -> (&str, &str) {
    let wrong: Vec<&Finding> = found.iter().filter(|it| !it.ok).collect();
    let [one] = wrong.as_slice() else {
        panic!("{found:#?}");
    };
    (&one.what, one.fix.as_deref().unwrap())
}

#[tokio::test]
async fn a_workspace_as_it_should_be_has_nothing_wrong_and_is_left_as_it_was() {
    let slack = SlackSim::start(Workspace::example()).await;
    let mut setup = Setup::default();
    setup.settings.email_match = EmailMatch::On;
    let found = checked(&slack, &setup).await;
    assert!(found.iter().all(|it| it.ok), "{found:#?}");
    let said: Vec<&str> = found.iter().map(|it| it.what.as_str()).collect();
    assert_eq!(
        said,
        [
            "bot token: bot U0JITBOT of workspace example (T0EXAMPLE1)",
            "app-level token: Socket Mode can be opened",
            "scopes: 8 asked for, none is missing",
            "channel C0SEC #security: the bot is a member",
            "ana@example.com, Slack user U0ANA: an active member",
            "bob@example.com, Slack user U0BOB: an active member",
            "user group S0OFFICERS @officers: it exists",
        ]
    );
    assert_eq!(slack.violations(), Vec::<String>::new());
    for channel in ["C0SEC", "C0RANDOM"] {
        assert!(slack.user("U0ANA").messages(channel).await.is_empty());
    }
}

#[tokio::test]
async fn every_scope_that_is_missing_is_named() {
    for scope in [
        "chat:write",
        "im:write",
        "users:read",
        "users:read.email",
        "usergroups:read",
        "channels:read",
        "groups:read",
        "reactions:read",
    ] {
        let slack = SlackSim::start(Workspace::example().without_scope(scope)).await;
        let mut setup = Setup::default();
        setup.settings.email_match = EmailMatch::On;
        let found = checked(&slack, &setup).await;
        let first = found.iter().find(|it| !it.ok).unwrap();
        assert!(
            first
                .what
                .starts_with(&format!("scopes: missing {scope} (")),
            "{scope}: {found:#?}"
        );
        let fix = first.fix.as_deref().unwrap();
        assert!(fix.contains("install the app again"), "{fix}");
        // The manifest would have asked for it.
        let made = manifest(&Commands::default(), EmailMatch::On, &Reach::Socket);
        let scopes = made["oauth_config"]["scopes"]["bot"].as_array().unwrap();
        assert!(scopes.contains(&scope.into()), "{scope}");
    }
    // E-mail addresses are nobody's business where they say nothing.
    let slack = SlackSim::start(Workspace::example().without_scope("users:read.email")).await;
    let found = checked(&slack, &Setup::default()).await;
    assert!(found.iter().all(|it| it.ok), "{found:#?}");
    assert!(slack.calls("users.lookupByEmail").is_empty());
}

#[tokio::test]
async fn tokens_that_are_none_are_found_and_nothing_else_is_asked() {
    let slack = SlackSim::start(Workspace::example()).await;
    let setup = Setup {
        bot_token: Some("xoxb-of-another-life"),
        ..Setup::default()
    };
    let found = checked(&slack, &setup).await;
    let (what, fix) = only_wrong(&found);
    assert_eq!(what, "bot token: Slack says invalid_auth");
    assert!(fix.contains("JIT_SLACK_BOT_TOKEN"), "{fix}");
    assert_eq!(slack.calls("*").len(), 2);
    let setup = Setup {
        app_token: Some("xapp-of-another-life"),
        ..Setup::default()
    };
    let found = checked(&slack, &setup).await;
    let (what, fix) = only_wrong(&found);
    assert_eq!(what, "app-level token: Slack says invalid_auth");
    assert!(fix.contains("connections:write"), "{fix}");
    slack.disconnect(Disconnect::LinkDisabled);
}

#[tokio::test]
async fn channels_without_the_bot_archived_private_or_of_nowhere_are_found() {
    let hidden = Channel::private("C0HIDDEN", "hidden").members(&["U0ANA"]);
    let shown = Channel::private("C0SHOWN", "shown").with_bot();
    let slack = SlackSim::start(Workspace::example().channel(hidden).channel(shown)).await;
    for (channel, says, mend) in [
        (
            "C0RANDOM",
            "#random: the bot is not a member",
            "/invite @jit",
        ),
        ("C0OLD", "#old: it is archived", "unarchive it"),
        ("C0HIDDEN", "private and without the bot", "/invite @jit"),
        ("C0NOWHERE", "it does not exist", "copy the channel id"),
    ] {
        let mut setup = Setup::default();
        setup.settings.routes[0].channel = channel.parse().unwrap();
        let found = checked(&slack, &setup).await;
        let (what, fix) = only_wrong(&found);
        assert!(what.contains(channel) && what.contains(says), "{what}");
        assert!(fix.contains(mend), "{fix}");
    }
    let mut setup = Setup::default();
    setup.settings.routes[0].channel = "C0SHOWN".parse().unwrap();
    let found = checked(&slack, &setup).await;
    assert!(found.iter().all(|it| it.ok), "{found:#?}");
}

#[tokio::test]
async fn people_who_are_nobody_in_slack_are_found() {
    let slack = SlackSim::start(Workspace::example()).await;
    for (user, says) in [
        ("U0GUEST", "a guest"),
        ("U0GONE", "deactivated"),
        ("U0FAR", "another workspace"),
        ("U0OTHERBOT", "not a human being"),
        ("U0NOBODY", "no such user"),
    ] {
        let setup = Setup {
            people: vec![("ana@example.com", "U0ANA"), ("gus@example.com", user)],
            ..Setup::default()
        };
        let found = checked(&slack, &setup).await;
        let (what, _) = only_wrong(&found);
        assert!(
            what.starts_with("gus@example.com") && what.contains(says),
            "{what}"
        );
    }
}

#[tokio::test]
async fn user_groups_that_are_not_there_or_empty_are_found() {
    let slack = SlackSim::start(Workspace::example().group("S0EMPTY", &[])).await;
    for (group, says) in [("S0GONE", "does not exist"), ("S0EMPTY", "nobody is in it")] {
        let setup = Setup {
            groups: vec![group],
            ..Setup::default()
        };
        let found = checked(&slack, &setup).await;
        let (what, _) = only_wrong(&found);
        assert!(what.contains(group) && what.contains(says), "{what}");
    }
    // Whom a reminder mentions counts as well.
    let mut setup = Setup::default();
    setup.settings.routes[0].remind = Some("S0GONE".parse().unwrap());
    let found = checked(&slack, &setup).await;
    assert!(only_wrong(&found).0.contains("S0GONE"));
}

#[tokio::test]
async fn a_pause_that_slack_wants_is_made_and_what_it_does_not_answer_is_said() {
    let person = |number: u32| User::member(&format!("U0P{number}"), "p", "p@example.com");
    let slack =
        SlackSim::start((0..3).fold(Workspace::example(), |it, n| it.user(person(n)))).await;
    let pause = Fault::RateLimited { retry_after_s: 1 };
    slack.faults().fail("users.info", pause, Times::N(2));
    let found = checked(&slack, &Setup::default()).await;
    assert!(found.iter().all(|it| it.ok), "{found:#?}");
    slack
        .faults()
        .fail("conversations.info", Fault::ServerError, Times::Always);
    let found = checked(&slack, &Setup::default()).await;
    let (what, fix) = only_wrong(&found);
    assert!(
        what.starts_with("channel C0SEC: Slack answered with"),
        "{what}"
    );
    assert!(fix.contains("reaches Slack"), "{fix}");
    slack.faults().clear();
    slack
        .faults()
        .fail("auth.test", Fault::NotJson, Times::Always);
    let found = checked(&slack, &Setup::default()).await;
    assert!(
        only_wrong(&found).0.starts_with("bot token: "),
        "{found:#?}"
    );
}
