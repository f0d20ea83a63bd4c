//! What the adapters need in IAM, and no more. The tests compare the lists with the calls that a
//! simulated AWS records; `sts:GetCallerIdentity`, which is asked too, needs no permission
//! ("GetCallerIdentity", STS API Reference).

/// What [`TemporaryPolicy`](crate::TemporaryPolicy) needs to resolve, give, look and take away, on the
/// roles and users that people have.
pub const POLICY_ACTIONS: &[&str] = &[
    "iam:DeleteRolePolicy",
    "iam:DeleteUserPolicy",
    "iam:GetRole",
    "iam:GetRolePolicy",
    "iam:GetUser",
    "iam:GetUserPolicy",
    "iam:PutRolePolicy",
    "iam:PutUserPolicy",
];

/// What it needs besides to look for drift; this cannot be held to single roles and users.
pub const LIST_ACTIONS: &[&str] = &["iam:GetAccountAuthorizationDetails"];

/// What [`AssumedRole`](crate::AssumedRole) needs, on the roles that it opens sessions of.
pub const MINT_ACTIONS: &[&str] = &["iam:GetRole", "sts:AssumeRole"];
