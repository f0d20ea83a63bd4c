//! Text as Slack shows it. What a person, a policy or a provider wrote gets in only where Slack
//! interprets nothing, so a reason can ping nobody and forge no link (S13).

use jit_core::principal::PrincipalId;
use jit_core::{Timestamp, Ttl};
use serde_json::{Value, json};
use time::OffsetDateTime;
use time::macros::format_description;

use crate::people::{ChannelId, Names, UserGroupId, UserId};

/// The longest text of a section, in characters.
pub(crate) const MARKUP_LIMIT: usize = 3_000;
/// The longest word of other hands in running text, in characters.
const WORD_LIMIT: usize = 200;

/// How an instant is shown: always in the time zone of whoever reads it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// The day and the time of day.
    DayAndTime,
    /// The time of day.
    Time,
}

/// Text in which Slack interprets markup. Only literals of this crate, ids that were checked and
/// instants are written as they are; everything else as code, in which nothing is interpreted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Markup(String);

impl Markup {
    /// Begins with this.
    pub(crate) fn new(text: &'static str) -> Self {
        Self(text.to_owned())
    }

    /// Goes on with this.
    pub(crate) fn text(mut self, text: &'static str) -> Self {
        self.0.push_str(text);
        self
    }

    /// Goes on with that.
    pub(crate) fn then(mut self, other: Self) -> Self {
        self.0.push_str(&other.0);
        self
    }

    /// How long it is, in characters.
    pub(crate) fn len(&self) -> usize {
        self.0.chars().count()
    }

    /// A number.
    pub(crate) fn number(mut self, number: u64) -> Self {
        self.0.push_str(&number.to_string());
        self
    }

    /// Words of other hands, as code.
    pub(crate) fn code(mut self, words: &str) -> Self {
        self.0.push('`');
        self.0.push_str(&inert(&cut(words, WORD_LIMIT)));
        self.0.push('`');
        self
    }

    /// A person: a mention where Slack knows them, else their id as code.
    pub(crate) fn person(self, id: &PrincipalId, names: &Names) -> Self {
        match names.user(id) {
            Some(user) => self.user(user),
            None => self.code(id.as_str()),
        }
    }

    /// A mention of a user.
    pub(crate) fn user(mut self, user: &UserId) -> Self {
        self.0.push_str(&format!("<@{user}>"));
        self
    }

    /// A mention of everybody in a user group.
    pub(crate) fn group(mut self, group: &UserGroupId) -> Self {
        self.0.push_str(&format!("<!subteam^{group}>"));
        self
    }

    /// A link to a channel.
    pub(crate) fn channel(mut self, channel: &ChannelId) -> Self {
        self.0.push_str(&format!("<#{channel}>"));
        self
    }

    /// An instant.
    pub(crate) fn at(mut self, at: Timestamp, show: Show) -> Self {
        let secs = at.unix_micros().div_euclid(1_000_000);
        let form = match show {
            Show::DayAndTime => "{date_short_pretty} at {time}",
            Show::Time => "{time}",
        };
        self.0
            .push_str(&format!("<!date^{secs}^{form}|{}>", utc(at)));
        self
    }

    /// A duration.
    pub(crate) fn ttl(mut self, ttl: Ttl) -> Self {
        self.0.push_str(&spoken(ttl));
        self
    }

    /// As a text object.
    pub(crate) fn object(&self) -> Value {
        json!({"type": "mrkdwn", "text": cut(&self.0, MARKUP_LIMIT), "verbatim": true})
    }

    /// As the text of a message, which is what a notification shows.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// As a section of its own.
    pub(crate) fn section(&self) -> Value {
        json!({"type": "section", "text": self.object()})
    }

    /// As a small grey line.
    pub(crate) fn context(&self) -> Value {
        json!({"type": "context", "elements": [self.object()]})
    }
}

/// Text in which Slack interprets nothing, cut to a limit in characters.
pub(crate) fn plain(text: &str, limit: usize) -> Value {
    json!({"type": "plain_text", "text": cut(text, limit), "emoji": false})
}

/// Words of other hands as a quotation, in which nothing is interpreted.
pub(crate) fn quote(words: &str) -> Value {
    json!({
        "type": "rich_text",
        "elements": [{
            "type": "rich_text_quote",
            "elements": [{"type": "text", "text": cut(words, MARKUP_LIMIT)}],
        }],
    })
}

/// Words of other hands, every one of them, in as many blocks as that takes.
pub(crate) fn whole(words: &str) -> Vec<Value> {
    let letters: Vec<char> = words.chars().collect();
    let pieces = letters.chunks(MARKUP_LIMIT);
    pieces
        .map(|piece| {
            // A mark that reorders or hides text is shown as what it is.
            let shown = |letter: &char| match reorders(*letter) {
                true => letter.escape_unicode().to_string(),
                false => letter.to_string(),
            };
            let text: String = piece.iter().map(shown).collect();
            json!({
                "type": "rich_text",
                "elements": [{
                    "type": "rich_text_preformatted",
                    "elements": [{"type": "text", "text": text}],
                }],
            })
        })
        .collect()
}

/// A text that fits, its end replaced by a dot dot dot where it does not. Never empty: Slack
/// refuses that.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.is_empty() {
        return " ".to_owned();
    }
    if text.chars().count() <= limit {
        return text.to_owned();
    }
    let kept = text.chars().take(limit.saturating_sub(1));
    kept.chain(['…']).collect()
}

/// Escaped by Slack's rule, and without what would end a code span or reorder what is read.
pub(crate) fn inert(words: &str) -> String {
    let mut inert = String::with_capacity(words.len());
    for letter in words.chars() {
        match letter {
            '&' => inert.push_str("&amp;"),
            '<' => inert.push_str("&lt;"),
            '>' => inert.push_str("&gt;"),
            '`' => inert.push('\''),
            letter if letter.is_control() || reorders(letter) => inert.push(' '),
            letter => inert.push(letter),
        }
    }
    inert
}

/// Marks that reorder or hide text, and line separators: with them a parameter could look like
/// another. A reason holds none of them to begin with.
fn reorders(letter: char) -> bool {
    matches!(letter,
        '\u{200b}' | '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{feff}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{e0000}'..='\u{e007f}')
}

/// `2026-11-21 18:00 UTC`.
pub(crate) fn utc(at: Timestamp) -> String {
    let form = format_description!("[year]-[month]-[day] [hour]:[minute] UTC");
    let secs = at.unix_micros().div_euclid(1_000_000);
    OffsetDateTime::from_unix_timestamp(secs)
        .ok()
        .and_then(|at| at.format(form).ok())
        .unwrap_or_else(|| "an unknown time".to_owned())
}

/// `1 h 30 min`: a duration as people say it.
pub(crate) fn spoken(ttl: Ttl) -> String {
    let secs = ttl.as_secs();
    let parts = [
        (secs / 86_400, "d"),
        (secs / 3_600 % 24, "h"),
        (secs / 60 % 60, "min"),
        (secs % 60, "s"),
    ];
    let said: Vec<String> = parts
        .into_iter()
        .filter(|(number, _)| *number > 0)
        .map(|(number, unit)| format!("{number} {unit}"))
        .collect();
    said.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s13_words_of_other_hands_stay_words() {
        for words in [
            "<!channel>",
            "<@U123>",
            "<https://example.com|Approve>",
            "`out` <!here>",
            "a & b\n<!everyone>",
        ] {
            let shown = Markup::new("*What* ").code(words).0;
            assert!(!shown.contains("<"), "{shown}");
            assert_eq!(shown.matches('`').count(), 2, "{shown}");
        }
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(cut("héllo", 5), "héllo");
        assert_eq!(cut("héllo!", 5), "héll…");
        assert_eq!(cut("👩‍🚀👩‍🚀", 3).chars().count(), 3);
        assert_eq!(cut("", 5), " ");
    }

    #[test]
    fn durations_are_said_as_people_say_them() {
        let ttl = |secs| Ttl::from_secs(secs).unwrap();
        assert_eq!(spoken(ttl(5_400)), "1 h 30 min");
        assert_eq!(spoken(ttl(45)), "45 s");
        assert_eq!(spoken(ttl(90_000)), "1 d 1 h");
    }
}
