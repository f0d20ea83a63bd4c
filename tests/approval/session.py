"""Programs that nobody here wrote against a `jitd` that has its variables and nothing else: a client
that knows the contract alone, curl as documented, and schemathesis with the description of the API."""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "mcp"))

from kept import no_secret  # noqa: E402

KEY = "a-key-for-the-session"
PATIENCE_S = 20
HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(HERE, "..", "..", "docs")
NAMES = ["deluge", "gitlab", "gmail", "grafana", "homeassistant", "influxdb", "nzbget", "ombi",
         "paperless", "plex", "radarr", "sonarr"]


def started(command, **more):
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **more)


def fetch(url, body=None, headers=None):
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **(headers or {})}
    try:
        answer = urllib.request.urlopen(urllib.request.Request(url, data, headers), timeout=PATIENCE_S)
    except urllib.error.HTTPError as refused:
        answer = refused
    return answer.status, json.loads(answer.read() or b"null")


def path_of(name):
    return f"homelab/data/docker/{name}"


def furnish(vault, services):
    """Vault as docs/APPROVAL_SERVICE.md and crates/jit-vault/README.md say; a secret id."""
    def sim(what, body):
        status, said = fetch(f"{vault}/sim/{what}", body)
        assert status == 200, said
        return said

    ours = {"auth/token/create/jit": ["update"], "auth/token/lookup-accessor": ["update"],
            "auth/token/revoke-accessor": ["update"], "auth/token/renew-self": ["update"]}
    ours.update({path_of(name): ["read"] for name in services})
    sim("policies", {"name": "jit-access", "rules": ours})
    for name in NAMES:
        sim("policies", {"name": f"jit-{name}", "rules": {path_of(name): ["read"]}})
        secret = services.get(name, {}).get("secret", {"api_key": f"the key of {name}"})
        sim("secrets", {"path": path_of(name), "data": secret})
    sim("token-roles", {"name": "jit", "allowed_policies": [f"jit-{name}" for name in NAMES],
                        "renewable": False, "token_type": "service"})
    sim("app-roles", {"name": "jit-access", "role_id": "the-role-id", "policies": ["jit-access"]})
    return sim("secret-ids", {"role": "jit-access"})["secret_id"]


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"


def the_client(api, vault):
    """The session of a program, with what it was given put to use."""
    def given(resource):
        command = [sys.executable, os.path.join(HERE, "client.py"), api, KEY, resource, "1"]
        return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True, timeout=PATIENCE_S).stdout)

    polled = given("grafana")
    credential = polled["credential"]
    assert credential["token"].startswith("glsa_"), credential
    assert re.fullmatch(r"1[45]m\d+s", credential["lease_ttl"]), credential
    same(credential["metadata"],
         {"backend": "grafana", "type": "service_account_token", "service_account_id": "5"})
    status, later = fetch(f"{api}/status/{polled['request_id']}", headers={"X-JIT-API-Key": KEY})
    same((status, later), (200, {"request_id": polled["request_id"], "status": "approved"}))
    credential = given("radarr")["credential"]
    same(credential["metadata"], {"backend": "static", "type": "vault_token"})
    token = {"X-Vault-Token": credential["token"]}
    status, secret = fetch(f"{vault}/v1/{path_of('radarr')}", headers=token)
    same((status, secret["data"]["data"]), (200, {"api_key": "the key of radarr"}))
    same(fetch(f"{vault}/v1/{path_of('sonarr')}", headers=token)[0], 403)


def the_documented(api):
    """Every curl call of the documentation, as it is written there."""
    text = open(os.path.join(DOCS, "APPROVAL_SERVICE.md"), encoding="utf-8").read()
    block = next(it for it in re.findall(r"```sh\n(.*?)```", text, re.S) if "curl -s" in it)
    calls = [it for it in re.split(r"(?m)^(?=curl )", block) if it.startswith("curl ")]
    same(len(calls), 3)
    request_id = ""
    for call in calls:
        call = call.replace("http://127.0.0.1:8080", api).replace("req-…", request_id)
        said = subprocess.run(["bash", "-c", call], env={**os.environ, "JIT_API_KEY": KEY},
                              stdout=subprocess.PIPE, check=True, timeout=PATIENCE_S).stdout
        said = json.loads(said)
        request_id = said.get("request_id", request_id)
        shown = re.findall(r'"(\w+)":', "".join(re.findall(r"(?m)^#(.*)$", call)))
        found = re.findall(r'"(\w+)":', json.dumps(said))
        same(sorted(set(found)), sorted(set(shown)))
    return len(calls)


def the_described(api, schemathesis, folder):
    """What is answered to whatever can be asked is what the description says. What the tool remembers
    of a run is left in the folder."""
    description = os.path.join(DOCS, "approval-service.openapi.json")
    command = [os.path.abspath(schemathesis), "run", description, "--url", api, "-H", f"X-JIT-API-Key: {KEY}",
               "--seed", "7", "--max-examples", "100", "--phases", "examples,coverage,fuzzing,stateful",
               "--mode", "all", "--checks", "all",
               "--exclude-checks", "positive_data_acceptance", "--warnings", "off", "--no-color"]
    ran = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert ran.returncode == 0, ran.stdout[-8000:]
    cases = re.search(r"(\d+) generated", ran.stdout)
    return cases.group(1) if cases else ran.stdout[-400:]


def main(binaries, schemathesis):
    processes = []
    try:
        services = started([f"{binaries}/services-sim"])
        processes.append(services)
        services = json.loads(services.stdout.readline())
        vault = started([f"{binaries}/vault-sim", "--port", "0"])
        processes.append(vault)
        vault = vault.stdout.readline().strip()
        secret_id = furnish(vault, services)
        variables = {"VAULT_ADDR": vault, "VAULT_ROLE_ID": "the-role-id", "VAULT_SECRET_ID": secret_id,
                     "JIT_API_KEY": KEY, "LISTEN_ADDR": "127.0.0.1:0", "JIT_OBSERVE": "127.0.0.1:0",
                     "GRAFANA_URL": services["grafana"]["url"], "HA_URL": services["homeassistant"]["url"],
                     "INFLUXDB_URL": services["influxdb"]["url"]}
        with tempfile.TemporaryDirectory() as folder:
            log = open(os.path.join(folder, "log"), "w+", encoding="utf-8")
            daemon = subprocess.Popen([f"{binaries}/jitd", "run"], cwd=folder, env=variables, stdout=log,
                                      stderr=subprocess.STDOUT)
            processes.append(daemon)
            api = f"http://{where(log.name, daemon)}"
            the_client(api, vault)
            calls = the_documented(api)
            cases = the_described(api, schemathesis, folder)
            same(fetch(f"{api}/health")[1]["status"], "ok")
            upstream = [text for service in services.values() for name, text in service["secret"].items()
                        if name.endswith("token")]
            no_secret(folder, [KEY, secret_id, "the-role-id", *upstream])
            same(daemon.poll(), None)
        print(f"tests/approval: a client, {calls} documented calls, {cases} calls by schemathesis")
    finally:
        for process in processes:
            process.kill()
            process.wait()


def where(log, daemon):
    """The address that the daemon says it serves."""
    import time
    for _ in range(PATIENCE_S * 20):
        for line in open(log, encoding="utf-8"):
            if '"serving"' in line and line.endswith("\n"):
                return json.loads(line)["api"]
        assert daemon.poll() is None, open(log, encoding="utf-8").read()
        time.sleep(0.05)
    raise AssertionError("it never served")


if __name__ == "__main__":
    main(*sys.argv[1:])
