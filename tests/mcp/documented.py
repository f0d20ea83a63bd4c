"""docs/AGENTS.md and docs/examples/agents.toml: the preset is a configuration that works, the page shows
what is in it, and each client that the page connects is connected as it is written there."""

import asyncio
import json
import os
import re
import subprocess
import sys

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from clients import DECIDE, LIST, TOOLS, called, client
from others import Inspector
from world import PATIENCE_S, World, same

DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "docs")
WRITTEN = "http://127.0.0.1:8080"
SLACK = {"JIT_SLACK_BOT_TOKEN": "xoxb-1", "JIT_SLACK_APP_TOKEN": "xapp-1"}


def text_of(name):
    with open(os.path.join(DOCS, name), encoding="utf-8") as file:
        return file.read()


def block(page, kind):
    """The one block of this kind."""
    found = re.findall(rf"(?ms)^```{kind}\n(.*?)^```$", page)
    same(len(found), 1)
    return found[0]


def preset(binaries):
    """It is sound, and what it comes to is meant; without Slack, which cannot be reached, it runs."""
    whole = text_of("examples/agents.toml")
    world = World(binaries, whole, SLACK)
    world.jit("config", "check")
    world.jit("policy", "lint")
    world.kept.cleanup()
    parts = re.split(r"(?m)^# -+ where it is decided$", whole)
    same(len(parts), 2)
    return parts[0]


def shown(page, whole):
    """What the page shows of the configuration is in it, word for word."""
    shown = re.findall(r"(?ms)^```toml\n(.*?)^```$", page)
    same(len(shown), 4)
    for part in shown:
        assert part in whole, f"the preset has no such lines:\n{part}"


def over_stdio(world, page, modules):
    """The inspector reads the file as the clients that it is for do."""
    text = block(page, "json stdio")
    for written, ours in [(WRITTEN, world.api), ("/home/ana/bot.token", world.token_file("agent:bot"))]:
        same(text.count(written), 1)
        text = text.replace(written, ours)
    world.write("mcp.json", text)
    (name,) = json.loads(text)["mcpServers"]
    where = ["--config", world.path("mcp.json"), "--server", name]
    tools = Inspector(world, modules).result(where, "tools/list")["tools"]
    same([it["name"] for it in tools], list(TOOLS))


async def over_http(world, page):
    """The one server of the file is called as it says, with what was asked for once."""
    text = block(page, "json http").replace(WRITTEN, world.api)
    written = json.loads(text)
    (asked,), (server,) = written["inputs"], written["servers"].values()
    same((server["type"], asked["type"], asked["password"]), ("http", "promptString", True))
    name = "${input:" + asked["id"] + "}"
    headers = {key: value.replace(name, world.token("agent:bot")) for key, value in server["headers"].items()}
    async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S, trust_env=False) as http:
        async with Client(streamable_http_client(server["url"], http_client=http)) as jit:
            same([it.name for it in (await jit.list_tools()).tools], list(TOOLS))
            await called(jit, LIST, {})


async def the_program(world, page):
    """It asks and waits; a person approves for less; it says until when."""
    world.write("ask.py", block(page, "python"))
    variables = {**world.variables, "JIT_SERVER": world.api, "JIT_TOKEN_FILE": world.token_file("agent:bot")}
    program = subprocess.Popen([sys.executable, world.path("ask.py")], cwd=world.folder, env=variables, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        async with client(world, "bob@example.com") as bob:
            for _ in range(PATIENCE_S * 10):
                waiting = (await called(bob, LIST, {}))["requests"]
                if waiting:
                    break
                assert program.poll() is None, program.communicate()
                await asyncio.sleep(0.1)
            say = {"request_id": waiting[0]["request_id"], "approval_action": "approve", "ttl": "5m"}
            await called(bob, DECIDE, say)
            # The program waits for the same; meanwhile nothing else runs here.
            said, failed = program.communicate(timeout=PATIENCE_S)
    finally:
        program.kill()
        program.wait()
    same((program.returncode, failed), (0, ""))
    assert re.fullmatch(r"the access is active until \d{4}-\S+Z\n", said), said
    same(world.read("groups").splitlines()[1], "restart_service: ana")


def page(binaries, modules):
    text = text_of("AGENTS.md")
    for name, (required, optional, ours) in TOOLS.items():
        row = re.search(rf"(?m)^\| `{name}` \|(.*?)\|", text).group(1)
        known = re.findall(r"`(\w+)`", re.sub(r"\(.*?\)", "", row))
        same(sorted(known), sorted(required + optional + ours))
    configuration = preset(binaries)
    shown(text, configuration)
    with World(binaries, configuration) as world:
        over_stdio(world, text, modules)
        asyncio.run(over_http(world, text))
        asyncio.run(the_program(world, text))
        same(world.daemon.poll(), None)
    return 3
