//! Policy templates: read strictly, filled from a request's parameters, and bound to the request,
//! the person and the end. Pure; nothing here asks AWS.

mod json;
mod lasting;
mod reading;
mod stamp;
mod text;

use jit_core::Timestamp;
use jit_core::digest::Digest;
use jit_core::provider::Parameters;
use jit_core::request::RequestId;
use serde_json::{Map, Value, json};

use reading::{Places, missing, not_allowed, quoted, read_statement};

pub(crate) use json::read as read_json;
pub(crate) use lasting::fits;
pub(crate) use stamp::Stamp;

/// The version in which policy variables mean something ("IAM JSON policy elements: Version", IAM
/// User Guide).
const VERSION: &str = "2012-10-17";
/// What bounds a session whose entitlement has no template: nothing but the role and the end.
const EVERYTHING: &str = r#"{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}"#;
/// The longest value of a parameter, in characters.
const VALUE_LIMIT: usize = 256;
/// What may stand in a value that becomes a part of a text. No wildcard, no policy variable, nothing
/// that ends a segment of an ARN or of a path.
const IN_A_TEXT: &str = "._@+=,-";
/// What may stand besides in a value that becomes a whole text.
const AS_A_TEXT: &str = "/:";
/// The longest list of values.
const LIST_LIMIT: usize = 100;
/// How a Sid of ours begins. Behind it stands the request, and the number of the statement.
const SID: &str = "Jit";
/// The condition that ends access ("AWS global condition context keys", IAM User Guide).
const END: (&str, &str) = ("DateLessThan", "aws:CurrentTime");
/// The condition that tells the sessions of one role apart: `<unique id of the role>:<name of the
/// session>` (the same page).
const SESSION: (&str, &str) = ("StringEquals", "aws:userid");

/// A policy with placeholders: what an entitlement gives, before it is known to whom and how long.
///
/// It is the JSON of an IAM policy of `Allow` statements, each with `Action`, `Resource` and maybe
/// `Condition`. A `{name}` in any of their texts stands for a parameter of the request; policy
/// variables such as `${aws:username}` stay as they are, and no other brace may stand anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    digest: Digest,
    statements: Vec<Map<String, Value>>,
    places: Places,
}

/// A template that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// Not JSON, or an object with the same key twice, of which IAM would see one.
    #[error("the template is not the JSON of a policy: {0}")]
    NotJson(String),
    /// Something that a template may not have.
    #[error("the template may not have {what} at {at}; {instead}")]
    NotAllowed {
        /// Where.
        at: String,
        /// What.
        what: String,
        /// What to write.
        instead: &'static str,
    },
    /// Something that a template must have.
    #[error("the template lacks {what} at {at}")]
    Missing {
        /// Where.
        at: String,
        /// What.
        what: &'static str,
    },
    /// An action by which whoever may do it makes access that outlives every date.
    #[error(
        "the template lets its holder do {action:?} at {at}, which makes access that nothing ends; \
         name the actions, and none of iam, sso or identitystore that change anything"
    )]
    Lasting {
        /// Where.
        at: String,
        /// What.
        action: String,
    },
    /// A brace that is no placeholder.
    #[error("the template has a brace at {at} that is neither a {{parameter}} nor a ${{variable}}")]
    Brace {
        /// Where.
        at: String,
    },
}

/// Parameters that do not fit a template. The name of a parameter is the request's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadParameters {
    /// The template has a place for it.
    #[error("the parameter {0:?} is missing")]
    Missing(String),
    /// The template has no place for it.
    #[error("the parameter {0:?} has no place in what is asked for")]
    Unused(String),
    /// Neither text, whole number, true or false, nor a list of those.
    #[error("the parameter {0:?} is not a text, a whole number, true or false, or a list of those")]
    Sort(String),
    /// Nothing, or too much.
    #[error("the parameter {name:?} has {length} characters; write 1 to {VALUE_LIMIT}")]
    Length {
        /// The parameter.
        name: String,
        /// How many it has.
        length: usize,
    },
    /// A character that could mean more than itself.
    #[error(
        "the parameter {name:?} has {character:?}; write ASCII letters, digits and any of {allowed}"
    )]
    Character {
        /// The parameter.
        name: String,
        /// The first that may not stand there.
        character: char,
        /// What may, besides letters and digits.
        allowed: String,
    },
    /// A list where one value fits.
    #[error("the parameter {0:?} is a list, and there is place for one value only")]
    List(String),
    /// An empty list, or one that is too long.
    #[error("the parameter {name:?} is a list of {length}; write 1 to {LIST_LIMIT} values")]
    ListLength {
        /// The parameter.
        name: String,
        /// How many it has.
        length: usize,
    },
    /// With them somebody could make access that outlives every date.
    #[error(
        "with these parameters the policy has the action {0:?}, which makes access that nothing ends"
    )]
    Lasting(String),
    /// IAM takes no such action or resource.
    #[error("with these parameters the policy has {what} {text:?}, which IAM does not take")]
    NotIam {
        /// `an action` or `a resource`.
        what: &'static str,
        /// It.
        text: String,
    },
}

/// To what a filled template is bound.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bound<'a> {
    pub(crate) request: RequestId,
    pub(crate) until: Timestamp,
    /// The `aws:userid` of the only session that may use it, where others have the same role.
    pub(crate) user_id: Option<&'a str>,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Where it is not one; the sentence says what to write instead.
    pub fn read(text: &str) -> Result<Self, BadTemplate> {
        let template = Self::parse(text)?;
        for (number, statement) in (1..).zip(&template.statements) {
            let actions = statement.get("Action").map(texts).unwrap_or_default();
            // What stands in a place is known when it is filled, and held against the same then.
            let fixed = actions.into_iter().filter(|it| !text::has_places(it));
            if let Some(action) = fixed.into_iter().find(|it| lasting::is_lasting(it)) {
                return Err(BadTemplate::Lasting {
                    at: format!("statement {number}"),
                    action: shortened(action),
                });
            }
        }
        Ok(template)
    }

    fn parse(text: &str) -> Result<Self, BadTemplate> {
        let document = json::read(text).map_err(BadTemplate::NotJson)?;
        let Value::Object(document) = document else {
            let why = "write an object with a Statement";
            return Err(BadTemplate::NotJson(why.to_owned()));
        };
        for (key, value) in &document {
            match (key.as_str(), value) {
                ("Statement", _) => {}
                ("Version", Value::String(version)) if version == VERSION => {}
                ("Version", _) => {
                    let instead = "write \"2012-10-17\" or leave it out";
                    return Err(not_allowed("the document", "another Version", instead));
                }
                (key, _) => {
                    let instead = "write Version and Statement only";
                    return Err(not_allowed("the document", quoted(key), instead));
                }
            }
        }
        let statements: Vec<&Value> = match document.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().collect(),
            Some(statement) => vec![statement],
            None => Vec::new(),
        };
        if statements.is_empty() {
            return Err(missing("the document", "a Statement"));
        }
        let mut places = Places::default();
        let statements = (1..).zip(statements).map(|(number, statement)| {
            let at = format!("statement {number}");
            read_statement(&at, statement, &mut places)
        });
        let statements = statements.collect::<Result<_, _>>()?;
        Ok(Self {
            digest: Digest::of(text.as_bytes()),
            statements,
            places,
        })
    }

    /// What an entitlement without a template gives by [`AssumedRole`](crate::AssumedRole): all that
    /// the role may.
    pub(crate) fn everything() -> Self {
        Self::parse(EVERYTHING).expect("a policy that allows everything is one")
    }

    /// The names of the parameters that it has places for, in alphabetical order.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.places.all.iter().map(String::as_str)
    }

    /// Those of them that somewhere are all of an `Action` or `Resource`, in alphabetical order: whoever
    /// asks chooses that by such a parameter, so its schema has to say which there are.
    pub fn whole_places(&self) -> impl Iterator<Item = &str> {
        self.places.whole.iter().map(String::as_str)
    }

    /// Whether whoever holds this may open sessions of roles, which live on by themselves.
    pub(crate) fn opens_sessions(&self, parameters: &Parameters) -> Result<bool, BadParameters> {
        for statement in &self.statements {
            let Some(action) = statement.get("Action") else {
                continue;
            };
            let filled = text::fill(action, parameters)?;
            if texts(&filled).into_iter().any(lasting::opens_sessions) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The first 16 hexadecimal digits of its digest: a changed template is another target.
    pub(crate) fn digest(&self) -> String {
        self.digest.prefix()
    }

    /// The policy: filled, marked with its request, and over at its end.
    pub(crate) fn fill(
        &self,
        parameters: &Parameters,
        bound: &Bound<'_>,
    ) -> Result<String, BadParameters> {
        let unused = parameters.keys().find(|it| !self.places.all.contains(*it));
        if let Some(unused) = unused {
            return Err(BadParameters::Unused(shortened(unused)));
        }
        let statements = (1..).zip(&self.statements).map(|(number, statement)| {
            let mut filled = Map::new();
            filled.insert("Sid".to_owned(), json!(sid(bound.request, number)));
            for (key, value) in statement {
                filled.insert(key.clone(), text::fill(value, parameters)?);
            }
            check(&filled)?;
            check_lasting(statement, &filled)?;
            let end = json!(whole_second(bound.until).to_string());
            require(&mut filled, END, end);
            if let Some(user_id) = bound.user_id {
                require(&mut filled, SESSION, json!(user_id));
            }
            Ok(Value::Object(filled))
        });
        let statements = statements.collect::<Result<Vec<_>, _>>()?;
        let document = json!({ "Version": VERSION, "Statement": statements });
        Ok(document.to_string())
    }
}

/// AWS reads seconds; access never outlives its end for the sake of a fraction.
fn whole_second(at: Timestamp) -> Timestamp {
    let micros = at.unix_micros();
    Timestamp::from_unix_micros(micros - micros.rem_euclid(1_000_000))
}

/// "Sid": letters and digits only, and none twice in a policy ("IAM JSON policy elements: Sid").
fn sid(request: RequestId, number: usize) -> String {
    format!("{SID}{}{number}", marker(request))
}

/// A request in 26 letters and digits.
fn marker(request: RequestId) -> String {
    let id = request.to_string();
    id.strip_prefix("req-").unwrap_or(&id).to_owned()
}

/// Adds a condition to those that are there already. All conditions of a statement must hold, and
/// reading saw to it that the template has none on this key.
fn require(statement: &mut Map<String, Value>, (operator, key): (&str, &str), value: Value) {
    let conditions = statement.entry("Condition").or_insert_with(|| json!({}));
    if let Some(conditions) = conditions.as_object_mut() {
        let keys = conditions.entry(operator).or_insert_with(|| json!({}));
        if let Some(keys) = keys.as_object_mut() {
            keys.insert(key.to_owned(), value);
        }
    }
}

/// What IAM takes for actions and resources is known only when they are filled.
fn check(statement: &Map<String, Value>) -> Result<(), BadParameters> {
    let is_action = |it: &str| {
        let parts = it.split_once(':');
        it == "*" || parts.is_some_and(|(of, name)| !of.is_empty() && !name.is_empty())
    };
    // arn:partition:service:region:account:resource
    let is_resource = |it: &str| {
        it == "*" || it.starts_with("arn:") && it.splitn(6, ':').count() == 6 && !it.ends_with(':')
    };
    let each = |key: &str, what: &'static str, is: &dyn Fn(&str) -> bool| {
        let texts = statement.get(key).map(texts).unwrap_or_default();
        match texts.into_iter().find(|it| !is(it)) {
            Some(text) => Err(BadParameters::NotIam {
                what,
                text: shortened(text),
            }),
            None => Ok(()),
        }
    };
    each("Action", "the action", &is_action)?;
    each("Resource", "the resource", &is_resource)
}

/// What was put into an `Action` is held against what a template may have there.
fn check_lasting(
    statement: &Map<String, Value>,
    filled: &Map<String, Value>,
) -> Result<(), BadParameters> {
    let before = statement.get("Action").map(texts).unwrap_or_default();
    let after = filled.get("Action").map(texts).unwrap_or_default();
    let put = after.into_iter().filter(|it| !before.contains(it));
    match put.into_iter().find(|it| lasting::is_lasting(it)) {
        Some(action) => Err(BadParameters::Lasting(shortened(action))),
        None => Ok(()),
    }
}

pub(crate) fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::Array(items) => items.iter().filter_map(Value::as_str).collect(),
        value => value.as_str().into_iter().collect(),
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests;
