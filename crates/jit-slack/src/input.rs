//! What Slack sends, read tolerantly: only the fields that are used, whatever else is there. It is
//! parsed once and becomes an [`Input`], which is what the inbox keeps.

#[cfg(test)]
#[path = "../tests/it/mangle.rs"]
mod mangle;
#[cfg(test)]
mod tests;

use jit_core::request::RequestId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::commands::{Commands, Typed};
use crate::people::{ChannelId, TeamId, UserId};
use crate::surface::{Kept, REVIEW_WINDOW, action};

/// The longest of Slack's own marks, in bytes; theirs are shorter than 100.
const MARK_LIMIT: usize = 255;

/// What the keys of inputs begin with.
const KINDS: [&str; 5] = ["command", "shortcut", "click", "form", "event"];

/// Whether the input with this key came in by this door.
pub(crate) fn is_ours(key: &str) -> bool {
    let kind = key.split_once('/').map(|(kind, _)| kind);
    kind.is_some_and(|kind| KINDS.contains(&kind))
}

/// One thing that somebody did in Slack.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Input {
    /// Who.
    pub(crate) user: UserId,
    /// In which workspace.
    pub(crate) team: Option<TeamId>,
    /// What.
    pub(crate) said: Said,
    /// Where an answer for them alone goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) channel: Option<ChannelId>,
    /// The same, where Slack gave an address for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) response_url: Option<String>,
    /// With which a form can be opened, for three seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) trigger: Option<String>,
    /// It was done in the home, which shows what became of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) at_home: bool,
    /// It was done in this window about one request, which shows what became of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) window: Option<String>,
}

/// The request and the digest that a button or a form of ours carries.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct About {
    pub(crate) id: RequestId,
    pub(crate) digest: String,
}

impl About {
    /// `req-…:0123456789abcdef`.
    fn read(text: &str) -> Option<Self> {
        let (id, digest) = text.split_once(':')?;
        let hex = digest.len() == 16 && digest.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Self {
            id: id.parse().ok()?,
            digest: hex.then(|| digest.to_owned())?,
        })
    }
}

/// What a person filled into the form for asking, not judged yet.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Asked {
    pub(crate) entitlement: Option<String>,
    pub(crate) secs: Option<String>,
    pub(crate) reason: Option<String>,
    pub(crate) beneficiary: Option<String>,
}

/// What somebody said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "said")]
pub(crate) enum Said {
    /// Open the form for asking, with this in it already.
    OpenForm { asked: Asked },
    /// Another entitlement was chosen in the form.
    Chosen {
        view: String,
        hash: String,
        asked: Asked,
    },
    /// The form was sent.
    Ask { view: String, asked: Asked },
    /// Open the form with what this request asked for.
    Again { id: RequestId },
    /// Yes.
    Approve { about: About },
    /// Yes, for so many seconds.
    Shorten { about: About, secs: String },
    /// Open the form for that.
    OpenShorten { about: About },
    /// No.
    Deny { about: About, reason: String },
    /// Open the form for that.
    OpenDeny { about: About },
    /// Show it with its buttons, for these eyes only.
    Review { about: About },
    /// Take a pending request back.
    Withdraw { about: About },
    /// Return the access.
    Done { about: About },
    /// Take the access away.
    Revoke { about: About },
    /// A command that is answered with text.
    Typed { typed: Typed },
    /// The home was opened.
    Home,
    /// A reaction on a message.
    Reaction {
        channel: ChannelId,
        message: String,
        /// Who wrote it, where Slack says so.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        author: Option<UserId>,
        name: String,
    },
}

/// What is to be done with what Slack sent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Read {
    /// Keep it under this key, acknowledge it, then work on it.
    Keep { key: String, input: Box<Input> },
    /// Answer at once, from memory.
    Options {
        user: UserId,
        team: Option<TeamId>,
        query: String,
    },
    /// Facts about people changed; what is remembered of them is stale.
    Forget(Forget),
    /// Nothing that is of use here.
    Ignore,
    /// It cannot be read; whoever sent it is told so, where that is known.
    Unreadable,
}

/// What is stale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Forget {
    /// One user.
    User(UserId),
    /// The members of user groups.
    Groups,
    /// The app was taken out of the workspace, or its token withdrawn.
    Everything,
}

/// A string of at most so many characters at this place, if there is one.
fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value
        .pointer(pointer)
        .and_then(Value::as_str)
        .filter(|text| text.len() <= 16_384)
}

fn id<T: std::str::FromStr>(value: &Value, pointer: &str) -> Option<T> {
    text(value, pointer)?.parse().ok()
}

fn owned(value: &Value, pointer: &str) -> Option<String> {
    text(value, pointer).map(str::to_owned)
}

/// One of Slack's own marks, such as a time stamp, of which the keys of the inbox are made: short
/// and plain, because no store takes a key of any length.
fn mark<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    text(value, pointer).filter(|mark| {
        (1..=MARK_LIMIT).contains(&mark.len()) && !mark.chars().any(char::is_control)
    })
}

/// A slash command, whose fields are flat.
pub(crate) fn command(payload: &Value, commands: &Commands) -> Read {
    let Some(user) = id::<UserId>(payload, "/user_id") else {
        return Read::Unreadable;
    };
    let (Some(command), Some(trigger)) = (text(payload, "/command"), mark(payload, "/trigger_id"))
    else {
        return Read::Unreadable;
    };
    let said = commands.read(command, text(payload, "/text").unwrap_or_default());
    let input = Input {
        user,
        team: id(payload, "/team_id"),
        said,
        channel: id(payload, "/channel_id"),
        response_url: owned(payload, "/response_url"),
        trigger: Some(trigger.to_owned()),
        at_home: false,
        window: None,
    };
    keep(format!("command/{trigger}"), input)
}

fn keep(key: String, input: Input) -> Read {
    Read::Keep {
        key,
        input: Box::new(input),
    }
}

/// A click, a form, a shortcut, or a question for options.
pub(crate) fn interaction(payload: &Value) -> Read {
    let Some(user) = id::<UserId>(payload, "/user/id") else {
        return Read::Unreadable;
    };
    // Where the app is installed for a whole organisation the team is null, and the user's is not.
    let team = id(payload, "/team/id").or_else(|| id(payload, "/user/team_id"));
    let input = |said| Input {
        user: user.clone(),
        team: team.clone(),
        said,
        channel: id(payload, "/channel/id").or_else(|| id(payload, "/container/channel_id")),
        response_url: owned(payload, "/response_url"),
        trigger: owned(payload, "/trigger_id"),
        at_home: text(payload, "/view/type") == Some("home"),
        window: window(payload),
    };
    match text(payload, "/type") {
        Some("block_suggestion") => Read::Options {
            user: user.clone(),
            team: team.clone(),
            query: owned(payload, "/value").unwrap_or_default(),
        },
        Some("block_actions") => click(payload, input),
        Some("view_submission") => submission(payload, input),
        Some("shortcut") if text(payload, "/callback_id") == Some(action::ASK) => {
            match mark(payload, "/trigger_id") {
                Some(trigger) => {
                    let asked = Asked::default();
                    keep(
                        format!("shortcut/{trigger}"),
                        input(Said::OpenForm { asked }),
                    )
                }
                None => Read::Unreadable,
            }
        }
        Some(_) => Read::Ignore,
        None => Read::Unreadable,
    }
}

/// The window about one request in which this was done, or on which the form lay in which it was:
/// nothing else of ours has a form on top of it.
fn window(payload: &Value) -> Option<String> {
    let view = mark(payload, "/view/id")?;
    let root = mark(payload, "/view/root_view_id").unwrap_or(view);
    let is_review = text(payload, "/view/callback_id") == Some(REVIEW_WINDOW);
    (is_review || root != view).then(|| root.to_owned())
}

fn click(payload: &Value, input: impl Fn(Said) -> Input) -> Read {
    let Some(done) = payload.pointer("/actions/0") else {
        return Read::Unreadable;
    };
    let Some(name) = text(done, "/action_id") else {
        return Read::Unreadable;
    };
    let about = || text(done, "/value").and_then(About::read);
    let said = match name {
        action::ASK => Some(Said::OpenForm {
            asked: Asked::default(),
        }),
        action::TARGET => chosen(payload, done),
        action::AGAIN => id(done, "/value").map(|id| Said::Again { id }),
        action::APPROVE => about().map(|about| Said::Approve { about }),
        action::SHORTEN => about().map(|about| Said::OpenShorten { about }),
        action::DENY => about().map(|about| Said::OpenDeny { about }),
        action::WITHDRAW => about().map(|about| Said::Withdraw { about }),
        action::DONE => about().map(|about| Said::Done { about }),
        action::REVOKE => about().map(|about| Said::Revoke { about }),
        action::REVIEW => about().map(|about| Said::Review { about }),
        // A select that changed, or a button that only opens a page.
        _ => return Read::Ignore,
    };
    let Some(said) = said else {
        return Read::Unreadable;
    };
    let input = input(said);
    let place = mark(payload, "/container/message_ts").or_else(|| mark(payload, "/view/id"));
    let (Some(place), Some(at)) = (place, mark(done, "/action_ts")) else {
        return Read::Unreadable;
    };
    keep(format!("click/{}/{place}/{at}", input.user), input)
}

fn chosen(payload: &Value, done: &Value) -> Option<Said> {
    let mut asked = filled_in(payload)?;
    asked.entitlement = owned(done, "/selected_option/value");
    Some(Said::Chosen {
        view: owned(payload, "/view/id").or_else(|| owned(payload, "/container/view_id"))?,
        hash: owned(payload, "/view/hash")?,
        asked,
    })
}

/// What a form of ours holds: the values by their action, and what the form remembers.
fn filled_in(payload: &Value) -> Option<Asked> {
    let kept = text(payload, "/view/private_metadata").unwrap_or_default();
    let kept: Kept = serde_json::from_str(kept).ok()?;
    let values = payload.pointer("/view/state/values")?.as_object()?;
    let field = |name: &str| {
        values
            .values()
            .find_map(|block| block.get(name))
            .and_then(|field| {
                text(field, "/value").or_else(|| text(field, "/selected_option/value"))
            })
            .map(str::to_owned)
    };
    Some(Asked {
        entitlement: field(action::TARGET),
        secs: field("duration"),
        reason: field("reason"),
        beneficiary: kept.beneficiary,
    })
}

fn submission(payload: &Value, input: impl Fn(Said) -> Input) -> Read {
    let (Some(view), Some(hash)) = (mark(payload, "/view/id"), mark(payload, "/view/hash")) else {
        return Read::Unreadable;
    };
    let view = view.to_owned();
    let Some(asked) = filled_in(payload) else {
        return Read::Unreadable;
    };
    let kept = text(payload, "/view/private_metadata").unwrap_or_default();
    let kept: Kept = serde_json::from_str(kept).unwrap_or_default();
    let about = || kept.about.as_deref().and_then(About::read);
    let key = format!("form/{view}/{hash}");
    let said = match text(payload, "/view/callback_id") {
        Some("jit_request") => Some(Said::Ask { view, asked }),
        Some("jit_deny") => about().map(|about| Said::Deny {
            about,
            reason: asked.reason.unwrap_or_default(),
        }),
        Some("jit_shorten") => about().map(|about| Said::Shorten {
            about,
            secs: asked.secs.unwrap_or_default(),
        }),
        Some(_) | None => None,
    };
    match said {
        Some(said) => keep(key, input(said)),
        None => Read::Unreadable,
    }
}

/// Something that happened in the workspace.
pub(crate) fn event(payload: &Value) -> Read {
    let Some(event) = payload.pointer("/event") else {
        return Read::Unreadable;
    };
    let Some(key) = mark(payload, "/event_id").map(|id| format!("event/{id}")) else {
        return Read::Unreadable;
    };
    let input = |user, said| Input {
        user,
        team: id(payload, "/team_id"),
        said,
        channel: id(event, "/item/channel"),
        response_url: None,
        trigger: None,
        at_home: false,
        window: None,
    };
    match text(event, "/type") {
        Some("app_home_opened") if text(event, "/tab") == Some("home") => {
            match id(event, "/user") {
                Some(user) => keep(key, input(user, Said::Home)),
                None => Read::Unreadable,
            }
        }
        Some("reaction_added") if text(event, "/item/type") == Some("message") => {
            let read = || {
                let said = Said::Reaction {
                    channel: id(event, "/item/channel")?,
                    message: owned(event, "/item/ts")?,
                    author: id(event, "/item_user"),
                    name: owned(event, "/reaction")?,
                };
                Some(keep(key, input(id(event, "/user")?, said)))
            };
            read().unwrap_or(Read::Unreadable)
        }
        Some("user_change") => match id(event, "/user/id") {
            Some(user) => Read::Forget(Forget::User(user)),
            None => Read::Unreadable,
        },
        Some("subteam_members_changed" | "subteam_updated") => Read::Forget(Forget::Groups),
        Some("app_uninstalled" | "tokens_revoked") => Read::Forget(Forget::Everything),
        Some(_) => Read::Ignore,
        None => Read::Unreadable,
    }
}
