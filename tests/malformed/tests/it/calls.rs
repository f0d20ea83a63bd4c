//! Calls over HTTP and messages of agents.

use jit_malformed::agents::{self, MESSAGES};
use jit_malformed::api::{self, Asked, BODIES, READ, READS, Sent};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::mangle::{Bytes, instant, mangled, word};
use crate::{CASES, cases};

fn bodies() -> Vec<String> {
    BODIES
        .iter()
        .map(|(_, _, body)| (*body).to_owned())
        .collect()
}

/// Bodies that are read, and now and then one that is not.
fn sent() -> impl Strategy<Value = (usize, Bytes)> {
    let (read, unread) = (bodies()[..READ].to_vec(), bodies()[READ..].to_vec());
    prop_oneof![
        30 => mangled(read),
        1 => mangled(unread).prop_map(|(to, body)| (to + READ, body)),
    ]
}

fn messages() -> Vec<String> {
    MESSAGES
        .iter()
        .map(|(_, message)| (*message).to_owned())
        .collect()
}

/// So many bytes that a header may carry.
fn header(length: std::ops::Range<usize>) -> impl Strategy<Value = Bytes> {
    vec(32_u8..=255, length).prop_map(Bytes)
}

/// As what a body is sent: nearly always right.
fn content_type() -> impl Strategy<Value = Option<Bytes>> {
    let right = Just(Some(Bytes(b"application/json".to_vec())));
    let other = select(
        &[
            "application/json; charset=utf-8",
            "APPLICATION/JSON",
            "application/json, text/plain",
            "application/x-www-form-urlencoded",
            "text/plain",
            "",
        ][..],
    );
    prop_oneof![
        12 => right,
        2 => other.prop_map(|it| Some(Bytes(it.as_bytes().to_vec()))),
        1 => header(0..20).prop_map(Some),
        1 => Just(None),
    ]
}

/// A text as it stands in a query, with or without its escapes.
fn escaped(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~:/*,".contains(&byte);
    let escape = |byte: u8| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    };
    text.bytes().map(escape).collect()
}

fn parameter() -> impl Strategy<Value = String> {
    let names: Vec<&str> = READS
        .iter()
        .flat_map(|(_, names)| names.iter().copied())
        .collect();
    let name = prop_oneof![8 => select(names).prop_map(str::to_owned), 1 => "[a-z_]{0,8}"];
    let value = prop_oneof![
        3 => word().prop_map(escaped),
        2 => instant().prop_map(|it| escaped(&it)),
        2 => Just("AFTER".to_owned()),
        2 => "-?[0-9]{1,22}",
        1 => select(&["0", "1", "2", "1000", "1001", "60s", "61s", "18446744073709551616", "%00", "%FF", "%", "%zz", "", "pending,active", "pending,,active"][..]).prop_map(str::to_owned),
        1 => "req-[0-9a-z]{26}",
        1 => "\\PC{0,20}".prop_map(|it| escaped(&it)),
        1 => "[!-~&&[^#&]]{0,30}",
    ];
    (name, value).prop_map(|(name, value)| format!("{name}={value}"))
}

/// Where a list goes on: a right one, one that was changed, or anything else.
fn cursor() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => Just("AFTER".to_owned()),
        1 => Just("ACTIVE".to_owned()),
        3 => "req-[0-7][0-9abcdefghjkmnpqrstvwxyz]{25}",
        1 => "req-[0-9a-zA-Z]{24,28}",
        3 => "NEAR[0-9abcdefghjkmnpqrstvwxyz]{16}",
        1 => "[0-9a-z]{0,2}AFTER[0-9a-z]{0,2}",
        1 => word().prop_map(escaped),
        1 => instant().prop_map(|it| escaped(&it)),
        1 => "\\PC{0,40}".prop_map(|it| escaped(&it)),
        1 => "[!-~&&[^#&]]{0,300}",
        1 => select(&["", "%00", "%FF", "%", "%zz", "0", "-1", "null", "req-", "REQ-01jaaaaaaaaaaaaaaaaaaaaaaa"][..]).prop_map(str::to_owned),
    ]
}

fn query() -> impl Strategy<Value = String> {
    vec(parameter(), 0..4).prop_map(|pairs| pairs.join("&"))
}

proptest! {
    #![proptest_config(cases(CASES))]

    #[test]
    fn no_body_breaks_a_route_and_a_refused_one_changes_nothing(
        (to, body) in sent(),
        content_type in content_type(),
        key in proptest::option::weighted(0.2, header(0..210)),
    ) {
        api::send(Sent {
            to,
            content_type: content_type.as_deref(),
            idempotency_key: key.as_deref(),
            body: &body,
        });
    }

    #[test]
    fn no_cursor_leads_anywhere_but_to_the_rest_of_the_list(
        cursor in cursor(),
        limit in prop_oneof![4 => "[1-4]", 1 => "-?[0-9]{1,22}"],
        status in proptest::option::of(select(&["pending", "active", "pending,active", "closed"][..])),
    ) {
        let status = status.map(|status| format!("&status={status}"));
        api::page(&cursor, &format!("limit={limit}{}", status.unwrap_or_default()));
    }

    #[test]
    fn no_path_query_or_cursor_breaks_a_route_and_a_list_ends(
        of in prop_oneof![1 => Just(0), 1 => 0..READS.len()],
        id in proptest::option::weighted(0.3, prop_oneof![
            "[0-9a-z]{5,8}", "req-[0-9a-zA-Z]{24,28}", "[!-~&&[^/?#]]{1,40}", "\\PC{1,20}".prop_map(|it| escaped(&it)),
        ]),
        query in query(),
    ) {
        api::ask(Asked { of, id: id.as_deref(), query: &query });
    }

    #[test]
    fn no_message_breaks_the_tools_and_a_refused_one_changes_nothing(
        (to, body) in mangled(messages()),
    ) {
        agents::send(to, &body);
    }
}

/// What is right is done, so that what is drawn from it gets far.
#[test]
fn what_the_cases_are_drawn_from_is_right() {
    for (to, (path, _, body)) in BODIES.iter().enumerate() {
        let sent = Sent {
            to,
            content_type: Some(b"application/json"),
            idempotency_key: None,
            body: body.as_bytes(),
        };
        let changes =
            !path.ends_with("/retract") && !path.ends_with("/collect") && !body.contains("tier");
        assert_eq!(api::changes(sent), changes, "{path} {body}");
    }
    for (to, (_, message)) in MESSAGES.iter().enumerate() {
        agents::send(to, message.as_bytes());
    }
}
