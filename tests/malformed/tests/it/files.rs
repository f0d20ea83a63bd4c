//! Configurations and group files.

use jit_malformed::configuration::{self, EXAMPLES, VARIABLES};
use jit_malformed::groups;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use crate::mangle::{Bytes, Slips, slipped, slips};
use crate::{CASES, cases};

/// What stands behind an equals sign, right somewhere and wrong elsewhere.
const VALUES: [&str; 26] = [
    "1",
    "0",
    "-1",
    "18446744073709551615",
    "9223372036854775808",
    "1.5",
    "nan",
    "true",
    "\"\"",
    "\"1h\"",
    "\"30M\"",
    "\"401d\"",
    "\"*\"",
    "\"a/b\"",
    "\"../x\"",
    "\"\\u0000\"",
    "[]",
    "[1]",
    "[\"request\", \"request\"]",
    "[\"*\"]",
    "{}",
    "{ a = 1 }",
    "2026-01-01",
    "07:32:00",
    "\"127.0.0.1:0\"",
    "'''\n'''",
];

/// One thing that goes wrong with the lines of a file.
#[derive(Debug, Clone)]
enum Edit {
    /// The line is not there.
    Drop,
    /// It is there twice.
    Twice,
    /// It is where another one is.
    Swap(Index),
    /// Its key has this value.
    Value(&'static str),
    /// One letter of its key is this one.
    Key(Index, char),
    /// It is no comment any more, or is one.
    Comment,
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        2 => Just(Edit::Drop),
        2 => Just(Edit::Twice),
        1 => any::<Index>().prop_map(Edit::Swap),
        5 => select(&VALUES[..]).prop_map(Edit::Value),
        1 => (any::<Index>(), any::<char>()).prop_map(|(at, letter)| Edit::Key(at, letter)),
        1 => (any::<Index>(), proptest::char::range('a', 'z')).prop_map(|(at, letter)| Edit::Key(at, letter)),
        2 => Just(Edit::Comment),
    ]
}

/// An example as somebody edits it, and as a disk or an editor may spoil it.
fn edited() -> impl Strategy<Value = Bytes> {
    let edits = vec((any::<Index>(), edit()), 0..4);
    let spoilt = prop_oneof![3 => Just(vec![]), 1 => slips(2)];
    (0..EXAMPLES.len(), edits, spoilt).prop_map(|(which, edits, spoilt): (_, _, Slips)| {
        // The comments are most of the text and hold nothing that is read.
        let lines = EXAMPLES[which]
            .lines()
            .filter(|line| !line.starts_with("# ") && !line.is_empty());
        let mut lines: Vec<String> = lines.map(str::to_owned).collect();
        for (place, edit) in &edits {
            if lines.is_empty() {
                break;
            }
            let at = place.index(lines.len());
            match edit {
                Edit::Drop => drop(lines.remove(at)),
                Edit::Twice => lines.insert(at, lines[at].clone()),
                Edit::Swap(other) => {
                    let other = other.index(lines.len());
                    lines.swap(at, other);
                }
                Edit::Value(value) => {
                    let key = lines[at].split('=').next().unwrap_or_default().to_owned();
                    lines[at] = format!("{key} = {value}");
                }
                Edit::Key(letter, other) => {
                    let mut letters: Vec<char> = lines[at].chars().collect();
                    if !letters.is_empty() {
                        let at = letter.index(letters.len());
                        letters[at] = *other;
                    }
                    lines[at] = letters.into_iter().collect();
                }
                Edit::Comment => match lines[at].strip_prefix('#') {
                    Some(rest) => lines[at] = rest.to_owned(),
                    None => lines[at].insert(0, '#'),
                },
            }
        }
        Bytes(slipped(lines.join("\n").into_bytes(), &spoilt))
    })
}

/// Variables of the approval service, some of them missing and some of them wrong.
fn variables() -> impl Strategy<Value = Vec<(String, String)>> {
    let value = prop_oneof![
        Just(String::new()),
        "[ -~]{0,20}",
        "\\PC{0,12}",
        "-?[0-9]{1,22}",
        "[0-9]{1,6}[smhd]?",
        "(:|localhost:|[0-9.]{1,8}:)[0-9]{1,6}",
        "https?://[a-z0-9.:@/\\[\\]?#-]{0,20}",
        "[a-z]{1,5}(,[ a-z:@]{0,6}){0,4}",
        "[a-z/\u{7f}\u{1}\"\\\\\n]{1,8}",
    ];
    let wrong = vec((any::<Index>(), value), 0..3);
    let missing = vec(any::<Index>(), 0..6);
    (missing, wrong).prop_map(|(missing, wrong)| {
        let mut all: Vec<(String, String)> = VARIABLES
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        for gone in &missing {
            all.remove(gone.index(all.len()));
        }
        for (which, value) in wrong {
            let which = which.index(all.len());
            all[which].1 = value;
        }
        all
    })
}

/// Lines of a group file, right and wrong.
fn groups() -> impl Strategy<Value = Bytes> {
    let line = prop_oneof![
        4 => "[ \t]{0,2}(admins|ops|[a-zé]{1,4}) ?:{1,2}([ \t\u{b}\u{c}]{0,2}(ana|bob|anabel|[a-zé]{1,4}|[a-z\\\\]{1,3})){0,5}[ \t\r]{0,2}",
        1 => "[ \t]{0,3}",
        1 => "[ ]?#[ -~]{0,20}",
        1 => "[ -~\t\r]{0,30}",
    ];
    let text = vec(line, 0..8).prop_map(|lines| lines.join("\n").into_bytes());
    let spoilt = prop_oneof![2 => Just(vec![]), 1 => slips(3)];
    prop_oneof![
        9 => (text, spoilt).prop_map(|(text, spoilt)| slipped(text, &spoilt)),
        1 => vec(any::<u8>(), 0..60),
    ]
    .prop_map(Bytes)
}

proptest! {
    #![proptest_config(cases(CASES))]

    #[test]
    fn a_group_file_keeps_every_byte_that_is_not_ours(bytes in groups()) {
        groups::file(&bytes);
    }

    #[test]
    fn the_variables_are_a_configuration_that_reads_the_same_or_each_problem_names_one(
        given in variables(),
    ) {
        configuration::variables(&given);
    }

    #[test]
    fn a_file_is_a_configuration_that_reads_the_same_or_each_problem_names_its_line(
        bytes in edited(),
    ) {
        configuration::file(&bytes);
    }
}

#[test]
fn what_the_cases_are_drawn_from_is_right() {
    for example in EXAMPLES {
        assert!(
            configuration::file(example.as_bytes()),
            "{}",
            &example[..80]
        );
    }
    let all = VARIABLES.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert!(configuration::variables(&all));
}
