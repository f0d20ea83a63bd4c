//! Messages and who sees them: history, ephemeral ones, threads and reactions.

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Whether a message is one person's only, and gone with their window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Audience {
    Everybody,
    Only(String),
}

/// One message as Slack keeps it.
#[derive(Debug, Clone)]
pub(crate) struct Stored {
    pub(crate) ts: String,
    pub(crate) author: String,
    pub(crate) by_app: ByApp,
    pub(crate) text: String,
    pub(crate) blocks: Vec<Value>,
    pub(crate) thread_ts: Option<String>,
    pub(crate) metadata: Option<Value>,
    pub(crate) edited: Option<String>,
    pub(crate) audience: Audience,
    pub(crate) reactions: BTreeMap<String, Vec<String>>,
}

/// Whether the app under test wrote it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByApp {
    Yes,
    No,
}

/// A message as one person sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct Message {
    /// The conversation it is in.
    pub channel: String,
    /// Slack's name for it within its conversation.
    pub ts: String,
    /// The message it answers, if it is in a thread.
    pub thread_ts: Option<String>,
    /// Who wrote it.
    pub author: String,
    /// The text for notifications.
    pub text: String,
    /// Its blocks, with the block ids Slack gave where there were none.
    pub blocks: Vec<Value>,
    /// Whether only this person sees it.
    pub ephemeral: bool,
    /// Whether it was changed after it was posted.
    pub edited: bool,
    /// Reactions by name, with who made them.
    pub reactions: BTreeMap<String, Vec<String>>,
    /// What the app hung on it.
    pub metadata: Option<Value>,
}

impl Message {
    /// Every button and menu it shows.
    pub fn elements(&self) -> Vec<&Value> {
        elements(&self.blocks)
            .into_iter()
            .map(|(_, it)| it)
            .collect()
    }

    /// Whether it shows a button or menu of this action id or label.
    pub fn shows(&self, action: &str) -> bool {
        self.elements().into_iter().any(|it| goes_by(it, action))
    }

    /// All its words: the text and every text within the blocks, a line each.
    pub fn words(&self) -> String {
        let mut words = vec![self.text.clone()];
        for block in &self.blocks {
            gather(block, &mut words);
        }
        words.join("\n")
    }
}

fn gather(value: &Value, words: &mut Vec<String>) {
    match value {
        Value::Object(object) => {
            for (key, it) in object {
                match it {
                    Value::String(text) if key == "text" => words.push(text.clone()),
                    _ => gather(it, words),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|it| gather(it, words)),
        _ => {}
    }
}

/// Every interactive element with its block.
pub(crate) fn elements(blocks: &[Value]) -> Vec<(&Value, &Value)> {
    let mut found = vec![];
    for block in blocks {
        let single = ["accessory", "element"]
            .into_iter()
            .filter_map(|key| block.get(key));
        let many = (block["type"] == "actions")
            .then(|| block["elements"].as_array())
            .flatten()
            .into_iter()
            .flatten();
        let all = single.chain(many).filter(|it| it["type"] != "image");
        found.extend(all.map(|it| (block, it)));
    }
    found
}

/// Whether an element has this action id or label.
pub(crate) fn goes_by(element: &Value, name: &str) -> bool {
    element["action_id"] == name || element["text"]["text"] == name
}

impl Stored {
    fn seen(&self, channel: &str) -> Message {
        Message {
            channel: channel.to_owned(),
            ts: self.ts.clone(),
            thread_ts: self.thread_ts.clone(),
            author: self.author.clone(),
            text: self.text.clone(),
            blocks: self.blocks.clone(),
            ephemeral: self.audience != Audience::Everybody,
            edited: self.edited.is_some(),
            reactions: self.reactions.clone(),
            metadata: self.metadata.clone(),
        }
    }

    /// The message as answers and interactive payloads hold it.
    pub(crate) fn json(&self, app: &str, bot_id: &str, team: &str) -> Value {
        let mut it = json!({
            "type": "message", "user": self.author, "ts": self.ts, "text": self.text,
            "team": team,
        });
        if self.by_app == ByApp::Yes {
            it["bot_id"] = json!(bot_id);
            it["app_id"] = json!(app);
        }
        if !self.blocks.is_empty() {
            it["blocks"] = json!(self.blocks);
        }
        if let Some(thread) = &self.thread_ts {
            it["thread_ts"] = json!(thread);
        }
        if let Some(by) = &self.edited {
            it["edited"] = json!({"user": by, "ts": self.ts});
        }
        if let Some(metadata) = &self.metadata {
            it["metadata"] = metadata.clone();
        }
        if !self.reactions.is_empty() {
            let all = self.reactions.iter();
            let all = all.map(|(name, by)| json!({"name": name, "users": by, "count": by.len()}));
            it["reactions"] = all.collect();
        }
        it
    }
}

/// Every message, by conversation, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    by_channel: BTreeMap<String, Vec<Stored>>,
    last: u64,
}

impl Messages {
    /// A timestamp later than any before.
    #[expect(
        clippy::disallowed_methods,
        reason = "a simulated Slack keeps its own time"
    )]
    pub(crate) fn stamp(&mut self) -> String {
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let micros = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        self.last = micros.max(self.last + 1);
        format!("{}.{:06}", self.last / 1_000_000, self.last % 1_000_000)
    }

    pub(crate) fn post(&mut self, channel: &str, message: Stored) {
        self.by_channel
            .entry(channel.to_owned())
            .or_default()
            .push(message);
    }

    pub(crate) fn find(&self, channel: &str, ts: &str) -> Option<&Stored> {
        self.by_channel.get(channel)?.iter().find(|it| it.ts == ts)
    }

    pub(crate) fn find_mut(&mut self, channel: &str, ts: &str) -> Option<&mut Stored> {
        self.by_channel
            .get_mut(channel)?
            .iter_mut()
            .find(|it| it.ts == ts)
    }

    /// A message of the history, which holds no ephemeral ones.
    pub(crate) fn history(&mut self, channel: &str, ts: &str) -> Option<&mut Stored> {
        self.find_mut(channel, ts)
            .filter(|it| it.audience == Audience::Everybody)
    }

    pub(crate) fn remove(&mut self, channel: &str, ts: &str) {
        if let Some(all) = self.by_channel.get_mut(channel) {
            all.retain(|it| it.ts != ts);
        }
    }

    /// What this person sees in a conversation.
    pub(crate) fn seen_by(&self, user: &str, channel: &str) -> Vec<Message> {
        let all = self.by_channel.get(channel).into_iter().flatten();
        let mine = all.filter(|it| match &it.audience {
            Audience::Everybody => true,
            Audience::Only(whom) => whom == user,
        });
        mine.map(|it| it.seen(channel)).collect()
    }
}
