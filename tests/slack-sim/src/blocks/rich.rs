//! Rich text: the one block whose words are never read as markup.

use serde_json::Value;

use super::Check;

impl Check {
    pub(crate) fn rich_text(&mut self, at: &str, block: &Value) {
        self.keys(at, block, &["type", "block_id", "elements"]);
        for (at, part) in self.list(at, block, "elements", 100) {
            match part["type"].as_str().unwrap_or_default() {
                "rich_text_section" => self.run(&at, part, &["type", "elements"]),
                "rich_text_quote" | "rich_text_preformatted" => {
                    self.run(&at, part, &["type", "elements", "border"]);
                }
                "rich_text_list" => {
                    let known = ["type", "elements", "style", "indent", "offset", "border"];
                    self.keys(&at, part, &known);
                    self.one_of(&at, part, "style", &["bullet", "ordered"]);
                    for (at, item) in self.list(&at, part, "elements", 500) {
                        self.run(&at, item, &["type", "elements"]);
                    }
                }
                other => self.bad(&format!("{at}/type"), &format!("unsupported type: {other}")),
            }
        }
    }

    fn run(&mut self, at: &str, part: &Value, known: &[&str]) {
        self.keys(at, part, known);
        for (at, piece) in self.list(at, part, "elements", 1000) {
            let (key, more): (&str, &[&str]) = match piece["type"].as_str().unwrap_or_default() {
                "text" => ("text", &[]),
                "link" => ("url", &["text", "unsafe"]),
                "user" => ("user_id", &[]),
                "usergroup" => ("usergroup_id", &[]),
                "channel" => ("channel_id", &[]),
                "emoji" => ("name", &["unicode", "skin_tone"]),
                "broadcast" => ("range", &[]),
                "date" => ("format", &["timestamp", "url", "fallback"]),
                other => {
                    self.bad(&format!("{at}/type"), &format!("unsupported type: {other}"));
                    continue;
                }
            };
            let known: Vec<&str> = ["type", "style", key].iter().chain(more).copied().collect();
            self.keys(&at, piece, &known);
            if piece[key].as_str().is_none_or(str::is_empty) {
                self.bad(&format!("{at}/{key}"), "must be more than 0 characters");
            }
        }
    }
}
