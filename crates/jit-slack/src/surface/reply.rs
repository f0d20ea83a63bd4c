//! What one person is told in private about what they just did: a fixed set of sentences.

use jit_core::Refusal;
use jit_core::request::RequestId;
use serde_json::json;

use super::Message;
use crate::text::{Markup, inert, plain};

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
        text: inert(&sentence),
        blocks,
    }
}
