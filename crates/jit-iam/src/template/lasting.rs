//! Actions whose effects outlive the policy that allows them: what makes lasting access, and what opens
//! sessions that go on for a while.

use std::collections::BTreeSet;

/// How the actions begin by which somebody gives themselves, or another, access that no date of ours
/// ends ("Actions defined by AWS Identity and Access Management", Service Authorization Reference).
const LASTING: [&str; 19] = [
    "iam:add",
    "iam:attach",
    "iam:change",
    "iam:create",
    // What forbids is taken away, too, and what is ours.
    "iam:delete",
    "iam:detach",
    "iam:enable",
    "iam:put",
    "iam:remove",
    "iam:reset",
    "iam:set",
    "iam:tag",
    "iam:untag",
    "iam:update",
    "iam:upload",
    "identitystore:create",
    "sso:attach",
    "sso:create",
    "sso:put",
];
/// How the actions begin by which somebody has other credentials made ("Request temporary security
/// credentials", IAM User Guide).
const OPENING: [&str; 3] = [
    "sts:assumerole",
    "sts:getfederationtoken",
    "sts:getsessiontoken",
];

/// Whether an `Action` lets anything be done that makes lasting access.
pub(super) fn is_lasting(action: &str) -> bool {
    LASTING.iter().any(|it| may_begin_with(action, it))
}

/// Whether an `Action` lets sessions be opened.
pub(super) fn opens_sessions(action: &str) -> bool {
    OPENING.iter().any(|it| may_begin_with(action, it))
}

/// Whether a pattern fits any text that begins like this.
fn may_begin_with(pattern: &str, beginning: &str) -> bool {
    !places(pattern, beginning).is_empty()
}

/// Whether a pattern of actions fits this action, which is written in small letters.
pub(crate) fn fits(pattern: &str, action: &str) -> bool {
    places(pattern, action).contains(&pattern.len())
}

/// Where in a pattern its fitting may have come to behind this text. The names of actions have no letter
/// case ("IAM JSON policy elements: Action", IAM User Guide).
fn places(pattern: &str, text: &str) -> BTreeSet<usize> {
    let pattern = pattern.to_ascii_lowercase().into_bytes();
    // A star can stand for nothing.
    let arrive = |mut at: usize, places: &mut BTreeSet<usize>| {
        places.insert(at);
        while pattern.get(at) == Some(&b'*') {
            at += 1;
            places.insert(at);
        }
    };
    let mut places = BTreeSet::new();
    arrive(0, &mut places);
    for byte in text.bytes() {
        let mut next = BTreeSet::new();
        for at in places {
            match pattern.get(at) {
                Some(b'*') => arrive(at, &mut next),
                Some(it) if *it == byte || *it == b'?' => arrive(at + 1, &mut next),
                Some(_) | None => {}
            }
        }
        places = next;
    }
    places
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_known_by_what_it_can_fit() {
        for lasting in [
            "*",
            "i*",
            "iam:*",
            "IAM:CreateUser",
            "iam:c*",
            "iam:C?????U*",
            "iam:*AccessKey",
            "?am:*",
            "*:*Policy",
            "iam:PutRolePolicy",
            "iam:AttachUserPolicy",
            "iam:AddUserToGroup",
            "iam:UpdateAssumeRolePolicy",
            "iam:UploadSSHPublicKey",
            "iam:SetDefaultPolicyVersion",
            "iam:DeleteRole*",
            "iam:TagUser",
            "iam:ResetServiceSpecificCredential",
            "iam:DetachRolePolicy",
            "sso:CreateAccountAssignment",
            "identitystore:CreateGroupMembership",
            "s*:*",
        ] {
            assert!(is_lasting(lasting), "{lasting}");
        }
        for fine in [
            "s3:*",
            "iam:Get*",
            "iam:List*",
            "iam:PassRole",
            "iam:Cr",
            "iam:?",
            "ec2:Create*",
            "x*iam:create",
            "",
        ] {
            assert!(!is_lasting(fine), "{fine}");
        }
        for opening in [
            "*",
            "sts:*",
            "s*:*",
            "STS:AssumeRole",
            "sts:AssumeRoleWith*",
            "sts:Get*",
            "sts:*Token",
        ] {
            assert!(opens_sessions(opening), "{opening}");
        }
        for fine in [
            "sts:GetCallerIdentity",
            "s3:*",
            "sts:Decode*",
            "sts:TagSession",
        ] {
            assert!(!opens_sessions(fine), "{fine}");
        }
    }
}
