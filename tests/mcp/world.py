"""A `jitd` with the tools for agents, with its people and their tokens, in a folder of its own."""

import json
import os
import subprocess
import tempfile
import time

PATIENCE_S = 30

CONFIGURATION = """
[store]
sqlite = "jit.db"

[mcp]
origins = [{origins}]

[[provider]]
name = "tools"
kind = "groupfile"
file = "groups"

# Nobody is asked there: what is asked for is refused before.
[[provider]]
name = "work"
kind = "iam_policy"
account = "111122223333"
role = "Developers"
endpoint = "http://127.0.0.1:9"

[[entitlement]]
id = "tools/read_logs"
title = "Read the logs"
how_to_use = "Call the log service as before."
tier = "tool"

[[entitlement]]
id = "work/restart_service"
title = "Restart a service"
tier = "tool"
parameters = '''
{{"type": "object", "properties": {{"service": {{"enum": ["api", "web"]}}}}, "required": ["service"],
 "additionalProperties": false}}'''
display = "restart of {{service}}"
template = '''
{{"Statement": {{"Effect": "Allow", "Action": "ecs:UpdateService",
 "Resource": "arn:aws:ecs:eu-west-1:111122223333:service/main/{{service}}"}}}}'''

[[tier]]
name = "tool"
ttl_default = "1h"
ttl_max = "2h"
approvals = 1
decision_window = "30m"

[[rule]]
name = "everybody may ask"
rights = ["request"]
entitlements = ["tools/*", "work/*"]
principals = ["*", "agent:*"]

[[rule]]
name = "operations decide"
rights = ["approve"]
entitlements = ["tools/*", "work/*"]
principals = ["group:operations"]

[[person]]
id = "ana@example.com"
subjects = {{ tools = "ana" }}

[[person]]
id = "bob@example.com"
groups = ["operations"]
subjects = {{ tools = "bob" }}

[[person]]
id = "carol@example.com"
subjects = {{ tools = "carol" }}

[[agent]]
id = "agent:bot"
acts_for = "ana@example.com"

[[agent]]
id = "agent:other"
acts_for = "carol@example.com"
"""


class World:
    """The service, running; ended with the block."""

    def __init__(self, binaries, configuration, variables=None):
        self.binaries = binaries
        self.kept = tempfile.TemporaryDirectory()
        self.folder = self.kept.name
        # Whatever the environment of this test has, the programs have this alone.
        self.variables = {"PATH": f"{binaries}:/usr/bin:/bin", "HOME": self.folder, **(variables or {})}
        self.write("jit.toml", configuration)
        self.write("groups", "read_logs:\nrestart_service:\n")
        self.tokens = {}
        self.daemon = None

    def __enter__(self):
        listeners = {"JIT_LISTEN": "127.0.0.1:0", "JIT_OBSERVE": "127.0.0.1:0"}
        log = open(self.path("log"), "w", encoding="utf-8")
        self.daemon = subprocess.Popen([f"{self.binaries}/jitd", "run"], cwd=self.folder, stdout=log, stderr=log,
                                       env={**self.variables, **listeners})
        try:
            self.api = f"http://{self.where()}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        self.daemon.kill()
        self.daemon.wait()
        self.kept.cleanup()

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as file:
            return file.read()

    def where(self):
        """The address that the daemon says it serves."""
        for _ in range(PATIENCE_S * 20):
            for line in self.read("log").splitlines(keepends=True):
                if '"serving"' in line and line.endswith("\n"):
                    return json.loads(line)["fields"]["api"]
            assert self.daemon.poll() is None, self.read("log")
            time.sleep(0.05)
        raise AssertionError("it never served")

    def jit(self, *arguments, code=0):
        """What a verb of the command line says."""
        done = subprocess.run([f"{self.binaries}/jit", *arguments], cwd=self.folder, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, env=self.variables, timeout=PATIENCE_S)
        assert done.returncode == code, f"jit {arguments}: {done.stdout}"
        return done.stdout

    def token(self, who):
        """The token of somebody, made when it is first asked for."""
        if who not in self.tokens:
            file = f"{who.replace(':', '-')}.token"
            self.jit("token", "new", "--principal", who, "--out", file)
            self.tokens[who] = self.read(file).strip()
        return self.tokens[who]

    def token_file(self, who):
        self.token(who)
        return self.path(f"{who.replace(':', '-')}.token")

    def ends(self, who, request_id):
        """Somebody gives access back at a terminal."""
        self.jit("--server", self.api, "--token-file", self.token_file(who), "end", request_id)


def same(found, wanted):
    assert found == wanted, f"{found!r} is not {wanted!r}"
