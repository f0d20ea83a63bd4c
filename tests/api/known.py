"""What somebody who knows the service puts where schemathesis drew any text. Loaded by schemathesis, by
the name in SCHEMATHESIS_HOOKS.

Hardly anybody waits for a change, and nobody for as long as a call may. In the pass that knows (JIT_KNOWS), each call is about a request
that is as far as the call needs it, with its digest and a duration that its tier has."""

import json
import os
import re
import time
import urllib.error
import urllib.request

import schemathesis

API = os.environ["JIT_API"]
KNOWS = "JIT_KNOWS" in os.environ
PATIENCE_S = 20
# So many calls wait, each a second.
waits = iter(range(3))


def call(who, path, body=None):
    headers = {"Authorization": f"Bearer {os.environ[f'JIT_{who.upper()}']}", "Content-Type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(API + path, data, headers), timeout=PATIENCE_S) as answer:
        return json.loads(answer.read())


def pending(who, entitlement):
    return call(who, "/v1/requests", {"entitlements": [{"entitlement": entitlement}], "reason": "a case"})


def approved(by, who, entitlement):
    request = pending(who, entitlement)
    decision = {"decision": "approve", "digest": request["digest"]}
    return call(by, f"/v1/requests/{request['id']}/decide", decision)


def active(who, entitlement):
    request = approved("dora", who, entitlement)
    until = time.monotonic() + PATIENCE_S
    while request["status"] != "active":
        assert time.monotonic() < until, request
        time.sleep(0.02)
        request = call("dora", f"/v1/requests/{request['id']}")
    return request


# What there must be, so that Bob can do this with it.
NEEDED = {
    "": lambda: pending("ana", "groupfile/admins"),
    "/events": lambda: active("ana", "groupfile/admins"),
    "/background": lambda: active("ana", "groupfile/admins"),
    "/decide": lambda: pending("ana", "groupfile/admins"),
    "/retract": lambda: approved("bob", "ana", "groupfile/owners"),
    "/withdraw": lambda: pending("bob", "groupfile/admins"),
    "/end": lambda: active("bob", "groupfile/admins"),
    "/revoke": lambda: active("ana", "groupfile/admins"),
    "/collect": lambda: approved("dora", "bob", "vault/reader"),
}


def is_about_one(case):
    return KNOWS and "{id}" in case.path


@schemathesis.hook
def before_call(context, case, **kwargs):
    if isinstance(case.query, dict) and re.fullmatch("[0-9]+[smhd]", str(case.query.get("wait"))):
        del case.query["wait"]
        if next(waits, None) is not None:
            case.query["wait"] = "1s"
    if not is_about_one(case):
        return
    request = NEEDED[case.path.partition("{id}")[2]]()
    case.path_parameters["id"] = request["id"]
    if isinstance(case.body, dict) and isinstance(case.body.get("digest"), str):
        case.body["digest"] = request["digest"]
    if isinstance(case.body, dict) and isinstance(case.body.get("ttl"), str):
        case.body["ttl"] = "10m"


@schemathesis.hook
def after_call(context, case, response):
    """What was there for this call is over, for one person may have so many open at once."""
    if is_about_one(case):
        try:
            call("dora", f"/v1/requests/{case.path_parameters['id']}/revoke", {})
        except urllib.error.HTTPError as refused:
            assert refused.code == 409, refused.read()
