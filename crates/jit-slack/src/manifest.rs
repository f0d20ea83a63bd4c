//! The app's manifest, as Slack takes it where an app is made: the commands, the scopes and the
//! events that this adapter uses, and no others.

use serde_json::{Value, json};

use crate::commands::Commands;
use crate::surface::action;

/// How Slack is to reach this service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Through Socket Mode.
    Socket,
    /// Through calls below this public address.
    Http(PublicUrl),
}

/// An address that Slack can call: `https://jit.example.com`, with a path before our routes if
/// there is one, and without a slash at its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl(String);

impl std::str::FromStr for PublicUrl {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = "write the address that Slack calls, such as https://jit.example.com";
        let url = text.trim_end_matches('/');
        let rest = url.strip_prefix("https://").ok_or(rule)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".-_~:/".contains(&byte);
        let host = rest.split('/').next().unwrap_or_default();
        if host.is_empty() || host.starts_with(':') || url.len() > 200 || !rest.bytes().all(plain) {
            return Err(rule);
        }
        Ok(Self(url.to_owned()))
    }
}

/// What the app may do, and which of our calls or events needs it.
pub(crate) const SCOPES: [(&str, &str); 8] = [
    ("commands", "to hear the slash commands and the shortcut"),
    ("chat:write", "to post cards and answers"),
    ("im:write", "to write to one person"),
    (
        "users:read",
        "to know guests, bots and deactivated accounts",
    ),
    ("usergroups:read", "to know who is in a user group"),
    (
        "channels:read",
        "to check that the bot is in a public channel",
    ),
    (
        "groups:read",
        "to check that the bot is in a private channel",
    ),
    ("reactions:read", "to hear of reactions"),
];
/// Needed only where e-mail addresses say who somebody is.
pub(crate) const EMAIL_SCOPE: (&str, &str) = ("users:read.email", "to read e-mail addresses");

/// The events that are read; see [`crate::input`].
const EVENTS: [&str; 7] = [
    "app_home_opened",
    "app_uninstalled",
    "reaction_added",
    "subteam_members_changed",
    "subteam_updated",
    "tokens_revoked",
    "user_change",
];

/// The manifest.
#[must_use]
pub fn manifest(commands: &Commands, email_match: crate::EmailMatch, reach: &Reach) -> Value {
    let at = |route: &str| match reach {
        Reach::Socket => None,
        Reach::Http(PublicUrl(base)) => Some(format!("{base}{route}")),
    };
    let command = |name: &str, description: &str, hint: &str| {
        // What is typed is taken as it was typed: a reason with a name in it stays readable.
        let mut command = json!({
            "command": name, "description": description, "usage_hint": hint,
            "should_escape": false,
        });
        if let Some(url) = at("/slack/command") {
            command["url"] = url.into();
        }
        command
    };
    let mut interactivity = json!({"is_enabled": true});
    let mut events = json!({"bot_events": EVENTS});
    if let (Some(clicks), Some(calls)) = (at("/slack/interactivity"), at("/slack/events")) {
        // Where lists to search in are asked for: the same place as clicks.
        interactivity["message_menu_options_url"] = clicks.clone().into();
        interactivity["request_url"] = clicks.into();
        events["request_url"] = calls.into();
    }
    let email = (email_match == crate::EmailMatch::On).then_some(EMAIL_SCOPE);
    let scopes: Vec<&str> = SCOPES
        .into_iter()
        .chain(email)
        .map(|(name, _)| name)
        .collect();
    json!({
        "display_information": {
            "name": "JIT Access",
            "description": "Ask for privileged access, decide on it, and see it end",
            "background_color": "#1d2433",
        },
        "features": {
            "app_home": {
                "home_tab_enabled": true,
                "messages_tab_enabled": true,
                "messages_tab_read_only_enabled": false,
            },
            "bot_user": {"display_name": "jit", "always_online": true},
            "shortcuts": [{
                "name": "Request access", "type": "global", "callback_id": action::ASK,
                "description": "Ask for temporary privileged access",
            }],
            "slash_commands": [
                command(
                    &commands.jit,
                    "Ask for temporary access, list it or return it",
                    "[request | list | status <id> | done [id] | help]",
                ),
                command(
                    &commands.request_admin,
                    "Ask for temporary administration",
                    "[ana@example.com]",
                ),
                command(&commands.prod_access, "Ask for production access", "\"reason\""),
            ],
        },
        "oauth_config": {"scopes": {"bot": scopes}},
        "settings": {
            "event_subscriptions": events,
            "interactivity": interactivity,
            "org_deploy_enabled": false,
            "socket_mode_enabled": *reach == Reach::Socket,
            "token_rotation_enabled": false,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::EmailMatch;

    fn http() -> Reach {
        Reach::Http("https://jit.example.com/".parse().unwrap())
    }

    #[test]
    fn the_manifest_for_sockets_has_no_address_and_that_for_http_has_all() {
        let commands = Commands::default();
        let socket = manifest(&commands, EmailMatch::Off, &Reach::Socket);
        assert!(!socket.to_string().contains("https://"), "{socket}");
        assert_eq!(socket["settings"]["socket_mode_enabled"], true);
        let http = manifest(&commands, EmailMatch::Off, &http());
        assert_eq!(http["settings"]["socket_mode_enabled"], false);
        for (place, route) in [
            ("/settings/event_subscriptions/request_url", "/slack/events"),
            (
                "/settings/interactivity/request_url",
                "/slack/interactivity",
            ),
            (
                "/settings/interactivity/message_menu_options_url",
                "/slack/interactivity",
            ),
            ("/features/slash_commands/0/url", "/slack/command"),
            ("/features/slash_commands/2/url", "/slack/command"),
        ] {
            let url = http.pointer(place).and_then(Value::as_str).unwrap();
            assert_eq!(url, format!("https://jit.example.com{route}"), "{place}");
        }
    }

    #[test]
    fn it_names_the_commands_of_the_operator_and_stays_within_slacks_limits() {
        let commands = Commands {
            jit: "/access".to_owned(),
            ..Commands::default()
        };
        let made = manifest(&commands, EmailMatch::On, &Reach::Socket);
        let listed = made["features"]["slash_commands"].as_array().unwrap();
        let names: Vec<&str> = listed
            .iter()
            .map(|it| it["command"].as_str().unwrap())
            .collect();
        assert_eq!(names, ["/access", "/request-admin", "/prod-access"]);
        let scopes = made["oauth_config"]["scopes"]["bot"].as_array().unwrap();
        assert!(scopes.contains(&"users:read.email".into()));
        let length = |text: &Value| text.as_str().unwrap().chars().count();
        let about = &made["display_information"];
        assert!(length(&about["name"]) <= 35 && length(&about["description"]) <= 140);
        for command in listed {
            assert!(length(&command["command"]) <= 32 && length(&command["description"]) <= 2_000);
            assert!(length(&command["usage_hint"]) <= 1_000);
        }
        let shortcut = &made["features"]["shortcuts"][0];
        assert!(length(&shortcut["name"]) <= 24 && length(&shortcut["description"]) <= 150);
    }

    /// What is subscribed to is read, and what is read is subscribed to.
    #[test]
    fn every_event_of_the_manifest_is_one_that_is_read() {
        let source = include_str!("input.rs");
        for event in EVENTS {
            assert!(
                source.contains(&format!("\"{event}\"")),
                "{event} is not read"
            );
        }
    }

    #[test]
    fn only_an_address_that_slack_can_call_is_taken() {
        for good in [
            "https://jit.example.com",
            "https://a.example:8443/jit/",
            "https://10.0.0.1",
        ] {
            assert!(good.parse::<PublicUrl>().is_ok(), "{good}");
        }
        for bad in [
            "",
            "https://",
            "https://:1",
            "http://jit.example.com",
            "jit.example.com",
            "https://a?b",
            "https://a@b",
            "https://a b",
            "https://a\"b",
        ] {
            assert!(bad.parse::<PublicUrl>().is_err(), "{bad}");
        }
    }
}
