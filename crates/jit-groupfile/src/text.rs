//! The text of a group file: who is in a group, and the same text with one member more or less.
//! Every other byte stays. Nothing here touches a disk.
//!
//! The file is read as Apache reads it (`groups_for_user` in its `modules/aaa/mod_authz_groupfile.c`,
//! `ap_getword_conf` in `server/util.c`): one group per line, its name before the first colon, its
//! members behind it between white space, `#` begins a comment line, and a group that stands on
//! several lines has the members of all of them. What Apache would read differently from how it
//! looks here, which is quoted names, doubled backslashes, names that end in a backslash and lines
//! continued by one, is refused.

use std::collections::BTreeSet;

/// A line that cannot be read with certainty.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the group file {what}")]
pub(crate) struct Malformed {
    /// Its number, from 1.
    pub(crate) line: usize,
    /// What is wrong with it.
    pub(crate) what: &'static str,
}

/// The members of a group; none where no line names it.
pub(crate) fn members<'a>(
    text: &'a str,
    group: &str,
) -> Result<Option<BTreeSet<&'a str>>, Malformed> {
    let mut found = None;
    for line in lines(text) {
        if let Line::Group { name, members, .. } = line?
            && name == group
        {
            let words = members.split(is_space).filter(|word| !word.is_empty());
            found.get_or_insert_with(BTreeSet::new).extend(words);
        }
    }
    Ok(found)
}

/// The text with this member at the end of the group's first line.
pub(crate) fn with(text: &str, group: &str, member: &str) -> Result<String, Malformed> {
    let mut is_done = false;
    rewrite(text, group, |members| {
        if std::mem::replace(&mut is_done, true) {
            members.to_owned()
        } else {
            format!("{members} {member}")
        }
    })
}

/// The text without this member on any line of the group.
pub(crate) fn without(text: &str, group: &str, member: &str) -> Result<String, Malformed> {
    rewrite(text, group, |members| {
        let mut kept = String::new();
        let mut rest = members;
        while !rest.is_empty() {
            // A piece is a word with the white space before it.
            let word = rest.trim_start_matches(is_space);
            let behind = word.find(is_space).map_or(0, |end| word.len() - end);
            let (piece, others) = rest.split_at(rest.len() - behind);
            if piece.trim_start_matches(is_space) != member {
                kept.push_str(piece);
            }
            rest = others;
        }
        kept
    })
}

fn rewrite(
    text: &str,
    group: &str,
    mut edit: impl FnMut(&str) -> String,
) -> Result<String, Malformed> {
    let mut out = String::with_capacity(text.len() + 100);
    for line in lines(text) {
        match line? {
            Line::Group {
                name,
                head,
                members,
                tail,
            } if name == group => {
                out.push_str(head);
                out.push_str(&edit(members));
                out.push_str(tail);
            }
            Line::Group {
                head,
                members,
                tail,
                ..
            } => out.extend([head, members, tail]),
            Line::Foreign(line) => out.push_str(line),
        }
    }
    Ok(out)
}

/// One line with its ending.
enum Line<'a> {
    /// Blank, or a comment.
    Foreign(&'a str),
    /// A group; the line is `head`, `members` and `tail` one after the other.
    Group {
        name: &'a str,
        /// Up to and with the colon. Apache skips further colons.
        head: &'a str,
        members: &'a str,
        /// The white space and the line ending behind the last member.
        tail: &'a str,
    },
}

fn lines(text: &str) -> impl Iterator<Item = Result<Line<'_>, Malformed>> {
    text.split_inclusive('\n')
        .enumerate()
        .map(|(before, line)| {
            parse(line).map_err(|what| Malformed {
                line: before + 1,
                what,
            })
        })
}

fn parse(line: &str) -> Result<Line<'_>, &'static str> {
    let (content, tail) = line.split_at(line.trim_end_matches(is_space).len());
    if content.contains('\0') {
        return Err("holds a zero byte");
    }
    if content.ends_with('\\') {
        return Err("ends in a backslash, which joins it to the next one");
    }
    let begin = content.trim_start_matches(is_space);
    if begin.is_empty() || begin.starts_with('#') {
        return Ok(Line::Foreign(line));
    }
    let Some((name, behind)) = content.split_once(':') else {
        return Err("has no colon and is neither blank nor a comment");
    };
    let members = behind.trim_start_matches(':');
    let is_quoted = |word: &str| word.starts_with(['"', '\'']) || word.contains(r"\\");
    if members.split(is_space).any(is_quoted) {
        return Err("holds a quoted name, which is not supported");
    }
    // It would come to stand there when the names behind it are taken away.
    if members.split(is_space).any(|word| word.ends_with('\\')) {
        return Err(
            "holds a name that ends in a backslash, which at the end joins it to the next one",
        );
    }
    let (head, _) = content.split_at(content.len() - members.len());
    Ok(Line::Group {
        name: name.trim_matches(is_space),
        head,
        members,
        tail,
    })
}

/// White space as C's `isspace` has it.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\n' | '\u{b}' | '\u{c}' | '\r')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn list(text: &str, group: &str) -> Option<Vec<String>> {
        let members = members(text, group).unwrap()?;
        Some(members.into_iter().map(str::to_owned).collect())
    }

    #[test]
    fn a_group_is_read_as_apache_reads_it() {
        let text = "# admins: eve\n\n  admins : ana\tbob\r\nops:\nadmins::cy ana\n#\nlast: zoe";
        assert_eq!(list(text, "admins").unwrap(), ["ana", "bob", "cy"]);
        assert_eq!(list(text, "ops").unwrap(), Vec::<String>::new());
        assert_eq!(list(text, "last").unwrap(), ["zoe"]);
        assert_eq!(list(text, "admin"), None);
        assert_eq!(list(text, "Admins"), None);
        assert_eq!(list("", "admins"), None);
    }

    #[test]
    fn an_edit_changes_the_member_and_no_other_byte() {
        let cases = [
            ("admins:", "admins: ana"),
            ("admins: bob\n", "admins: bob ana\n"),
            ("admins:bob \t\r\nops: cy", "admins:bob ana \t\r\nops: cy"),
            (
                "# x\n\nadmins: bob\nadmins: cy\n",
                "# x\n\nadmins: bob ana\nadmins: cy\n",
            ),
        ];
        for (before, after) in cases {
            assert_eq!(with(before, "admins", "ana").unwrap(), after);
            assert_eq!(without(after, "admins", "ana").unwrap(), before);
        }
        assert_eq!(
            without(
                "admins: ana anabel ana\nops: ana\nadmins:ana",
                "admins",
                "ana"
            )
            .unwrap(),
            "admins: anabel\nops: ana\nadmins:"
        );
    }

    #[test]
    fn what_apache_would_read_otherwise_is_refused_with_its_line() {
        let cases = [
            ("admins: ana\nbob\n", 2),
            ("# note \\\nadmins: ana\n", 1),
            ("\nadmins: ana \\\nbob\n", 2),
            ("admins: \"ana bob\"\n", 1),
            ("admins: 'ana'\n", 1),
            ("admins: a\\\\b\n", 1),
            ("admins: a\\ ana\n", 1),
            ("admins: a\0\n", 1),
        ];
        for (text, line) in cases {
            for result in [
                members(text, "ops").map(|_| ()),
                with(text, "ops", "ana").map(|_| ()),
                without(text, "ops", "ana").map(|_| ()),
            ] {
                assert_eq!(result.unwrap_err().line, line, "{text:?}");
            }
        }
        assert!(members("admins: o'brien DOMAIN\\ana\n", "admins").is_ok());
    }

    fn some_text() -> impl Strategy<Value = String> {
        let line = prop_oneof![
            "[ \t]{0,3}",
            "[ ]?#[ -\\[\\]-~]{0,20}",
            "[ ]?(admins|ops|[a-z]{1,3}) ?::?([ \t]{0,2}(ana|bob|[a-zé]{1,4})){0,4}[ \t]{0,2}",
        ];
        let ending = prop_oneof![Just("\n"), Just("\r\n")];
        let ended = (line.clone(), ending).prop_map(|(line, ending)| line + ending);
        (proptest::collection::vec(ended, 0..8), line)
            .prop_map(|(lines, last)| lines.concat() + &last)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(10_000))]

        #[test]
        fn any_text_keeps_its_bytes_and_its_other_members(text in some_text()) {
            let all = |text: &str| -> Vec<(&'static str, Option<Vec<String>>)> {
                ["admins", "ops", "x"].map(|group| (group, list(text, group))).into()
            };
            prop_assert_eq!(&without(&text, "admins", "nobody").unwrap(), &text);
            prop_assert_eq!(&without(&text, "nogroup", "ana").unwrap(), &text);
            prop_assert_eq!(&with(&text, "nogroup", "ana").unwrap(), &text);

            let mut expected = all(&text);
            let more = with(&text, "admins", "new.member").unwrap();
            if let Some(admins) = &mut expected[0].1 {
                admins.push("new.member".to_owned());
                admins.sort();
                prop_assert_eq!(more.len(), text.len() + " new.member".len());
            }
            prop_assert_eq!(all(&more), expected);
            prop_assert_eq!(&without(&more, "admins", "new.member").unwrap(), &text);

            let mut expected = all(&text);
            let less = without(&text, "admins", "ana").unwrap();
            if let Some(admins) = &mut expected[0].1 {
                admins.retain(|member| member != "ana");
            }
            prop_assert_eq!(all(&less), expected);
            prop_assert_eq!(less.lines().count(), text.lines().count());
        }

        #[test]
        fn no_text_makes_it_panic(text in "[ -~\n\r\t\0é\\\\:#]{0,60}") {
            let _ = members(&text, "admins");
            let _ = with(&text, "admins", "ana");
            let _ = without(&text, "admins", "ana");
        }
    }
}
