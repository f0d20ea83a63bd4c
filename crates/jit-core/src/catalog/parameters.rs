//! What an entitlement takes beside its name: whether parameters fit, and what they are called in one
//! line. How a schema is judged is given from outside.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::Value;

use crate::principal::BadName;
use crate::provider::Parameters;

/// The longest title that is made of parameters, in characters; a longer one ends in `…`.
const TITLE_LIMIT: usize = 200;

/// Whether an entitlement takes parameters.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ParameterRule {
    /// A request that carries any is refused.
    Refused,
    /// Any JSON object up to 4 KiB; the provider judges it when the target is resolved.
    Free,
    /// A JSON object up to 4 KiB that fits this schema.
    Schema(ParameterSchema),
}

impl ParameterRule {
    /// The schema, where there is one.
    pub fn schema(&self) -> Option<&ParameterSchema> {
        match self {
            Self::Schema(schema) => Some(schema),
            Self::Refused | Self::Free => None,
        }
    }
}

/// What a schema says of parameters that do not fit: a sentence for whoever asked.
type Judge = dyn Fn(&Value) -> Result<(), String> + Send + Sync;

/// A JSON Schema, and whatever judges by it. Equal where what is written is equal.
#[derive(Clone)]
pub struct ParameterSchema {
    written: Value,
    judge: Arc<Judge>,
}

impl ParameterSchema {
    /// The schema as it is written, and a judge that says in a sentence what does not fit it. The
    /// judge is pure: the same parameters are always judged alike.
    pub fn new(
        written: Value,
        judge: impl Fn(&Value) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        Self {
            written,
            judge: Arc::new(judge),
        }
    }

    /// The schema as it is written.
    pub fn as_json(&self) -> &Value {
        &self.written
    }

    /// Whether these fit it; what does not, in a sentence.
    ///
    /// # Errors
    /// What does not fit.
    pub fn check(&self, parameters: &Parameters) -> Result<(), String> {
        (self.judge)(&Value::from(parameters.clone()))
    }
}

impl fmt::Debug for ParameterSchema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ParameterSchema")
            .field(&self.written)
            .finish()
    }
}

impl PartialEq for ParameterSchema {
    fn eq(&self, other: &Self) -> bool {
        self.written == other.written
    }
}

impl Eq for ParameterSchema {}

impl Serialize for ParameterSchema {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.written.serialize(serializer)
    }
}

/// How a request is called by its parameters: `EC2 in {region}`. Names in braces stand for
/// parameters; there is no other use of a brace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct DisplayTemplate(String);

impl FromStr for DisplayTemplate {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let rule = "write 1 to 200 characters in one line, with the names of parameters in braces";
        let is_line = !text.trim().is_empty()
            && text.chars().count() <= TITLE_LIMIT
            && !text.chars().any(char::is_control);
        let well_formed = pieces(text).all(|piece| piece.is_some());
        match is_line && well_formed {
            true => Ok(Self(text.to_owned())),
            false => Err(BadName::new("a display template", text, rule)),
        }
    }
}

impl DisplayTemplate {
    /// The parameters that it names, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        pieces(&self.0).flatten().filter_map(|piece| match piece {
            Piece::Name(name) => Some(name),
            Piece::Text(_) => None,
        })
    }

    /// The line for these parameters; a dash stands for one that is not there. The values are
    /// whatever was asked for: to be shown, and never read as markup.
    pub fn line(&self, parameters: &Parameters) -> String {
        let said = |name: &str| match parameters.get(name) {
            None | Some(Value::Null) => "-".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        let pieces = pieces(&self.0).flatten();
        let line: String = pieces
            .map(|piece| match piece {
                Piece::Text(text) => text.to_owned(),
                Piece::Name(name) => said(name),
            })
            .collect();
        let line: String = line
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        match line.char_indices().nth(TITLE_LIMIT) {
            None => line,
            Some(_) => line.chars().take(TITLE_LIMIT - 1).chain(['…']).collect(),
        }
    }
}

impl fmt::Display for DisplayTemplate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

enum Piece<'t> {
    Text(&'t str),
    Name(&'t str),
}

/// What a template is made of; none in place of a brace that has no partner, or holds no name.
fn pieces(text: &str) -> impl Iterator<Item = Option<Piece<'_>>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        if let Some(behind) = rest.strip_prefix('{') {
            let named = behind.split_once('}').filter(|(name, _)| is_name(name));
            rest = named.map_or("", |(_, after)| after);
            return Some(named.map(|(name, _)| Piece::Name(name)));
        }
        let end = rest.find('{').unwrap_or(rest.len());
        let (text, after) = rest.split_at(end);
        rest = after;
        Some((!text.contains('}')).then_some(Piece::Text(text)))
    })
}

fn is_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    !name.is_empty() && name.len() <= 60 && name.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn parameters(value: Value) -> Parameters {
        value.as_object().unwrap().clone()
    }

    fn template(text: &str) -> DisplayTemplate {
        text.parse().unwrap()
    }

    #[test]
    fn a_template_is_filled_from_the_parameters_and_says_where_one_is_missing() {
        let ec2 = template("EC2 in {region} ({count} of {kind})");
        assert_eq!(ec2.names().collect::<Vec<_>>(), ["region", "count", "kind"]);
        let line = ec2.line(&parameters(json!({"region": "eu-west-1", "count": 2})));
        assert_eq!(line, "EC2 in eu-west-1 (2 of -)");
    }

    #[test]
    fn a_value_is_shown_as_it_is_and_never_filled_in_itself() {
        let line = template("{a} {b}").line(&parameters(json!({"a": "{b}", "b": "x\ny"})));
        assert_eq!(line, "{b} x y");
    }

    #[test]
    fn a_line_ends_where_it_is_too_long_and_says_so() {
        let long = |count| template("{a}").line(&parameters(json!({"a": "é".repeat(count)})));
        assert_eq!(long(TITLE_LIMIT), "é".repeat(TITLE_LIMIT));
        let cut = long(TITLE_LIMIT + 1);
        assert_eq!(cut.chars().count(), TITLE_LIMIT);
        assert!(cut.ends_with('…'));
    }

    #[test]
    fn braces_that_name_nothing_are_refused() {
        for text in [
            "", "  ", "{", "}", "a}", "{}", "{a b}", "{a", "{{a}}", "a\nb",
        ] {
            assert!(text.parse::<DisplayTemplate>().is_err(), "{text:?}");
        }
        assert!("x".repeat(TITLE_LIMIT).parse::<DisplayTemplate>().is_ok());
        assert!(
            "x".repeat(TITLE_LIMIT + 1)
                .parse::<DisplayTemplate>()
                .is_err()
        );
    }

    #[test]
    fn a_schema_is_what_is_written_and_judges_as_it_is_told() {
        let never = ParameterSchema::new(json!({"type": "object"}), |_| Err("no".to_owned()));
        let ever = ParameterSchema::new(json!({"type": "object"}), |_| Ok(()));
        assert_eq!(never, ever);
        assert_eq!(never.check(&Parameters::new()), Err("no".to_owned()));
        assert_eq!(
            serde_json::to_value(&never).unwrap(),
            json!({"type": "object"})
        );
    }
}
