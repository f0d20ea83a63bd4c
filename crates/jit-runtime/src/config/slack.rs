//! `[slack]`: what an operator says about the workspace, and the tokens that the environment holds.

use jit_core::Ttl;
use jit_core::catalog::Pattern;
use jit_core::policy::TierName;
use jit_slack::{ChannelId, Commands, EmailMatch, Names, Route, SLACK_API, Settings, Transport};
use jit_slack::{UserGroupId, UserId};
use secrecy::SecretString;
use serde::Deserialize;

use super::Slack;
use super::check::Check;
use super::document::Table;
use super::problems::{At, Spot};
use super::written::Written;

pub(super) const BOT_TOKEN: &str = "JIT_SLACK_BOT_TOKEN";
pub(super) const APP_TOKEN: &str = "JIT_SLACK_APP_TOKEN";
pub(super) const SIGNING_SECRET: &str = "JIT_SLACK_SIGNING_SECRET";
pub(super) const OLD_SIGNING_SECRET: &str = "JIT_SLACK_SIGNING_SECRET_OLD";

/// Longest warning, in characters.
const WARNING_LIMIT: usize = 500;

/// How Slack reaches us, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum TransportWord {
    Socket,
    Http,
}

/// Whether e-mail addresses say who somebody is, in the file's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EmailWord {
    Off,
    On,
}

/// A slash command: a slash and letters, digits, `-` or `_`.
#[derive(Debug, Clone)]
pub(super) struct CommandName(String);

impl std::str::FromStr for CommandName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let name = text.strip_prefix('/').unwrap_or_default();
        let plain =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=31).contains(&name.len()) && name.bytes().all(plain) {
            return Ok(Self(text.to_owned()));
        }
        Err("a command is a slash and 1 to 31 small letters, digits, - or _, such as /jit")
    }
}

/// Where Slack's Web API is.
#[derive(Debug, Clone)]
pub(super) struct ApiUrl(String);

impl std::str::FromStr for ApiUrl {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with("https://") || text.starts_with("http://") {
            return Ok(Self(text.trim_end_matches('/').to_owned()));
        }
        Err("an address begins with https://, or with http:// on a loopback address")
    }
}

pub(super) struct SlackTable {
    at: Spot,
    transport: Option<At<TransportWord>>,
    api: Option<At<ApiUrl>>,
    email_match: Option<At<EmailWord>>,
    reactions: Vec<At<TierName>>,
    remind_after: Option<Ttl>,
    warn_before: Option<Ttl>,
    routes: Vec<RouteTable>,
    commands: Option<CommandTable>,
}

struct RouteTable {
    entitlements: Option<At<Pattern>>,
    channel: Option<At<ChannelId>>,
    remind: Option<At<UserGroupId>>,
    warning: Option<At<String>>,
}

struct CommandTable {
    jit: Option<At<CommandName>>,
    request_admin: Option<At<CommandName>>,
    admin: Option<At<jit_core::catalog::EntitlementId>>,
    prod_access: Option<At<CommandName>>,
    prod: Option<At<jit_core::catalog::EntitlementId>>,
}

impl SlackTable {
    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            at: table.at(),
            transport: table.choice("transport"),
            api: table.parsed("api"),
            email_match: table.choice("email_match"),
            reactions: table.parsed_list("reactions_in"),
            remind_after: table.parsed_or("remind_after", "10m"),
            warn_before: table.parsed_or("warn_before", "10m"),
            routes: table.each("route", "[[slack.route]]", RouteTable::read),
            commands: table.within("commands", "[slack.commands]", CommandTable::read),
        }
    }
}

impl RouteTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        table.require("entitlements", r#"entitlements = "aws/prod-*""#);
        table.require("channel", r#"channel = "C012AB3CD""#);
        Self {
            entitlements: table.parsed("entitlements"),
            channel: table.parsed("channel"),
            remind: table.parsed("remind"),
            warning: table.line("warning", WARNING_LIMIT),
        }
    }
}

impl CommandTable {
    fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            jit: table.parsed("jit"),
            request_admin: table.parsed("request_admin"),
            admin: table.parsed("request_admin_for"),
            prod_access: table.parsed("prod_access"),
            prod: table.parsed("prod_access_for"),
        }
    }
}

impl Check<'_, '_> {
    /// The workspace, where the file has one.
    pub(super) fn slack(&mut self, written: &Written) -> Option<Slack> {
        let mut secret = |name| self.environment.secret(name, self.folder, self.problems);
        let (bot, app) = (secret(BOT_TOKEN), secret(APP_TOKEN));
        let signing: Vec<SecretString> = [SIGNING_SECRET, OLD_SIGNING_SECRET]
            .into_iter()
            .filter_map(&mut secret)
            .collect();
        let table = written.slack.as_ref()?;
        let transport = table
            .transport
            .as_ref()
            .map_or(TransportWord::Socket, |word| word.value);
        let transport = match transport {
            TransportWord::Socket => {
                let app_token =
                    self.needed(table.at, app, APP_TOKEN, "xapp-…, with connections:write");
                app_token.map(|app_token| Transport::Socket { app_token })
            }
            TransportWord::Http => {
                let first = signing.first().cloned();
                let found =
                    self.needed(table.at, first, SIGNING_SECRET, "the app's signing secret");
                found.map(|_| Transport::Http {
                    signing_secrets: signing,
                })
            }
        };
        let bot_token = self.needed(table.at, bot, BOT_TOKEN, "xoxb-…");
        let settings = self.slack_settings(written, table)?;
        Some(Slack {
            settings,
            api: table
                .api
                .as_ref()
                .map_or(SLACK_API, |api| api.value.0.as_str())
                .to_owned(),
            bot_token: bot_token?,
            transport: transport?,
            names: names(written),
        })
    }

    fn needed(
        &mut self,
        at: Spot,
        secret: Option<SecretString>,
        name: &'static str,
        what: &str,
    ) -> Option<SecretString> {
        if secret.is_none() {
            let instead = format!("set {name} to {what}, or {name}_FILE to the file that holds it");
            self.problems
                .add(at, format!("[slack] needs {name}"), instead);
        }
        secret
    }

    fn slack_settings(&mut self, written: &Written, table: &SlackTable) -> Option<Settings> {
        let tiers: Vec<&TierName> = written
            .tiers
            .iter()
            .filter_map(|tier| tier.name.as_ref().map(|name| &name.value))
            .collect();
        for tier in &table.reactions {
            if !tiers.contains(&&tier.value) {
                self.unknown("tier", tier.value.as_str(), tier.at, &tiers);
            }
        }
        let families = written.patterns();
        let ids: Vec<_> = written
            .entitlements
            .iter()
            .filter_map(|entry| entry.id.as_ref().map(|id| &id.value))
            .collect();
        let commands = table.commands.as_ref();
        let named = commands
            .into_iter()
            .flat_map(|it| [&it.admin, &it.prod])
            .flatten();
        for id in named.collect::<Vec<_>>() {
            let of_family = families.iter().any(|it| it.matches(&id.value));
            if !of_family && !ids.contains(&&id.value) {
                self.unknown("entitlement", id.value.as_str(), id.at, &ids);
            }
        }
        for route in &table.routes {
            let Some(pattern) = &route.entitlements else {
                continue;
            };
            let of_family = families.iter().any(|it| pattern.value.overlaps(it));
            if !of_family && !ids.iter().any(|id| pattern.value.matches(id)) {
                let what = format!("no entitlement fits {}", pattern.value);
                let instead = "write a pattern that fits one, such as \"*\", or remove the route";
                self.problems.add(pattern.at, what, instead);
            }
        }
        Some(Settings {
            routes: table.routes.iter().filter_map(route).collect(),
            commands: commands.map_or_else(Commands::default, command_names),
            email_match: match table.email_match.as_ref().map(|word| word.value) {
                Some(EmailWord::On) => EmailMatch::On,
                Some(EmailWord::Off) | None => EmailMatch::Off,
            },
            reactions: table
                .reactions
                .iter()
                .map(|tier| tier.value.clone())
                .collect(),
            remind_after: table.remind_after?,
            warn_before: table.warn_before?,
        })
    }
}

fn route(table: &RouteTable) -> Option<Route> {
    Some(Route {
        entitlements: table.entitlements.as_ref()?.value.clone(),
        channel: table.channel.as_ref()?.value.clone(),
        remind: table.remind.as_ref().map(|group| group.value.clone()),
        warning: table.warning.as_ref().map(|text| text.value.clone()),
    })
}

fn command_names(table: &CommandTable) -> Commands {
    let name = |written: &Option<At<CommandName>>, default: String| {
        written
            .as_ref()
            .map_or(default, |name| name.value.0.clone())
    };
    let default = Commands::default();
    let entitlement = |written: &Option<At<jit_core::catalog::EntitlementId>>| {
        written.as_ref().map(|id| id.value.to_string())
    };
    Commands {
        jit: name(&table.jit, default.jit),
        request_admin: name(&table.request_admin, default.request_admin),
        admin_entitlement: entitlement(&table.admin),
        prod_access: name(&table.prod_access, default.prod_access),
        prod_entitlement: entitlement(&table.prod),
    }
}

/// Which Slack user each person is, as the file says it.
fn names(written: &Written) -> Names {
    let pairs = written.people.iter().filter_map(|person| {
        let user: &UserId = &person.slack.as_ref()?.value;
        Some((person.id.as_ref()?.value.clone(), user.clone()))
    });
    pairs.collect()
}
