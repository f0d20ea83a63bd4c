//! Whether a workspace is as the configuration says: the tokens, the scopes, the channels, the
//! people, the user groups. It asks and changes nothing; each answer comes with what to do.

use std::collections::BTreeSet;
use std::time::Duration;

use secrecy::SecretString;
use serde::Serialize;
use serde_json::{Value, json};

use crate::manifest::{EMAIL_SCOPE, SCOPES};
use crate::people::{ChannelId, Names, UserGroupId};
use crate::roster::standing;
use crate::settings::{EmailMatch, Settings};
use crate::surface::Stranger;
use crate::web::{Web, WebError};
use crate::{BadWeb, Transport, web};

/// A call that Slack wants later is made again, at most so often.
const TRIES: usize = 5;
/// The longest pause before that, and the one where Slack names none.
const PAUSE_MAX: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_secs(5);

/// What is held against the workspace.
#[derive(Debug)]
pub struct CheckParts<'a> {
    /// What the operator says.
    pub settings: &'a Settings,
    /// Where the Web API is.
    pub api: &'a str,
    /// `xoxb-…`.
    pub bot_token: &'a SecretString,
    /// How Slack reaches this service.
    pub transport: &'a Transport,
    /// Which user each active person is.
    pub names: &'a Names,
    /// The user groups that rules name.
    pub groups: BTreeSet<UserGroupId>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether it is as it should be.
    pub ok: bool,
    /// What was found, without secrets.
    pub what: String,
    /// What to do about it, where something is to be done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

fn fine(what: impl Into<String>) -> Finding {
    Finding {
        ok: true,
        what: what.into(),
        fix: None,
    }
}

fn wrong(what: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding {
        ok: false,
        what: what.into(),
        fix: Some(fix.into()),
    }
}

/// Looks at everything, in an order in which what comes first explains what comes later.
///
/// # Errors
/// Where the address of the Web API may not be called, or this machine has no certificate
/// authorities.
pub async fn check(parts: &CheckParts<'_>) -> Result<Vec<Finding>, BadWeb> {
    let client = web::client(parts.api)?;
    let bot = Checkup {
        web: Web::new(client.clone(), parts.bot_token, parts.api),
        settings: parts.settings,
    };
    let mut found = vec![];
    let user = bot.bot(&mut found).await;
    match parts.transport {
        Transport::Socket { app_token } => {
            let app = Web::new(client, app_token, parts.api);
            found.push(app_token_finding(&app).await);
        }
        Transport::Http { signing_secrets } => found.push(fine(format!(
            "signing secrets: {}; whether Slack signs with one shows at its first call",
            signing_secrets.len()
        ))),
    }
    // Without a bot every other answer would be the same.
    let Some((team, user)) = user else {
        return Ok(found);
    };
    bot.scopes(&user, &mut found).await;
    bot.channels(&mut found).await;
    bot.people(parts.names, &team, &mut found).await;
    bot.groups(&parts.groups, &mut found).await;
    Ok(found)
}

async fn app_token_finding(app: &Web) -> Finding {
    const FIX: &str = "make one with the scope connections:write under Basic Information, \
                       App-Level Tokens, and put it into JIT_SLACK_APP_TOKEN";
    let nothing = json!({});
    match patiently(|| app.post("apps.connections.open", &nothing)).await {
        Ok(_) => fine("app-level token: Socket Mode can be opened"),
        Err(error) => match error.code() {
            Some("link_disabled") => wrong(
                "app-level token: Socket Mode is switched off",
                "switch it on under Socket Mode in the settings of the app",
            ),
            Some(code) => wrong(format!("app-level token: Slack says {code}"), FIX),
            None => unanswered("app-level token", &error),
        },
    }
}

fn unanswered(what: &str, error: &WebError) -> Finding {
    wrong(
        format!("{what}: {error}"),
        "see that this machine reaches Slack, and check again",
    )
}

/// The same call again, where Slack wants a pause.
async fn patiently<F>(call: impl Fn() -> F) -> Result<Value, WebError>
where
    F: Future<Output = Result<Value, WebError>>,
{
    for _ in 1..TRIES {
        match call().await {
            Err(WebError::RateLimited(after)) => {
                tokio::time::sleep(after.unwrap_or(PAUSE).min(PAUSE_MAX)).await;
            }
            said => return said,
        }
    }
    call().await
}

struct Checkup<'a> {
    web: Web,
    settings: &'a Settings,
}

impl Checkup<'_> {
    async fn get(&self, method: &str, arguments: &[(&str, &str)]) -> Result<Value, WebError> {
        patiently(|| self.web.get(method, arguments)).await
    }

    /// The workspace and the bot's own user, where the token is that of a bot.
    async fn bot(&self, found: &mut Vec<Finding>) -> Option<(String, String)> {
        const FIX: &str = "install the app and put its bot token, xoxb-…, into JIT_SLACK_BOT_TOKEN";
        let nothing = json!({});
        let said = match patiently(|| self.web.post("auth.test", &nothing)).await {
            Ok(said) => said,
            Err(error) => {
                found.push(match error.code() {
                    Some(code) => wrong(format!("bot token: Slack says {code}"), FIX),
                    None => unanswered("bot token", &error),
                });
                return None;
            }
        };
        let text = |field: &str| said.get(field).and_then(Value::as_str).map(shown);
        if said.get("is_enterprise_install") == Some(&Value::Bool(true)) {
            found.push(wrong(
                "bot token: the app is installed for a whole organisation",
                "install it into one workspace and use that token",
            ));
            return None;
        }
        let (Some(team), Some(user), Some(_)) = (text("team_id"), text("user_id"), text("bot_id"))
        else {
            found.push(wrong("bot token: it is not that of a bot", FIX));
            return None;
        };
        let name = text("team").unwrap_or_default();
        found.push(fine(format!(
            "bot token: bot {user} of workspace {name} ({team})"
        )));
        Some((team, user))
    }

    /// One call for each scope that changes nothing: whatever it is answered, other than that the
    /// scope is missing, says that it is there.
    async fn scopes(&self, bot: &str, found: &mut Vec<Finding>) {
        let nowhere = json!({"channel": "C0", "ts": "1.000000", "text": "-"});
        let myself = json!({"users": bot});
        let email = (self.settings.email_match == EmailMatch::On).then_some(EMAIL_SCOPE);
        let mut missing = vec![];
        let mut asked = 0;
        for (scope, why) in SCOPES.into_iter().chain(email) {
            let said = match scope {
                "chat:write" => patiently(|| self.web.post("chat.update", &nowhere)).await,
                "im:write" => patiently(|| self.web.post("conversations.open", &myself)).await,
                "users:read" => self.get("users.info", &[("user", bot)]).await,
                "users:read.email" => {
                    let nobody = [("email", "nobody@jit.invalid")];
                    self.get("users.lookupByEmail", &nobody).await
                }
                "usergroups:read" => self.get("usergroups.list", &[]).await,
                "channels:read" => self.listed("public_channel").await,
                "groups:read" => self.listed("private_channel").await,
                "reactions:read" => {
                    let nothing = [("channel", "C0"), ("timestamp", "1.000000")];
                    self.get("reactions.get", &nothing).await
                }
                // Slack does not install an app with commands but without this one.
                _ => continue,
            };
            asked += 1;
            match said {
                Err(WebError::MissingScope { needed }) => {
                    let needed = needed.unwrap_or_else(|| scope.to_owned());
                    missing.push(format!("{needed} ({why})"));
                }
                Err(error) if error.code().is_none() => {
                    found.push(unanswered(&format!("scope {scope}"), &error));
                }
                Ok(_) | Err(_) => {}
            }
        }
        found.push(match missing.as_slice() {
            [] => fine(format!("scopes: {asked} asked for, none is missing")),
            missing => wrong(
                format!("scopes: missing {}", missing.join(", ")),
                "add them under OAuth & Permissions and install the app again; jitd slack \
                 manifest prints them all",
            ),
        });
    }

    async fn listed(&self, kind: &str) -> Result<Value, WebError> {
        self.get("conversations.list", &[("types", kind), ("limit", "1")])
            .await
    }

    async fn channels(&self, found: &mut Vec<Finding>) {
        let routes = self.settings.routes.iter();
        let channels: BTreeSet<&ChannelId> = routes.map(|route| &route.channel).collect();
        for channel in channels {
            let said = self
                .get("conversations.info", &[("channel", channel.as_str())])
                .await;
            found.push(channel_finding(channel, &said));
        }
    }

    async fn people(&self, names: &Names, team: &str, found: &mut Vec<Finding>) {
        for (id, user) in names.iter() {
            let what = format!("{id}, Slack user {user}");
            let said = self.get("users.info", &[("user", user.as_str())]).await;
            found.push(match said {
                Ok(said) => user_finding(&what, standing(&said, team)),
                Err(error) => match error.code() {
                    Some("user_not_found" | "user_not_visible" | "users_not_found") => wrong(
                        format!("{what}: there is no such user"),
                        "copy the member id from their profile in Slack into slack = \"U…\"",
                    ),
                    Some(code) => refused(&what, code),
                    None => unanswered(&what, &error),
                },
            });
        }
    }

    async fn groups(&self, named: &BTreeSet<UserGroupId>, found: &mut Vec<Finding>) {
        let reminded = self
            .settings
            .routes
            .iter()
            .filter_map(|route| route.remind.as_ref());
        let named: BTreeSet<&UserGroupId> = named.iter().chain(reminded).collect();
        if named.is_empty() {
            return;
        }
        let all = [("include_disabled", "true"), ("include_count", "true")];
        let said = match self.get("usergroups.list", &all).await {
            Ok(said) => said,
            Err(error) => {
                found.push(match error.code() {
                    Some(code) => refused("user groups", code),
                    None => unanswered("user groups", &error),
                });
                return;
            }
        };
        let listed = said.get("usergroups").and_then(Value::as_array);
        for group in named {
            let listed = listed.into_iter().flatten();
            let mut same =
                listed.filter(|it| it.get("id").and_then(Value::as_str) == Some(group.as_str()));
            found.push(group_finding(group, same.next()));
        }
    }
}

fn refused(what: &str, code: &str) -> Finding {
    let fix = match code {
        "missing_scope" => "add the missing scopes first, and check again",
        _ => "look this answer up in Slack's documentation of the Web API",
    };
    wrong(format!("{what}: Slack says {code}"), fix)
}

fn channel_finding(channel: &ChannelId, said: &Result<Value, WebError>) -> Finding {
    let said = match said {
        Ok(said) => said,
        Err(error) => {
            let what = format!("channel {channel}");
            return match error.code() {
                Some("channel_not_found") => wrong(
                    format!("{what}: it does not exist, or is private and without the bot"),
                    "copy the channel id from its details into [[slack.route]] channel, or type \
                     /invite @jit there",
                ),
                Some(code) => refused(&what, code),
                None => unanswered(&what, error),
            };
        }
    };
    let is = |field: &str| said.pointer(field).and_then(Value::as_bool) == Some(true);
    let name = said.pointer("/channel/name").and_then(Value::as_str);
    let what = format!("channel {channel} #{}", shown(name.unwrap_or_default()));
    if is("/channel/is_archived") {
        return wrong(
            format!("{what}: it is archived"),
            "unarchive it, or name another in [[slack.route]] channel",
        );
    }
    if !is("/channel/is_member") && !is("/channel/is_im") {
        return wrong(
            format!("{what}: the bot is not a member"),
            "type /invite @jit in that channel",
        );
    }
    fine(format!("{what}: the bot is a member"))
}

fn user_finding(what: &str, stranger: Option<Stranger>) -> Finding {
    let (why, fix) = match stranger {
        None => return fine(format!("{what}: an active member")),
        Some(Stranger::Deactivated) => (
            "the account is deactivated",
            "set active = false for this person, or restore the account",
        ),
        Some(Stranger::Guest) => (
            "a guest, who cannot use this",
            "make them a member, or remove slack from this person",
        ),
        Some(Stranger::Bot) => (
            "not a human being",
            "copy the member id of the person from their profile",
        ),
        Some(Stranger::Foreign) => (
            "a member of another workspace",
            "copy the member id that they have in this workspace",
        ),
        Some(Stranger::Unmapped | Stranger::Ambiguous) => (
            "Slack says nothing of this user",
            "copy the member id from their profile in Slack into slack = \"U…\"",
        ),
    };
    wrong(format!("{what}: {why}"), fix)
}

fn group_finding(group: &UserGroupId, said: Option<&Value>) -> Finding {
    const FIX: &str = "copy the id of a user group that exists: it ends the address of its page, \
                       and begins with S";
    let Some(said) = said else {
        return wrong(format!("user group {group}: it does not exist"), FIX);
    };
    let handle = said
        .get("handle")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let what = format!("user group {group} @{}", shown(handle));
    let deleted_at = said.get("date_delete").and_then(Value::as_i64);
    if deleted_at.is_some_and(|at| at != 0) {
        return wrong(
            format!("{what}: it is disabled"),
            "enable it, or name another",
        );
    }
    if said
        .get("user_count")
        .is_some_and(|count| *count == 0 || *count == "0")
    {
        return wrong(format!("{what}: nobody is in it"), "add those who decide");
    }
    fine(format!("{what}: it exists"))
}

/// What Slack calls something, for one line of a terminal.
fn shown(text: &str) -> String {
    let plain = text
        .chars()
        .map(|letter| if letter.is_control() { ' ' } else { letter });
    plain.take(80).collect()
}
