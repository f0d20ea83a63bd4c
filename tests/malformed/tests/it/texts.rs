//! Durations, instants and names.

use jit_core::time::TTL_LIMIT_SECS;
use jit_malformed::text;
use proptest::prelude::*;

use crate::mangle::{instant, word};
use crate::{CASES, cases};

/// Durations around every limit, and texts that are almost one.
fn duration() -> impl Strategy<Value = String> {
    let unit = || {
        prop_oneof![
            Just(("s", 1)),
            Just(("m", 60)),
            Just(("h", 3_600)),
            Just(("d", 86_400_u64))
        ]
    };
    let near = (unit(), -2_i64..=2).prop_map(|((unit, secs), off)| {
        let limit = i64::try_from(u64::from(TTL_LIMIT_SECS) / secs).unwrap();
        format!("{}{unit}", limit + off)
    });
    // So many that a product of 64 bits begins again at nothing.
    let around = (unit(), 0_u128..3).prop_map(|((unit, secs), off)| {
        let number = (1_u128 << 64) / u128::from(secs) + off;
        format!("{number}{unit}")
    });
    prop_oneof![
        near,
        around,
        "[0-9]{1,22}[smhd]",
        "[-+ ]?[0-9]{0,22}[.eE_]?[0-9]{0,3} ?[a-zA-Zµ]{0,2}",
        "[0٠１]{0,3}[0-9]{0,3}[smhd]",
        ".{0,40}",
    ]
}

proptest! {
    #![proptest_config(cases(CASES))]

    #[test]
    fn a_duration_is_read_as_written_or_refused_with_a_sentence(text in duration()) {
        text::duration(&text);
    }

    #[test]
    fn seconds_are_a_duration_up_to_the_limit_and_not_beyond(
        secs in prop_oneof![
            0_u64..5,
            u64::from(TTL_LIMIT_SECS) - 2..u64::from(TTL_LIMIT_SECS) + 3,
            u64::from(u32::MAX) - 2..u64::from(u32::MAX) + 3,
            any::<u64>(),
        ],
    ) {
        text::seconds(secs);
    }

    #[test]
    fn an_instant_is_read_as_written_or_refused_with_a_sentence(
        text in prop_oneof![3 => instant(), 1 => ".{0,40}"],
    ) {
        text::instant(&text);
    }

    #[test]
    fn a_name_is_read_as_written_or_refused_with_a_sentence(
        text in prop_oneof![
            word().prop_map(str::to_owned),
            "req-[0-9a-zA-Z]{24,28}",
            "[a-z*]{1,10}/[a-z*-]{0,10}",
            "(agent:|group:|oncall:|service:)?[a-z@.]{0,12}",
            "[a-zA-Z0-9@/:*._+-]{0,300}",
            ".{0,40}",
        ],
    ) {
        text::name(&text);
    }
}
