"""A tour of the simulated Vault with hvac, a client that nobody here wrote: whatever it does must work
as the documentation of Vault's API says, and whatever it is refused must be the exception that it has
for it."""

import json
import subprocess
import sys
import urllib.request
from importlib.metadata import version

import hvac
from hvac import exceptions

PATIENCE_S = 20


class Tour:
    """The simulator's process, its control API, and what was found true on the way."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary, "--port", "0"], stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()
        self.facts = 0

    def control(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.url}/sim/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)

    def client(self, token=None):
        return hvac.Client(url=self.url, token=token, timeout=PATIENCE_S)

    def true(self, fact, said):
        assert fact, said
        self.facts += 1

    def same(self, found, wanted, said):
        self.true(found == wanted, f"{said}: {found!r} is not {wanted!r}")

    def refused(self, kind, call, *words, **named):
        said = named.pop("said", "")
        try:
            call(*words, **named)
        except kind as error:
            self.true(type(error) is kind and said in str(error), f"{error!r} does not say {said!r}")
            return
        raise AssertionError(f"{call} was not refused as {kind.__name__}")

    def passes(self, seconds):
        self.control("pass", {"ms": seconds * 1000})


def furnish(tour):
    tour.control("policies", {"name": "maker", "rules": {
        "auth/token/create-orphan": ["update", "sudo"],
        "auth/token/create/agents": ["update"],
        "auth/token/lookup-accessor": ["update"],
        "auth/token/revoke-accessor": ["update"],
        "auth/token/renew-accessor": ["update"],
        "auth/token/lookup": ["update"],
    }})
    tour.control("policies", {"name": "reader", "rules": {"secret/data/docker/*": ["read"]}})
    tour.control("policies", {"name": "writer", "rules": {"secret/data/docker/*": ["create", "update"]}})
    tour.control("token-roles", {"name": "agents", "allowed_policies": ["reader"]})
    tour.control("app-roles", {"name": "app", "role_id": "the-role-id", "policies": ["maker"]})


def approle(tour, root):
    role_id = root.auth.approle.read_role_id("app")["data"]["role_id"]
    secret_id = root.auth.approle.generate_secret_id("app")["data"]["secret_id"]
    app = tour.client()
    login = app.auth.approle.login(role_id=role_id, secret_id=secret_id)
    tour.same(login["auth"]["lease_duration"], 3600, "a login lasts an hour")
    tour.same(login["auth"]["policies"], ["default", "maker"], "and may what its application may")
    tour.true(app.is_authenticated(), "hvac takes it for a login")
    wrong = tour.client().auth.approle.login
    tour.refused(exceptions.InvalidRequest, wrong, role_id, "wrong", said="invalid role or secret ID")
    tour.refused(exceptions.InvalidRequest, wrong, "wrong", secret_id, said="invalid role or secret ID")

    wrapped = root.auth.approle.generate_secret_id("app", wrap_ttl="60s")
    inside = tour.client(wrapped["wrap_info"]["token"]).sys.unwrap()["data"]["secret_id"]
    again = tour.client().auth.approle.login(role_id=role_id, secret_id=inside)
    tour.true(again["auth"]["client_token"].startswith("hvs."), "a wrapped secret id logs in")
    return app


def making(tour, app):
    made = app.auth.token.create_orphan(
        policies=["reader"], ttl="15m", explicit_max_ttl="15m", renewable=False, num_uses=0,
        no_default_policy=True, display_name="jit-req-1", meta={"jit_request": "req-1"},
    )["auth"]
    tour.same((made["lease_duration"], made["renewable"], made["orphan"]), (900, False, True), "as asked")
    tour.same(made["token_policies"], ["reader"], "with what was asked for alone")
    found = app.auth.token.lookup_accessor(made["accessor"])["data"]
    tour.same(found["id"], "", "an accessor does not tell the token")
    tour.same(found["meta"], {"jit_request": "req-1"}, "the mark is kept")
    tour.same(found["display_name"], "token-jit-req-1", "the name begins with token-")
    tour.same((found["explicit_max_ttl"], found["type"]), (900, "service"), "and ends for good")
    by_token = app.auth.token.lookup(made["client_token"])["data"]
    tour.same(by_token["accessor"], made["accessor"], "a token tells its accessor")
    own = tour.client(made["client_token"])
    tour.refused(exceptions.Forbidden, own.auth.token.lookup_self, said="permission denied")

    through = app.auth.token.create(role_name="agents", ttl="60s")["auth"]
    tour.same((through["orphan"], through["token_policies"]), (True, ["default", "reader"]), "a role's own")
    tour.refused(exceptions.InvalidRequest, app.auth.token.create, role_name="agents", policies=["maker"],
                 said="must be subset")
    tour.refused(exceptions.Forbidden, app.auth.token.create, policies=["maker"], said="permission denied")

    app.auth.token.revoke_accessor(made["accessor"])
    tour.refused(exceptions.InvalidRequest, app.auth.token.lookup_accessor, made["accessor"],
                 said="invalid accessor")
    tour.refused(exceptions.InvalidRequest, app.auth.token.renew_accessor, made["accessor"],
                 said="invalid accessor")
    tour.refused(exceptions.Forbidden, own.secrets.kv.v2.read_secret_version, "docker/x",
                 raise_on_deleted_version=True, said="invalid token")
    answer = app.auth.token.revoke_accessor(made["accessor"])
    tour.true("No token found" in answer["warnings"][0], "revoking again succeeds, with a warning")


def living(tour, root, app):
    made = root.auth.token.create(policies=["reader"], ttl="60s", explicit_max_ttl="90s")["auth"]
    own = tour.client(made["client_token"])
    tour.passes(30)
    renewed = own.auth.token.renew_self(increment="60s")["auth"]
    tour.true(59 <= renewed["lease_duration"] <= 60, "renewed to a minute again")
    tour.passes(40)
    renewed = app.auth.token.renew_accessor(made["accessor"])["auth"]
    tour.true(renewed["lease_duration"] <= 20, "and no further than its longest life")
    tour.true(own.auth.token.lookup_self()["data"]["ttl"] <= 20, "as it says itself")
    tour.passes(21)
    tour.refused(exceptions.Forbidden, own.auth.token.lookup_self, said="invalid token")

    parent = root.auth.token.create(policies=["maker", "reader"])["auth"]
    tour.control("policies", {"name": "maker", "rules": {"auth/token/*": ["update"]}})
    makes = tour.client(parent["client_token"])
    child = makes.auth.token.create(policies=["reader"])["auth"]
    orphan = makes.auth.token.create_orphan(policies=["reader"])["auth"]
    tour.refused(exceptions.InvalidRequest, makes.auth.token.create, policies=["writer"],
                 said="child policies must be subset of parent")
    makes.auth.token.revoke_self()
    tour.refused(exceptions.Forbidden, tour.client(child["client_token"]).auth.token.lookup_self)
    alive = tour.client(orphan["client_token"]).auth.token.lookup_self()["data"]
    tour.true(alive["orphan"], "an orphan outlives who made it")

    counted = root.auth.token.create(policies=["reader"], num_uses=2)["auth"]
    own = tour.client(counted["client_token"])
    tour.same(own.auth.token.lookup_self()["data"]["num_uses"], 2, "two uses")
    own.auth.token.lookup_self()
    tour.refused(exceptions.Forbidden, own.auth.token.lookup_self, said="invalid token")


def secrets(tour, root):
    kv = root.secrets.kv.v2
    first = kv.create_or_update_secret("docker/grafana", secret={"token": "one"})
    tour.same(first["data"]["version"], 1, "the first version")
    kv.create_or_update_secret("docker/grafana", secret={"token": "two"}, cas=1)
    tour.refused(exceptions.InvalidRequest, kv.create_or_update_secret, "docker/grafana", {"a": "b"}, cas=1,
                 said="check-and-set")
    read = lambda client, **named: client.secrets.kv.v2.read_secret_version(
        "docker/grafana", raise_on_deleted_version=True, **named)["data"]["data"]
    tour.same(read(root), {"token": "two"}, "the latest version")
    tour.same(read(root, version=1), {"token": "one"}, "an older one")
    reader = tour.client(root.auth.token.create(policies=["reader"])["auth"]["client_token"])
    tour.same(read(reader), {"token": "two"}, "whoever may read reads")
    tour.refused(exceptions.Forbidden, reader.secrets.kv.v2.create_or_update_secret, "docker/grafana", {},
                 said="permission denied")
    writer = tour.client(root.auth.token.create(policies=["writer"])["auth"]["client_token"])
    tour.refused(exceptions.Forbidden, read, writer, said="permission denied")
    tour.same(kv.list_secrets("docker")["data"]["keys"], ["grafana"], "it is listed")
    kv.delete_latest_version_of_secret("docker/grafana")
    tour.refused(exceptions.InvalidPath, read, root)
    gone = kv.read_secret_version("docker/grafana", raise_on_deleted_version=False)
    tour.true(gone["data"]["metadata"]["deletion_time"], "a deleted version says when")
    tour.refused(exceptions.InvalidPath, kv.read_secret_version, "docker/none", raise_on_deleted_version=True)


def wrapping(tour, root):
    wrapped = root.auth.token.create(policies=["reader"], ttl="15m", wrap_ttl="60s")
    info = wrapped["wrap_info"]
    tour.same((info["ttl"], info["creation_path"]), (60, "auth/token/create"), "a wrapping says what it is")
    found = root.auth.token.lookup_accessor(info["wrapped_accessor"])["data"]
    tour.same(found["policies"], ["default", "reader"], "what is inside has an accessor of its own")
    inside = tour.client(info["token"]).sys.unwrap()["auth"]
    tour.same(inside["accessor"], info["wrapped_accessor"], "and comes out as it went in")
    tour.refused(exceptions.InvalidRequest, tour.client(info["token"]).sys.unwrap,
                 said="wrapping token is not valid or does not exist")
    other = root.auth.token.create(policies=["reader"], wrap_ttl="60s")["wrap_info"]["token"]
    tour.true(root.sys.unwrap(other)["auth"]["client_token"], "somebody with a token opens it, too")
    late = root.auth.token.create(policies=["reader"], wrap_ttl="60s")["wrap_info"]["token"]
    tour.passes(60)
    tour.refused(exceptions.InvalidRequest, tour.client(late).sys.unwrap)


def the_server(tour, root):
    health = root.sys.read_health_status(method="GET")
    tour.same((health["initialized"], health["sealed"], health["standby"]), (True, False, False), "it is well")
    tour.true(not root.sys.is_sealed() and root.sys.is_initialized(), "hvac sees it, too")
    for state, status in [("standby", 429), ("recovery_secondary", 472), ("performance_standby", 473),
                          ("uninitialised", 501)]:
        tour.control("health", {"health": state})
        answer = root.sys.read_health_status(method="HEAD")
        tour.same(answer.status_code, status, f"{state} has a status of its own")
    tour.control("health", {"health": "active"})
    root.sys.seal()
    tour.true(root.sys.is_sealed(), "sealed")
    tour.same(root.sys.read_health_status(method="HEAD").status_code, 503, "and health says so")
    tour.refused(exceptions.VaultDown, root.auth.token.lookup_self, said="Vault is sealed")
    tour.control("calm", {})
    tour.true(not root.sys.is_sealed(), "unsealed")
    tour.control("faults", {"do": "too_many", "retry_after": 1, "path": "auth/token/lookup-self", "times": 1})
    tour.refused(exceptions.RateLimitExceeded, root.auth.token.lookup_self)
    tour.control("faults", {"do": "status", "status": 500, "path": "auth/token/lookup-self", "times": 1})
    tour.refused(exceptions.InternalServerError, root.auth.token.lookup_self)


def main(binary):
    tour = Tour(binary)
    try:
        furnish(tour)
        root = tour.client(tour.control("state")["root_token"])
        app = approle(tour, root)
        making(tour, app)
        living(tour, root, app)
        secrets(tour, root)
        wrapping(tour, root)
        the_server(tour, root)
    finally:
        tour.process.terminate()
        tour.process.wait()
    print(f"hvac {version('hvac')}: {tour.facts} facts about the simulated Vault are as documented")


main(sys.argv[1])
