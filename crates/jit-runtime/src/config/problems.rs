//! What is wrong with a configuration, where, and what to write instead; and the word that was
//! probably meant. Judges nothing itself.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Where a value was written.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "place")]
pub enum Place {
    /// In the configuration file.
    Line {
        /// The line, from 1.
        line: usize,
        /// The character in that line, from 1.
        column: usize,
    },
    /// In a variable of the environment, or in the `.env` file beside the configuration.
    Variable {
        /// Its name.
        name: String,
    },
    /// In another file.
    File {
        /// Which.
        file: PathBuf,
        /// The line, from 1, where it is known.
        line: Option<usize>,
    },
}

/// One thing that is wrong, where, and what to write instead. Never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong.
    pub what: String,
    /// What to write instead.
    pub instead: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.instead)
    }
}

/// Where a value was written, as the reader keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Spot {
    /// Nowhere: it is the default.
    Unwritten,
    /// This many bytes into the file.
    Byte(usize),
    /// In this variable.
    Variable(&'static str),
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) at: Spot,
}

/// Everything that was found wrong so far.
#[derive(Debug)]
pub(super) struct Problems<'t> {
    /// The file.
    pub(super) text: &'t str,
    found: Vec<Problem>,
}

impl<'t> Problems<'t> {
    pub(super) fn of(text: &'t str) -> Self {
        Self {
            text,
            found: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, at: Spot, what: impl Into<String>, instead: impl Into<String>) {
        let place = self.place(at);
        self.add_at(place, what, instead);
    }

    pub(super) fn add_at(
        &mut self,
        place: Place,
        what: impl Into<String>,
        instead: impl Into<String>,
    ) {
        self.found.push(Problem {
            place,
            what: on_one_line(what.into()),
            instead: on_one_line(instead.into()),
        });
    }

    /// Where something was written, in words: `on line 12`.
    pub(super) fn where_is(&self, at: Spot) -> String {
        match (at, self.place(at)) {
            (Spot::Unwritten, _) => "by default".to_owned(),
            (_, Place::Line { line, .. }) => format!("on line {line}"),
            (_, Place::Variable { name }) => format!("in {name}"),
            (_, Place::File { file, .. }) => format!("in {}", file.display()),
        }
    }

    /// Every problem, in the order of the file.
    pub(super) fn into_found(mut self) -> Vec<Problem> {
        self.found
            .sort_by(|left, right| left.place.cmp(&right.place));
        self.found
    }

    fn place(&self, at: Spot) -> Place {
        let byte = match at {
            Spot::Unwritten => 0,
            Spot::Byte(byte) => byte,
            Spot::Variable(name) => {
                return Place::Variable {
                    name: name.to_owned(),
                };
            }
        };
        let before = self.text.get(..byte).unwrap_or(self.text);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place::Line {
            line: before.matches('\n').count() + 1,
            column: before
                .get(line_start..)
                .map_or(0, |part| part.chars().count())
                + 1,
        }
    }
}

/// A sentence that quotes what stands in a file, for a terminal: nothing in it moves the cursor.
fn on_one_line(text: String) -> String {
    match text.contains(char::is_control) {
        true => text.replace(char::is_control, "\u{fffd}"),
        false => text,
    }
}

/// A text that was typed, cut so that a message stays readable.
pub(super) fn cut(text: &str) -> String {
    text.chars().take(60).collect()
}

/// The word that was probably meant, if one is near.
pub(super) fn nearest<'w>(typed: &str, words: &[&'w str]) -> Option<&'w str> {
    let typed = cut(typed);
    let length = typed.chars().count();
    let allowed = if length < 5 { 1 } else { 2 };
    // An edit makes a word longer or shorter by one letter at most.
    let may_be_near = |word: &&&str| word.chars().count().abs_diff(length) <= allowed;
    words
        .iter()
        .filter(may_be_near)
        .map(|word| (edits(&typed, word), *word))
        .filter(|(edits, _)| *edits <= allowed)
        .min()
        .map(|(_, word)| word)
}

/// How many letters must be put in, taken out or changed to turn one word into the other
/// (Levenshtein), a row at a time.
fn edits(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (index, letter) in from.chars().enumerate() {
        let mut left = index + 1;
        let mut next = vec![left];
        for (pair, other) in row.windows(2).zip(&to) {
            let (diagonal, above) = (
                pair.first().copied().unwrap_or_default(),
                pair.last().copied().unwrap_or_default(),
            );
            left = (left + 1)
                .min(above + 1)
                .min(diagonal + usize::from(letter != *other));
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_word_that_was_meant_is_found_and_no_other() {
        let words = ["ttl_max", "ttl_default", "approvals"];
        assert_eq!(nearest("ttl_maxx", &words), Some("ttl_max"));
        assert_eq!(nearest("aprovals", &words), Some("approvals"));
        assert_eq!(nearest("step_up", &words), None);
        assert_eq!((edits("", "abc"), edits("kitten", "sitting")), (3, 3));
    }

    #[test]
    fn places_are_lines_and_characters() {
        let problems = Problems::of("a = 1\nüü = 2\n");
        let line = |byte| problems.place(Spot::Byte(byte));
        assert_eq!(line(0), Place::Line { line: 1, column: 1 });
        assert_eq!(line(10), Place::Line { line: 2, column: 3 });
    }
}
