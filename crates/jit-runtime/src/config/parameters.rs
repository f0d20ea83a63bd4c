//! What an entitlement takes beside its name: the JSON Schema of its parameters, how a request is
//! called by them, and what the provider fills them into. Everything that could surprise whoever
//! decides is refused here: a parameter that nobody declared, one that nothing is made of.

use std::collections::BTreeSet;

use jit_core::catalog::{DisplayTemplate, ParameterRule, ParameterSchema};
use jsonschema::{PatternOptions, Validator};
use serde_json::Value;

use super::check::Check;
use super::document::Table;
use super::problems::{At, Spot};

/// The longest schema and the longest template, in bytes.
const TEXT_LIMIT: usize = 64 * 1_024;
/// How much of what does not fit is told.
const PROBLEMS_TOLD: usize = 3;
/// The longest sentence about one thing that does not fit, in characters.
const PROBLEM_LIMIT: usize = 200;

/// What an `[[entitlement]]` says of its parameters.
pub(super) struct ParametersTable {
    schema: Option<At<String>>,
    display: Option<At<DisplayTemplate>>,
    pub(super) template: Option<At<String>>,
}

/// The same, understood.
#[derive(Default)]
pub(super) struct Takes {
    pub(super) rule: Option<ParameterRule>,
    pub(super) display: Option<DisplayTemplate>,
    pub(super) template: Option<String>,
}

impl ParametersTable {
    /// Where the schema is written, if it is.
    pub(super) fn schema_at(&self) -> Option<Spot> {
        self.schema.as_ref().map(|schema| schema.at)
    }

    pub(super) fn read(table: &mut Table<'_, '_>) -> Self {
        Self {
            schema: table.text("parameters"),
            display: table.parsed("display"),
            template: table.text("template"),
        }
    }
}

impl Check<'_, '_> {
    /// What an entitlement takes; what is wrong with it is told with its place.
    pub(super) fn takes(&mut self, table: &ParametersTable) -> Takes {
        let schema = table.schema.as_ref().and_then(|text| self.schema(text));
        let names = schema.as_ref().map(|it| names(it.as_json()));
        let declared = names.unwrap_or_default();
        if let Some(display) = &table.display {
            // What is wrong with the schema is told already.
            let known = table.schema.is_none() || schema.is_some();
            let strange = display.value.names().find(|name| !declared.contains(*name));
            if let Some(name) = strange.filter(|_| known) {
                let what = format!("display names {{{name}}}, which is no parameter");
                let instead = "name what the schema in `parameters` has under `properties`";
                self.problems.add(display.at, what, instead);
            }
        }
        if let Some(template) = table.template.as_ref()
            && template.value.len() > TEXT_LIMIT
        {
            let what = format!("template is longer than {TEXT_LIMIT} bytes");
            self.problems.add(template.at, what, "shorten it");
        }
        Takes {
            rule: schema.map(ParameterRule::Schema),
            display: table.display.as_ref().map(|it| it.value.clone()),
            template: table.template.as_ref().map(|it| it.value.clone()),
        }
    }

    fn schema(&mut self, text: &At<String>) -> Option<ParameterSchema> {
        match schema(&text.value) {
            Ok(schema) => Some(schema),
            Err((what, instead)) => {
                self.problems.add(text.at, what, instead);
                None
            }
        }
    }
}

/// The parameters that a schema declares.
pub(super) fn names(schema: &Value) -> BTreeSet<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let names = properties.into_iter().flat_map(|it| it.keys().cloned());
    names.collect()
}

/// Those that must be there.
pub(super) fn required(schema: &Value) -> BTreeSet<String> {
    let required = schema.get("required").and_then(Value::as_array);
    let names = required.into_iter().flatten().filter_map(Value::as_str);
    names.map(str::to_owned).collect()
}

/// Whether a schema says which values there are; of a list, which elements.
pub(super) fn is_bounded(written: &Value) -> bool {
    let says = |key| written.get(key).is_some();
    let is = |kind: &str| written.get("type") == Some(&Value::from(kind));
    // A pattern is of texts alone, and what is not held at both ends lets anything stand around it.
    let pattern = written.get("pattern").and_then(Value::as_str);
    let whole = pattern.is_some_and(|it| it.starts_with('^') && it.ends_with('$'));
    let elements = written.get("items").is_some_and(is_bounded);
    says("enum") || says("const") || (is("string") && whole) || (is("array") && elements)
}

/// A schema that can be judged by; or what is wrong with it, and what to write instead.
fn schema(text: &str) -> Result<ParameterSchema, (String, String)> {
    let example = || {
        "write a JSON Schema, such as {\"type\": \"object\", \"properties\": {\"region\": {\"enum\": \
         [\"eu-west-1\"]}}, \"required\": [\"region\"], \"additionalProperties\": false}"
            .to_owned()
    };
    if text.len() > TEXT_LIMIT {
        let what = format!("parameters is longer than {TEXT_LIMIT} bytes");
        return Err((what, "shorten it".to_owned()));
    }
    let written: Value = serde_json::from_str(text)
        .map_err(|error| (format!("parameters is not JSON: {error}"), example()))?;
    if written.get("type") != Some(&Value::from("object")) {
        let what = "parameters are an object, and the schema does not say so".to_owned();
        return Err((what, "write \"type\": \"object\" at its top".to_owned()));
    }
    if written.get("additionalProperties") != Some(&Value::Bool(false)) {
        let what = "the schema lets through parameters that nobody declared".to_owned();
        let instead = "write \"additionalProperties\": false at its top".to_owned();
        return Err((what, instead));
    }
    if written.get("patternProperties").is_some() {
        let what = "the schema declares parameters by a pattern of their names".to_owned();
        return Err((what, "name each of them under properties".to_owned()));
    }
    let validator = jsonschema::options()
        .offline()
        .should_validate_formats(true)
        .should_ignore_unknown_formats(false)
        // Whoever asks chooses the text that the patterns are held against.
        .with_pattern_options(PatternOptions::regex())
        .build(&written)
        .map_err(|error| {
            let what = format!("parameters is no JSON Schema: {}", cut(&error.to_string()));
            (what, example())
        })?;
    Ok(ParameterSchema::new(written, move |parameters| {
        judge(&validator, parameters)
    }))
}

/// What does not fit, in a sentence.
fn judge(validator: &Validator, parameters: &Value) -> Result<(), String> {
    let mut told = vec![];
    for error in validator.iter_errors(parameters).take(PROBLEMS_TOLD) {
        let place = error.instance_path().as_str();
        let place = place.trim_start_matches('/');
        let what = cut(&error.to_string());
        told.push(match place {
            "" => what,
            place => format!("{}: {what}", cut(place)),
        });
    }
    match told.is_empty() {
        true => Ok(()),
        false => Err(told.join("; ")),
    }
}

fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    match text.chars().count() > PROBLEM_LIMIT {
        true => plain.take(PROBLEM_LIMIT - 1).chain(['…']).collect(),
        false => plain.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const EC2: &str = r#"{
        "type": "object",
        "properties": {
            "region": {"enum": ["eu-west-1", "eu-central-1"]},
            "count": {"type": "integer", "minimum": 1, "maximum": 5},
            "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 8}
        },
        "required": ["region"],
        "additionalProperties": false
    }"#;

    fn judged(parameters: Value) -> Result<(), String> {
        let parameters = parameters.as_object().unwrap().clone();
        schema(EC2).unwrap().check(&parameters)
    }

    #[test]
    fn what_fits_the_schema_is_taken_and_what_does_not_is_told() {
        assert_eq!(judged(json!({"region": "eu-west-1", "count": 5})), Ok(()));
        let told = |parameters| judged(parameters).unwrap_err();
        assert!(told(json!({})).contains("\"region\" is a required property"));
        let count = told(json!({"region": "eu-west-1", "count": 6}));
        assert!(count.starts_with("count: 6 is greater than"), "{count}");
        let extra = told(json!({"region": "eu-west-1", "owner": "ana"}));
        assert!(extra.contains("'owner' was unexpected"), "{extra}");
        let region = told(json!({"region": "us-east-1"}));
        assert!(region.starts_with("region: "), "{region}");
        assert!(told(json!({"region": "*"})).starts_with("region: "));
        assert!(told(json!({"region": ["eu-west-1"]})).starts_with("region: "));
        assert!(told(json!({"region": "eu-west-1", "name": "A"})).starts_with("name: "));
    }

    #[test]
    fn what_is_told_has_an_end_however_long_it_is() {
        let told = judged(
            json!({"region": "x".repeat(4_000), "count": "y".repeat(4_000),
                                 "name": "z".repeat(4_000)}),
        );
        assert!(told.unwrap_err().chars().count() < 3 * (PROBLEM_LIMIT + 40));
    }

    #[test]
    fn a_schema_is_bounded_where_it_says_which_values_there_are() {
        for (written, bounded) in [
            (json!({"enum": ["a"]}), true),
            (json!({"const": "a"}), true),
            (json!({"type": "string", "pattern": "^a+$"}), true),
            (json!({"type": "array", "items": {"enum": ["a"]}}), true),
            (json!({"type": "string"}), false),
            (json!({"type": "string", "pattern": "a"}), false),
            (json!({"pattern": "^a$"}), false),
            (json!({"items": {"enum": ["a"]}}), false),
            (json!({"type": "array", "pattern": "^a$"}), false),
        ] {
            assert_eq!(is_bounded(&written), bounded, "{written}");
        }
    }

    #[test]
    fn a_schema_that_lets_anything_through_or_asks_elsewhere_is_refused() {
        for (text, what) in [
            ("{", "is not JSON"),
            ("[]", "are an object"),
            ("{\"type\": \"object\"}", "nobody declared"),
            (
                "{\"type\": \"object\", \"additionalProperties\": false, \"patternProperties\": {}}",
                "by a pattern",
            ),
            (
                "{\"type\": \"object\", \"additionalProperties\": false, \"required\": 1}",
                "no JSON Schema",
            ),
            (
                "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": \
                 {\"a\": {\"$ref\": \"https://example.com/a.json\"}}}",
                "no JSON Schema",
            ),
            (
                "{\"type\": \"object\", \"additionalProperties\": false, \"properties\": \
                 {\"a\": {\"pattern\": \"(\"}}}",
                "no JSON Schema",
            ),
        ] {
            let (told, _) = schema(text).unwrap_err();
            assert!(told.contains(what), "{text}: {told}");
        }
    }
}
