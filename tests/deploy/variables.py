"""The variables of docs/deploy/compose.yaml are a configuration that works."""

import os
import pathlib
import subprocess
import sys
import tempfile

from ruamel.yaml import YAML

jit = os.path.abspath(sys.argv[1])
compose = YAML(typ="safe").load(pathlib.Path("docs/deploy/compose.yaml").read_text())
service = compose["services"]["jit"]
assert set(service["secrets"]) == set(compose["secrets"]), "every secret is used, and each is there"

ignored = pathlib.Path(".dockerignore").read_text().split()
assert "**/secrets" in ignored and "**/.env" in ignored, "no secret gets into the image"

with tempfile.TemporaryDirectory() as folder:
    variables = dict(service["environment"])
    for name, value in variables.items():
        if value.startswith("/run/secrets/"):
            secret = value.removeprefix("/run/secrets/")
            assert secret in compose["secrets"], secret
            file = pathlib.Path(folder, secret)
            file.write_text("0123456789abcdef0123456789abcdef")
            variables[name] = str(file)
    said = subprocess.run([jit, "config", "check"], cwd=folder, env=variables, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout + said.stderr
    print("docs/deploy/compose.yaml:", said.stdout.strip())
