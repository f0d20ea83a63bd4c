//! What one person is told in private about what they just did: a fixed set of sentences.

use jit_core::Refusal;
use jit_core::request::{AccessRequest, RequestId, Stage};
use serde_json::{Value, json};

use super::card::state;
use super::{Message, Scene, short, what};
use crate::commands::Commands;
use crate::people::ChannelId;
use crate::text::{Markup, cut, inert, plain};

/// An answer for one pair of eyes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The domain said no.
    Refused(Refusal),
    /// The world failed.
    Failed,
    /// It came too late to be applied.
    TooOld,
    /// Nobody here is this Slack user.
    Stranger(Stranger),
    /// What was typed makes no sense, in a sentence of ours.
    Usage(&'static str),
    /// What was typed makes no sense, in a sentence with what was typed.
    Wrong(String),
    /// It was done.
    Done(&'static str),
}

/// Why a Slack user is nobody here (S10).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stranger {
    /// No mapping leads to a person.
    Unmapped,
    /// A guest of the workspace.
    Guest,
    /// Not a human being.
    Bot,
    /// The account was deactivated.
    Deactivated,
    /// Somebody of another workspace.
    Foreign,
    /// More than one person could be meant.
    Ambiguous,
}

impl Stranger {
    fn sentence(self) -> &'static str {
        match self {
            Self::Unmapped => {
                "Your Slack account is not linked to a person here. Ask an operator to add your \
                 Slack member id to your account."
            }
            Self::Guest => "Guests of a workspace cannot use this. Ask a member to help you.",
            Self::Bot => "Only people can use this; programs have an API.",
            Self::Deactivated => "Your account is deactivated. Ask an operator to restore it.",
            Self::Foreign => {
                "You are a member of another workspace, which is not connected to this service."
            }
            Self::Ambiguous => {
                "Your Slack account leads to more than one person here. Ask an operator to mend \
                 that."
            }
        }
    }
}

/// The message, with the request's id where there is one.
pub(crate) fn reply(reply: &Reply, about: Option<RequestId>) -> Message {
    let sentence = match reply {
        Reply::Refused(refusal) => {
            let said = refusal.to_string();
            let mut letters = said.chars();
            let first = letters.next().map(|first| first.to_uppercase().to_string());
            format!("{}{}.", first.unwrap_or_default(), letters.as_str())
        }
        Reply::Failed => match about {
            Some(id) => format!("Something failed and was not applied; reference {id}. Try again."),
            None => "Something failed and was not applied. Try again.".to_owned(),
        },
        Reply::TooOld => "That came too late and was not applied. Please click again.".to_owned(),
        Reply::Stranger(stranger) => stranger.sentence().to_owned(),
        Reply::Usage(sentence) | Reply::Done(sentence) => (*sentence).to_owned(),
        Reply::Wrong(sentence) => sentence.clone(),
    };
    let mut blocks = vec![json!({"type": "section", "text": plain(&sentence, 3_000)})];
    if let Some(id) = about {
        blocks.push(Markup::default().code(&id.to_string()).context());
    }
    Message {
        text: inert(&cut(&sentence, 500)),
        blocks,
    }
}

/// What somebody has and waits for.
pub(crate) fn listing(scenes: &[Scene<'_>]) -> Message {
    if scenes.is_empty() {
        return reply(
            &Reply::Done("You have asked for nothing here yet. Type /jit to begin."),
            None,
        );
    }
    let lines = scenes.iter().take(20).map(|scene| {
        what(scene)
            .text(" ")
            .code(&short(scene.request.id))
            .text(" · ")
            .then(state(scene))
            .section()
    });
    Message {
        text: "Your requests".to_owned(),
        blocks: lines.collect(),
    }
}

/// What can be typed.
pub(crate) fn help(commands: &Commands) -> Message {
    let Commands {
        jit,
        request_admin,
        prod_access,
        ..
    } = commands;
    let text = format!(
        "{jit}: ask for access\n{jit} list: what you have and wait for\n{jit} status <id>: how far \
         one is\n{jit} done [id]: return access early\n{request_admin} [e-mail]: ask for \
         administration, for somebody else where you may\n{prod_access} \"reason\": ask for \
         production access\n{jit} help: this"
    );
    reply(&Reply::Wrong(text), None)
}

/// Production access was asked for without saying why.
pub(crate) fn no_reason(commands: &Commands) -> Message {
    let command = &commands.prod_access;
    let text = format!(
        "A reason is missing: whoever decides reads it, and it is kept in the audit. Say why, as \
         in {command} \"the checkout is down, INC-42\"."
    );
    reply(&Reply::Wrong(text), None)
}

/// What was typed is no command.
pub(crate) fn not_understood(commands: &Commands) -> Message {
    let mut message = help(commands);
    let sentence = "That was not understood. What can be typed:";
    let said = json!({"type": "section", "text": plain(sentence, 3_000)});
    message.blocks.insert(0, said);
    message
}

/// What the window shows while a request is being made.
pub(crate) fn sending_view() -> Value {
    window("Request access", &reply(&Reply::Done("One moment…"), None))
}

/// What the window shows when it was made.
pub(crate) fn outcome_view(request: &AccessRequest, channel: Option<&ChannelId>) -> Value {
    let line = match (&request.stage, channel) {
        (Stage::Granted(_), _) => Markup::new(
            ":white_check_mark: Approved by the tier itself. You \
             will be told here in Slack as soon as the access is there.",
        ),
        (_, Some(channel)) => Markup::new(":hourglass_flowing_sand: Sent to ")
            .channel(channel)
            .text(". You will be told here in Slack what becomes of it."),
        (_, None) => Markup::new(
            ":hourglass_flowing_sand: Sent. No channel here decides it; your \
             approvers hear of it elsewhere.",
        ),
    };
    let message = Message {
        text: line.as_str().to_owned(),
        blocks: vec![
            line.section(),
            Markup::default().code(&request.id.to_string()).context(),
        ],
    };
    window("Request access", &message)
}

/// What the window shows when it was not.
pub(crate) fn refusal_view(message: &Message) -> Value {
    window("Not requested", message)
}

/// What the window about one request shows where something came to nothing.
pub(crate) fn answer_view(message: &Message) -> Value {
    window("Access request", message)
}

/// A request in a window of its own, in which it can be decided.
pub(crate) fn review_view(message: &Message) -> Value {
    let mut view = window("Access request", message);
    view["callback_id"] = super::REVIEW_WINDOW.into();
    view
}

fn window(title: &str, message: &Message) -> Value {
    json!({
        "type": "modal",
        "callback_id": "jit_outcome",
        "title": plain(title, 24),
        "close": plain("Close", 24),
        "blocks": message.blocks,
    })
}
