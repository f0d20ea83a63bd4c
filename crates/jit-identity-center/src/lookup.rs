//! Who and where: users and accounts, from what people write to the ids that AWS knows them by, and
//! what is no more. Nothing is changed here.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use aws_sdk_identitystore::operation::describe_user::DescribeUserError;
use aws_sdk_identitystore::operation::get_user_id::GetUserIdError;
use aws_sdk_identitystore::types::error::ResourceNotFoundException;
use aws_sdk_identitystore::types::{
    AlternateIdentifier, ResourceType, UniqueAttribute, UserStatus,
};
use aws_sdk_organizations::types::AccountState;
use aws_smithy_runtime_api::client::result::SdkError;
use aws_smithy_types::Document;
use jit_aws::Errand;
use jit_core::catalog::Entitlement;
use jit_core::ports::Purpose;
use jit_core::principal::{Profile, Subject};
use jit_core::provider::{Parameters, Resolved, Target};

use crate::offers::can_be_named;
use crate::sets::Set;
use crate::trouble::Trouble;
use crate::{AccountNames, IdentityCenter, Pages, UserLookup};

impl IdentityCenter {
    /// The provider's own ids of a person and an entitlement, or why it can never be given.
    pub(crate) async fn resolved(
        &self,
        beneficiary: &Profile,
        entitlement: &Entitlement,
        parameters: &Parameters,
    ) -> Result<Resolved, Trouble> {
        let errand = self.errand(Purpose::Give);
        parameters
            .is_empty()
            .then_some(())
            .ok_or(Trouble::Parameters)?;
        let (account, set) = split_names(&entitlement.resource)?;
        let account = self.find_account(errand, account).await?;
        self.not_the_management_account(errand, &account).await?;
        let set = self.find_set(errand, set).await?;
        self.check_account(errand, &account, &set).await?;
        let subject = self.find_user(errand, beneficiary).await?;
        let name = self.one_name(errand, entitlement, &account, &set).await?;
        let resource = format!("{account}/{}", set.arn);
        Ok(Resolved {
            name,
            target: Target::new(&self.settings.instance_arn, subject, resource),
            residual: Some(set.session),
        })
    }
}

impl IdentityCenter {
    /// The account and the permission set that an entitlement leads to, as targets name them; none
    /// where one of them is not there.
    pub(crate) async fn resource_of(
        &self,
        entitlement: &Entitlement,
    ) -> Result<Option<String>, Trouble> {
        let errand = self.errand(Purpose::Give);
        let found = async {
            let (account, set) = split_names(&entitlement.resource)?;
            let account = self.find_account(errand, account).await?;
            let set = self.find_set(errand, set).await?;
            Ok(format!("{account}/{}", set.arn))
        };
        match found.await {
            Ok(resource) => Ok(Some(resource)),
            Err(Trouble::NoSuchAccount(_) | Trouble::NoSuchName(_) | Trouble::NoSuchSet(_)) => {
                Ok(None)
            }
            Err(trouble) => Err(trouble),
        }
    }
}

/// An account, by id or by name, and what stands behind the slash.
fn split_names(resource: &str) -> Result<(&str, &str), Trouble> {
    let (account, set) = resource.split_once('/').ok_or(Trouble::BadResource)?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let is_sound = !account.is_empty() && account.bytes().all(plain) && !set.is_empty();
    is_sound
        .then_some((account, set))
        .ok_or(Trouble::BadResource)
}

impl IdentityCenter {
    /// The one name of an assignment: the one that it is offered under. Rules and families are held
    /// against names, and `aws/222222222222/Admin` does not fit `aws/prod-*`. Where accounts may not
    /// be listed they have no other names than their ids. A permission set that no name can stand
    /// for is what the catalogue calls it.
    async fn one_name(
        &self,
        errand: Errand,
        entitlement: &Entitlement,
        account: &str,
        set: &Set,
    ) -> Result<Option<String>, Trouble> {
        let offered = match self.settings.accounts {
            AccountNames::Names => self.offered_name(errand, account).await?,
            AccountNames::Ids => None,
        };
        let account = offered.as_deref().unwrap_or(account);
        let provider = entitlement.id.provider();
        let can_be_named = can_be_named(&provider, account, set);
        Ok(can_be_named.then(|| format!("{account}/{}", set.name)))
    }
}

// ------------------------------------------------------------------------------------- users

impl IdentityCenter {
    /// The user that a person is in the identity store.
    ///
    /// A subject that is written down for this provider is a user id or a user name; for anybody
    /// else the person's own id is what the settings say. AWS does not say whether `GetUserId`
    /// minds letter case, so both the text as it is written and its lower case are asked for:
    /// where they lead to one user it is that one, where they lead to two nobody is given anything.
    async fn find_user(&self, errand: Errand, beneficiary: &Profile) -> Result<Subject, Trouble> {
        let subject = beneficiary.subjects.get(&self.settings.provider);
        let subject = subject.map(Subject::as_str);
        let (name, path) = match (subject, self.settings.users) {
            (Some(id), _) if is_user_id(id) => return self.known_user(errand, id, None).await,
            (Some(name), _) => (name, "userName"),
            (None, UserLookup::UserName) => (beneficiary.id.as_str(), "userName"),
            (None, UserLookup::Email) => (beneficiary.id.as_str(), "emails.value"),
        };
        let mut ids = BTreeSet::new();
        for form in BTreeSet::from([name.to_owned(), name.to_lowercase()]) {
            ids.extend(self.user_id(errand, path, form).await?);
        }
        let mut ids = ids.into_iter();
        match (ids.next(), ids.next()) {
            (None, _) => Err(Trouble::NoSuchUser),
            (Some(id), None) => self.known_user(errand, &id, Some(name)).await,
            (Some(_), Some(_)) => Err(Trouble::SeveralUsers),
        }
    }

    async fn user_id(
        &self,
        errand: Errand,
        path: &'static str,
        value: String,
    ) -> Result<Option<String>, Trouble> {
        let by = UniqueAttribute::builder()
            .attribute_path(path)
            .attribute_value(Document::String(value))
            .build()
            .map_err(|_| Trouble::NoSuchUser)?;
        let clients = self.clients();
        let call = clients
            .store
            .get_user_id()
            .identity_store_id(&self.settings.identity_store_id)
            .alternate_identifier(AlternateIdentifier::UniqueAttribute(by));
        let mut no_store = false;
        let asked = async {
            let answer = call.send().await;
            no_store = matches!(
                answer.as_ref().err().and_then(SdkError::as_service_error),
                Some(GetUserIdError::ResourceNotFoundException(missing)) if is_store(missing)
            );
            answer
        };
        let answer = self.ask(errand, "GetUserId", asked).await;
        match answer {
            Ok(user) => Ok(Some(user.user_id)),
            // A store that is not there must never be taken for a person who is not.
            Err(_) if no_store => Err(self.no_such_store()),
            Err(trouble) if trouble.is_not_found() => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// The canonical id of a user that may be given something.
    async fn known_user(
        &self,
        errand: Errand,
        id: &str,
        name: Option<&str>,
    ) -> Result<Subject, Trouble> {
        let clients = self.clients();
        let call = clients
            .store
            .describe_user()
            .identity_store_id(&self.settings.identity_store_id)
            .user_id(id);
        let mut no_store = false;
        let asked = async {
            let answer = call.send().await;
            no_store = matches!(
                answer.as_ref().err().and_then(SdkError::as_service_error),
                Some(DescribeUserError::ResourceNotFoundException(missing)) if is_store(missing)
            );
            answer
        };
        let user = match self.ask(errand, "DescribeUser", asked).await {
            Ok(user) => user,
            Err(_) if no_store => return Err(self.no_such_store()),
            Err(trouble) if trouble.is_not_found() => return Err(Trouble::NoSuchUser),
            Err(trouble) => return Err(trouble),
        };
        if let Some(name) = name {
            let same = |said: Option<&str>| {
                said.is_some_and(|said| said.to_lowercase() == name.to_lowercase())
            };
            let bears_it =
                same(user.user_name()) || user.emails().iter().any(|email| same(email.value()));
            bears_it.then_some(()).ok_or(Trouble::OtherUser)?;
        }
        if user.user_status() == Some(&UserStatus::Disabled) {
            return Err(Trouble::UserDisabled);
        }
        user.user_id.parse().map_err(|_| Trouble::NoSuchUser)
    }

    fn no_such_store(&self) -> Trouble {
        Trouble::NoSuchStore(self.settings.identity_store_id.clone())
    }
}

/// Whether it is the identity store itself that is not there.
fn is_store(missing: &ResourceNotFoundException) -> bool {
    missing.resource_type() == Some(&ResourceType::IdentityStore)
}

/// Whether a text is the id of a user: a UUID, with the directory's ten digits before it or not
/// ("DescribeUser", Identity Store API Reference).
fn is_user_id(text: &str) -> bool {
    let is_hex = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let uuid = match text.split_once('-') {
        Some((directory, rest)) if directory.len() == 10 && is_hex(directory) => rest,
        _ => text,
    };
    let lengths = uuid.split('-').map(str::len);
    lengths.eq([8, 4, 4, 4, 12]) && uuid.split('-').all(is_hex)
}

// ---------------------------------------------------------------------------------- accounts

impl IdentityCenter {
    /// The organization's management account is never given: a delegated administrator, as which
    /// this is meant to run, may not ("Delegated administration", IAM Identity Center User Guide).
    async fn not_the_management_account(
        &self,
        errand: Errand,
        account: &str,
    ) -> Result<(), Trouble> {
        let management = match self.management_account(errand).await {
            Ok(management) => management,
            // Then AWS says it at the grant.
            Err(trouble) if trouble.is_denied() => return Ok(()),
            Err(trouble) => return Err(trouble),
        };
        if management.as_deref() == Some(account) {
            return Err(Trouble::ManagementAccount(account.to_owned()));
        }
        Ok(())
    }

    /// The id of the organization's management account, which never changes.
    pub(crate) async fn management_account(
        &self,
        errand: Errand,
    ) -> Result<Option<String>, Trouble> {
        let known = lock(&self.management_account).clone();
        if known.is_some() {
            return Ok(known);
        }
        let clients = self.clients();
        let call = clients.organizations.describe_organization();
        let answer = self
            .ask(errand, "DescribeOrganization", call.send())
            .await?;
        let found = answer
            .organization
            .and_then(|organization| organization.master_account_id);
        lock(&self.management_account).clone_from(&found);
        Ok(found)
    }

    /// Refuses an account that is not in the organization, or not active. Organizations may be
    /// asked from the management account and from a delegated administrator's only; where it may
    /// not, an account that the permission set is provisioned to is there, and of any other nothing
    /// can be told, so it is refused.
    async fn check_account(&self, errand: Errand, account: &str, set: &Set) -> Result<(), Trouble> {
        match self.account_state(errand, account).await {
            Ok(None | Some(AccountState::Active)) => Ok(()),
            Ok(Some(_)) => Err(Trouble::AccountNotActive(account.to_owned())),
            Err(trouble) if trouble.is_not_found() => {
                Err(Trouble::NoSuchAccount(account.to_owned()))
            }
            Err(trouble) if trouble.is_denied() => {
                let provisioned = self.provisioned_accounts(errand, &set.arn).await?;
                let is_there = provisioned.iter().any(|known| known == account);
                let unknown = || Trouble::AccountUnknown(account.to_owned());
                is_there.then_some(()).ok_or_else(unknown)
            }
            Err(trouble) => Err(trouble),
        }
    }

    /// What Organizations says of an account: an error where it knows none.
    async fn account_state(
        &self,
        errand: Errand,
        account: &str,
    ) -> Result<Option<AccountState>, Trouble> {
        let clients = self.clients();
        let call = clients.organizations.describe_account().account_id(account);
        let answer = self.ask(errand, "DescribeAccount", call.send()).await?;
        Ok(answer.account.and_then(|account| state_of(&account)))
    }

    /// The accounts that a permission set is provisioned to.
    pub(crate) async fn provisioned_accounts(
        &self,
        errand: Errand,
        set: &str,
    ) -> Result<Vec<String>, Trouble> {
        let mut accounts = Vec::new();
        let mut pages = Pages::default();
        loop {
            let clients = self.clients();
            let call = clients
                .sso
                .list_accounts_for_provisioned_permission_set()
                .instance_arn(&self.settings.instance_arn)
                .permission_set_arn(set)
                .max_results(100)
                .set_next_token(pages.token());
            let action = "ListAccountsForProvisionedPermissionSet";
            let page = self.ask(errand, action, call.send()).await?;
            accounts.extend(page.account_ids.unwrap_or_default());
            if !pages.turn(page.next_token)? {
                return Ok(accounts);
            }
        }
    }
}

/// The state of an account; `status` is the older word for it, and goes away.
pub(crate) fn state_of(account: &aws_sdk_organizations::types::Account) -> Option<AccountState> {
    let older = || account.status().map(|status| status.as_str().into());
    account.state().cloned().or_else(older)
}

// --------------------------------------------------------------------------- what is no more

impl IdentityCenter {
    /// Whether it is certain that no assignment can stand where AWS finds none of a place.
    ///
    /// Whoever had a permission set that is deleted can no longer sign in with it, whatever account
    /// it was for ("Delete permission sets in IAM Identity Center", User Guide), and an account that
    /// left the organization is not reached through it any more. In both cases nothing is left to be
    /// taken away, and a record must not wait for it for ever. An instance that AWS does not know
    /// says nothing of what stands in it: `ListPermissionSets` refuses there, and so does this.
    pub(crate) async fn is_gone(
        &self,
        errand: Errand,
        account: &str,
        set: &str,
    ) -> Result<(), Trouble> {
        let listed = self.list_sets(errand).await?;
        if !listed.iter().any(|known| known == set) {
            // Two answers, that one page too few is not enough.
            return match self.describe_set(errand, set).await? {
                None => Ok(()),
                Some(_) => Err(Trouble::Contradiction),
            };
        }
        match self.account_state(errand, account).await {
            Err(trouble) if trouble.is_not_found() => Ok(()),
            Err(trouble) if trouble.is_denied() => Err(Trouble::AccountUnknown(account.to_owned())),
            Err(trouble) => Err(trouble),
            Ok(_) => Err(Trouble::Contradiction),
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_id_is_told_from_a_user_name() {
        let uuid = "aabbccdd-1122-3344-5566-77889900aabb";
        assert!(is_user_id(uuid));
        assert!(is_user_id(&format!("9067012345-{uuid}")));
        for name in [
            "ana",
            "ana@example.com",
            "",
            "906701234-x",
            "aabbccdd-1122-3344-5566-77889900aabg",
            "aabbccdd-1122-3344-5566-77889900aabb-",
        ] {
            assert!(!is_user_id(name), "{name:?}");
        }
    }
}
