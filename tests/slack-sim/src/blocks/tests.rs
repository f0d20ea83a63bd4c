//! Both sides of every limit.

use serde_json::{Value, json};

use super::{message_problems, suggestion_problems, too_large, view_problems};

fn plain(length: usize) -> Value {
    json!({"type": "plain_text", "text": "ü".repeat(length)})
}

fn mrkdwn(length: usize) -> Value {
    json!({"type": "mrkdwn", "text": "x".repeat(length)})
}

fn option(n: usize) -> Value {
    json!({"text": plain(3), "value": format!("v{n}")})
}

fn options(n: usize) -> Vec<Value> {
    (0..n).map(option).collect()
}

fn button() -> Value {
    json!({"type": "button", "action_id": "a", "text": plain(5)})
}

fn with(mut base: Value, key: &str, value: Value) -> Value {
    base[key] = value;
    base
}

fn actions(elements: Vec<Value>) -> Value {
    json!({"type": "actions", "elements": elements})
}

fn input(element: Value) -> Value {
    json!({"type": "input", "label": plain(5), "element": element})
}

fn modal(blocks: Value) -> Value {
    json!({"type": "modal", "title": plain(24), "submit": plain(24), "blocks": blocks})
}

#[track_caller]
fn accepted(block: Value) {
    assert_eq!(
        message_problems(&json!([block])),
        Vec::<String>::new(),
        "{block}"
    );
}

#[track_caller]
fn refused(block: Value, at: &str) {
    let problems = message_problems(&json!([block]));
    assert!(
        problems
            .iter()
            .any(|it| it.ends_with(&format!("[json-pointer:{at}]"))),
        "{at} is not among {problems:?} of {block}"
    );
}

#[test]
fn texts_have_a_longest_length_in_characters() {
    let header = |n| json!({"type": "header", "text": plain(n)});
    accepted(header(150));
    refused(header(151), "/blocks/0/text/text");
    let section = |n| json!({"type": "section", "text": mrkdwn(n)});
    accepted(section(3000));
    refused(section(3001), "/blocks/0/text/text");
    let fields = |n| json!({"type": "section", "fields": [mrkdwn(n)]});
    accepted(fields(2000));
    refused(fields(2001), "/blocks/0/fields/0/text");
    let named = |n| actions(vec![with(button(), "text", plain(n))]);
    accepted(named(75));
    refused(named(76), "/blocks/0/elements/0/text/text");
}

#[test]
fn a_message_has_fifty_blocks_and_a_view_a_hundred() {
    let blocks = |n| Value::Array(vec![json!({"type": "divider"}); n]);
    assert!(message_problems(&blocks(50)).is_empty());
    assert_eq!(message_problems(&blocks(51)).len(), 1);
    assert!(view_problems(&modal(blocks(100))).is_empty());
    assert_eq!(view_problems(&modal(blocks(101))).len(), 1);
}

#[test]
fn lists_have_a_longest_length() {
    let distinct = |n: usize| {
        actions(
            (0..n)
                .map(|it| with(button(), "action_id", json!(it.to_string())))
                .collect(),
        )
    };
    accepted(distinct(25));
    refused(distinct(26), "/blocks/0/elements");
    refused(distinct(0), "/blocks/0/elements");
    let fields = |n| json!({"type": "section", "fields": vec![mrkdwn(1); n]});
    accepted(fields(10));
    refused(fields(11), "/blocks/0/fields");
    let context = |n| json!({"type": "context", "elements": vec![mrkdwn(1); n]});
    accepted(context(10));
    refused(context(11), "/blocks/0/elements");
    let menu = |kind: &str, n| {
        actions(vec![
            json!({"type": kind, "action_id": "a", "options": options(n)}),
        ])
    };
    for (kind, most) in [
        ("static_select", 100),
        ("overflow", 5),
        ("radio_buttons", 10),
        ("checkboxes", 10),
    ] {
        accepted(menu(kind, most));
        refused(menu(kind, most + 1), "/blocks/0/elements/0/options");
    }
}

#[test]
fn buttons_have_limits_and_two_styles() {
    for (key, most) in [
        ("value", 2000),
        ("accessibility_label", 75),
        ("url", 3000),
        ("action_id", 255),
    ] {
        let of = |n: usize| actions(vec![with(button(), key, json!("x".repeat(n)))]);
        accepted(of(most));
        refused(of(most + 1), &format!("/blocks/0/elements/0/{key}"));
    }
    let styled = |style: &str| actions(vec![with(button(), "style", json!(style))]);
    accepted(styled("primary"));
    accepted(styled("danger"));
    refused(styled("default"), "/blocks/0/elements/0/style");
}

#[test]
fn confirmations_have_limits() {
    let asked = |title, text, yes, no| {
        let confirm = json!({"title": plain(title), "text": mrkdwn(text), "confirm": plain(yes), "deny": plain(no)});
        actions(vec![with(button(), "confirm", confirm)])
    };
    accepted(asked(100, 300, 30, 30));
    refused(
        asked(101, 300, 30, 30),
        "/blocks/0/elements/0/confirm/title/text",
    );
    refused(
        asked(100, 301, 30, 30),
        "/blocks/0/elements/0/confirm/text/text",
    );
    refused(
        asked(100, 300, 31, 30),
        "/blocks/0/elements/0/confirm/confirm/text",
    );
    refused(
        asked(100, 300, 30, 31),
        "/blocks/0/elements/0/confirm/deny/text",
    );
}

#[test]
fn options_have_limits() {
    let of = |option: Value| actions(vec![json!({"type": "static_select", "options": [option]})]);
    let at = "/blocks/0/elements/0/options/0";
    accepted(of(
        json!({"text": plain(75), "value": "v".repeat(75), "description": plain(75)}),
    ));
    refused(
        of(json!({"text": plain(76), "value": "v"})),
        &format!("{at}/text/text"),
    );
    refused(
        of(json!({"text": plain(1), "value": "v".repeat(76)})),
        &format!("{at}/value"),
    );
    refused(
        of(json!({"text": plain(1), "value": "v", "description": plain(76)})),
        &format!("{at}/description/text"),
    );
    refused(
        of(json!({"text": mrkdwn(1), "value": "v"})),
        &format!("{at}/text/type"),
    );
    assert!(suggestion_problems(&json!({"options": options(100)})).is_empty());
    assert!(suggestion_problems(&json!({"options": []})).is_empty());
    assert_eq!(
        suggestion_problems(&json!({"options": options(101)})).len(),
        1
    );
    assert_eq!(suggestion_problems(&json!({})).len(), 1);
    let both = json!({"options": options(1), "option_groups": []});
    assert_eq!(suggestion_problems(&both).len(), 1);
}

#[test]
fn what_is_chosen_at_first_is_offered() {
    let of = |initial: Value| {
        let select =
            json!({"type": "static_select", "options": options(3), "initial_option": initial});
        actions(vec![select])
    };
    accepted(of(option(2)));
    refused(of(option(3)), "/blocks/0/elements/0/initial_option");
}

#[test]
fn ids_are_unique_where_slack_wants_it() {
    let twice = actions(vec![button(), button()]);
    refused(twice, "/blocks/0/elements/1/action_id");
    let blocks = json!([
        {"type": "divider", "block_id": "b"},
        {"type": "divider", "block_id": "b"},
    ]);
    assert_eq!(message_problems(&blocks).len(), 1);
    let apart = json!([actions(vec![button()]), actions(vec![button()])]);
    assert!(
        message_problems(&apart).is_empty(),
        "two blocks may use one action_id"
    );
    let long = |n: usize| json!({"type": "divider", "block_id": "b".repeat(n)});
    accepted(long(255));
    refused(long(256), "/blocks/0/block_id");
}

#[test]
fn text_objects_are_of_the_right_type_and_not_empty() {
    refused(
        json!({"type": "header", "text": mrkdwn(3)}),
        "/blocks/0/text/type",
    );
    refused(
        json!({"type": "header", "text": "words"}),
        "/blocks/0/text/type",
    );
    refused(
        json!({"type": "section", "text": plain(0)}),
        "/blocks/0/text/text",
    );
    refused(
        json!({"type": "section", "text": with(mrkdwn(1), "emoji", json!(true))}),
        "/blocks/0/text",
    );
    refused(json!({"type": "section"}), "/blocks/0");
}

#[test]
fn unknown_things_are_refused() {
    refused(json!({"type": "marquee"}), "/blocks/0/type");
    refused(json!({"type": "divider", "colour": "red"}), "/blocks/0");
    refused(
        actions(vec![json!({"type": "dial"})]),
        "/blocks/0/elements/0/type",
    );
    refused(
        actions(vec![json!({"type": "plain_text_input"})]),
        "/blocks/0/elements/0/type",
    );
    refused(input(button()), "/blocks/0/element/type");
    assert_eq!(message_problems(&json!({"type": "divider"})).len(), 1);
}

#[test]
fn rich_text_is_known_through_and_through() {
    let of = |piece: Value| json!({"type": "rich_text", "elements": [{"type": "rich_text_quote", "elements": [piece]}]});
    accepted(of(json!({"type": "text", "text": "*as written*"})));
    refused(
        of(json!({"type": "text", "text": ""})),
        "/blocks/0/elements/0/elements/0/text",
    );
    refused(
        of(json!({"type": "blink"})),
        "/blocks/0/elements/0/elements/0/type",
    );
}

#[test]
fn a_modal_has_limits() {
    let of = |key: &str, value: Value| view_problems(&with(modal(json!([])), key, value));
    for key in ["title", "submit", "close"] {
        assert!(of(key, plain(24)).is_empty());
        assert_eq!(of(key, plain(25)).len(), 1, "{key}");
    }
    for (key, most) in [
        ("private_metadata", 3000),
        ("callback_id", 255),
        ("external_id", 255),
    ] {
        assert!(of(key, json!("x".repeat(most))).is_empty());
        assert_eq!(of(key, json!("x".repeat(most + 1))).len(), 1, "{key}");
    }
    assert_eq!(of("type", json!("dialog")).len(), 1);
    assert_eq!(
        view_problems(&json!({"type": "modal", "blocks": []})).len(),
        1,
        "no title"
    );
}

#[test]
fn inputs_want_a_submit() {
    let typed = json!([input(
        json!({"type": "plain_text_input", "max_length": 3000})
    )]);
    assert!(view_problems(&modal(typed.clone())).is_empty());
    let without = json!({"type": "modal", "title": plain(1), "blocks": typed});
    assert_eq!(view_problems(&without).len(), 1);
    let home = json!({"type": "home", "blocks": typed});
    assert!(view_problems(&home).is_empty(), "a home has no submit");
    let longer = json!([input(
        json!({"type": "plain_text_input", "max_length": 3001})
    )]);
    assert_eq!(view_problems(&modal(longer)).len(), 1);
}

#[test]
fn a_view_has_a_size() {
    let section = json!({"type": "section", "text": mrkdwn(3000)});
    assert_eq!(
        too_large(&modal(Value::Array(vec![section.clone(); 80]))),
        None
    );
    assert!(too_large(&modal(Value::Array(vec![section; 90]))).is_some());
}

#[test]
fn only_one_element_takes_the_focus() {
    let focused = json!({"type": "plain_text_input", "focus_on_load": true});
    assert!(view_problems(&modal(json!([input(focused.clone())]))).is_empty());
    assert_eq!(
        view_problems(&modal(json!([input(focused.clone()), input(focused)]))).len(),
        1
    );
}
