//! What goes wrong with a text on its way: values of another type, keys twice or gone, texts that are
//! too long, numbers too large, lists too deep, bytes lost, changed and put in.

use std::fmt;
use std::ops::Deref;

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

/// What is sent or written, shown as text where a case fails.
#[derive(Clone)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

/// One thing that goes wrong with a value of JSON.
#[derive(Debug, Clone)]
enum Wrong {
    Drop,
    Retype(Value),
    Rename(String),
    Lengthen(usize),
    Nest(usize),
}

/// One thing that goes wrong with the bytes of a text.
#[derive(Debug, Clone)]
pub(crate) enum Slip {
    /// It ends here.
    Cut,
    /// This stands here as well.
    Insert(&'static [u8]),
    /// This byte stands in the place of another.
    Byte(u8),
    /// So many are missing.
    Lose(usize),
    /// So many stand here twice.
    Twice(usize),
}

/// Nothing is lengthened to more bytes than this: longer than any body that is read.
const LONGEST: usize = 100_000;

/// What breaks readers, of JSON and of lines.
const PIECES: [&[u8]; 34] = [
    b"\"reason\":\"x\",",
    b"\"ttl\":\"1m\",",
    b"\"id\":1,",
    b"\"shape\":1,",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"\"",
    b"\\",
    b"\\u0000",
    b"\\ud800",
    b"null",
    b"1e999",
    b"-0",
    b"18446744073709551616",
    b"99999999999999999999999999999999999999999",
    b"0.1",
    b"\0",
    b"\n",
    b"\r\n",
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\xe2\x80\xae",
    b"#",
    b"=",
    b"\"\"\"",
    b"[[",
    b" ",
    b"\t",
];

/// A value of any kind that somebody may send.
pub(crate) fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(json!(null)),
        any::<bool>().prop_map(|it| json!(it)),
        any::<i64>().prop_map(|it| json!(it)),
        any::<u64>().prop_map(|it| json!(it)),
        any::<f64>().prop_map(|it| json!(it)),
        prop_oneof![
            Just(u64::MAX),
            Just(0),
            Just(u64::from(u32::MAX)),
            Just(u64::from(u32::MAX) + 1),
            Just(1 << 53),
            Just(253_402_300_800)
        ]
        .prop_map(|it| json!(it)),
        "\\PC{0,20}".prop_map(|it| json!(it)),
        "[0-9]{1,25}[smhdMy]?".prop_map(|it| json!(it)),
        instant().prop_map(|it| json!(it)),
        word().prop_map(|it| json!(it)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(|it| json!(it)),
            proptest::collection::btree_map("[a-z_]{1,8}", inner, 0..4).prop_map(|it| json!(it)),
        ]
    })
}

/// Words that are right somewhere.
pub(crate) fn word() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(
        &[
            "stage/admins",
            "stage/ops",
            "ana@example.com",
            "agent:bot",
            "group:askers",
            "*",
            "approve",
            "deny",
            "pending",
            "active",
            "ended",
            "request",
            "30m",
            "400d",
            "401d",
            "0s",
            "PENDING",
            "ACTIVE",
            "DIGEST",
            "provisioning",
            "closed",
            "applied",
            "req-01kdvqsg000000000000000000",
            "system",
        ][..],
    )
}

/// Instants, and what is almost one.
pub(crate) fn instant() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => (0_u32..=9_999, 0_u32..14, 0_u32..33, 0_u32..25, 0_u32..61, 0_u32..62, 0_u64..1_000_000_000,
            prop_oneof![Just("Z"), Just("z"), Just("+00:00"), Just("-23:59"), Just("+24:00"), Just("")])
            .prop_map(|(y, mo, d, h, mi, s, f, zone)| {
                format!("{y:04}-{mo:02}-{d:02}T{h:02}:{mi:02}:{s:02}.{f}{zone}")
            }),
        1 => proptest::sample::select(&[
            "1970-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999999Z",
            "9999-12-31T23:59:59.999999999Z", "9999-12-31T23:59:60Z", "10000-01-01T00:00:00Z",
            "0000-01-01T00:00:00Z", "2024-02-29T00:00:00Z", "2023-02-29T00:00:00Z",
            "0000-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59", "2026-01-31 09:30:00Z",
        ][..]).prop_map(str::to_owned),
    ]
}

fn wrong() -> impl Strategy<Value = Wrong> {
    prop_oneof![
        1 => Just(Wrong::Drop),
        4 => value().prop_map(Wrong::Retype),
        1 => "[a-z_]{1,10}".prop_map(Wrong::Rename),
        1 => (2_usize..2_000).prop_map(Wrong::Lengthen),
        1 => (1_usize..200).prop_map(Wrong::Nest),
    ]
}

fn slip() -> impl Strategy<Value = Slip> {
    prop_oneof![
        1 => Just(Slip::Cut),
        4 => proptest::sample::select(&PIECES[..]).prop_map(Slip::Insert),
        2 => any::<u8>().prop_map(Slip::Byte),
        1 => (1_usize..20).prop_map(Slip::Lose),
        1 => (1_usize..200).prop_map(Slip::Twice),
    ]
}

/// One of these texts, chosen, with up to three things wrong as JSON or up to two as bytes; now and
/// then none at all, or nothing of it.
pub(crate) fn mangled(texts: Vec<String>) -> impl Strategy<Value = (usize, Bytes)> {
    let count = texts.len();
    let near = prop_oneof![
        6 => vec((any::<Index>(), wrong()), 1..4).prop_map(|wrongs| (wrongs, vec![], None)),
        3 => slips(2).prop_map(|slips| (vec![], slips, None)),
        1 => (vec((any::<Index>(), wrong()), 0..2), slips(2))
            .prop_map(|(wrongs, slips)| (wrongs, slips, None)),
    ];
    let far = prop_oneof![
        vec(any::<u8>(), 0..40),
        "\\PC{0,80}".prop_map(String::into_bytes),
        value().prop_map(|it| it.to_string().into_bytes()),
        (1_usize..3_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
        (1_usize..3_000).prop_map(|depth| "{\"a\":".repeat(depth).into_bytes()),
        (60_000_usize..70_000)
            .prop_map(|length| format!("\"{}\"", "x".repeat(length)).into_bytes()),
    ]
    .prop_map(|bytes| (vec![], vec![], Some(bytes)));
    (
        0..count,
        prop_oneof![18 => near, 2 => far, 1 => Just((vec![], vec![], None))],
    )
        .prop_map(move |(which, (wrongs, slips, whole))| {
            if let Some(whole) = whole {
                return (which, Bytes(whole));
            }
            let text = match (
                wrongs.is_empty(),
                serde_json::from_str::<Value>(&texts[which]),
            ) {
                (false, Ok(mut value)) => {
                    for (place, wrong) in &wrongs {
                        mar(&mut value, place, wrong);
                    }
                    value.to_string()
                }
                _ => texts[which].clone(),
            };
            (which, Bytes(slipped(text.into_bytes(), &slips)))
        })
}

/// What slips, and where.
pub(crate) type Slips = Vec<(Index, Slip)>;

/// From one slip to so many.
pub(crate) fn slips(most: usize) -> impl Strategy<Value = Slips> {
    vec((any::<Index>(), slip()), 1..=most)
}

/// These bytes with what slips.
pub(crate) fn slipped(mut bytes: Vec<u8>, slips: &Slips) -> Vec<u8> {
    for (place, slip) in slips {
        let at = place.index(bytes.len() + 1);
        match slip {
            Slip::Cut => bytes.truncate(at),
            Slip::Insert(piece) => drop(bytes.splice(at..at, piece.iter().copied())),
            Slip::Byte(byte) if at < bytes.len() => bytes[at] = *byte,
            Slip::Byte(byte) => bytes.push(*byte),
            Slip::Lose(count) => drop(bytes.drain(at..(at + count).min(bytes.len()))),
            Slip::Twice(count) => {
                let again = bytes[at..(at + count).min(bytes.len())].to_vec();
                drop(bytes.splice(at..at, again));
            }
        }
    }
    bytes
}

/// Does this to one place of a value.
fn mar(value: &mut Value, place: &Index, wrong: &Wrong) {
    let paths = paths(value, String::new());
    let path = &paths[place.index(paths.len())];
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", ""));
    if let (Wrong::Drop | Wrong::Rename(_), Some(Value::Object(fields))) =
        (wrong, value.pointer_mut(parent))
    {
        let name = name.replace("~1", "/").replace("~0", "~");
        if let (Some(taken), Wrong::Rename(other)) = (fields.remove(&name), wrong) {
            fields.insert(other.clone(), taken);
        }
        return;
    }
    let Some(found) = value.pointer_mut(path) else {
        return;
    };
    *found = match wrong {
        Wrong::Drop | Wrong::Rename(_) => Value::Null,
        Wrong::Retype(other) => other.clone(),
        Wrong::Lengthen(times) => {
            // What is lengthened may have been lengthened before.
            let times = (*times).min(LONGEST / found.to_string().len()).max(1);
            match &*found {
                Value::String(text) => json!(text.repeat(times)),
                Value::Array(items) => {
                    let again = items.iter().cycle().take(items.len() * times.min(40));
                    Value::Array(again.cloned().collect())
                }
                other => json!(vec![other.clone(); 3]),
            }
        }
        Wrong::Nest(depth) => (0..*depth).fold(found.take(), |inner, _| json!([inner])),
    };
}

/// The path of every value within, and of the value itself.
fn paths(value: &Value, here: String) -> Vec<String> {
    let within: Vec<(String, &Value)> = match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| (name.replace('~', "~0").replace('/', "~1"), value))
            .collect(),
        Value::Array(items) => {
            let items = items.iter().enumerate();
            items.map(|(at, value)| (at.to_string(), value)).collect()
        }
        _ => vec![],
    };
    let deeper = within.into_iter();
    let deeper = deeper.flat_map(|(name, value)| paths(value, format!("{here}/{name}")));
    let deeper: Vec<String> = deeper.collect();
    std::iter::once(here).chain(deeper).collect()
}
