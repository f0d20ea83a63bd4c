"""The official Python client of the Model Context Protocol, over HTTP and over `jit mcp`, in the hands
of agents and of people."""

import contextlib
import json
import re
import subprocess
import time

import httpx2
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from world import PATIENCE_S, same

ASK = "request_tool_access"
DECIDE = "approve_tool_access_request"
DESCRIBE = "describe_access_request"
LIST = "list_active_access_requests"
# Each tool's arguments: those that a call must have, those that it may have, and ours beside them.
TOOLS = {
    ASK: (["tool_name", "user_email", "tool_params"], ["ttl"], ["reason"]),
    DECIDE: (["request_id", "approval_action"], ["ttl"], ["reason", "digest"]),
    DESCRIBE: (["request_id"], [], ["wait"]),
    LIST: ([], [], []),
}
# The ways in: over what, how the version is negotiated, and which one comes of it.
WAYS = [("http", "auto", "2026-07-28"), ("http", "legacy", "2025-11-25"),
        ("stdio", "auto", "2026-07-28"), ("stdio", "legacy", "2025-11-25")]


@contextlib.asynccontextmanager
async def client(world, who, transport="http", mode="auto", token=None):
    """A client with somebody's token."""
    token = token or world.token(who)
    if transport == "stdio":
        variables = {**world.variables, "JIT_SERVER": world.api, "JIT_TOKEN": token}
        program = StdioServerParameters(command=f"{world.binaries}/jit", args=["mcp"], env=variables)
        async with Client(program, mode=mode, read_timeout_seconds=PATIENCE_S) as connected:
            yield connected
        return
    bearer = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=bearer, timeout=PATIENCE_S, trust_env=False) as http:
        service = streamable_http_client(f"{world.api}/mcp", http_client=http)
        async with Client(service, mode=mode, read_timeout_seconds=PATIENCE_S) as connected:
            yield connected


async def called(client, tool, arguments):
    """The answer of a tool that did something, which is the same in its text."""
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer
    same(json.loads(answer.content[0].text), answer.structured_content)
    return answer.structured_content


async def refused(client, tool, arguments, code, *said):
    """That a tool did nothing, and said why."""
    answer = await client.call_tool(tool, arguments)
    assert answer.is_error, answer
    told = answer.structured_content
    same(told["error"], code)
    for part in said:
        assert part in told["message"], told


async def until(client, request_id, status):
    """The request, once it is as far."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        seen = await called(client, DESCRIBE, {"request_id": request_id, "wait": "10s"})
        if seen["status"] == status:
            return seen
        assert "look_again_in_seconds" in seen or seen["status"] == "active", seen
    raise AssertionError(f"never {status}: {seen}")


def for_ana(**more):
    return {"tool_name": "read_logs", "user_email": "ana@example.com", "tool_params": {}, **more}


async def listed(client):
    """The four tools are there, under their names and with their arguments."""
    tools = (await client.list_tools()).tools
    same([it.name for it in tools], list(TOOLS))
    for tool in tools:
        required, optional, ours = TOOLS[tool.name]
        schema = tool.input_schema
        same(sorted(schema.get("required", [])), sorted(required))
        same(sorted(schema["properties"]), sorted(required + optional + ours))
        same(schema["additionalProperties"], False)
    assert '- restart_service: Restart a service; tool_params: {"additionalProperties"' in tools[0].description
    same({it.name: it.annotations.read_only_hint for it in tools if it.annotations.read_only_hint},
         {DESCRIBE: True, LIST: True})


async def refusals(bot):
    """What an agent may not ask for, and how it may not ask."""
    for other in ["bob@example.com", "carol@example.com", "nobody@example.com", "agent:bot"]:
        await refused(bot, ASK, for_ana(user_email=other), "agent_for_another", "ana@example.com")
    service = {"tool_name": "restart_service"}
    await refused(bot, ASK, for_ana(**service), "parameters_do_not_fit", "required")
    for wrong in [{"service": "db"}, {"service": "web; db"}, {"service": ["web"]}]:
        await refused(bot, ASK, for_ana(**service, tool_params=wrong), "parameters_do_not_fit", "service")
    more = {"service": "web", "host": "db1"}
    await refused(bot, ASK, for_ana(**service, tool_params=more), "parameters_do_not_fit", "host")
    await refused(bot, ASK, for_ana(tool_params={"path": "/"}), "parameters_not_taken")
    await refused(bot, ASK, for_ana(ttl="61m"), "ttl_above_ceiling", "at most 1h")
    await refused(bot, ASK, for_ana(tool_name="root"), "invalid_arguments", "read_logs, restart_service")
    for wrong in [for_ana(tool_params="{}"), for_ana(ttl="soon"), for_ana(sudo=True), {"tool_name": "read_logs"}]:
        await refused(bot, ASK, wrong, "invalid_arguments")
    await refused(bot, DESCRIBE, {"request_id": "req-1"}, "invalid_arguments")
    await refused(bot, DESCRIBE, {"request_id": f"req-{'0' * 26}"}, "unknown_request")
    await refused(bot, LIST, {"of": "carol@example.com"}, "invalid_arguments")
    await refused(bot, "grant_everything", {}, "invalid_arguments", ASK)


async def asked(bot, **more):
    seen = await called(bot, ASK, for_ana(ttl="10m", **more))
    same((seen["status"], seen["requested_by"], seen["user_email"]), ("pending", "agent:bot", "ana@example.com"))
    assert re.fullmatch(r"req-[0-9a-z]{26}", seen["request_id"]), seen
    return seen


async def nobody_may(request_id, people):
    """Neither agents nor whoever it is for decide."""
    for who, code in people:
        for action in ["approve", "reject"]:
            say = {"request_id": request_id, "approval_action": action}
            await refused(who, DECIDE, say, code)


async def story(world, bot, ana, bob, other):
    """Asked for; approved for less time; active; over, by the clock and because it was given back."""
    await refusals(bot)
    seen = await asked(bot, reason="why the checkout is slow")
    this = {"request_id": seen["request_id"]}
    await nobody_may(seen["request_id"], [(bot, "own_request"), (ana, "own_request"), (other, "unknown_request")])
    same((await called(bot, DESCRIBE, this))["status"], "pending")
    for reader in [bot, ana, bob]:
        same([it["request_id"] for it in (await called(reader, LIST, {}))["requests"]], [seen["request_id"]])

    def approve(**more):
        return {**this, "approval_action": "approve", "digest": seen["digest"], **more}

    await refused(bob, DECIDE, approve(ttl="11m"), "ttl_above_asked", "only shorten")
    await refused(bob, DECIDE, approve(digest="0123456789abcdef"), "stale_digest")
    approved = await called(bob, DECIDE, approve(ttl="2s"))
    same((approved["ttl"], approved["approved_by"]), ("10m", ["bob@example.com"]))
    active = await until(bot, seen["request_id"], "active")
    same(active["how_to_use"], "Call the log service as before.")
    assert active["expires_at"] in active["message"], active
    same(world.read("groups").splitlines()[0], "read_logs: ana")
    ended = await until(bot, seen["request_id"], "ended")
    assert "its time was up" in ended["message"], ended
    same(world.read("groups").splitlines()[0].split(), ["read_logs:"])

    seen = await asked(bot)
    this = {"request_id": seen["request_id"]}
    await called(bob, DECIDE, approve())
    await until(bot, seen["request_id"], "active")
    granted = await called(bot, LIST, {})
    same((granted["requests"], granted["granted"][0]["request_id"]), ([], seen["request_id"]))
    world.ends("agent:bot", seen["request_id"])
    ended = await until(bot, seen["request_id"], "ended")
    assert "it was given back" in ended["message"], ended

    seen = await asked(bot)
    say = {"request_id": seen["request_id"], "approval_action": "reject", "reason": "not today"}
    denied = await called(bob, DECIDE, say)
    same((denied["status"], denied["denied_by"], denied["denied_reason"]), ("denied", "bob@example.com", "not today"))
    say = {"request_id": seen["request_id"], "approval_action": "approve"}
    await refused(bob, DECIDE, say, "already_decided", "bob@example.com")


async def ways_in(world):
    """The whole story, in each way."""
    for transport, mode, version in WAYS:
        async with client(world, "agent:bot", transport, mode) as bot:
            same((bot.server_info.name, bot.protocol_version), ("jit", version))
            assert "You cannot approve anything" in bot.instructions, bot.instructions
            await listed(bot)
            async with client(world, "ana@example.com") as ana, client(world, "bob@example.com") as bob, \
                    client(world, "agent:other", transport, mode) as other:
                await story(world, bot, ana, bob, other)
    return [f"{transport} {version}" for transport, _, version in WAYS]


async def apart(world):
    """Two clients at once, each with its own token: each sees its own."""
    async with client(world, "agent:bot") as bot, client(world, "agent:other", "stdio", "legacy") as other:
        carols = {"tool_name": "tools/read_logs", "user_email": "carol@example.com", "tool_params": {}}
        of_bot, of_other = await asked(bot), await called(other, ASK, carols)
        for who, own, foreign in [(bot, of_bot, of_other), (other, of_other, of_bot)]:
            same([it["request_id"] for it in (await called(who, LIST, {}))["requests"]], [own["request_id"]])
            same((await called(who, DESCRIBE, {"request_id": own["request_id"]}))["status"], "pending")
            await refused(who, DESCRIBE, {"request_id": foreign["request_id"]}, "unknown_request")
        async with client(world, "bob@example.com") as bob:
            for seen in [of_bot, of_other]:
                await called(bob, DECIDE, {"request_id": seen["request_id"], "approval_action": "reject"})


async def caps(world):
    """Five requests at once, and no more, however they are asked for."""
    async with client(world, "agent:bot") as bot, client(world, "bob@example.com") as bob:
        opened = [(await asked(bot))["request_id"] for _ in range(5)]
        await refused(bot, ASK, for_ana(), "too_many_open", "5 of your requests")
        for request_id in opened:
            await called(bob, DECIDE, {"request_id": request_id, "approval_action": "reject"})


async def strangers(world):
    """What a client makes of a token that is none, or not any more."""
    world.jit("token", "new", "--principal", "agent:bot", "--out", "old.token")
    old = world.read("old.token").strip()
    async with client(world, None, token=old) as bot:
        await called(bot, LIST, {})
        world.jit("token", "revoke", old.split("_")[1])
        # The client knows an error of HTTP by that alone.
        try:
            await bot.call_tool(LIST, {})
        except MCPError as error:
            assert "error" in str(error), error
        else:
            raise AssertionError("a token that was revoked is as good as before")
    for token in [old, "jit_0123456789abcdef_0123456789abcdef", "no token at all"]:
        for mode in ["auto", "legacy"]:
            try:
                async with client(world, None, mode=mode, token=token):
                    pass
            except BaseException as failure:
                assert "MCPError" in repr(failure), repr(failure)
            else:
                raise AssertionError(f"{token} is a token")
        async with client(world, None, "stdio", "legacy", token=token) as bot:
            await refused(bot, LIST, {}, "failed", "token is not valid")


def posted(world, message, who="agent:bot", **headers):
    """A call that no client makes."""
    headers = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream",
               "Authorization": f"Bearer {world.token(who)}", **headers}
    body = message if isinstance(message, str) else json.dumps(message)
    return httpx2.post(f"{world.api}/mcp", content=body, headers=headers, timeout=PATIENCE_S, trust_env=False)


def message(method, number=1, **params):
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def hello(version):
    return message("initialize", protocolVersion=version, capabilities={}, clientInfo={"name": "x", "version": "1"})


def edges(world):
    """What is refused before it is a call."""
    ping, listing = message("ping"), message("tools/call", name=LIST, arguments={})
    same(posted(world, listing).json()["result"]["isError"], False)
    for version in ["2099-01-01", "1.0"]:
        same(posted(world, listing, **{"MCP-Protocol-Version": version}).status_code, 400)
    for version in ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"]:
        same(posted(world, hello(version)).json()["result"]["protocolVersion"], version)
    same(posted(world, hello("2099-01-01")).json()["result"]["protocolVersion"], "2025-11-25")
    for token in ["", "Bearer", "Bearer none", "Basic YTpi"]:
        answer = posted(world, listing, Authorization=token)
        same((answer.status_code, answer.headers["www-authenticate"]), (401, "Bearer"))
        same(answer.json()["error"]["code"], "not_authenticated")
    for headers in [{"Host": "evil.example.com"}, {"Origin": "https://evil.example.com"}, {"Origin": "null"}]:
        same(posted(world, listing, **headers).status_code, 403)
    same(posted(world, message("resources/subscribe", uri="x")).json()["error"]["code"], -32601)
    for broken in ["", "{", "[]", "null", json.dumps([ping]), '{"jsonrpc": "1.0", "id": 1, "method": "ping"}']:
        status = posted(world, broken).status_code
        assert 400 <= status < 500, f"{broken!r}: {status}"
    same(posted(world, json.dumps(ping) + " " * 65_536).status_code, 413)
    # A session of somebody else is nobody's.
    same(posted(world, listing, **{"Mcp-Session-Id": "of-bob"}).json()["result"]["structuredContent"]["requests"], [])
    for method in ["GET", "DELETE"]:
        headers = {"Authorization": f"Bearer {world.token('agent:bot')}"}
        answer = httpx2.request(method, f"{world.api}/mcp", headers=headers, timeout=PATIENCE_S, trust_env=False)
        same(answer.status_code, 405)


def lines(world):
    """What no client says to `jit mcp`: it answers what it can, and ends with its input."""
    say = [hello("2099-01-01"), {"jsonrpc": "2.0", "method": "notifications/initialized"}, "{ nonsense",
           message("ping", 2), message("sudo", 3), message("tools/call", 4, name=LIST, arguments={})]
    text = "".join(f"{it if isinstance(it, str) else json.dumps(it)}\n" for it in say)
    variables = {**world.variables, "JIT_SERVER": world.api, "JIT_TOKEN_FILE": world.token_file("agent:bot")}
    program = subprocess.Popen([f"{world.binaries}/jit", "mcp"], env=variables, text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        program.stdin.write(text)
        program.stdin.flush()
        answers = {it["id"]: it for it in (json.loads(program.stdout.readline()) for _ in range(4))}
        rest, said = program.communicate(timeout=PATIENCE_S)
    finally:
        program.kill()
        program.wait()
    same((program.returncode, rest, said), (0, "", ""))
    same(sorted(answers), [1, 2, 3, 4])
    same(answers[1]["result"]["protocolVersion"], "2025-11-25")
    same(answers[2]["result"], {})
    same(answers[3]["error"]["code"], -32601)
    same(answers[4]["result"]["structuredContent"]["requests"], [])
