//! What a template may have, what is put into it, and that nothing which is put there means more than
//! itself.

use std::time::Duration;

use jit_core::Timestamp;
use jit_core::provider::Parameters;
use jit_testkit::sample;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::text::{Piece, pieces};
use super::*;

const S3: &str = r#"{
    "Version": "2012-10-17",
    "Statement": [{
        "Sid": "Mine", "Effect": "Allow",
        "Action": ["s3:GetObject", "{action}"],
        "Resource": "arn:aws:s3:::{bucket}/{prefix}/*",
        "Condition": {"StringEquals": {"aws:RequestedRegion": "{regions}"}}
    }]
}"#;

fn plain(more: Value) -> String {
    let mut statement = json!({
        "Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*",
    });
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => drop(statement.as_object_mut().unwrap().remove(key)),
            value => statement[key] = value.clone(),
        }
    }
    json!({ "Statement": statement }).to_string()
}

fn parameters(value: Value) -> Parameters {
    value.as_object().unwrap().clone()
}

fn bound() -> Bound<'static> {
    Bound {
        request: sample::id(1),
        until: sample::start() + Duration::from_micros(3_600_999_999),
        user_id: None,
    }
}

fn filled(template: &str, with: Value) -> Result<Value, BadParameters> {
    let template = Template::read(template).unwrap();
    let text = template.fill(&parameters(with), &bound())?;
    Ok(serde_json::from_str(&text).unwrap())
}

#[test]
fn a_template_is_filled_marked_and_ended() {
    let template = Template::read(S3).unwrap();
    let names: Vec<&str> = template.placeholders().collect();
    assert_eq!(names, ["action", "bucket", "prefix", "regions"]);
    let with = json!({
        "action": ["s3:ListBucket", "s3:GetObjectTagging"], "bucket": "logs", "prefix": 7,
        "regions": ["eu-central-1", "eu-west-1"],
    });
    let document = filled(S3, with).unwrap();
    let id = sample::id(1).to_string();
    let sid = format!("Jit{}1", id.strip_prefix("req-").unwrap());
    assert_eq!(
        document,
        json!({
            "Version": "2012-10-17",
            "Statement": [{
                "Sid": sid, "Effect": "Allow",
                "Action": ["s3:GetObject", "s3:ListBucket", "s3:GetObjectTagging"],
                "Resource": "arn:aws:s3:::logs/7/*",
                "Condition": {
                    "StringEquals": {"aws:RequestedRegion": ["eu-central-1", "eu-west-1"]},
                    "DateLessThan": {"aws:CurrentTime": "2026-01-01T01:00:00Z"},
                },
            }],
        })
    );
    assert!(sid.bytes().all(|it| it.is_ascii_alphanumeric()));
}

#[test]
fn every_statement_ends_and_is_for_one_session_and_keeps_its_own_conditions() {
    let statement = |sid: &str| {
        json!({
            "Sid": sid, "Effect": "Allow", "Action": "s3:*", "Resource": "*",
            "Condition": {
                "StringEquals": {"aws:PrincipalTag/team": "a"},
                "DateLessThan": {"aws:TokenIssueTime": "2030-01-01T00:00:00Z"},
                "DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"},
            },
        })
    };
    let text = json!({"Statement": [statement("Same"), statement("Same")]}).to_string();
    let template = Template::read(&text).unwrap();
    let bound = Bound {
        user_id: Some("AROAX:ana"),
        ..bound()
    };
    let text = template.fill(&Parameters::new(), &bound).unwrap();
    let document: Value = serde_json::from_str(&text).unwrap();
    let statements = document["Statement"].as_array().unwrap();
    assert_ne!(statements[0]["Sid"], statements[1]["Sid"]);
    for statement in statements {
        let condition = &statement["Condition"];
        assert_eq!(condition["StringEquals"]["aws:userid"], "AROAX:ana");
        assert_eq!(condition["StringEquals"]["aws:PrincipalTag/team"], "a");
        let dates = &condition["DateLessThan"];
        assert_eq!(dates["aws:CurrentTime"], "2026-01-01T01:00:00Z");
        assert_eq!(dates["aws:TokenIssueTime"], "2030-01-01T00:00:00Z");
        assert_eq!(
            condition["DateGreaterThan"]["aws:CurrentTime"],
            "2020-01-01T00:00:00Z"
        );
    }
    let stamp = Stamp::read(&text);
    assert_eq!(stamp.user_id(), Some("AROAX:ana"));
    assert!(stamp.is_of(bound.request, bound.until));
}

#[test]
fn variables_of_iam_stay_as_they_are() {
    let own = json!({"Resource": "arn:aws:s3:::home/${aws:username}/{dir}/${*}"});
    let document = filled(&plain(own), json!({"dir": "a"})).unwrap();
    assert_eq!(
        document["Statement"][0]["Resource"],
        "arn:aws:s3:::home/${aws:username}/a/${*}"
    );
    // What looks like one is one, and no parameter.
    let template = Template::read(&plain(json!({"Resource": "arn:aws:s3:::${dir}"}))).unwrap();
    assert_eq!(template.placeholders().count(), 0);
}

#[test]
fn what_a_template_may_not_have_is_said() {
    let condition = |operator: &str, key: &str| {
        plain(json!({"Condition": {operator: {key: "2030-01-01T00:00:00Z"}}}))
    };
    for (template, why) in [
        ("", "not the JSON"),
        ("[]", "object"),
        ("{}", "lacks a Statement"),
        (r#"{"Statement": []}"#, "lacks a Statement"),
        (r#"{"Statement": ["x"]}"#, "statement 1"),
        (r#"{"Statement": {}, "Statement": {}}"#, "twice"),
        (r#"{"Version": "2008-10-17", "Statement": []}"#, "Version"),
        (r#"{"Id": "x", "Statement": []}"#, "\"Id\""),
        (
            r#"{"Statement": {"Effect": "Allow", "Action": "s3:*", "Resource": "*",
                "Condition": {"Bool": {"a": "b"}}, "Condition": {}}}"#,
            "twice",
        ),
        (&plain(json!({"Effect": "Deny"})), "another Effect"),
        (&plain(json!({"Effect": "{effect}"})), "another Effect"),
        (&plain(json!({"Effect": null})), "lacks an Effect"),
        (&plain(json!({"Action": null})), "lacks an Action"),
        (&plain(json!({"Resource": null})), "lacks a Resource"),
        (&plain(json!({"Action": []})), "lacks a value"),
        (&plain(json!({"Action": 1})), "anything else"),
        (&plain(json!({"NotAction": "s3:*"})), "NotAction"),
        (&plain(json!({"NotResource": "*"})), "NotResource"),
        (&plain(json!({"Principal": "*"})), "Principal"),
        (&plain(json!({"NotPrincipal": "*"})), "NotPrincipal"),
        (&plain(json!({"Resource": "arn:aws:s3:::{a"})), "brace"),
        (&plain(json!({"Resource": "arn:aws:s3:::a}"})), "brace"),
        (&plain(json!({"Resource": "arn:aws:s3:::{}"})), "brace"),
        (&plain(json!({"Resource": "arn:aws:s3:::{{a}}"})), "brace"),
        (&plain(json!({"Resource": "arn:aws:s3:::{a b}"})), "brace"),
        (&plain(json!({"Resource": "arn:aws:s3:::${a"})), "brace"),
        (&plain(json!({"Resource": "arn:aws:s3:::ł"})), "U+00FF"),
        (&condition("StringEquals", "aws:{key}"), "brace"),
        (&condition("Equals", "aws:key"), "Equals"),
        (&condition("datelessthan", "aws:CurrentTime"), "letter case"),
        (
            &condition("DateLessThan", "aws:CurrentTime"),
            "each request",
        ),
        (
            &condition("DateLessThan", "AWS:currenttime"),
            "each request",
        ),
        (
            &condition("DateLessThanIfExists", "aws:CurrentTime"),
            "each request",
        ),
        (&condition("StringEquals", "aws:userid"), "each request"),
        (&condition("StringLike", "aws:UserId"), "each request"),
        (
            &plain(json!({"Condition": {"StringLike": {"aws:x": "a", "AWS:X": "b"}}})),
            "twice",
        ),
        (
            &plain(json!({"Condition": {"Bool": "true"}})),
            "anything else",
        ),
        (
            &plain(json!({"Condition": {"Bool": {"a": {}}}})),
            "anything else",
        ),
        (&plain(json!({"Condition": []})), "anything else"),
    ] {
        let error = Template::read(template).unwrap_err().to_string();
        assert!(error.contains(why), "{template}: {error}");
    }
}

#[test]
fn no_place_stands_under_an_operator_where_a_value_can_let_more_through() {
    let template = |operator: &str, value: Value| {
        plain(json!({"Condition": {operator: {"aws:SourceIp": value}}}))
    };
    let negated = [
        "ArnNotEquals",
        "ArnNotLike",
        "DateNotEquals",
        "NumericNotEquals",
        "StringNotEquals",
        "StringNotEqualsIgnoreCase",
        "StringNotLike",
    ];
    for bare in negated
        .into_iter()
        .chain(["IpAddress", "NotIpAddress", "Null", "Bool"])
    {
        for operator in [
            bare.to_owned(),
            format!("{bare}IfExists"),
            format!("ForAnyValue:{bare}"),
            format!("ForAllValues:{bare}IfExists"),
        ] {
            for value in [json!("{net}"), json!(["10.0.0.0/8", "10.0.{net}.0/24"])] {
                let error = Template::read(&template(&operator, value)).unwrap_err();
                let error = error.to_string();
                assert!(
                    error.contains("{net}") && error.contains(&operator),
                    "{error}"
                );
                assert!(error.contains("write the values there"), "{error}");
            }
            // What is written down by whoever writes the template stays.
            let fixed = template(&operator, json!(["true", "${aws:x}"]));
            assert!(Template::read(&fixed).is_ok(), "{operator}");
        }
    }
    for operator in ["StringEquals", "StringLike", "ArnLike", "NumericEquals"] {
        let read = Template::read(&template(operator, json!("{net}"))).unwrap();
        assert_eq!(read.placeholders().collect::<Vec<_>>(), ["net"]);
    }
}

#[test]
fn what_a_parameter_chooses_all_by_itself_is_told() {
    let template = json!({"Statement": [
        {"Effect": "Allow", "Action": ["s3:GetObject", "{action}"],
         "Resource": ["{arn}", "arn:aws:s3:::{bucket}/*", "arn:aws:s3:::${own}"],
         "Condition": {"StringEquals": {"aws:RequestedRegion": "{regions}"}}},
        {"Effect": "Allow", "Action": "s3:{verb}", "Resource": "{bucket}"},
    ]});
    let template = Template::read(&template.to_string()).unwrap();
    let whole: Vec<&str> = template.whole_places().collect();
    assert_eq!(whole, ["action", "arn", "bucket"]);
    let all: Vec<&str> = template.placeholders().collect();
    assert_eq!(all, ["action", "arn", "bucket", "regions", "verb"]);
}

#[test]
fn what_would_make_lasting_access_is_no_template() {
    for action in [
        json!("*"),
        json!("iam:*"),
        json!(["s3:GetObject", "IAM:createuser"]),
        json!(["s3:{verb}", "iam:Put*"]),
        json!("i*:*Policy"),
    ] {
        let error = Template::read(&plain(json!({"Action": action}))).unwrap_err();
        assert!(matches!(error, BadTemplate::Lasting { .. }), "{error}");
        assert!(error.to_string().contains("that nothing ends"), "{error}");
    }
    // What a parameter makes of it is held against the same.
    for (action, value) in [
        ("{action}", json!("iam:CreateUser")),
        ("{action}", json!(["s3:GetObject", "iam:AttachRolePolicy"])),
        ("iam:{action}", json!("UpdateLoginProfile")),
        ("{action}:PutRolePolicy", json!("iam")),
    ] {
        let template = plain(json!({"Action": action}));
        let error = filled(&template, json!({"action": value})).unwrap_err();
        assert!(matches!(error, BadParameters::Lasting(_)), "{error}");
    }
    let fine = plain(json!({"Action": ["iam:Get*", "{action}"]}));
    assert!(filled(&fine, json!({"action": "iam:ListRoles"})).is_ok());
}

#[test]
fn it_is_known_whether_sessions_may_be_opened() {
    let opens = |action: Value, with: Value| {
        let template = Template::read(&plain(json!({"Action": action}))).unwrap();
        template.opens_sessions(&parameters(with)).unwrap()
    };
    for action in [
        "sts:*",
        "sts:AssumeRole",
        "s?s:Assume*",
        "sts:GetFederationToken",
    ] {
        assert!(
            opens(json!(["s3:GetObject", action]), json!({})),
            "{action}"
        );
    }
    for action in ["s3:*", "sts:GetCallerIdentity"] {
        assert!(!opens(json!(action), json!({})), "{action}");
    }
    assert!(opens(json!("sts:{verb}"), json!({"verb": "AssumeRole"})));
    assert!(!opens(
        json!("sts:{verb}"),
        json!({"verb": "GetCallerIdentity"})
    ));
    let everything = Template::everything();
    assert!(everything.opens_sessions(&Parameters::new()).unwrap());
}

#[test]
fn each_bad_value_is_refused_by_the_name_of_its_parameter() {
    let part = plain(json!({"Resource": "arn:aws:s3:::{name}/*"}));
    let whole = plain(json!({"Resource": "{name}"}));
    for value in [
        json!("*"),
        json!("a?"),
        json!("$"),
        json!("${aws:username}"),
        json!("{a}"),
        json!("a\"b"),
        json!("a'b"),
        json!("a\\b"),
        json!("a b"),
        json!("a\tb"),
        json!("a\nb"),
        json!("a\u{0}b"),
        json!("ä"),
        json!("\u{202e}a"),
        json!(""),
        json!("a".repeat(257)),
        json!(null),
        json!(1.5),
        json!({"a": "b"}),
    ] {
        for template in [&part, &whole] {
            let error = filled(template, json!({"name": value})).unwrap_err();
            assert!(error.to_string().contains("\"name\""), "{value}: {error}");
        }
    }
    for value in [json!("a/b"), json!("a:b"), json!(["a"])] {
        let error = filled(&part, json!({"name": value})).unwrap_err();
        assert!(error.to_string().contains("\"name\""), "{value}: {error}");
    }
    for value in [
        json!([]),
        json!([["arn:aws:s3:::a"]]),
        json!(["arn:aws:s3:::a", "*"]),
        json!(vec!["arn:aws:s3:::a"; 101]),
    ] {
        let error = filled(&whole, json!({"name": value})).unwrap_err();
        assert!(error.to_string().contains("\"name\""), "{value}: {error}");
    }
    // Whole, and yet no resource of AWS; and part of one of 256 characters.
    let error = filled(&whole, json!({"name": "logs"})).unwrap_err();
    assert!(matches!(error, BadParameters::NotIam { .. }), "{error}");
    for good in [
        json!("a".repeat(256)),
        json!("A-z_0.@+=,"),
        json!(7),
        json!(-7),
        json!(true),
    ] {
        assert!(filled(&part, json!({"name": good})).is_ok(), "{good}");
    }
    assert!(filled(&whole, json!({"name": "arn:aws:s3:::a/b"})).is_ok());
}

#[test]
fn parameters_and_places_belong_together() {
    let template = plain(json!({"Resource": "arn:aws:s3:::{bucket}"}));
    let missing = filled(&template, json!({})).unwrap_err();
    assert_eq!(missing, BadParameters::Missing("bucket".to_owned()));
    let unused = filled(&template, json!({"bucket": "a", "more": "b"})).unwrap_err();
    assert_eq!(unused, BadParameters::Unused("more".to_owned()));
}

#[test]
fn a_list_stands_where_one_value_may() {
    let template = plain(json!({"Resource": "{arns}"}));
    let document = filled(
        &template,
        json!({"arns": ["arn:aws:s3:::a", "arn:aws:s3:::b"]}),
    );
    let resource = json!(["arn:aws:s3:::a", "arn:aws:s3:::b"]);
    assert_eq!(document.unwrap()["Statement"][0]["Resource"], resource);
    let ports = plain(json!({"Condition": {"NumericEquals": {"aws:port": ["1", "{ports}", 3]}}}));
    let document = filled(&ports, json!({"ports": [2, true]})).unwrap();
    let values = &document["Statement"][0]["Condition"]["NumericEquals"]["aws:port"];
    assert_eq!(*values, json!(["1", "2", "true", 3]));
}

#[test]
fn a_changed_template_is_another_one() {
    let one = Template::read(&plain(json!({}))).unwrap();
    let other = Template::read(&plain(json!({"Action": "s3:*"}))).unwrap();
    assert_eq!(one.digest().len(), 16);
    assert_ne!(one.digest(), other.digest());
    assert_eq!(Template::everything().placeholders().count(), 0);
}

#[test]
fn what_stands_at_aws_says_whose_it_is_only_where_all_of_it_does() {
    let template = Template::read(&plain(json!({}))).unwrap();
    let text = template.fill(&Parameters::new(), &bound()).unwrap();
    let stamp = Stamp::read(&text);
    let end: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
    assert!(stamp.is_of(sample::id(1), end) && !stamp.is_of(sample::id(2), end));
    assert!(!stamp.is_of(sample::id(1), end - Duration::from_secs(1)));
    assert!(stamp.is_over(end) && !stamp.is_over(end - Duration::from_micros(1)));
    let mut longer: Value = serde_json::from_str(&text).unwrap();
    let mut other = longer["Statement"][0].clone();
    other["Sid"] = json!("Other");
    other["Condition"] = json!({});
    longer["Statement"].as_array_mut().unwrap().push(other);
    let stamp = Stamp::read(&longer.to_string());
    assert!(!stamp.is_of(sample::id(1), Timestamp::MAX) && !stamp.is_over(Timestamp::MAX));
    for odd in [
        "",
        "[]",
        "{}",
        r#"{"Statement": []}"#,
        r#"{"Statement": [{"Sid": "Jité"}]}"#,
    ] {
        let stamp = Stamp::read(odd);
        assert!(!stamp.is_of(sample::id(1), Timestamp::MAX), "{odd}");
    }
}

/// All texts in a document.
fn all_texts(value: &Value, found: &mut Vec<String>) {
    match value {
        Value::String(text) => found.push(text.clone()),
        Value::Array(items) => items.iter().for_each(|it| all_texts(it, found)),
        Value::Object(members) => members.iter().for_each(|(key, value)| {
            found.push(key.clone());
            all_texts(value, found);
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

proptest! {
    #[test]
    fn no_value_makes_a_document_mean_more(
        one in "\\PC{0,20}|[a-zA-Z0-9./:@_*?$-]{1,20}",
        other in "[a-zA-Z0-9._@+=,-]{1,20}",
    ) {
        let template = plain(json!({
            "Resource": ["arn:aws:s3:::x/{one}/*", "{other}"],
            "Condition": {"StringLike": {"aws:RequestedRegion": "{one}"}},
        }));
        let other = format!("arn:aws:s3:::{other}");
        let with = json!({"one": one, "other": other});
        if let Ok(document) = filled(&template, with) {
            // As if it were written by hand, and nothing more.
            let mut before = serde_json::to_value(
                serde_json::from_str::<Value>(&template).unwrap()
            ).unwrap();
            let statement = &mut before["Statement"];
            statement["Resource"] = json!([format!("arn:aws:s3:::x/{one}/*"), other]);
            statement["Condition"]["StringLike"]["aws:RequestedRegion"] = json!(one);
            statement["Condition"]["DateLessThan"] =
                json!({"aws:CurrentTime": "2026-01-01T01:00:00Z"});
            statement["Sid"] = document["Statement"][0]["Sid"].clone();
            prop_assert_eq!(&document["Statement"][0], &*statement);
            let mut texts = Vec::new();
            all_texts(&document, &mut texts);
            let stars = texts.iter().flat_map(|it| it.chars()).filter(|it| *it == '*').count();
            prop_assert_eq!(stars, 1);
            let is_plain = texts.iter().all(|it| !it.contains(['?', '$', '{', '}']));
            prop_assert!(is_plain);
        } else {
            let fine = |it: char| it.is_ascii_alphanumeric() || "._@+=,-".contains(it);
            prop_assert!(one.is_empty() || one.chars().any(|it| !fine(it)), "{} was refused", one);
        }
    }

    #[test]
    fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,200}") {
        let _ = Template::read(&text);
        let _ = Stamp::read(&text);
        let _ = pieces(&text);
    }

    #[test]
    fn pieces_put_together_are_the_text(text in "([a-z$]|\\{[a-z]{1,3}\\}|\\$\\{[a-z:*]{1,4}\\}){0,8}") {
        if let Some(pieces) = pieces(&text) {
            let again: String = pieces
                .into_iter()
                .map(|piece| match piece {
                    Piece::Text(text) => text.to_owned(),
                    Piece::Name(name) => format!("{{{name}}}"),
                })
                .collect();
            prop_assert_eq!(again, text);
        }
    }

    #[test]
    fn an_end_is_never_later_than_it_was_granted(micros in 0_i64..4_000_000_000_000_000) {
        let until = Timestamp::from_unix_micros(micros);
        let template = Template::read(&plain(json!({}))).unwrap();
        let text = template.fill(&Parameters::new(), &Bound { until, ..bound() }).unwrap();
        let document: Value = serde_json::from_str(&text).unwrap();
        let end = &document["Statement"][0]["Condition"]["DateLessThan"]["aws:CurrentTime"];
        let end = end.as_str().unwrap();
        prop_assert_eq!(end.len(), 20);
        let end: Timestamp = end.parse().unwrap();
        prop_assert!(end <= until && until.since(end) < Duration::from_secs(1));
    }
}
