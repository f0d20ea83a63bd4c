"""AWS's own Python clients on a tour of Identity Center, IAM and STS: of the simulated organization, which must
be as AWS documents, and of moto, which nobody here wrote. Every stop is one fact. Where moto is
known to be otherwise, a table says how; a difference that goes away is a failure like any other,
so that the table stays true."""

import itertools
import re
import sys

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from counterparts import Aws, Moto, Simulated

import principals

# What AWS documents, and what the simulated organization does.
DOCUMENTED = {
    "a permission set's ARN is as the model has it": True,
    "a permission set is described": ["ReadOnly", "PT4H"],
    "a creation is begun": "IN_PROGRESS",
    "a creation while one is in progress": "ConflictException",
    "a creation that is over": "SUCCEEDED",
    "assignments after it": 1,
    "a creation of what exists": "SUCCEEDED",
    "assignments after that": 1,
    "the principal's assignments": 1,
    "sets provisioned to the account": 1,
    "accounts of the set": 1,
    "creations listed": 2,
    "creations listed that succeeded": 2,
    "a deletion is begun": "IN_PROGRESS",
    "a deletion has a request id of its own": True,
    "a deletion that is over": "SUCCEEDED",
    "assignments after one deletion": 0,
    "a deletion of what is not there": "FAILED",
    "a creation for nobody": "FAILED",
    "a creation in no account": "FAILED",
    "a creation with no permission set": "ResourceNotFoundException",
    "a status that nobody asked for": "ResourceNotFoundException",
    "an account that is none": "ValidationException",
    "a member that is missing": "ValidationException",
    "an instance that is none": "ResourceNotFoundException",
    "assignments in pages of two": [2, 2, 1],
    "a page's token for another list": "ValidationException",
    "an eleventh operation at once": "ThrottlingException",
    "a user is described": ["ana", "ana@example.com"],
    "a user that is none": "ResourceNotFoundException",
    "what that user is": "USER",
    "a user by name": True,
    "a user by address": True,
    "a user by an address that is nobody's": "ResourceNotFoundException",
    "users of one name": 1,
    "users in pages of two": True,
    "accounts in pages of one": True,
    "an account is described": "production",
    "an account that is not in the organization": "AccountNotFoundException",
    "the management account": True,
    "another secret": "InvalidSignatureException",
    "a stranger": "UnrecognizedClientException",
}

# What moto does instead. It is done at once, keeps every repetition, and checks next to nothing.
MOTO = {
    "a permission set's ARN is as the model has it": False,
    "a creation is begun": "SUCCEEDED",
    "a creation while one is in progress": "SUCCEEDED",
    "assignments after it": 2,
    "assignments after that": 3,
    "the principal's assignments": 3,
    "sets provisioned to the account": 0,
    "accounts of the set": 0,
    "creations listed": "500",
    "creations listed that succeeded": "500",
    "a deletion is begun": "SUCCEEDED",
    "a deletion has a request id of its own": False,
    "assignments after one deletion": 2,
    "a deletion of what is not there": "ResourceNotFoundException",
    "a creation for nobody": "SUCCEEDED",
    "a creation in no account": "SUCCEEDED",
    "a creation with no permission set": "SUCCEEDED",
    "an account that is none": "SUCCEEDED",
    "a member that is missing": "done",
    "an instance that is none": "done",
    "assignments in pages of two": [0, 2, 2, 1],
    "a page's token for another list": "InvalidToken",
    "an eleventh operation at once": "SUCCEEDED",
    "another secret": "done",
    "a stranger": "done",
}

# Errors that are in no service's model: of the front of AWS, and moto's own.
UNMODELLED = {
    "InvalidSignatureException", "UnrecognizedClientException", "InvalidToken", "500",
    "AccessDenied", "ValidationError",
}


def named(call, *path):
    """What an answer has under this path, or the name of the error there was."""
    try:
        answer = call()
    except ClientError as error:
        code, kind = error.response["Error"]["Code"], type(error).__name__
        # What the front of every service answers is in no model, so it has no class of its own.
        assert kind in (code, f"{code}Exception") or code in UNMODELLED, (kind, code)
        return code
    for name in path:
        answer = answer[name]
    return answer if path else "done"


def tour(there, aws):
    """Every fact, in the order of the tour."""
    known = there.furnish(aws)
    instance, store, account = known["instance"], known["store"], known["account"]
    ana = there.user(aws, store, "ana")
    nobody = "a1b2c3d4-1234-4abc-8def-0123456789ab"
    facts = {}

    def wanted(**other):
        return {
            "InstanceArn": instance, "TargetId": account, "TargetType": "AWS_ACCOUNT",
            "PermissionSetArn": known["set"], "PrincipalType": "USER", "PrincipalId": ana, **other,
        }

    def create(**other):
        call = lambda: aws.sso.create_account_assignment(**wanted(**other))
        return named(call, "AccountAssignmentCreationStatus")

    def delete(**other):
        call = lambda: aws.sso.delete_account_assignment(**wanted(**other))
        return named(call, "AccountAssignmentDeletionStatus")

    def creation(status):
        """How a creation goes in the end, or the error it was refused with."""
        if isinstance(status, str):
            return status
        there.wait()
        call = lambda: aws.sso.describe_account_assignment_creation_status(
            InstanceArn=instance, AccountAssignmentCreationRequestId=status["RequestId"]
        )
        return named(call, "AccountAssignmentCreationStatus", "Status")

    def deletion(status):
        if isinstance(status, str):
            return status
        there.wait()
        call = lambda: aws.sso.describe_account_assignment_deletion_status(
            InstanceArn=instance, AccountAssignmentDeletionRequestId=status["RequestId"]
        )
        return named(call, "AccountAssignmentDeletionStatus", "Status")

    def state(status):
        return status if isinstance(status, str) else status["Status"]

    def listed():
        return len(aws.sso.list_account_assignments(
            InstanceArn=instance, AccountId=account, PermissionSetArn=known["set"]
        )["AccountAssignments"])

    def count(call, name):
        answer = named(call, name)
        return answer if isinstance(answer, str) else len(answer)

    pattern = aws.sso.meta.service_model.shape_for("PermissionSetArn").metadata["pattern"]
    facts["a permission set's ARN is as the model has it"] = bool(
        re.fullmatch(pattern, known["set"])
    )
    described = aws.sso.describe_permission_set(
        InstanceArn=instance, PermissionSetArn=known["set"]
    )["PermissionSet"]
    facts["a permission set is described"] = [described["Name"], described["SessionDuration"]]

    first = create()
    facts["a creation is begun"] = state(first)
    facts["a creation while one is in progress"] = state(create())
    facts["a creation that is over"] = creation(first)
    facts["assignments after it"] = listed()
    facts["a creation of what exists"] = creation(create())
    facts["assignments after that"] = listed()
    facts["the principal's assignments"] = count(
        lambda: aws.sso.list_account_assignments_for_principal(
            InstanceArn=instance, PrincipalId=ana, PrincipalType="USER"
        ),
        "AccountAssignments",
    )
    facts["sets provisioned to the account"] = count(
        lambda: aws.sso.list_permission_sets_provisioned_to_account(
            InstanceArn=instance, AccountId=account
        ),
        "PermissionSets",
    )
    facts["accounts of the set"] = count(
        lambda: aws.sso.list_accounts_for_provisioned_permission_set(
            InstanceArn=instance, PermissionSetArn=known["set"]
        ),
        "AccountIds",
    )
    creations = lambda **filter: count(
        lambda: aws.sso.list_account_assignment_creation_status(InstanceArn=instance, **filter),
        "AccountAssignmentsCreationStatus",
    )
    facts["creations listed"] = creations()
    facts["creations listed that succeeded"] = creations(Filter={"Status": "SUCCEEDED"})

    gone = delete()
    facts["a deletion is begun"] = state(gone)
    facts["a deletion has a request id of its own"] = gone["RequestId"] != first["RequestId"]
    facts["a deletion that is over"] = deletion(gone)
    facts["assignments after one deletion"] = listed()
    while listed():
        delete()
        there.wait()
    facts["a deletion of what is not there"] = deletion(delete())
    facts["a creation for nobody"] = creation(create(PrincipalId=nobody))
    facts["a creation in no account"] = creation(create(TargetId="999999999999"))
    other_set = known["set"].rsplit("/", 1)[0] + "/ps-0000000000000000"
    facts["a creation with no permission set"] = creation(create(PermissionSetArn=other_set))
    facts["a status that nobody asked for"] = creation({"RequestId": nobody})
    facts["an account that is none"] = creation(create(TargetId="22222222222x"))
    unchecked = Aws(there.url, there.key, there.secret, parameter_validation=False)
    short = {name: value for name, value in wanted().items() if name != "PrincipalId"}
    facts["a member that is missing"] = named(
        lambda: unchecked.sso.create_account_assignment(**short)
    )
    facts["an instance that is none"] = named(
        lambda: aws.sso.list_permission_sets(
            InstanceArn="arn:aws:sso:::instance/ssoins-0000000000000000"
        ),
    )

    people = [there.user(aws, store, f"user-{number:02}") for number in range(11)]
    for who in people[:5]:
        creation(create(PrincipalId=who))
    pages = aws.sso.get_paginator("list_account_assignments").paginate(
        InstanceArn=instance, AccountId=account, PermissionSetArn=known["set"],
        PaginationConfig={"PageSize": 2},
    )
    pages = [page for page in pages]
    # Somebody whom an earlier stop let in is none of these.
    ours = [
        [it for it in page["AccountAssignments"] if it.get("PrincipalId") in people] for page in pages
    ]
    facts["assignments in pages of two"] = [len(page) for page in ours]
    facts["a page's token for another list"] = named(
        lambda: aws.sso.list_permission_sets(
            InstanceArn=instance, NextToken=pages[0].get("NextToken", "none")
        ),
    )
    begun = [state(delete(PrincipalId=who)) for who in people[:5]]
    begun += [state(create(PrincipalId=who)) for who in people[5:]]
    facts["an eleventh operation at once"] = begun[-1]
    there.wait()

    look_up(there, aws, known, ana, facts)
    for name, key, secret in [
        ("another secret", there.key, "guessed"),
        ("a stranger", "AKIASTRANGER", "guessed"),
    ]:
        stranger = Aws(there.url, key, secret)
        facts[name] = named(lambda: stranger.sso.list_instances())
    return facts


def look_up(there, aws, known, ana, facts):
    """The identity store and the organization."""
    store, account = known["store"], known["account"]
    nobody = "a1b2c3d4-1234-4abc-8def-0123456789ab"
    user = aws.store.describe_user(IdentityStoreId=store, UserId=ana)
    facts["a user is described"] = [user["UserName"], user["Emails"][0]["Value"]]
    try:
        aws.store.describe_user(IdentityStoreId=store, UserId=nobody)
    except aws.store.exceptions.ResourceNotFoundException as error:
        facts["a user that is none"] = error.response["Error"]["Code"]
        facts["what that user is"] = error.response.get("ResourceType")

    def user_id(path, value):
        unique = {"AttributePath": path, "AttributeValue": value}
        call = lambda: aws.store.get_user_id(
            IdentityStoreId=store, AlternateIdentifier={"UniqueAttribute": unique}
        )
        return named(call, "UserId")

    facts["a user by name"] = user_id("userName", "ana") == ana
    facts["a user by address"] = user_id("emails.value", "ana@example.com") == ana
    facts["a user by an address that is nobody's"] = user_id("emails.value", "x@example.com")
    by_name = [{"AttributePath": "UserName", "AttributeValue": "ana"}]
    facts["users of one name"] = len(
        aws.store.list_users(IdentityStoreId=store, Filters=by_name)["Users"]
    )
    users = aws.store.get_paginator("list_users").paginate(
        IdentityStoreId=store, PaginationConfig={"PageSize": 2}
    )
    users = [[it["UserId"] for it in page["Users"]] for page in users]
    flat = list(itertools.chain.from_iterable(users))
    facts["users in pages of two"] = (
        len(flat) == len(set(flat)) == 12 and max(map(len, users)) == 2
    )
    accounts = aws.organizations.get_paginator("list_accounts").paginate(
        PaginationConfig={"PageSize": 1}
    )
    accounts = [[it["Id"] for it in page["Accounts"]] for page in accounts]
    facts["accounts in pages of one"] = (
        sorted(itertools.chain.from_iterable(accounts)) == sorted([known["management"], account])
        and max(map(len, accounts)) == 1
    )
    described = aws.organizations.describe_account(AccountId=account)["Account"]
    facts["an account is described"] = described["Name"]
    facts["an account that is not in the organization"] = named(
        lambda: aws.organizations.describe_account(AccountId="999999999999")
    )
    organization = aws.organizations.describe_organization()["Organization"]
    facts["the management account"] = organization["MasterAccountId"] == known["management"]


def weather(there, aws):
    """What goes wrong on demand is, to the official client, the error it should be."""

    def wrong(what, **more):
        there.control("hostility", {"do": what, "operation": "ListInstances", "times": 1, **more})

    def refused(error, call, code, status):
        try:
            call()
        except error as refusal:
            given = refusal.response
            assert given["Error"]["Code"] == code, given
            assert given["ResponseMetadata"]["HTTPStatusCode"] == status, given
            return
        raise AssertionError(f"there was no {code}")

    known, sso = aws.sso.exceptions, aws.sso
    for what, error, code, status in [
        ("throttle", known.ThrottlingException, "ThrottlingException", 400),
        ("conflict", known.ConflictException, "ConflictException", 400),
        ("internal_error", known.InternalServerException, "InternalServerException", 500),
        ("unavailable", ClientError, "ServiceUnavailableException", 503),
    ]:
        wrong(what)
        refused(error, sso.list_instances, code, status)
    patient = Aws(there.url, there.key, there.secret, retries={"mode": "standard"})
    for what in ["throttle", "internal_error", "unavailable", "lose_call", "lose_reply"]:
        wrong(what)
        answer = patient.sso.list_instances()["ResponseMetadata"]
        assert answer["RetryAttempts"] == 1, (what, answer)
    for what in ["lose_call", "lose_reply"]:
        wrong(what)
        broken(sso.list_instances, "ConnectionClosedError")
    wrong("garbage")
    # This client takes what it cannot read for an empty answer.
    assert "Instances" not in sso.list_instances()
    hasty = Aws(there.url, there.key, there.secret, read_timeout=1)
    wrong("hang")
    broken(hasty.sso.list_instances, "ReadTimeoutError")
    there.control("hostility", {"do": "away_refused"})
    broken(sso.list_instances, "ConnectionClosedError")
    there.control("hostility", {"do": "calm"})

    least = {"id": "AKIALEAST", "secret": "least", "allowed": ["sso:ListInstances"]}
    there.control("keys", least)
    narrow = Aws(there.url, "AKIALEAST", "least")
    narrow.sso.list_instances()
    denied = narrow.organizations.exceptions.AccessDeniedException
    refused(denied, narrow.organizations.list_accounts, "AccessDeniedException", 400)
    there.control("keys", {
        "id": "ASIAOLD", "secret": "old", "session_token": "token/+=", "expires_at_micros": 1,
    })
    old = Aws(there.url, "ASIAOLD", "old", "token/+=")
    refused(ClientError, old.sso.list_instances, "ExpiredTokenException", 400)
    there.control("advance", {"ms": 20 * 60 * 1000})
    refused(ClientError, sso.list_instances, "InvalidSignatureException", 400)


def broken(call, name):
    try:
        call()
    except BotoCoreError as error:
        assert type(error).__name__ == name, error
        return
    raise AssertionError(f"there was no {name}")


def compare(name, facts, expected):
    """Every fact against what is expected; says all that is otherwise."""
    wrong = [
        f"  {stop}: {facts.get(stop, 'never asked')!r}, and not {expected.get(stop)!r}"
        for stop in {**expected, **facts}
        if stop not in facts or stop not in expected or facts[stop] != expected[stop]
    ]
    if wrong:
        raise SystemExit("\n".join([f"{name} is not as expected:", *wrong]))


def main(simulator, moto, port):
    documented = {**DOCUMENTED, **principals.DOCUMENTED}
    elsewise = {**MOTO, **principals.MOTO}
    same = [stop for stop, fact in elsewise.items() if fact == documented[stop]]
    assert not same, f"these are no differences: {same}"
    simulated = Simulated(simulator)
    try:
        aws = Aws(simulated.url, simulated.key, simulated.secret)
        facts = {**tour(simulated, aws), **principals.tour(simulated, aws, named)}
        compare("aws-sim", facts, documented)
        weather(simulated, aws)
    finally:
        simulated.stop()
    other = Moto(moto, port)
    try:
        aws = Aws(other.url, other.key, other.secret)
        facts = {**tour(other, aws), **principals.tour(other, aws, named)}
        compare("moto", facts, {**documented, **elsewise})
    finally:
        other.stop()
    print(
        f"boto3 {boto3.__version__}: {len(documented)} stops in aws-sim as documented, "
        f"and in moto but for {len(elsewise)} known differences"
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
