"""The image of docs/deploy/Dockerfile, built and run without Docker, with the variables of compose.yaml.

The command that the image is built with runs here, over these sources. What its last stage copies becomes
a folder, and in it, with nothing else to be seen, as the user of the image, its programs run: they need no
library, find a Vault by DNS and by /etc/hosts, and trust it by the certificates that were copied. Not shown:
that the packages of the first stage can be installed, what .dockerignore leaves out, and a root that nobody
may write to.
"""

import contextlib
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import socketserver
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
import urllib.request

import trustme
from dockerfile_parse import DockerfileParser
from ruamel.yaml import YAML

os.chdir(pathlib.Path(__file__).parents[2])
if os.geteuid() != 0:
    print("tests/deploy/image.py: skipped, because only root can run something in a folder as if that were all")
    sys.exit(0)

BESIDE = {"/src/": "./", "/etc/ssl/certs/": "/etc/ssl/certs/"}
VAULT = "vault.example.com"


def stages():
    """The instructions of each stage, and what they declare by ENV."""
    found = []
    with tempfile.TemporaryDirectory() as folder:
        parser = DockerfileParser(path=folder)
        parser.content = pathlib.Path("docs/deploy/Dockerfile").read_text()
        for it in parser.structure:
            if it["instruction"] == "FROM":
                found.append([])
            if found and it["instruction"] != "COMMENT":
                found[-1].append((it["instruction"], it["value"]))
    return found


def declared(stage):
    pairs = [pair for name, value in stage if name == "ENV" for pair in re.findall(r'(\w+)=("[^"]*"|\S+)', value)]
    return {name: value.strip('"') for name, value in pairs}


def built(stage):
    (command,) = [value for name, value in stage if name == "RUN" and "cargo build" in value]
    variables = {name: value for name, value in os.environ.items() if name != "CARGO_TARGET_DIR"}
    subprocess.run(["sh", "-euc", command], check=True, env=variables | declared(stage))


def filled(root, build, stage):
    """What the last stage copies, and nothing else."""
    made = [folder for name, value in build if name == "RUN" for folder in re.findall(r"mkdir (/\S+)", value)]
    for _, value in filter(lambda it: it[0] == "COPY", stage):
        *sources, into = [it for it in value.split() if not it.startswith("--")]
        owner = re.search(r"--chown=(\d+):(\d+)", value)
        target = root / into.lstrip("/")
        for source in sources:
            if source in made:
                target.mkdir()
                if owner:
                    os.chown(target, *map(int, owner.groups()))
                continue
            for inside, here in BESIDE.items():
                source = re.sub(f"^{inside}", here, source)
            source = pathlib.Path(source)
            target.mkdir(parents=True, exist_ok=True)
            for file in source.iterdir() if source.is_dir() else [source]:
                shutil.copy(file, target)


class Sealed(http.server.BaseHTTPRequestHandler):
    """A Vault that says that it is sealed, whatever it is asked."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b'{"errors":["Vault is sealed"],"initialized":true,"sealed":true,"standby":true}'
        self.send_response(503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_PUT = do_POST

    def log_message(self, *_):
        pass


class Names(socketserver.BaseRequestHandler):
    """A DNS that knows one address, for whoever asks for one of the fourth version."""

    def handle(self):
        asked, answers = self.request
        end = asked.index(b"\0", 12) + 5
        is_known = asked[12:end - 4] == b"".join(bytes([len(it)]) + it for it in VAULT.encode().split(b".")) + b"\0"
        is_a = is_known and asked[end - 4:end - 2] == b"\0\1"
        head = asked[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
        record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton("127.0.0.1")
        answers.sendto(head + asked[12:end] + (record if is_a else b""), self.client_address)


def serving(server):
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def variables_of_compose(root, port):
    service = YAML(typ="safe").load(pathlib.Path("docs/deploy/compose.yaml").read_text())["services"]["jit"]
    assert service["read_only"] and service["user"] == "65532:65532"
    for secret in service["secrets"]:
        file = root / "run/secrets" / secret
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("0123456789abcdef0123456789abcdef")
        file.chmod(0o400)
        os.chown(file, 65532, 65532)
    return service["environment"] | {"VAULT_ADDR": f"https://{VAULT}:{port}"}


def main():
    build, image = stages()
    built(build)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        root = pathlib.Path(folder, "root")
        root.mkdir()
        pathlib.Path(folder).chmod(0o755)
        filled(root, build, image)
        programs = sorted((root / "usr/local/bin").iterdir())
        assert [it.name for it in programs] == ["jit", "jit-sweeper", "jitd"]
        size = sum(it.stat().st_size for it in programs) / 2**20

        authority = trustme.CA()
        bundle = root / "etc/ssl/certs/ca-certificates.crt"
        bundle.write_bytes(bundle.read_bytes() + authority.cert_pem.bytes())
        vault = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Sealed)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(VAULT).configure_cert(context)
        vault.socket = context.wrap_socket(vault.socket, server_side=True)
        stack.callback(serving(vault).shutdown)
        stack.callback(serving(socketserver.UDPServer(("127.0.0.77", 53), Names)).shutdown)

        variables = declared(image) | variables_of_compose(root, vault.server_port)
        (user,) = [value for name, value in image if name == "USER"]
        user, group = map(int, user.split(":"))
        (entry,) = [json.loads(value) for name, value in image if name == "ENTRYPOINT"]
        (arguments,) = [json.loads(value) for name, value in image if name == "CMD"]
        (folder_of_work,) = [value for name, value in image if name == "WORKDIR"]

        def inside(arguments, **more):
            """A program in that folder, as the user of the image."""
            def enter():
                os.chroot(root)
                os.chdir(folder_of_work)
                os.setgroups([])
                os.setgid(group)
                os.setuid(user)
            return subprocess.Popen(arguments, preexec_fn=enter, env=variables | more, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

        for program in programs:
            said, _ = (ran := inside([f"/usr/local/bin/{program.name}", "--version"])).communicate(timeout=30)
            assert ran.returncode == 0 and said.startswith(program.name), said

        # What Docker puts there: devices, and a name that is known to DNS, and then to the host alone.
        for device, minor in (("null", 3), ("zero", 5), ("random", 8), ("urandom", 9)):
            (root / "dev").mkdir(exist_ok=True)
            os.mknod(root / "dev" / device, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
            (root / "dev" / device).chmod(0o666)
        for resolver, also in (("127.0.0.77", ""), ("127.0.0.78", VAULT)):
            (root / "etc/resolv.conf").write_text(f"nameserver {resolver}\noptions timeout:1 attempts:1\n")
            (root / "etc/hosts").write_text(f"127.0.0.1 localhost {also}\n")
            said, _ = inside(["/usr/local/bin/jit", "doctor"]).communicate(timeout=60)
            assert re.search("vault .* sealed", said), f"by {also and 'the host' or 'DNS'}: {said}"

        daemon = inside(entry + arguments, JIT_OBSERVE="127.0.0.1:0", JIT_LISTEN="127.0.0.1:0", JIT_LOG_FORMAT="json")
        stack.callback(daemon.kill)
        # It ends if it never serves, and the loop below with it.
        impatient = threading.Timer(30, daemon.kill)
        impatient.start()
        stack.callback(impatient.cancel)
        heard = []
        for line in daemon.stdout:
            heard.append(line)
            if '"serving"' in line:
                break
        else:
            raise AssertionError("".join(heard))
        observe = json.loads(heard[-1])["fields"]["observe"]
        with urllib.request.urlopen(f"http://{observe}/health", timeout=10) as answer:
            assert answer.status == 200
        assert any((root / "data").iterdir()), "what it keeps is in /data"
        daemon.terminate()
        assert daemon.wait(30) == 0, "it stops well"
        print(f"docs/deploy/Dockerfile: built and run in an empty folder, {size:.0f} MiB of programs")


main()
