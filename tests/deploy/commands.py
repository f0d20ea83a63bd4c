"""Every command in the README and the pages is one that the binaries know.

Each is called with --help behind it, which reads all its arguments and does nothing. Takes the folder of
the binaries.
"""

import pathlib
import re
import shlex
import subprocess
import sys

BINARIES = pathlib.Path(sys.argv[1]).absolute()
# What the changelog names may be gone by now.
PAGES = [pathlib.Path("README.md"), *sorted(set(pathlib.Path("docs").glob("*.md")) - {pathlib.Path("docs/CHANGELOG.md")})]
PROGRAMS = {"jit", "jitd", "jit-sweeper"}


def commands(text):
    """Whole lines of shell, and what stands between backticks and has arguments."""
    for block in re.findall(r"^```sh\n(.*?)^```", text, flags=re.M | re.S):
        yield from block.replace("\\\n", " ").splitlines()
    yield from (code for code in re.findall(r"`([^`\n]+)`", text) if code.split()[0] in PROGRAMS and " " in code)


tried, wrong = 0, []
for page in PAGES:
    for line in commands(page.read_text()):
        line = line.replace("$(date +%F)", "today").replace("…", "x")
        words = shlex.split(line.removesuffix(" &"), comments=True)
        if not words or words[0] not in PROGRAMS:
            continue
        # Where its answer goes is the shell's.
        words = words[: min((words.index(it) for it in ("|", ">") if it in words), default=None)]
        if words[-1].startswith("--") and words[-1][2:] in ("principal", "entitlement"):
            words.append("x")
        said = subprocess.run([BINARIES / words[0], *words[1:], "--help"], capture_output=True, text=True)
        tried += 1
        if said.returncode != 0 or "Usage:" not in said.stdout:
            wrong.append(f"{page}: {line}: {said.stderr.strip().splitlines()[:1]}")
for line in wrong:
    print(f"tests/deploy: {line}", file=sys.stderr)
print(f"docs: {tried} commands, {len(wrong)} wrong")
sys.exit(bool(wrong))
