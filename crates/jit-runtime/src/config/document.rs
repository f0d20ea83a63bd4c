//! Reading a TOML document key by key, so that every problem is found and each is told with its
//! place. Knows nothing of what the keys mean. serde's `deny_unknown_fields` stops at the first
//! mistake of a file, which is why the tables are read by hand here.

use std::fmt;
use std::ops::RangeInclusive;
use std::str::FromStr;

use serde::de::value::{Error as ChoiceError, StrDeserializer};
use serde::de::{DeserializeOwned, IntoDeserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::{At, Problems, Spot, cut, nearest};

/// Reads the document and hands its root table to `read`. `None` where it is not TOML; then only
/// what is wrong with its syntax is told.
pub(super) fn read_document<T>(
    problems: &mut Problems<'_>,
    read: impl FnOnce(&mut Table<'_, '_>) -> T,
) -> Option<T> {
    let (root, errors) = DeTable::parse_recoverable(problems.text);
    if errors.is_empty() {
        return Some(with_table(
            "the file",
            Spot::Byte(0),
            root.get_ref(),
            problems,
            read,
        ));
    }
    for error in errors {
        let at = Spot::Byte(error.span().map_or(0, |span| span.start));
        problems.add(
            at,
            format!("this is not TOML: {}", error.message()),
            "write each line as key = value, with text in double quotes",
        );
    }
    None
}

fn with_table<'a, T>(
    title: &'static str,
    at: Spot,
    entries: &'a DeTable<'a>,
    problems: &'a mut Problems<'_>,
    read: impl FnOnce(&mut Table<'_, '_>) -> T,
) -> T {
    let mut table = Table {
        title,
        at,
        entries,
        known: Vec::new(),
        problems,
    };
    let value = read(&mut table);
    table.refuse_the_rest();
    value
}

/// One table while it is read. What nobody asked for is refused at the end.
pub(super) struct Table<'a, 't> {
    title: &'static str,
    at: Spot,
    entries: &'a DeTable<'a>,
    known: Vec<&'static str>,
    problems: &'a mut Problems<'t>,
}

impl<'a> Table<'a, '_> {
    /// Where the table begins.
    pub(super) fn at(&self) -> Spot {
        self.at
    }

    /// A key that must be there and, where it is a list, not empty.
    pub(super) fn require(&mut self, key: &str, example: &str) {
        let (at, what) = match self.entries.get(key) {
            None => (self.at, format!("{} lacks {key}", self.title)),
            Some(value)
                if value
                    .get_ref()
                    .as_array()
                    .is_some_and(|list| list.is_empty()) =>
            {
                let at = Spot::Byte(value.span().start);
                (at, format!("{key} in {} is empty", self.title))
            }
            Some(_) => return,
        };
        self.problems
            .add(at, what, format!("write for example {example}"));
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str) -> Option<At<String>> {
        let value = self.take(key)?;
        self.text_of(key, value)
    }

    /// A text of at most `limit` characters, none of them a control character.
    pub(super) fn line(&mut self, key: &'static str, limit: usize) -> Option<At<String>> {
        let text = self.text(key)?;
        let fits = !text.value.is_empty() && text.value.chars().count() <= limit;
        if fits && !text.value.chars().any(char::is_control) {
            return Some(text);
        }
        let instead = format!("write 1 to {limit} characters on one line");
        let what = format!("{key} in {} is empty, too long or not one line", self.title);
        self.problems.add(text.at, what, instead);
        None
    }

    /// A text that its type reads strictly.
    pub(super) fn parsed<T>(&mut self, key: &'static str) -> Option<At<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let text = self.text(key)?;
        self.parse(key, text)
    }

    /// The same, but what was written is not repeated in messages: it may hold a secret.
    pub(super) fn parsed_unseen<T>(&mut self, key: &'static str) -> Option<At<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let At { value, at } = self.text(key)?;
        match value.parse() {
            Ok(value) => Some(At { value, at }),
            Err(error) => {
                let what = format!("{key} in {} is refused", self.title);
                self.problems.add(at, what, error.to_string());
                None
            }
        }
    }

    /// The same with what stands where the key is absent.
    pub(super) fn parsed_or<T>(&mut self, key: &'static str, otherwise: &str) -> Option<T>
    where
        T: FromStr<Err: fmt::Display>,
    {
        if self.entries.contains_key(key) {
            return self.parsed(key).map(|read| read.value);
        }
        self.known.push(key);
        otherwise.parse().ok()
    }

    /// A list of texts that their type reads strictly.
    pub(super) fn parsed_list<T>(&mut self, key: &'static str) -> Vec<At<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let texts = self.text_list(key);
        let parse = |text| self.parse(key, text);
        texts.into_iter().filter_map(parse).collect()
    }

    /// One word of several, by the names that serde knows them by.
    pub(super) fn choice<T: DeserializeOwned>(&mut self, key: &'static str) -> Option<At<T>> {
        let text = self.text(key)?;
        self.choose(key, text)
    }

    /// A list of such words.
    pub(super) fn choice_list<T: DeserializeOwned>(&mut self, key: &'static str) -> Vec<At<T>> {
        let texts = self.text_list(key);
        let choose = |text| self.choose(key, text);
        texts.into_iter().filter_map(choose).collect()
    }

    /// A whole number.
    pub(super) fn whole(
        &mut self,
        key: &'static str,
        range: RangeInclusive<u64>,
    ) -> Option<At<u64>> {
        let value = self.take(key)?;
        let at = Spot::Byte(value.span().start);
        let read = value
            .get_ref()
            .as_integer()
            .and_then(|number| u64::from_str_radix(number.as_str(), number.radix()).ok())
            .filter(|number| range.contains(number));
        if read.is_none() {
            let (low, high) = range.into_inner();
            let instead = format!("write a whole number from {low} to {high}, without quotes");
            let what = format!("{key} in {} is out of range or not a number", self.title);
            self.problems.add(at, what, instead);
        }
        read.map(|value| At { value, at })
    }

    /// A number, perhaps a negative one, that its type reads strictly.
    pub(super) fn number<T>(&mut self, key: &'static str) -> Option<At<T>>
    where
        T: TryFrom<i64, Error: fmt::Display>,
    {
        let value = self.take(key)?;
        let at = Spot::Byte(value.span().start);
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        let Some(number) = number else {
            let what = format!("{key} in {} is not a number", self.title);
            self.problems
                .add(at, what, "write a whole number, without quotes");
            return None;
        };
        match number.try_into() {
            Ok(value) => Some(At { value, at }),
            Err(error) => {
                let what = format!("{key} in {} is refused: {error}", self.title);
                self.problems
                    .add(at, what, "write the number that Telegram shows");
                None
            }
        }
    }

    /// Yes or no.
    pub(super) fn flag(&mut self, key: &'static str) -> Option<At<bool>> {
        let value = self.take(key)?;
        let at = Spot::Byte(value.span().start);
        let read = value.get_ref().as_bool();
        if read.is_none() {
            let what = format!("{key} in {} is not true or false", self.title);
            self.problems
                .add(at, what, "write true or false, without quotes");
        }
        read.map(|value| At { value, at })
    }

    /// A table of free names, each with a text that its type reads strictly.
    pub(super) fn parsed_pairs<T>(&mut self, key: &'static str) -> Vec<(At<String>, At<T>)>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Some(entries) = value.get_ref().as_table() else {
            let what = format!("{key} in {} is not a table", self.title);
            let instead = format!("write {key} = {{ name = \"text\" }}");
            self.problems
                .add(Spot::Byte(value.span().start), what, instead);
            return Vec::new();
        };
        let mut pairs = Vec::new();
        for (name, value) in entries.iter() {
            let name = At {
                value: name.get_ref().to_string(),
                at: Spot::Byte(name.span().start),
            };
            let text = self.text_of(key, value);
            if let Some(value) = text.and_then(|text| self.parse(key, text)) {
                pairs.push((name, value));
            }
        }
        pairs
    }

    /// A table within this one; `title` is how it is called in messages.
    pub(super) fn within<T>(
        &mut self,
        key: &'static str,
        title: &'static str,
        read: impl FnOnce(&mut Table<'_, '_>) -> T,
    ) -> Option<T> {
        let value = self.take(key)?;
        let at = Spot::Byte(value.span().start);
        let Some(entries) = value.get_ref().as_table() else {
            let what = format!("{key} is a {}", value.get_ref().type_str());
            self.problems.add(at, what, format!("write {title}"));
            return None;
        };
        Some(with_table(title, at, entries, self.problems, read))
    }

    /// Every table of a list, `[[key]]`.
    pub(super) fn each<T>(
        &mut self,
        key: &'static str,
        title: &'static str,
        mut read: impl FnMut(&mut Table<'_, '_>) -> T,
    ) -> Vec<T> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let at = Spot::Byte(value.span().start);
        let Some(items) = value.get_ref().as_array() else {
            let what = format!("there may be several of {key}");
            let instead = format!("write {title}, with two brackets on each side");
            self.problems.add(at, what, instead);
            return Vec::new();
        };
        let mut values = Vec::new();
        for item in items.iter() {
            let at = Spot::Byte(item.span().start);
            match item.get_ref().as_table() {
                Some(entries) => {
                    values.push(with_table(title, at, entries, self.problems, &mut read));
                }
                None => self.problems.add(
                    at,
                    format!("{key} holds something else than tables"),
                    format!("write {title} and its keys below it"),
                ),
            }
        }
        values
    }

    fn take(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.push(key);
        self.entries.get(key)
    }

    fn text_of(&mut self, key: &str, value: &Spanned<DeValue<'_>>) -> Option<At<String>> {
        let at = Spot::Byte(value.span().start);
        if let Some(text) = value.get_ref().as_str() {
            let value = text.to_owned();
            return Some(At { value, at });
        }
        let kind = value.get_ref().type_str();
        let what = format!("{key} in {} holds a {kind} instead of a text", self.title);
        self.problems
            .add(at, what, "write the text in double quotes");
        None
    }

    fn text_list(&mut self, key: &'static str) -> Vec<At<String>> {
        let Some(value) = self.take(key) else {
            return Vec::new();
        };
        let Some(items) = value.get_ref().as_array() else {
            let kind = value.get_ref().type_str();
            let what = format!("{key} in {} holds a {kind} instead of a list", self.title);
            let instead = format!("write {key} = [\"one\", \"two\"]");
            self.problems
                .add(Spot::Byte(value.span().start), what, instead);
            return Vec::new();
        };
        let mut texts = Vec::new();
        for item in items.iter() {
            texts.extend(self.text_of(key, item));
        }
        texts
    }

    fn parse<T>(&mut self, key: &str, text: At<String>) -> Option<At<T>>
    where
        T: FromStr<Err: fmt::Display>,
    {
        let At { value, at } = text;
        match value.parse() {
            Ok(value) => Some(At { value, at }),
            Err(error) => {
                let what = format!("{key} = {:?} in {} is refused", cut(&value), self.title);
                // A duration in capitals is the likeliest slip of all, so it is spelt out.
                let lower = value.to_lowercase();
                let instead = match lower.parse::<T>() {
                    Ok(_) if lower != value => format!("{error}: write {lower:?}"),
                    _ => error.to_string(),
                };
                self.problems.add(at, what, instead);
                None
            }
        }
    }

    fn choose<T: DeserializeOwned>(&mut self, key: &str, text: At<String>) -> Option<At<T>> {
        let At { value, at } = text;
        let word: StrDeserializer<'_, ChoiceError> = value.as_str().into_deserializer();
        match T::deserialize(word) {
            Ok(value) => Some(At { value, at }),
            Err(error) => {
                let what = format!("{key} = {:?} in {} is not known", cut(&value), self.title);
                self.problems.add(at, what, error.to_string());
                None
            }
        }
    }

    fn refuse_the_rest(self) {
        for name in self.entries.keys() {
            let (at, name) = (Spot::Byte(name.span().start), name.get_ref());
            if self.known.contains(&name.as_ref()) {
                continue;
            }
            if holds_a_secret(name) {
                let what = format!("{:?} in {} looks like a secret", cut(name), self.title);
                self.problems.add(at, what, SECRETS_GO_ELSEWHERE);
                continue;
            }
            let what = format!("unknown key {:?} in {}", cut(name), self.title);
            let known = format!("the known keys are {}", self.known.join(", "));
            let instead = match nearest(name, &self.known) {
                Some(key) => format!("write {key}, if that is meant; {known}"),
                None => known,
            };
            self.problems.add(at, what, instead);
        }
    }
}

/// What is said to a secret in the file.
pub(super) const SECRETS_GO_ELSEWHERE: &str = "a secret is never written into the configuration: \
    remove it here, replace it at its issuer, and set its variable, such as JIT_PAGER_TOKEN, in \
    the environment or in .env beside this file, or JIT_PAGER_TOKEN_FILE to the file that holds it";

fn holds_a_secret(key: &str) -> bool {
    let key = key.to_lowercase();
    [
        "secret",
        "token",
        "password",
        "bearer",
        "api_key",
        "credential",
    ]
    .iter()
    .any(|word| key.contains(word))
}
