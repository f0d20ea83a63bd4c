//! What a policy lets a token do: paths with capabilities, the most specific path deciding.
//! <https://developer.hashicorp.com/vault/docs/concepts/policies#policy-syntax>

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Something that may be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Capability {
    /// Write where nothing is.
    Create,
    /// Read.
    Read,
    /// Write over what is there, and most calls that do something.
    Update,
    /// Delete.
    Delete,
    /// List.
    List,
    /// Also what is kept for root.
    Sudo,
    /// Nothing, whatever else is said.
    Deny,
}

/// Paths, each with what may be done there. `*` at the end is anything; `+` is one part.
pub(crate) type Rules = Vec<(String, BTreeSet<Capability>)>;

/// The policy that a token has unless it is told otherwise, as far as it is of use here.
pub(crate) fn default_policy() -> Rules {
    use Capability::{Read, Update};
    [
        ("auth/token/lookup-self", Read),
        ("auth/token/renew-self", Update),
        ("auth/token/revoke-self", Update),
        ("sys/wrapping/wrap", Update),
        ("sys/wrapping/lookup", Update),
        ("sys/wrapping/unwrap", Update),
    ]
    .map(|(path, capability)| (path.to_owned(), BTreeSet::from([capability])))
    .to_vec()
}

/// Whether a pattern fits a path.
fn fits(pattern: &str, path: &str) -> bool {
    let (pattern, is_open) = match pattern.strip_suffix('*') {
        Some(beginning) => (beginning, true),
        None => (pattern, false),
    };
    let mut wanted = pattern.split('/').peekable();
    let mut parts = path.split('/');
    while let Some(want) = wanted.next() {
        let Some(part) = parts.next() else {
            return false;
        };
        let is_last = wanted.peek().is_none();
        let is_good = match want {
            "+" => true,
            _ if is_last && is_open => part.starts_with(want),
            _ => part == want,
        };
        if !is_good {
            return false;
        }
    }
    is_open || parts.next().is_none()
}

/// How specific a pattern is: an exact path first, then the one whose first wildcard comes last.
fn weight(pattern: &str) -> (bool, usize, usize) {
    let first = pattern.find(['+', '*']).unwrap_or(pattern.len());
    let is_exact = first == pattern.len();
    (is_exact, first, pattern.len())
}

/// What may be done at a path by all these rules together.
pub(crate) fn allowed<'a>(
    rules: impl Iterator<Item = &'a Rules> + Clone,
    path: &str,
) -> BTreeSet<Capability> {
    let fitting = rules
        .flatten()
        .filter(|(pattern, _)| fits(pattern, path))
        .collect::<Vec<_>>();
    let Some((best, _)) = fitting.iter().max_by_key(|(it, _)| weight(it)) else {
        return BTreeSet::new();
    };
    let same = fitting.iter().filter(|(pattern, _)| pattern == best);
    let all: BTreeSet<_> = same.flat_map(|(_, may)| may.iter().copied()).collect();
    match all.contains(&Capability::Deny) {
        true => BTreeSet::new(),
        false => all,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_as_documented() {
        assert!(fits("secret/data/a", "secret/data/a"));
        assert!(!fits("secret/data/a", "secret/data/a/b"));
        assert!(fits("secret/data/*", "secret/data/a/b"));
        assert!(fits("secret/da*", "secret/data"));
        assert!(!fits("secret/data/*", "secret/data"));
        assert!(fits("secret/+/a", "secret/data/a"));
        assert!(!fits("secret/+/a", "secret/data/b/a"));
        assert!(fits("+/data/*", "secret/data/x"));
    }

    #[test]
    fn the_most_specific_path_decides() {
        let rules: Rules = vec![
            ("a/*".to_owned(), BTreeSet::from([Capability::Read])),
            ("a/b".to_owned(), BTreeSet::from([Capability::Deny])),
            ("a/c*".to_owned(), BTreeSet::from([Capability::Update])),
        ];
        let all = [rules];
        let may = |path| allowed(all.iter(), path);
        assert_eq!(may("a/x"), BTreeSet::from([Capability::Read]));
        assert!(may("a/b").is_empty());
        assert_eq!(may("a/cd"), BTreeSet::from([Capability::Update]));
        assert!(may("b").is_empty());
    }
}
