"""Slack's own Python client for Socket Mode against the simulated workspace: it connects, hears a
command and an event, acknowledges both, and goes on after Slack renewed its connection."""

import json
import subprocess
import sys
import threading
import urllib.request

from slack_sdk.socket_mode import SocketModeClient
from slack_sdk.socket_mode.response import SocketModeResponse
from slack_sdk.version import __version__
from slack_sdk.web import WebClient

PATIENCE_S = 20


class Workspace:
    """The simulator's process, and its control API."""

    def __init__(self, binary):
        self.process = subprocess.Popen([binary, "--port", "0"], stdout=subprocess.PIPE, text=True)
        self.page = self.process.stdout.readline().split()[-1]
        self.known = self.ask("workspace")

    def ask(self, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(f"{self.page}control/{path}", data, headers)
        with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
            return json.load(answer)


def main(binary):
    workspace = Workspace(binary)
    try:
        check(workspace)
    finally:
        workspace.process.terminate()
        workspace.process.wait()


def check(workspace):
    heard, hello = [], threading.Semaphore(0)
    web = WebClient(base_url=workspace.known["api_url"] + "/", token=workspace.known["bot_token"])
    client = SocketModeClient(app_token=workspace.known["app_token"], web_client=web)

    def take(client, request):
        heard.append((request.type, request.payload))
        payload = {"text": "done"} if request.accepts_response_payload else None
        response = SocketModeResponse(envelope_id=request.envelope_id, payload=payload)
        client.send_socket_mode_response(response)

    def see(client, message, raw):
        if message.get("type") == "hello":
            hello.release()

    client.socket_mode_request_listeners.append(take)
    client.message_listeners.append(see)
    client.connect()
    for connection in range(3):
        assert hello.acquire(timeout=PATIENCE_S), f"connection {connection} never said hello"
        typed = {"channel": "C0SEC", "command": "/jit", "text": f"turn {connection}"}
        answer = workspace.ask("users/U0ANA/slash", typed)
        assert answer["acked"] and answer["payload"] == {"text": "done"}, answer
        kind, payload = heard[-1]
        assert (kind, payload["text"]) == ("slash_commands", f"turn {connection}"), heard[-1]
        answer = workspace.ask("users/U0ANA/open_home", {})
        assert answer["acked"] and heard[-1][1]["event"]["type"] == "app_home_opened", answer
        workspace.ask("hostile", {"do": "disconnect", "reason": "refresh_requested"})
    client.close()
    facts = workspace.ask("facts")
    assert facts["seen_errors"] == [] and facts["violations"] == [], facts
    print(f"slack_sdk {__version__}: 3 connections, {len(heard)} envelopes acknowledged")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
