//! The account's roles, users and sessions as tests hold them, and the ground truth: who may do what
//! when.

use std::collections::BTreeMap;

use crate::document::Question;
use crate::identity::{Role, Session, Sort, Who, who};
use crate::world::World;

/// What somebody wants to do.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// Such as `s3:GetObject`.
    pub action: &'a str,
    /// An ARN.
    pub resource: &'a str,
    /// What else is known of the call, by condition key, such as `aws:RequestedRegion`.
    pub context: &'a [(&'a str, &'a str)],
}

impl<'a> Deed<'a> {
    /// This action on this resource, of which nothing else is known.
    pub fn new(action: &'a str, resource: &'a str) -> Self {
        Self {
            action,
            resource,
            context: &[],
        }
    }

    fn at(self, at: i64) -> Question<'a> {
        let context = self.context.iter();
        Question {
            action: self.action,
            resource: self.resource,
            context: context
                .map(|(key, value)| (key.to_lowercase(), (*value).to_owned()))
                .collect(),
            at,
        }
    }
}

fn known(principal: &str) -> Who {
    who(principal).expect("a test writes role/NAME or user/NAME")
}

impl World {
    /// Adds a role and returns its unique id, `AROA…`; one that is there already stays as it is.
    pub fn add_role(&self, role: &Role) -> String {
        self.with(|state| state.add_identity(Sort::Role, role))
    }

    /// Adds a user of IAM and returns its unique id, `AIDA…`; one that is there already stays as it
    /// is.
    pub fn add_iam_user(&self, name: &str) -> String {
        self.with(|state| state.add_identity(Sort::User, &Role::new(name)))
    }

    /// Deletes a role or user, with its policies.
    ///
    /// # Panics
    /// If the principal is not written `role/NAME` or `user/NAME`, as all that is about one.
    pub fn delete_principal(&self, principal: &str) {
        let who = known(principal);
        self.with(|state| {
            state.identities.known.remove(&who);
            state.identities.policies.retain(|(of, _), _| *of != who);
        });
    }

    /// Puts an inline policy by hand, unchecked, at once.
    pub fn put_policy(&self, principal: &str, name: &str, document: &str) {
        let who = known(principal);
        self.with(|state| state.set_policy(&who, name, Some(document)));
    }

    /// Deletes an inline policy by hand, at once.
    pub fn delete_policy(&self, principal: &str, name: &str) {
        let who = known(principal);
        self.with(|state| state.set_policy(&who, name, None));
    }

    /// The inline policies of a role or user as they are kept, by name.
    pub fn policies(&self, principal: &str) -> BTreeMap<String, String> {
        let who = known(principal);
        self.with(|state| {
            let kept = state.policies_kept(&who).into_iter();
            kept.map(|(name, document)| (name.to_owned(), document.to_owned()))
                .collect()
        })
    }

    /// Everything that an inline policy became, with when, in order; nothing is where it was
    /// deleted.
    pub fn policy_history(&self, principal: &str, name: &str) -> Vec<(i64, Option<String>)> {
        let key = (known(principal), name.to_owned());
        self.with(|state| {
            state
                .identities
                .policies
                .get(&key)
                .cloned()
                .unwrap_or_default()
        })
    }

    /// Whether the inline policies of a role or user allow this at that time, in microseconds since
    /// 1970: of a role, in a session of this name.
    pub fn is_allowed(
        &self,
        principal: &str,
        session_name: Option<&str>,
        deed: Deed<'_>,
        at_micros: i64,
    ) -> bool {
        let who = known(principal);
        self.with(|state| state.is_allowed(&who, session_name, deed.at(at_micros)))
    }

    /// The sessions that STS opened, by access key.
    pub fn sessions(&self) -> Vec<Session> {
        self.with(|state| state.identities.sessions.values().cloned().collect())
    }

    /// Whether the session of this access key may do this at that time: by its role, by its own
    /// policy, and by the end of its credentials.
    pub fn session_allows(&self, access_key: &str, deed: Deed<'_>, at_micros: i64) -> bool {
        self.with(|state| {
            let session = state.identities.sessions.get(access_key);
            session.is_some_and(|session| state.session_allows(session, deed.at(at_micros)))
        })
    }
}
