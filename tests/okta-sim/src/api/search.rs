//! The expressions of `search` and `filter`: comparisons of attributes with texts, joined by `and`
//! and `or`. <https://developer.okta.com/docs/api/#filter>

use serde_json::Value;

use crate::directory::{Group, User};

/// The most that is read of one, and how deep its parentheses may go.
const LONGEST: usize = 4096;
const DEEPEST: usize = 16;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expression {
    All(Vec<Expression>),
    Any(Vec<Expression>),
    Test(Test),
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Test {
    attribute: String,
    comparison: Comparison,
    case: Case,
}

/// Whether the case of a value counts: in a filter it does, in a search it does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    Counts,
    DoesNot,
}

#[derive(Debug, Clone, PartialEq)]
enum Comparison {
    Equals(String),
    StartsWith(String),
    Present,
}

/// What an attribute of something is.
pub(super) trait Attributes {
    fn value(&self, attribute: &str) -> Option<Value>;
}

impl Attributes for (&str, &User) {
    fn value(&self, attribute: &str) -> Option<Value> {
        let (id, user) = self;
        match attribute {
            "id" => Some(Value::from(*id)),
            "status" => Some(Value::from(user.status.word())),
            _ => user
                .profile
                .get(attribute.strip_prefix("profile.")?)
                .cloned(),
        }
    }
}

impl Attributes for (&str, &Group) {
    fn value(&self, attribute: &str) -> Option<Value> {
        let (id, group) = self;
        match attribute {
            "id" => Some(Value::from(*id)),
            "type" => Some(Value::from(group.kind.word())),
            "profile.name" => Some(Value::from(group.name.as_str())),
            _ => None,
        }
    }
}

impl Expression {
    /// Reads a search; `None` if it is none, or more than there is support for.
    pub(super) fn search(text: &str) -> Option<Self> {
        Self::parse(text, Case::DoesNot)
    }

    /// Reads a filter, which knows these attributes and compares for equality only.
    pub(super) fn filter(text: &str, known: &[&str]) -> Option<Self> {
        let parsed = Self::parse(text, Case::Counts)?;
        let is_filter = |test: &Test| {
            let is_equality = matches!(test.comparison, Comparison::Equals(_));
            is_equality && known.contains(&test.attribute.as_str())
        };
        let all = parsed.tests().into_iter().all(is_filter);
        all.then_some(parsed)
    }

    fn parse(text: &str, case: Case) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let words = words(text)?;
        let mut reader = Reader {
            words: &words,
            case,
        };
        let expression = reader.any(0)?;
        reader.words.is_empty().then_some(expression)
    }

    fn tests(&self) -> Vec<&Test> {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().flat_map(Self::tests).collect(),
            Self::Test(test) => vec![test],
        }
    }

    pub(super) fn takes(&self, of: &impl Attributes) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|it| it.takes(of)),
            Self::Any(parts) => parts.iter().any(|it| it.takes(of)),
            Self::Test(test) => test.takes(of.value(&test.attribute)),
        }
    }
}

impl Test {
    /// A list takes any of its entries.
    fn takes(&self, value: Option<Value>) -> bool {
        match value {
            None | Some(Value::Null) => false,
            Some(Value::Array(entries)) => entries.into_iter().any(|it| self.takes(Some(it))),
            Some(value) => {
                let text = match value {
                    Value::String(text) => text,
                    other => other.to_string(),
                };
                let alike = |text: &str| match self.case {
                    Case::Counts => text.to_owned(),
                    Case::DoesNot => text.to_lowercase(),
                };
                match &self.comparison {
                    Comparison::Equals(wanted) => alike(&text) == alike(wanted),
                    Comparison::StartsWith(wanted) => alike(&text).starts_with(&alike(wanted)),
                    Comparison::Present => true,
                }
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Word {
    Open,
    Close,
    Bare(String),
    Quoted(String),
}

fn words(text: &str) -> Option<Vec<Word>> {
    let mut words = Vec::new();
    let mut rest = text.chars().peekable();
    while let Some(next) = rest.next() {
        match next {
            ' ' => {}
            '(' => words.push(Word::Open),
            ')' => words.push(Word::Close),
            '"' => {
                let mut quoted = String::new();
                loop {
                    match rest.next()? {
                        '"' => break,
                        '\\' => quoted.push(rest.next()?),
                        other => quoted.push(other),
                    }
                }
                words.push(Word::Quoted(quoted));
            }
            first => {
                let mut bare = String::from(first);
                while let Some(more) = rest.next_if(|it| !" ()\"".contains(*it)) {
                    bare.push(more);
                }
                words.push(Word::Bare(bare));
            }
        }
    }
    Some(words)
}

struct Reader<'a> {
    words: &'a [Word],
    case: Case,
}

impl Reader<'_> {
    fn next(&mut self) -> Option<Word> {
        let (first, rest) = self.words.split_first()?;
        self.words = rest;
        Some(first.clone())
    }

    /// Takes this word, in whatever case, if it is next.
    fn takes(&mut self, word: &str) -> bool {
        match self.words.split_first() {
            Some((Word::Bare(bare), rest)) if bare.eq_ignore_ascii_case(word) => {
                self.words = rest;
                true
            }
            _ => false,
        }
    }

    fn any(&mut self, depth: usize) -> Option<Expression> {
        let mut parts = vec![self.all(depth)?];
        while self.takes("or") {
            parts.push(self.all(depth)?);
        }
        Some(Expression::Any(parts))
    }

    fn all(&mut self, depth: usize) -> Option<Expression> {
        let mut parts = vec![self.one(depth)?];
        while self.takes("and") {
            parts.push(self.one(depth)?);
        }
        Some(Expression::All(parts))
    }

    fn one(&mut self, depth: usize) -> Option<Expression> {
        let attribute = match self.next()? {
            Word::Open if depth < DEEPEST => {
                let inner = self.any(depth + 1)?;
                return (self.next()? == Word::Close).then_some(inner);
            }
            Word::Bare(attribute) => attribute,
            Word::Open | Word::Close | Word::Quoted(_) => return None,
        };
        let comparison = if self.takes("pr") {
            Comparison::Present
        } else if self.takes("eq") {
            Comparison::Equals(self.value()?)
        } else if self.takes("sw") {
            Comparison::StartsWith(self.value()?)
        } else {
            return None;
        };
        Some(Expression::Test(Test {
            attribute,
            comparison,
            case: self.case,
        }))
    }

    /// A text in quotes, or a number or a truth value as it is.
    fn value(&mut self) -> Option<String> {
        match self.next()? {
            Word::Quoted(text) => Some(text),
            Word::Bare(text) if text == "true" || text == "false" => Some(text),
            Word::Bare(text) if text.parse::<f64>().is_ok() => Some(text),
            Word::Bare(_) | Word::Open | Word::Close => None,
        }
    }
}
