//! What stands: one policy, and all of ours in the account.

use aws_sdk_iam::types::EntityType;
use jit_aws::Errand;
use jit_core::ports::{InspectCall, Page, Purpose, Standing};
use jit_core::provider::{Presence, SlotKey, Target};

use super::{Place, TemporaryPolicy, named_for};
use crate::account::decoded;
use crate::owner::Owner;
use crate::template::Stamp;
use crate::trouble::Trouble;

/// How many roles and users are asked for at once.
const PAGE_SIZE: i32 = 100;

impl TemporaryPolicy {
    pub(super) async fn presence(&self, call: InspectCall<'_>) -> Result<Presence, Trouble> {
        let place = self.place(call.target, call.parameters)?;
        let errand = self.account.errand(call.purpose);
        let Some(document) = self.document(errand, &place).await? else {
            return Ok(Presence::Absent);
        };
        if call.purpose == Purpose::TakeAway {
            return Ok(Presence::Present);
        }
        let (stamp, now) = (Stamp::read(&document), self.account.aws.now());
        let is_running = call.send_before.is_some() && now < call.expires_at;
        Ok(Presence::of(match is_running {
            true => stamp.is_of(call.request, call.expires_at),
            false => !stamp.is_over(now),
        }))
    }

    /// The policy that stands there. A role or user that is gone took its policies with it.
    async fn document(&self, errand: Errand, place: &Place) -> Result<Option<String>, Trouble> {
        let clients = self.account.ours(errand).await?;
        let (iam, aws) = (&clients.iam, &self.account.aws);
        let read = match &place.owner {
            Owner::User(name) => {
                let call = iam.get_user_policy().user_name(name);
                let call = call.policy_name(&place.policy).send();
                let read = aws.ask(errand, "GetUserPolicy", call).await;
                read.map(|read| read.policy_document)
            }
            Owner::Role(role) | Owner::Session { role, .. } => {
                let call = iam.get_role_policy().role_name(role);
                let call = call.policy_name(&place.policy).send();
                let read = aws.ask(errand, "GetRolePolicy", call).await;
                read.map(|read| read.policy_document)
            }
        };
        match read.map_err(Trouble::from) {
            Ok(document) => Ok(Some(decoded(&document))),
            Err(trouble) if trouble.is_not_found() => Ok(None),
            Err(trouble) => Err(trouble),
        }
    }

    /// Who has a resource, on one page of all roles and users of the account. A policy says by its
    /// name of which resource and slot it is, and what it says besides explains nothing.
    pub(super) async fn listed(
        &self,
        resource: &str,
        page: Option<&str>,
    ) -> Result<Page<Standing>, Trouble> {
        let errand = self.account.errand(Purpose::Give);
        let clients = self.account.ours(errand).await?;
        let call = clients
            .iam
            .get_account_authorization_details()
            .filter(EntityType::Role)
            .filter(EntityType::User)
            .max_items(PAGE_SIZE)
            .set_marker(page.map(str::to_owned));
        let action = "GetAccountAuthorizationDetails";
        let details = self.account.aws.ask(errand, action, call.send()).await?;
        let mut items = Vec::new();
        let prefix = named_for(resource);
        let slot_of = |policy: &str| policy.strip_prefix(&prefix)?.parse::<SlotKey>().ok();
        let mut add = |owner: Owner, slot: SlotKey| {
            // What is no subject of ours is nothing of ours.
            if let Ok(subject) = owner.to_subject() {
                items.push(Standing {
                    target: Target::new(&self.realm, subject, resource),
                    slot: Some(slot),
                });
            }
        };
        for user in details.user_detail_list() {
            let name = user.user_name().unwrap_or_default();
            for policy in user.user_policy_list() {
                if let Some(slot) = policy.policy_name().and_then(slot_of) {
                    add(Owner::User(name.to_owned()), slot);
                }
            }
        }
        for role in details.role_detail_list() {
            let name = role.role_name().unwrap_or_default();
            for policy in role.role_policy_list() {
                let Some(slot) = policy.policy_name().and_then(slot_of) else {
                    continue;
                };
                let document = decoded(policy.policy_document().unwrap_or_default());
                let owner = match Stamp::read(&document).user_id() {
                    Some(user_id) => Owner::Session {
                        role: name.to_owned(),
                        user_id: user_id.to_owned(),
                    },
                    None => Owner::Role(name.to_owned()),
                };
                add(owner, slot);
            }
        }
        let marker = details
            .marker
            .filter(|it| details.is_truncated && !it.is_empty());
        Ok(Page {
            items,
            next: marker,
        })
    }
}
