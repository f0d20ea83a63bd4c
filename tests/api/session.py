"""schemathesis against a real `jitd`, by the document that it serves: as nobody, as somebody who may ask
and decide, as the same who knows what there is, and as whoever operates the service."""

import collections
import json
import os
import re
import subprocess
import sys
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
# A daemon in a folder of its own, as the clients of the tools for agents have it.
sys.path.insert(0, os.path.join(HERE, "..", "mcp"))

from kept import no_secret  # noqa: E402
from world import World, same  # noqa: E402

PATIENCE_S = 240
# The same cases each time, so that the gate says no twice to the same tree.
SEED = "11"
DRAWN = "examples,coverage,fuzzing"
# What fits the document may still name nothing that there is.
NOT_ASKED = "positive_data_acceptance"
# It is what the tool reads the document from, and so it does not call it.
NOT_CALLED = "GET /openapi.json"

CONFIGURATION = """
[store]
sqlite = "jit.db"

[[provider]]
name = "groupfile"
kind = "groupfile"
file = "groups"

[[provider]]
name = "vault"
kind = "vault"
address = "{vault}"
plain_http = true

[[entitlement]]
id = "groupfile/admins"
title = "Administer the wiki"
how_to_use = "Sign in again."
allows = "Change every page"
tier = "one"

[[entitlement]]
id = "groupfile/owners"
title = "Own the wiki"
tier = "two"

[[entitlement]]
id = "vault/reader"
title = "Read a secret"
resource = "reader@jit"
tier = "one"

[[tier]]
name = "one"
ttl_default = "30m"
ttl_max = "8h"
approvals = 1

[[tier]]
name = "two"
ttl_default = "30m"
ttl_max = "8h"
approvals = 2

[[rule]]
name = "everybody may ask"
rights = ["request"]
entitlements = ["*"]
principals = ["*"]

[[rule]]
name = "security does everything but operate"
rights = ["approve", "revoke", "audit", "on_behalf_of"]
entitlements = ["*"]
principals = ["group:security"]

[[rule]]
name = "otto operates"
rights = ["operate"]
entitlements = ["*"]
principals = ["otto@example.com"]

[[person]]
id = "ana@example.com"

[[person]]
id = "bob@example.com"
groups = ["security"]

[[person]]
id = "dora@example.com"
groups = ["security"]

[[person]]
id = "otto@example.com"
"""


def furnish(vault):
    """A Vault with what crates/jit-vault/README.md wants; a secret id."""
    def sim(what, body):
        request = urllib.request.Request(f"{vault}/sim/{what}", json.dumps(body).encode(),
                                         {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.loads(answer.read() or b"null")

    ours = {"auth/token/create/jit": ["update"], "auth/token/lookup-accessor": ["update"],
            "auth/token/revoke-accessor": ["update"], "auth/token/renew-self": ["update"]}
    sim("policies", {"name": "jit-access", "rules": ours})
    sim("policies", {"name": "reader", "rules": {"kv/data/reader": ["read"]}})
    sim("token-roles", {"name": "jit", "allowed_policies": ["reader"], "renewable": False, "token_type": "service"})
    sim("app-roles", {"name": "jit-access", "role_id": "the-role-id", "policies": ["jit-access"]})
    return sim("secret-ids", {"role": "jit-access"})["secret_id"]


class Session:
    """Passes of schemathesis over one daemon."""

    def __init__(self, world, schemathesis):
        self.world = world
        self.schemathesis = os.path.abspath(schemathesis)
        tokens = {f"JIT_{name.upper()}": world.token(f"{name}@example.com") for name in ("ana", "bob", "dora")}
        self.variables = {**os.environ, **tokens, "HOME": world.folder, "JIT_API": world.api,
                          "SCHEMATHESIS_HOOKS": "known", "PYTHONPATH": HERE}

    def run(self, who, examples, phases, operations="", excluded=(), **variables):
        """One pass over the operations whose paths fit; how many calls were made."""
        command = [self.schemathesis, "run", f"{self.world.api}/openapi.json", "--seed", SEED, "--mode", "all",
                   "--max-examples", str(examples), "--phases", phases, "--checks", "all",
                   "--exclude-checks", ",".join([NOT_ASKED, *excluded]), "--generation-database", "none",
                   "--include-path-regex", operations, "--warnings", "off", "--no-color",
                   "--request-timeout", "20"]
        if who:
            command += ["-H", f"Authorization: Bearer {self.world.token(who)}"]
        ran = subprocess.run(command, cwd=self.world.folder, env={**self.variables, **variables},
                             stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=PATIENCE_S)
        assert ran.returncode == 0, ran.stdout[-12000:]
        return int(re.search(r"(\d+) generated", ran.stdout).group(1))


def answered(world):
    """By what each call was answered, by the log of the service."""
    found = collections.defaultdict(collections.Counter)
    for line in world.read("log").splitlines():
        fields = json.loads(line)["fields"]
        if fields.get("event") == "http_request":
            found[f"{fields['method']} {fields['route']}"][fields["status"]] += 1
    return found


def judged(world):
    """No answer at all was a failure or is not in the document, and each operation was carried out."""
    with urllib.request.urlopen(f"{world.api}/openapi.json", timeout=PATIENCE_S) as answer:
        paths = json.loads(answer.read())["paths"]
    known = {f"{method.upper()} {path}": set(map(int, operation["responses"]))
             for path, operations in paths.items() for method, operation in operations.items()}
    found = answered(world)
    for operation, statuses in found.items():
        # What is no operation is told so.
        allowed = known.get(operation, {404, 405})
        strange = {status for status in statuses if status >= 500 or status not in allowed}
        assert not strange, f"{operation} answered {strange}"
    idle = [it for it in known if not any(200 <= status < 300 for status in found[it])]
    same(idle, [])
    return len(known) - (NOT_CALLED in known)


def main(binaries, schemathesis):
    vault = subprocess.Popen([f"{binaries}/vault-sim", "--port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        address = vault.stdout.readline().strip()
        secrets = {"JIT_VAULT_ROLE_ID": "the-role-id", "JIT_VAULT_SECRET_ID": furnish(address)}
        world = World(binaries, CONFIGURATION.format(vault=address), secrets)
        world.write("groups", "admins:\nowners:\n")
        with world:
            session = Session(world, schemathesis)
            calls = [
                session.run(None, 20, DRAWN),
                session.run("bob@example.com", 40, f"{DRAWN},stateful"),
                # What is drawn wrong may be put right here, and is then not to be refused.
                session.run("bob@example.com", 15, "examples,fuzzing", "{id}",
                            ["negative_data_rejection"], JIT_KNOWS="1"),
                session.run("otto@example.com", 20, DRAWN, "pause|resume|drift"),
            ]
            operations = judged(world)
            world.jit("audit", "verify")
            no_secret(world.folder, [*secrets.values(), *world.tokens.values()])
            same(world.daemon.poll(), None)
        print(f"tests/api: {sum(calls)} calls by schemathesis in {len(calls)} passes, "
              f"{operations} operations carried out")
    finally:
        vault.kill()
        vault.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
