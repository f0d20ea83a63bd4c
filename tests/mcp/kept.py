"""S15 after a session: what the service wrote has no secret in it."""

import os
import re

WRITTEN = (".db", ".db-wal", ".db-shm", ".csv", ".jsonl", "log")
# What Vault and Grafana made meanwhile, for whomever.
MADE = re.compile(r"hvs\.\w{10,}|glsa_\w{10,}")


def half(secret):
    """The store may know a bearer token's first half, which says which token it is."""
    return secret.split("_", 2)[2] if secret.startswith("jit_") else secret


def no_secret(folder, secrets):
    """Neither these nor those that were made meanwhile are in the log, the store, and the log of the
    audit."""
    secrets = [half(it) for it in secrets]
    files = [os.path.join(place, name) for place, _, names in os.walk(folder) for name in names
             if name.endswith(WRITTEN)]
    for end in ("log", ".db"):
        assert any(it.endswith(end) for it in files), f"there is no {end} in {files}"
    for file in files:
        with open(file, encoding="utf-8", errors="replace") as opened:
            text = opened.read()
        found = [it for it in secrets if it in text] + MADE.findall(text)
        assert not found, f"{found[0]} is in {file}"
