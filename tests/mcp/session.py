"""Clients of the Model Context Protocol that nobody here wrote, against a real `jitd`; and what
docs/AGENTS.md says, as it is written there."""

import asyncio
import os
import sys

import clients
import documented
import others
from kept import no_secret
from world import CONFIGURATION, World, same


def kept(world):
    """What is left of it all: an audit that holds, and a log that tells no secret."""
    world.jit("audit", "verify")
    log = world.read("log")
    no_secret(world.folder, world.tokens.values())
    for secret in ["@example.com", "why the checkout is slow"]:
        assert secret not in log, f"{secret} is in the log"
    same(world.daemon.poll(), None)


def no_rule_lets_agents_decide(world):
    """A configuration that says so does not start."""
    operations = 'principals = ["group:operations"]'
    written = world.read("jit.toml")
    same(written.count(operations), 1)
    world.write("wrong.toml", written.replace(operations, 'principals = ["group:operations", "agent:*"]'))
    said = world.jit("--config", "wrong.toml", "config", "check", code=1)
    assert "programs file requests and nothing else" in said, said


def main(binaries, modules):
    modules = os.path.abspath(modules)
    proxy = others.Proxy()
    with World(binaries, CONFIGURATION.format(origins=f'"{proxy.origin}"')) as world:
        no_rule_lets_agents_decide(world)
        ways = asyncio.run(clients.ways_in(world))
        asyncio.run(clients.apart(world))
        asyncio.run(clients.strangers(world))
        clients.edges(world)
        clients.lines(world)
        inspected = others.Inspector(world, modules).tour()
        passed = others.conformance(world, modules, proxy)
        kept(world)
    with World(binaries, CONFIGURATION.format(origins="")) as world:
        asyncio.run(clients.caps(world))
    connected = documented.page(binaries, modules)
    print(f"tests/mcp: the Python client over {', '.join(ways)}; the inspector in {inspected} ways; "
          f"{passed} conformance scenarios; {connected} documented clients")


if __name__ == "__main__":
    main(*sys.argv[1:])
