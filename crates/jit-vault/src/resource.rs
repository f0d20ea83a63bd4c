//! How an entitlement says which token is meant: `policy-a,policy-b`, `policy-a,policy-b@role`, or
//! `@role`. Nothing here asks Vault.

use std::collections::BTreeSet;
use std::fmt;

use crate::trouble::Trouble;

/// The most policies of one token.
const POLICIES_LIMIT: usize = 16;
/// The longest name of a policy or a role.
const NAME_LIMIT: usize = 128;
/// What Vault gives nobody, or what would be everything.
const NEVER: [&str; 3] = ["root", "response-wrapping", "control-group"];

/// Which token is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resource {
    /// Each once, in order; none where the role's own are meant.
    pub(crate) policies: BTreeSet<String>,
    /// The token role that it is made through; without, it is made as an orphan.
    pub(crate) role: Option<String>,
}

impl Resource {
    /// Reads it as it stands in a catalogue.
    pub(crate) fn read(text: &str) -> Result<Self, Trouble> {
        let (policies, role) = match text.split_once('@') {
            Some((policies, role)) => (policies, Some(role)),
            None => (text, None),
        };
        if !role.is_none_or(is_role) {
            return Err(Trouble::BadResource(
                "behind the @ stands the name of a token role: letters, digits, `_`, `-` and `.`",
            ));
        }
        let mut found = BTreeSet::new();
        let listed = match (policies, role) {
            ("", Some(_)) => None,
            (policies, _) => Some(policies.split(',')),
        };
        for policy in listed.into_iter().flatten() {
            check_policy(policy)?;
            if !found.insert(policy.to_owned()) {
                return Err(Trouble::BadResource("a policy is named twice"));
            }
        }
        if found.len() > POLICIES_LIMIT {
            return Err(Trouble::BadResource("a token has sixteen policies at most"));
        }
        Ok(Self {
            policies: found,
            role: role.map(str::to_owned),
        })
    }
}

impl fmt::Display for Resource {
    /// In the one way in which it is stored.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, policy) in self.policies.iter().enumerate() {
            let comma = if place > 0 { "," } else { "" };
            write!(f, "{comma}{policy}")?;
        }
        match &self.role {
            Some(role) => write!(f, "@{role}"),
            None => Ok(()),
        }
    }
}

fn check_policy(name: &str) -> Result<(), Trouble> {
    // Vault writes the names of policies in lower case, so that another spelling would come back as
    // another name.
    let is_plain = |it: u8| matches!(it, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' | b'.' | b'/');
    if name.is_empty() || name.len() > NAME_LIMIT || !name.bytes().all(is_plain) {
        return Err(Trouble::BadResource(
            "it names policies, separated by commas without spaces: small letters, digits, `_`, `-`, \
             `.` and `/`",
        ));
    }
    match NEVER.contains(&name) {
        true => Err(Trouble::BadResource(
            "it names a policy that is given to nobody",
        )),
        false => Ok(()),
    }
}

/// Whether it can be the name of a token role, which is one part of a path.
pub(crate) fn is_role(name: &str) -> bool {
    let is_plain = |it: u8| it.is_ascii_alphanumeric() || matches!(it, b'_' | b'-' | b'.');
    !name.is_empty()
        && name.len() <= NAME_LIMIT
        && name.bytes().all(is_plain)
        && !name.starts_with('.')
}

/// Whether it is a path, of one part or more, that leads nowhere else.
pub(crate) fn is_path(path: &str) -> bool {
    let is_plain = |it: char| !it.is_control() && it != '\\' && it != '?' && it != '#';
    let is_part = |it: &str| !it.is_empty() && it != "." && it != ".." && it.chars().all(is_plain);
    path.split('/').all(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(text: &str) -> Option<String> {
        Resource::read(text).ok().map(|it| it.to_string())
    }

    #[test]
    fn three_ways_of_saying_which_token_is_meant() {
        assert_eq!(said("reader").as_deref(), Some("reader"));
        assert_eq!(said("b,a").as_deref(), Some("a,b"));
        assert_eq!(said("b,a@Agents.1").as_deref(), Some("a,b@Agents.1"));
        assert_eq!(said("@agents").as_deref(), Some("@agents"));
    }

    #[test]
    fn everything_else_is_refused() {
        let long = "a".repeat(129);
        let many = (0..17).map(|it| format!("p{it}")).collect::<Vec<_>>();
        for text in [
            "",
            "@",
            ",",
            "a,",
            ",a",
            "a,,b",
            "a, b",
            "A",
            "a@",
            "a@b@c",
            "a@../b",
            "a@b/c",
            "root",
            "a,root",
            "root@agents",
            "a,a",
            "a b",
            "@.",
            "ä",
            "a\n",
            &long,
            &many.join(","),
            "response-wrapping",
        ] {
            assert_eq!(said(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_path_stays_where_it_is() {
        assert!(is_path("homelab/data/docker/grafana"));
        for path in [
            "", "/a", "a/", "a//b", "a/../b", "./a", "a?b", "a#b", "a\u{0}b",
        ] {
            assert!(!is_path(path), "{path:?}");
        }
    }
}
