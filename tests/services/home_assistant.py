"""Starts Home Assistant in a folder of its own, makes a user and a refresh token there, and runs a command
with what opens its door in the environment. At its first start it installs what its parts need.

Usage: home_assistant.py HASS FOLDER COMMAND …
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request

hass, folder, *command = sys.argv[1:]

with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    port = free.getsockname()[1]
url = f"http://127.0.0.1:{port}"
client_id = f"{url}/"

pathlib.Path(folder, "configuration.yaml").write_text(
    f"http:\n  server_host: 127.0.0.1\n  server_port: {port}\napi:\nonboarding:\n"
)


def post(path, body, form=False):
    data = urllib.parse.urlencode(body) if form else json.dumps(body)
    kind = "application/x-www-form-urlencoded" if form else "application/json"
    request = urllib.request.Request(url + path, data.encode(), {"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


log = open(pathlib.Path(folder, "hass.out"), "w")
server = subprocess.Popen([hass, "--config", folder], stdout=log, stderr=log)
try:
    for _ in range(1800):
        try:
            urllib.request.urlopen(url + "/api/onboarding", timeout=5).read()
            break
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            assert server.poll() is None, pathlib.Path(folder, "hass.out").read_text()[-2000:]
            time.sleep(0.5)
    else:
        sys.exit("Home Assistant did not start within a quarter of an hour")
    user = {
        "client_id": client_id,
        "name": "Ana",
        "username": "ana",
        "password": "of no account that anybody has",
        "language": "en",
    }
    code = post("/api/onboarding/users", user)["auth_code"]
    grant = {"grant_type": "authorization_code", "code": code, "client_id": client_id}
    tokens = post("/auth/token", grant, form=True)
    environment = dict(
        os.environ,
        JIT_LIVE_HOME_ASSISTANT="1",
        JIT_HOME_ASSISTANT_URL=url,
        JIT_HOME_ASSISTANT_REFRESH_TOKEN=tokens["refresh_token"],
        JIT_HOME_ASSISTANT_CLIENT_ID=client_id,
    )
    sys.exit(subprocess.run(command, env=environment).returncode)
finally:
    server.terminate()
    try:
        server.wait(timeout=60)
    except subprocess.TimeoutExpired:
        server.kill()
