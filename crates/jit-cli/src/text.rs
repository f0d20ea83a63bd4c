//! How values look. Pure functions; nothing here reads a clock or writes anything.

use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::BorrowedFormatItem;
use time::format_description::well_known::Rfc3339;
use time::macros::format_description;

const INSTANT: &[BorrowedFormatItem<'_>] =
    format_description!("[year]-[month]-[day] [hour]:[minute]:[second] UTC");

/// A text of the server that can be shown: no character of it acts on a terminal or reorders what
/// is read. Made so when it is read, so that no other text of a server exists here.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Inert(String);

impl Inert {
    pub(crate) fn of(text: &str) -> Self {
        let shown = |c| if acts(c) { '\u{fffd}' } else { c };
        Self(text.chars().map(shown).collect())
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Inert {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Inert {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from).map(|text| Self::of(&text))
    }
}

/// Whether a character may do something else than be seen: control characters, with them the
/// beginning of every escape sequence, marks that turn the direction of text, line separators, and
/// characters of no width.
fn acts(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}')
}

/// JSON as it came, with such characters written as escapes: the same values, inert as text.
pub(crate) fn inert_json(json: &str) -> String {
    let mut shown = String::with_capacity(json.len());
    for c in json.chars() {
        // In valid JSON these three stand between values and never within one.
        if !acts(c) || matches!(c, '\n' | '\r' | '\t') {
            shown.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            shown.push_str(&format!("\\u{unit:04x}"));
        }
    }
    shown
}

/// A secret for a terminal: its lines stay lines.
pub(crate) fn inert_lines(text: &str) -> String {
    let lines = text.lines().map(|line| Inert::of(line).0);
    lines.collect::<Vec<_>>().join("\n")
}

/// An instant of the API, in UTC with seconds; a text that is none is shown as it is.
pub(crate) fn instant(text: &Inert) -> String {
    let read = OffsetDateTime::parse(text.as_str(), &Rfc3339).ok();
    let utc = read.and_then(|at| at.checked_to_offset(time::UtcOffset::UTC));
    let shown = utc.and_then(|at| at.format(INSTANT).ok());
    shown.unwrap_or_else(|| text.to_string())
}

/// How long until an instant of the API; nothing once it is past.
pub(crate) fn until(text: &Inert, now: OffsetDateTime) -> Option<Duration> {
    let at = OffsetDateTime::parse(text.as_str(), &Rfc3339).ok()?;
    Duration::try_from(at - now).ok()
}

/// A duration as a clock shows it: `9:05`, `1:00:00`, `3d 01:00:00`. A second that has begun counts
/// whole, so that 0:00 means that it is over.
pub(crate) fn clock(left: Duration) -> String {
    let secs = left.as_secs() + u64::from(left.subsec_nanos() > 0);
    let (days, hours, minutes) = (secs / 86_400, secs / 3_600 % 24, secs / 60 % 60);
    let secs = secs % 60;
    match (days, hours) {
        (0, 0) => format!("{minutes}:{secs:02}"),
        (0, _) => format!("{hours}:{minutes:02}:{secs:02}"),
        (_, _) => format!("{days}d {hours:02}:{minutes:02}:{secs:02}"),
    }
}

/// The first characters of a text, so that it fits a column.
pub(crate) fn brief(text: &Inert, longest: usize) -> String {
    if text.0.chars().count() <= longest {
        return text.to_string();
    }
    let kept: String = text.0.chars().take(longest.saturating_sub(1)).collect();
    format!("{}…", kept.trim_end())
}

/// Rows under a line of headings.
pub(crate) fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let mut table = plain_table();
    table.set_header(headings.iter().copied());
    table.add_rows(rows);
    trimmed(&table)
}

/// Names and values, one pair per line.
pub(crate) fn pairs(pairs: impl IntoIterator<Item = (&'static str, String)>) -> String {
    let mut table = plain_table();
    table.add_rows(
        pairs
            .into_iter()
            .map(|(name, value)| [name.to_owned(), value]),
    );
    trimmed(&table)
}

fn plain_table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table
}

fn trimmed(table: &Table) -> String {
    let lines = table.lines().map(|line| {
        let line = line.trim_end();
        line.strip_prefix(' ').unwrap_or(line).to_owned()
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use time::macros::datetime;

    #[test]
    fn instants_are_shown_in_utc_with_seconds() {
        for (text, shown) in [
            ("2026-01-01T00:30:00Z", "2026-01-01 00:30:00 UTC"),
            ("2026-01-01T00:30:00.123456Z", "2026-01-01 00:30:00 UTC"),
            ("2026-01-01T01:30:00+02:00", "2025-12-31 23:30:00 UTC"),
            ("soon", "soon"),
        ] {
            assert_eq!(instant(&Inert::of(text)), shown);
        }
    }

    #[test]
    fn a_countdown_reads_like_a_clock() {
        for (secs, shown) in [
            (0, "0:00"),
            (5, "0:05"),
            (545, "9:05"),
            (3_600, "1:00:00"),
            (86_399, "23:59:59"),
            (262_800, "3d 01:00:00"),
        ] {
            assert_eq!(clock(Duration::from_secs(secs)), shown);
        }
        assert_eq!(clock(Duration::from_millis(59_001)), "1:00");
        let now = datetime!(2026-01-01 00:00:00 UTC);
        let left = |text| until(&Inert::of(text), now);
        assert_eq!(left("2026-01-01T00:15:00Z"), Some(Duration::from_secs(900)));
        assert_eq!(left("2025-12-31T23:59:59Z"), None);
        assert_eq!(left("soon"), None);
    }

    #[test]
    fn json_is_inert_and_keeps_its_values() {
        let json = "{\"a\": \"x\u{9b}31m\u{202e}y\u{e0041}\"}\n";
        let shown = inert_json(json);
        assert!(!shown.chars().any(|c| acts(c) && c != '\n'), "{shown:?}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&shown), value(json));
    }

    proptest! {
        #[test]
        fn s13_no_text_of_a_server_acts_on_a_terminal(text in any::<String>()) {
            prop_assert!(!Inert::of(&text).as_str().chars().any(acts));
            prop_assert!(!inert_lines(&text).chars().any(|c| acts(c) && c != '\n'));
            let json = serde_json::to_string(&text).unwrap();
            let shown = inert_json(&json);
            prop_assert!(!shown.chars().any(acts));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }
    }
}
