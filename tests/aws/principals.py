"""The part of the tour that goes to IAM and STS: inline policies of roles and users, and sessions."""

import json

from counterparts import Aws

# What AWS documents, and what the simulated account does.
DOCUMENTED = {
    "a role's unique id": "AROA",
    "a user's unique id": True,
    "a role that is none": "NoSuchEntity",
    "a policy is put": "done",
    "a policy is read as it was put": True,
    "a policy is put over another": "done",
    "policies listed": ["a", "jit-1"],
    "policies in pages of one": [1, 1],
    "a policy that is none": "NoSuchEntity",
    "a user's policy is read as it was put": True,
    "details of roles have their policies": ["a", "jit-1"],
    "no JSON": "MalformedPolicyDocument",
    "another version": "MalformedPolicyDocument",
    "a Sid with a dash": "MalformedPolicyDocument",
    "a Sid twice": "MalformedPolicyDocument",
    "an operator that is none": "MalformedPolicyDocument",
    "a name with a space": "ValidationError",
    "a user's policy of 2048 characters": "done",
    "a user's policy of 2049 characters": "LimitExceeded",
    "a role's policies of 10240 characters": "done",
    "a role's policies of 10241 characters": "LimitExceeded",
    "a role of AWS's own": "UnmodifiableEntity",
    "a policy is deleted": "done",
    "a policy is deleted twice": "NoSuchEntity",
    "a session is opened": ["ASIA", "AROA", ":req-1"],
    "the session says who it is": True,
    "a session of 899 seconds": "ValidationError",
    "a session longer than the role's": "ValidationError",
    "a session's name with a colon": "ValidationError",
    "a session's policy of 2049 characters": "ValidationError",
    "a session's policy that is none": "MalformedPolicyDocument",
    "a role that does not trust who calls": "AccessDenied",
    "a role that is not there": "AccessDenied",
}

# What moto does instead: it has no limits, keeps nothing from anybody, and its ids of users are of
# another form.
MOTO = {
    "a user's unique id": False,
    "policies in pages of one": [2],
    "a Sid with a dash": "done",
    "a name with a space": "done",
    "a user's policy of 2049 characters": "done",
    "a role's policies of 10241 characters": "done",
    "a role of AWS's own": "done",
    "a session of 899 seconds": "done",
    "a session longer than the role's": "done",
    "a session's name with a colon": "done",
    "a session's policy of 2049 characters": "done",
    "a session's policy that is none": "done",
    "a role that does not trust who calls": "done",
    "a role that is not there": "done",
}

TEXT = {"Effect": "Allow", "Action": "s3:GetObject", "Resource": "arn:aws:s3:::logs/*"}


def document(*statements, **more):
    statements = [{**TEXT, **it} for it in statements or [{}]]
    whole = {"Version": "2012-10-17", "Statement": statements, **more}
    return json.dumps(whole, separators=(",", ":"))


def of_size(characters):
    """A policy of exactly so many characters, none of them white space."""
    return document({"Sid": "A" * (characters - len(document({"Sid": ""})))})


def tour(there, aws, named):
    """Every fact, in the order of the tour. `named` is what an answer has, or its error's name."""
    there.account(aws)
    facts, iam = {}, aws.iam
    role, user = {"RoleName": "developers"}, {"UserName": "ana"}

    def put(name, text, **other):
        return named(
            lambda: iam.put_role_policy(
                **{**role, "PolicyName": name, "PolicyDocument": text, **other}
            )
        )

    def put_user(text):
        return named(
            lambda: iam.put_user_policy(**user, PolicyName="p", PolicyDocument=text)
        )

    known = iam.get_role(**role)["Role"]
    facts["a role's unique id"] = known["RoleId"][:4]
    facts["a user's unique id"] = iam.get_user(**user)["User"]["UserId"].startswith("AIDA")
    facts["a role that is none"] = named(lambda: iam.get_role(RoleName="nobody"))
    facts["a policy is put"] = put("jit-1", document())
    read = lambda: iam.get_role_policy(**role, PolicyName="jit-1")["PolicyDocument"]
    facts["a policy is read as it was put"] = read() == json.loads(document())
    other = document({"Sid": "Other"})
    facts["a policy is put over another"] = put("jit-1", other)
    put("a", document())
    facts["policies listed"] = sorted(iam.list_role_policies(**role)["PolicyNames"])
    pages = iam.get_paginator("list_role_policies").paginate(
        **role, PaginationConfig={"PageSize": 1}
    )
    facts["policies in pages of one"] = [len(page["PolicyNames"]) for page in pages]
    facts["a policy that is none"] = named(
        lambda: iam.get_role_policy(**role, PolicyName="none")
    )
    put_user(document())
    read_user = iam.get_user_policy(**user, PolicyName="p")["PolicyDocument"]
    facts["a user's policy is read as it was put"] = read_user == json.loads(document())
    details = iam.get_account_authorization_details(Filter=["Role"])["RoleDetailList"]
    details = {it["RoleName"]: it for it in details}
    facts["details of roles have their policies"] = sorted(
        it["PolicyName"] for it in details["developers"]["RolePolicyList"]
    )

    for name, text in [
        ("no JSON", "{"),
        ("another version", document(Version="2020-01-01")),
        ("a Sid with a dash", document({"Sid": "a-b"})),
        ("a Sid twice", document({"Sid": "A"}, {"Sid": "A"})),
        ("an operator that is none", document({"Condition": {"Like": {"aws:userid": "x"}}})),
    ]:
        facts[name] = put("p", text)
    facts["a name with a space"] = put("a b", document())
    facts["a user's policy of 2048 characters"] = put_user(of_size(2_048))
    facts["a user's policy of 2049 characters"] = put_user(of_size(2_049))
    held = len(document()) + len(other)
    facts["a role's policies of 10240 characters"] = put("big", of_size(10_240 - held))
    facts["a role's policies of 10241 characters"] = put("big", of_size(10_241 - held))
    facts["a role of AWS's own"] = put("p", document(), RoleName="reserved")
    delete = lambda: iam.delete_role_policy(**role, PolicyName="jit-1")
    facts["a policy is deleted"] = named(delete)
    facts["a policy is deleted twice"] = named(delete)
    sessions(there, aws, known["Arn"], facts, named)
    return facts


def sessions(there, aws, arn, facts, named):
    def assume(**other):
        asked = {"RoleArn": arn, "RoleSessionName": "req-1", "DurationSeconds": 900, **other}
        return named(lambda: aws.sts.assume_role(**asked))

    asked = {"RoleArn": arn, "RoleSessionName": "req-1", "Policy": document()}
    opened = aws.sts.assume_role(**asked)
    key, who = opened["Credentials"], opened["AssumedRoleUser"]
    facts["a session is opened"] = [
        key["AccessKeyId"][:4], who["AssumedRoleId"][:4], who["AssumedRoleId"][-6:],
    ]
    session = Aws(there.url, key["AccessKeyId"], key["SecretAccessKey"], key["SessionToken"])
    facts["the session says who it is"] = (
        session.sts.get_caller_identity()["Arn"] == who["Arn"]
    )
    # The client refuses this by itself otherwise.
    aws = Aws(there.url, there.key, there.secret, parameter_validation=False)
    assume_unchecked = lambda **other: named(
        lambda: aws.sts.assume_role(
            **{"RoleArn": arn, "RoleSessionName": "req-1", "DurationSeconds": 900, **other}
        )
    )
    facts["a session of 899 seconds"] = assume_unchecked(DurationSeconds=899)
    facts["a session longer than the role's"] = assume(DurationSeconds=4 * 3600 + 1)
    facts["a session's name with a colon"] = assume_unchecked(RoleSessionName="agent:x")
    facts["a session's policy of 2049 characters"] = assume_unchecked(Policy=of_size(2_049))
    facts["a session's policy that is none"] = assume(Policy="{}")
    other = lambda name: arn.replace("developers", name)
    facts["a role that does not trust who calls"] = assume(RoleArn=other("closed"))
    facts["a role that is not there"] = assume(RoleArn=other("missing"))
