//! What the adapter needs in IAM, and no more: the actions of each role, and the policies made of
//! them. The tests compare the lists with the calls that a simulated AWS records.

use serde_json::{Value, json};

/// What whoever resolves and gives needs: `resolve`, `grant`, and the looks that belong to them.
pub const GRANT_ACTIONS: &[&str] = &[
    "identitystore:DescribeUser",
    "identitystore:GetUserId",
    "organizations:DescribeAccount",
    "organizations:DescribeOrganization",
    "organizations:ListAccounts",
    "sso:CreateAccountAssignment",
    "sso:DescribeAccountAssignmentCreationStatus",
    "sso:DescribeAccountAssignmentDeletionStatus",
    "sso:DescribePermissionSet",
    "sso:ListAccountAssignmentCreationStatus",
    "sso:ListAccountAssignmentDeletionStatus",
    "sso:ListAccountAssignments",
    "sso:ListAccountsForProvisionedPermissionSet",
    "sso:ListPermissionSets",
];

/// What whoever takes away needs: `revoke`, `inspect` and `standing`. It cannot give anything.
pub const REVOKE_ACTIONS: &[&str] = &[
    "organizations:DescribeAccount",
    "sso:DeleteAccountAssignment",
    "sso:DescribeAccountAssignmentCreationStatus",
    "sso:DescribeAccountAssignmentDeletionStatus",
    "sso:DescribePermissionSet",
    "sso:ListAccountAssignmentCreationStatus",
    "sso:ListAccountAssignmentDeletionStatus",
    "sso:ListAccountAssignments",
    "sso:ListPermissionSets",
];

/// What whoever lists what can be had needs: `offers`.
pub const DISCOVER_ACTIONS: &[&str] = &[
    "organizations:DescribeOrganization",
    "organizations:ListAccounts",
    "sso:DescribePermissionSet",
    "sso:ListAccountsForProvisionedPermissionSet",
    "sso:ListPermissionSets",
];

/// One IAM policy, ready to be attached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// `grant`, `revoke` or `discover`.
    pub name: &'static str,
    /// The actions it allows, in alphabetical order.
    pub actions: &'static [&'static str],
    /// The policy document, as JSON.
    pub document: String,
}

/// The policies of the three roles. A process that does everything has all three attached.
pub fn policies() -> Vec<Policy> {
    let roles = [
        ("grant", GRANT_ACTIONS),
        ("revoke", REVOKE_ACTIONS),
        ("discover", DISCOVER_ACTIONS),
    ];
    let policy = |(name, actions)| Policy {
        name,
        actions,
        document: format!("{:#}\n", document(actions)),
    };
    roles.into_iter().map(policy).collect()
}

/// `sso` actions are held to the resource types of Identity Center; the identity store and
/// Organizations have ids that only a deployment knows, and only reads are asked of them
/// ("Actions, resources, and condition keys for AWS IAM Identity Center", Service Authorization
/// Reference).
fn document(actions: &[&str]) -> Value {
    let (assignments, reads): (Vec<&str>, Vec<&str>) = actions
        .iter()
        .partition(|action| action.starts_with("sso:"));
    let mut statements = vec![json!({
        "Sid": "Assignments",
        "Effect": "Allow",
        "Action": assignments,
        "Resource": [
            "arn:aws:sso:::account/*",
            "arn:aws:sso:::instance/*",
            "arn:aws:sso:::permissionSet/*",
        ],
    })];
    if !reads.is_empty() {
        statements.push(json!({
            "Sid": "Reads",
            "Effect": "Allow",
            "Action": reads,
            "Resource": "*",
        }));
    }
    json!({ "Version": "2012-10-17", "Statement": statements })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_allows_its_actions_once_and_nothing_else() {
        for policy in policies() {
            let document: Value = serde_json::from_str(&policy.document).unwrap();
            let mut allowed = Vec::new();
            for statement in document["Statement"].as_array().unwrap() {
                assert_eq!(statement["Effect"], "Allow");
                let actions = statement["Action"].as_array().unwrap();
                allowed.extend(actions.iter().map(|it| it.as_str().unwrap().to_owned()));
            }
            allowed.sort();
            assert_eq!(allowed, policy.actions, "{}", policy.name);
            assert!(!policy.document.contains(":*\""), "no action is a wildcard");
        }
    }

    #[test]
    fn only_who_gives_may_give_and_only_who_takes_away_may_take_away() {
        let may = |action: &str| -> Vec<&str> {
            let all = policies().into_iter();
            all.filter(|policy| policy.actions.contains(&action))
                .map(|policy| policy.name)
                .collect()
        };
        assert_eq!(may("sso:CreateAccountAssignment"), ["grant"]);
        assert_eq!(may("sso:DeleteAccountAssignment"), ["revoke"]);
    }
}
