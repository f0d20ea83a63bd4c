//! The services behind one door: which operation a target names, and doing it.

mod fields;
mod iam;
mod organizations;
mod page;
pub(crate) mod query;
mod sso;
mod store;
mod sts;

use serde_json::Value;

use crate::error::AwsError;
use crate::state::State;

use fields::Fields;

/// One of the services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Service {
    SsoAdmin,
    IdentityStore,
    Organizations,
    Iam,
    Sts,
}

impl Service {
    /// What the model calls it, in front of its errors.
    pub(crate) fn namespace(self) -> &'static str {
        match self {
            Self::SsoAdmin => "com.amazonaws.ssoadmin",
            Self::IdentityStore => "com.amazonaws.identitystore",
            Self::Organizations => "com.amazonaws.organizations",
            Self::Iam => "com.amazonaws.iam",
            Self::Sts => "com.amazonaws.sts",
        }
    }

    /// Whether it takes forms and answers with XML.
    pub(crate) fn speaks_query(self) -> bool {
        matches!(self, Self::Iam | Self::Sts)
    }

    /// What signatures and IAM call it.
    pub(crate) fn signing_name(self) -> &'static str {
        match self {
            Self::SsoAdmin => "sso",
            Self::IdentityStore => "identitystore",
            Self::Organizations => "organizations",
            Self::Iam => "iam",
            Self::Sts => "sts",
        }
    }
}

/// Does one operation for a body.
type Work = fn(&mut State, &Fields<'_>) -> Result<Value, AwsError>;

const OPERATIONS: [(Service, &str, Work); 32] = [
    (Service::SsoAdmin, "ListInstances", sso::list_instances),
    (Service::SsoAdmin, "ListPermissionSets", sso::list_sets),
    (
        Service::SsoAdmin,
        "DescribePermissionSet",
        sso::describe_set,
    ),
    (
        Service::SsoAdmin,
        "ListAccountAssignments",
        sso::list_assignments,
    ),
    (
        Service::SsoAdmin,
        "ListAccountAssignmentsForPrincipal",
        sso::list_for_principal,
    ),
    (Service::SsoAdmin, "CreateAccountAssignment", sso::create),
    (Service::SsoAdmin, "DeleteAccountAssignment", sso::delete),
    (
        Service::SsoAdmin,
        "DescribeAccountAssignmentCreationStatus",
        sso::describe_creation,
    ),
    (
        Service::SsoAdmin,
        "DescribeAccountAssignmentDeletionStatus",
        sso::describe_deletion,
    ),
    (
        Service::SsoAdmin,
        "ListAccountAssignmentCreationStatus",
        sso::list_creations,
    ),
    (
        Service::SsoAdmin,
        "ListAccountAssignmentDeletionStatus",
        sso::list_deletions,
    ),
    (
        Service::SsoAdmin,
        "ListPermissionSetsProvisionedToAccount",
        sso::list_sets_of_account,
    ),
    (
        Service::SsoAdmin,
        "ListAccountsForProvisionedPermissionSet",
        sso::list_accounts_of_set,
    ),
    (Service::IdentityStore, "DescribeUser", store::describe_user),
    (Service::IdentityStore, "ListUsers", store::list_users),
    (Service::IdentityStore, "GetUserId", store::get_user_id),
    (
        Service::Organizations,
        "ListAccounts",
        organizations::list_accounts,
    ),
    (
        Service::Organizations,
        "DescribeAccount",
        organizations::describe_account,
    ),
    (
        Service::Organizations,
        "DescribeOrganization",
        organizations::describe_organization,
    ),
    (Service::Iam, "GetRole", iam::get_role),
    (Service::Iam, "GetUser", iam::get_user),
    (Service::Iam, "PutRolePolicy", iam::put_role_policy),
    (Service::Iam, "PutUserPolicy", iam::put_user_policy),
    (Service::Iam, "GetRolePolicy", iam::get_role_policy),
    (Service::Iam, "GetUserPolicy", iam::get_user_policy),
    (Service::Iam, "DeleteRolePolicy", iam::delete_role_policy),
    (Service::Iam, "DeleteUserPolicy", iam::delete_user_policy),
    (Service::Iam, "ListRolePolicies", iam::list_role_policies),
    (Service::Iam, "ListUserPolicies", iam::list_user_policies),
    (Service::Iam, "GetAccountAuthorizationDetails", iam::details),
    (Service::Sts, "AssumeRole", sts::assume_role),
    (Service::Sts, "GetCallerIdentity", sts::get_caller_identity),
];

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Target {
    pub(crate) service: Service,
    pub(crate) operation: &'static str,
}

impl Target {
    /// Reads `X-Amz-Target`.
    pub(crate) fn parse(target: &str) -> Option<Self> {
        let (prefix, name) = target.split_once('.')?;
        let service = match prefix {
            "SWBExternalService" => Service::SsoAdmin,
            "AWSIdentityStore" => Service::IdentityStore,
            "AWSOrganizationsV20161128" => Service::Organizations,
            _ => return None,
        };
        Self::named(service, name)
    }

    /// Reads what a form asks for.
    pub(crate) fn of_form(body: &str) -> Option<Self> {
        let (service, name) = query::target(body)?;
        Self::named(service, &name)
    }

    fn named(service: Service, name: &str) -> Option<Self> {
        let is_it = |it: &&(Service, &'static str, Work)| it.0 == service && it.1 == name;
        let (service, operation, _) = OPERATIONS.iter().find(is_it).copied()?;
        Some(Self { service, operation })
    }

    /// The IAM action.
    pub(crate) fn action(self) -> String {
        format!("{}:{}", self.service.signing_name(), self.operation)
    }
}

/// Whether any service has an operation of this name.
pub(crate) fn is_operation(name: &str) -> bool {
    OPERATIONS.iter().any(|it| it.1 == name)
}

/// Does what was asked for, as of the state's moment.
pub(crate) fn run(state: &mut State, target: Target, body: &str) -> Result<Value, AwsError> {
    let Target { service, operation } = target;
    let is_it = |it: &&(Service, &str, Work)| it.0 == service && it.1 == operation;
    let Some((_, _, work)) = OPERATIONS.iter().find(is_it) else {
        return Err(AwsError::front("UnknownOperationException", ""));
    };
    if service == Service::SsoAdmin && !state.take_token() {
        return Err(AwsError::throttled(service));
    }
    let parsed = match serde_json::from_str(body) {
        _ if service.speaks_query() => query::read(body),
        Ok(Value::Object(parsed)) => parsed,
        Ok(_) | Err(_) => return Err(AwsError::front("SerializationException", "")),
    };
    let fields = Fields {
        target,
        raw: body,
        members: &parsed,
    };
    work(state, &fields)
}
