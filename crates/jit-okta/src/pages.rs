//! Lists of several pages. Okta says where a list goes on, and it is followed nowhere but to the same
//! list of the same organization, and never in circles: a list that cannot be read to its end is an
//! error, never a short one.

use std::collections::HashSet;

use reqwest::Url;

use crate::trouble::Trouble;

/// More pages than any list has that could be read in time: 50,000 users. What never ends must not use
/// up what the organization takes in a minute.
const PAGES_LIMIT: usize = 250;

/// Where a list goes on.
#[derive(Debug)]
pub(crate) struct Pages {
    list: Url,
    seen: HashSet<Url>,
}

impl Pages {
    /// The list that begins here.
    pub(crate) fn of(list: Url) -> Self {
        Self {
            seen: HashSet::from([list.clone()]),
            list,
        }
    }

    /// Turns to the page that a `Link` names, if there is any.
    pub(crate) fn turn(&mut self, next: Option<&str>) -> Result<Option<Url>, Trouble> {
        let Some(next) = next else {
            return Ok(None);
        };
        let next = follows(&self.list, next)?;
        if self.seen.len() >= PAGES_LIMIT || !self.seen.insert(next.clone()) {
            return Err(Trouble::EndlessList);
        }
        Ok(Some(next))
    }
}

/// The address of another page of this list.
pub(crate) fn follows(list: &Url, next: &str) -> Result<Url, Trouble> {
    let next = list.join(next).map_err(|_| Trouble::ForeignLink)?;
    let is_ours = next.origin() == list.origin()
        && next.path() == list.path()
        && next.username().is_empty()
        && next.password().is_none()
        && next.fragment().is_none();
    is_ours.then_some(next).ok_or(Trouble::ForeignLink)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list() -> Pages {
        let url = "https://example.okta.com/api/v1/groups/00g1/users?limit=200";
        Pages::of(url.parse().unwrap())
    }

    #[test]
    fn a_list_is_followed_on_its_own_ground_only() {
        let own = "https://example.okta.com/api/v1/groups/00g1/users?after=2&limit=200";
        let turned = list().turn(Some(own)).unwrap();
        assert_eq!(turned.unwrap().as_str(), own);
        assert!(list().turn(None).unwrap().is_none());
        for foreign in [
            "https://evil.example.com/api/v1/groups/00g1/users?after=2",
            "http://example.okta.com/api/v1/groups/00g1/users?after=2",
            "https://example.okta.com:8443/api/v1/groups/00g1/users?after=2",
            "https://example.okta.com/api/v1/groups/00g2/users?after=2",
            "https://example.okta.com/api/v1/groups/00g1/users/../../00g2/users?after=2",
            "https://a@example.okta.com/api/v1/groups/00g1/users?after=2",
            "//evil.example.com/api/v1/groups/00g1/users?after=2",
            "https://",
        ] {
            let turned = list().turn(Some(foreign));
            assert!(matches!(turned, Err(Trouble::ForeignLink)), "{foreign}");
        }
    }

    #[test]
    fn a_list_that_goes_in_circles_or_never_ends_is_an_error() {
        let page = |number: usize| {
            format!("https://example.okta.com/api/v1/groups/00g1/users?after={number}")
        };
        let mut circle = list();
        assert!(circle.turn(Some(&page(1))).is_ok());
        assert!(circle.turn(Some(&page(2))).is_ok());
        let back = circle.turn(Some(&page(1)));
        assert!(matches!(back, Err(Trouble::EndlessList)));
        let itself = "https://example.okta.com/api/v1/groups/00g1/users?limit=200";
        assert!(matches!(
            list().turn(Some(itself)),
            Err(Trouble::EndlessList)
        ));

        let mut endless = list();
        let failed = (0..).find(|number| endless.turn(Some(&page(*number))).is_err());
        assert!(failed.is_some_and(|pages| pages < PAGES_LIMIT));
    }
}
