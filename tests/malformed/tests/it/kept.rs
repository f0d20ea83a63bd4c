//! What is kept: records and the audit.

use jit_malformed::{audit, stored};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::mangle::{mangled, slipped, slips};
use crate::{CASES, FEWER, cases};

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Records with something wrong; those of the engine's own first request where it is to be tended.
fn records() -> impl Strategy<Value = String> {
    mangled(stored::samples()).prop_map(|(_, bytes)| text(&bytes))
}

fn first_record() -> impl Strategy<Value = String> {
    let first = stored::samples().into_iter().take(1).collect();
    mangled(first).prop_map(|(_, bytes)| text(&bytes))
}

/// What is done to the lines of an export.
#[derive(Debug, Clone)]
enum Stroke {
    Drop,
    Twice,
    Swap(Index),
    /// The rest is cut off.
    Cut,
}

fn export() -> impl Strategy<Value = String> {
    let stroke = prop_oneof![
        Just(Stroke::Drop),
        Just(Stroke::Twice),
        any::<Index>().prop_map(Stroke::Swap),
        Just(Stroke::Cut),
    ];
    let strokes = vec((any::<Index>(), stroke), 0..3);
    let spoilt = prop_oneof![1 => Just(vec![]), 2 => slips(2)];
    (strokes, spoilt).prop_map(|(strokes, spoilt)| {
        let mut lines: Vec<&str> = audit::exported().lines().collect();
        for (place, stroke) in &strokes {
            let at = place.index(lines.len() + 1);
            match stroke {
                Stroke::Cut => lines.truncate(at),
                _ if at >= lines.len() => {}
                Stroke::Drop => drop(lines.remove(at)),
                Stroke::Twice => lines.insert(at, lines[at]),
                Stroke::Swap(other) => {
                    let other = other.index(lines.len());
                    lines.swap(at, other);
                }
            }
        }
        text(&slipped(lines.join("\n").into_bytes(), &spoilt))
    })
}

proptest! {
    #![proptest_config(cases(CASES))]

    #[test]
    fn a_record_is_read_as_written_or_refused_with_a_sentence(text in records()) {
        stored::text(&text);
    }

    #[test]
    fn whatever_is_done_to_an_export_is_found(text in export()) {
        audit::export(&text);
    }
}

proptest! {
    #![proptest_config(cases(FEWER))]

    #[test]
    fn a_damaged_record_keeps_nobody_from_the_others(text in first_record()) {
        stored::behind_engine(&text);
    }

    #[test]
    fn a_damaged_row_keeps_nobody_from_the_others(text in records()) {
        stored::in_sqlite(&text);
    }

    #[test]
    fn whatever_is_done_to_the_events_of_a_store_is_found(
        strokes in vec(any::<[u8; 6]>(), 0..4),
    ) {
        audit::store(&strokes);
    }
}

#[test]
fn what_nobody_touched_is_sound() {
    assert!(audit::export(audit::exported()));
    audit::store(&[]);
    for record in stored::samples() {
        stored::text(&record);
    }
    stored::behind_engine(&stored::samples()[0]);
    stored::in_sqlite(&stored::samples()[0]);
}
