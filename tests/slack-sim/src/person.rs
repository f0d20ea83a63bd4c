//! A person in the workspace: acts like one and reads like one. Whatever Slack's window would not
//! let them do panics, so that a test cannot do it by mistake.

use std::future::{Future, IntoFuture};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use crate::deliver::Outcome;
use crate::gesture::{self, CannotDo, Choice, Reaction, Rendering};
use crate::messages::Message;
use crate::modal::{Modal, refuse};
use crate::state::{Inner, direct_id};

/// How long a person waits for something to appear.
pub const PATIENCE: Duration = Duration::from_secs(5);

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// Where somebody looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Their conversation with the bot.
    Dm,
    /// A conversation by id.
    Channel(String),
}

impl From<&str> for Place {
    fn from(id: &str) -> Self {
        if id == "dm" {
            Self::Dm
        } else {
            Self::Channel(id.to_owned())
        }
    }
}

impl From<&String> for Place {
    fn from(id: &String) -> Self {
        Self::from(id.as_str())
    }
}

impl Place {
    pub(crate) fn channel(&self, user: &str) -> String {
        match self {
            Self::Dm => direct_id(user),
            Self::Channel(id) => id.clone(),
        }
    }
}

/// One user of the workspace.
#[derive(Debug, Clone)]
pub struct Person {
    pub(crate) inner: Arc<Inner>,
    pub(crate) id: String,
}

impl Person {
    /// Slack's id of this user.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Types a slash command, in the conversation with the bot unless
    /// [`in_channel`](Slash::in_channel).
    pub fn slash(&self, command: &str, text: &str) -> Slash {
        Slash {
            person: self.clone(),
            channel: direct_id(&self.id),
            command: command.to_owned(),
            text: text.to_owned(),
        }
    }

    /// Uses a global shortcut.
    pub async fn shortcut(&self, callback_id: &str) -> Outcome {
        done(gesture::shortcut(&self.inner, &self.id, callback_id, None).await)
    }

    /// Uses a message shortcut.
    pub async fn message_shortcut(&self, message: &Message, callback_id: &str) -> Outcome {
        done(gesture::shortcut(&self.inner, &self.id, callback_id, Some(message)).await)
    }

    /// The top of their stack of modals, waited for.
    pub async fn modal(&self) -> Modal {
        self.modal_where(|_| true).await
    }

    /// The top of their stack once it shows this.
    pub async fn modal_where(&self, shows: impl Fn(&Value) -> bool) -> Modal {
        let found = self
            .inner
            .until(PATIENCE, |state| {
                let (top, it) = (state.views.top(&self.id)?, &state.workspace);
                shows(&top.json(&it.team, &it.app, &it.bot_id)).then(|| top.id.clone())
            })
            .await;
        match found {
            Some(id) => Modal::new(self.inner.clone(), &self.id, &id),
            None => refuse(&CannotDo(format!(
                "{} sees no such modal; {}",
                self.id,
                self.view()
            ))),
        }
    }

    /// The top of their stack, if there is one now.
    pub fn modal_now(&self) -> Option<Modal> {
        let id = self
            .inner
            .look(|state| state.views.top(&self.id).map(|it| it.id.clone()))?;
        Some(Modal::new(self.inner.clone(), &self.id, &id))
    }

    /// What they see in a conversation: its history and what is for them only.
    pub async fn messages(&self, channel: &str) -> Vec<Message> {
        self.seen(channel)
    }

    pub(crate) fn seen(&self, channel: &str) -> Vec<Message> {
        self.inner
            .look(|state| state.messages.seen_by(&self.id, channel))
    }

    /// Their conversation with the bot.
    pub async fn dm(&self) -> Vec<Message> {
        self.seen(&direct_id(&self.id))
    }

    /// The App Home last published for them.
    pub async fn home(&self) -> Option<Value> {
        self.inner.look(|state| {
            let it = &state.workspace;
            state
                .views
                .home(&self.id)
                .map(|view| view.json(&it.team, &it.app, &it.bot_id))
        })
    }

    /// Opens the App Home.
    pub async fn open_home(&self) -> Outcome {
        done(gesture::open_home(&self.inner, &self.id).await)
    }

    /// Clicks a button of the App Home.
    pub async fn click_home(&self, name: &str) -> Outcome {
        done(gesture::home_click(&self.inner, &self.id, name, &Choice::Nothing).await)
    }

    /// Clicks a button of a message by action id or label; a question before it is confirmed.
    pub fn click(&self, message: &Message, name: &str) -> Click {
        Click {
            person: self.clone(),
            message: message.clone(),
            name: name.to_owned(),
            choice: Choice::Nothing,
            rendering: Rendering::Latest,
        }
    }

    /// Clicks a button that their window still shows though the message has changed.
    pub async fn stale_click(&self, message: &Message, name: &str) -> Outcome {
        self.click(message, name).stale().await
    }

    /// Reacts to a message.
    pub async fn react(&self, message: &Message, name: &str) -> Outcome {
        done(gesture::react(&self.inner, &self.id, message, (name, Reaction::On)).await)
    }

    /// Takes a reaction back.
    pub async fn unreact(&self, message: &Message, name: &str) -> Outcome {
        done(gesture::react(&self.inner, &self.id, message, (name, Reaction::Off)).await)
    }

    /// Deletes a message, which its author and the admins of a workspace may. The app hears nothing.
    pub async fn delete(&self, message: &Message) -> Outcome {
        done(gesture::delete(&self.inner, &self.id, message))
    }

    /// Writes a message.
    pub async fn say(&self, place: impl Into<Place>, text: &str) -> Outcome {
        let channel = place.into().channel(&self.id);
        done(gesture::say(&self.inner, &self.id, &channel, (text, None)).await)
    }

    /// Writes into a thread.
    pub async fn reply(&self, message: &Message, text: &str) -> Outcome {
        let root = message.thread_ts.as_ref().unwrap_or(&message.ts).clone();
        done(gesture::say(&self.inner, &self.id, &message.channel, (text, Some(&root))).await)
    }

    /// All that is on their screen, for messages of failing tests.
    fn view(&self) -> String {
        self.inner.look(|state| {
            let modals: Vec<String> = state
                .views
                .stack(&self.id)
                .iter()
                .map(|it| it.body["title"]["text"].to_string())
                .collect();
            format!("modals {modals:?}, errors {:?}", state.seen_errors)
        })
    }
}

fn done(result: Result<Outcome, CannotDo>) -> Outcome {
    result.unwrap_or_else(|why| refuse(&why))
}

/// A slash command about to be sent.
#[derive(Debug)]
#[must_use = "nothing is typed until it is awaited"]
pub struct Slash {
    person: Person,
    channel: String,
    command: String,
    text: String,
}

impl Slash {
    /// Types it in this conversation.
    pub fn in_channel(mut self, channel: &str) -> Self {
        self.channel = channel.to_owned();
        self
    }
}

impl IntoFuture for Slash {
    type Output = Outcome;
    type IntoFuture = Boxed<Outcome>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let what = (self.command.as_str(), self.text.as_str());
            let person = &self.person;
            done(gesture::slash(&person.inner, &person.id, &self.channel, what).await)
        })
    }
}

/// A click about to be made.
#[derive(Debug)]
#[must_use = "nothing is clicked until it is awaited"]
pub struct Click {
    person: Person,
    message: Message,
    name: String,
    choice: Choice,
    rendering: Rendering,
}

impl Click {
    /// Clicks what this rendering shows, though the message has changed.
    pub fn stale(mut self) -> Self {
        self.rendering = Rendering::Stale;
        self
    }

    /// Chooses in a menu, by value or label.
    pub fn choosing(mut self, value: &str) -> Self {
        self.choice = Choice::One(value.to_owned(), None);
        self
    }
}

impl IntoFuture for Click {
    type Output = Outcome;
    type IntoFuture = Boxed<Outcome>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let what = (self.name.as_str(), &self.choice, self.rendering);
            let person = &self.person;
            done(gesture::click(&person.inner, &person.id, &self.message, what).await)
        })
    }
}
