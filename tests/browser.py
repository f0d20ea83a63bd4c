#!/usr/bin/env python3
"""The lane --browser: headless Chromium uses the demonstration's workspace as a person would.

Ana asks, Bob approves, both see it active, Ana ends it; the group file is the truth. What the page
shows is looked up as a person looks it up, by what is written on it, and everything is done with
the mouse and the keyboard. Two pictures are made for the README on the way. Needs nothing but
Python and Chromium, which is spoken to over a pipe.

    tests/browser.py JITD FOLDER_FOR_PICTURES
"""

import base64
import json
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

PATIENCE = 30
SIZE = {"width": 1100, "height": 860}
LARGEST_PICTURE = 300_000
BROWSERS = ["chromium", "chromium-browser", "google-chrome"]


class Browser:
    """Chromium behind its debugging pipe: messages in JSON, each ended by a NUL."""

    def __init__(self, program, folder):
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()
        # Chromium reads from 3 and writes to 4. First out of the way, then into their places.
        high = [os.dup2(fd, number) for fd, number in ((theirs_in, 63), (theirs_out, 64))]

        def places():
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        arguments = [
            program, "--headless=new", "--remote-debugging-pipe", f"--user-data-dir={folder}",
            "--no-first-run", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
            "--disable-background-networking", "--lang=en-GB",
        ]
        if os.geteuid() == 0:
            # Chromium's own sandbox refuses to run as root; the page is ours.
            arguments.append("--no-sandbox")
        self.log = open(folder / "chromium.log", "wb")
        self.process = subprocess.Popen(
            [*arguments, "about:blank"], preexec_fn=places, pass_fds=(3, 4, *high),
            stdout=self.log, stderr=self.log)
        for fd in (theirs_in, theirs_out, *high):
            os.close(fd)
        self.reads, self.writes = ours_in, ours_out
        self.rest, self.last, self.session, self.wrongs = b"", 0, None, []

    def _message(self, until):
        while b"\0" not in self.rest:
            if not select.select([self.reads], [], [], max(0, until - time.monotonic()))[0]:
                raise TimeoutError("Chromium does not answer")
            more = os.read(self.reads, 1 << 20)
            if not more:
                raise ConnectionError("Chromium ended")
            self.rest += more
        text, self.rest = self.rest.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.writes, data):]
        until = time.monotonic() + PATIENCE
        while True:
            answer = self._message(until)
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            said = answer.get("params", {})
            if answer.get("method") == "Runtime.exceptionThrown":
                self.wrongs.append(said["exceptionDetails"])
            if answer.get("method") == "Log.entryAdded" and said["entry"]["level"] == "error":
                # A page that has no icon is not a wrong.
                if "favicon" not in said["entry"].get("url", ""):
                    self.wrongs.append(said["entry"])

    def open(self, url):
        pages = self.call("Target.getTargets")["targetInfos"]
        page = next(it["targetId"] for it in pages if it["type"] == "page")
        self.session = self.call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.call("Emulation.setDeviceMetricsOverride", **SIZE, deviceScaleFactor=1, mobile=False)
        self.call("Page.navigate", url=url)

    def ask(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def picture(self, file):
        # The pointer out of the way, and no cursor that blinks.
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=1, y=1)
        self.ask("document.activeElement?.blur()")
        data = base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])
        assert len(data) < LARGEST_PICTURE, f"{file} has {len(data)} bytes"
        file.write_bytes(data)

    def end(self):
        self.process.kill()
        self.process.wait()
        self.log.close()


# What somebody can point at: seen, enabled, and not under a dialog. The last one, since chats grow
# downwards.
FIND = """(({css, text, within}) => {
  const open = [...document.querySelectorAll('dialog[open]')].at(-1);
  const root = open ?? document.querySelector(within ?? 'body');
  const seen = (it) => it.getClientRects().length && !it.disabled
    && (it.textContent + ' ' + (it.getAttribute('aria-label') ?? '')).includes(text);
  const it = [...(root?.querySelectorAll(css) ?? [])].filter(seen).at(-1);
  if (!it) return null;
  it.scrollIntoView({block: 'center'});
  const box = it.getBoundingClientRect();
  return [box.x + box.width / 2, box.y + box.height / 2];
})"""


class Person:
    """Eyes and hands."""

    def __init__(self, browser):
        self.browser = browser

    def until(self, what, look):
        until = time.monotonic() + PATIENCE
        while time.monotonic() < until:
            if found := look():
                return found
            time.sleep(0.05)
        shown = self.browser.ask("document.body.innerText")
        raise AssertionError(f"there was never {what}; the page shows:\n{shown}")

    def clicks(self, text, css="button", within=None):
        what = json.dumps({"css": css, "text": text, "within": within})
        x, y = self.until(f"{text!r} to click", lambda: self.browser.ask(f"{FIND}({what})"))
        for kind in ("mousePressed", "mouseReleased"):
            self.browser.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left",
                              clickCount=1)

    def types(self, text):
        self.browser.call("Input.insertText", text=text)

    def presses_enter(self):
        for kind in ("keyDown", "keyUp"):
            self.browser.call("Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter",
                              windowsVirtualKeyCode=13, text="\r" if kind == "keyDown" else "")

    def sees(self, text, within="body"):
        look = f"document.querySelector({json.dumps(within)})?.innerText ?? ''"
        self.until(f"{text!r} in {within}", lambda: text in self.browser.ask(look))

    def is_now(self, name):
        pressed = "document.querySelector('#people [aria-pressed=true]')?.innerText"

        def clicked():
            # The page may be drawn anew between the look and the click.
            self.clicks(name, within="#people")
            return self.browser.ask(pressed) == name

        self.until(f"{name} as the one at the screen", clicked)

    def goes_to(self, place):
        self.clicks(place, within="#places")
        self.sees(place, "#title")


def story(person, browser, group_file, pictures):
    has_ana = lambda: "admins: root-oncall ana\n" in group_file.read_text()
    assert not has_ana()
    person.sees("app connected")

    print("Ana types /jit, searches, says why, and asks")
    person.is_now("Ana")
    person.goes_to("#access-requests")
    person.clicks("", css="#line")
    person.types("/jit")
    person.presses_enter()
    person.sees("Request access", "#modal[open]")
    person.clicks("", css="#modal input[type=search]")
    person.types("admins")
    person.clicks("groupfile/admins", css="#modal .found button")
    person.sees("approval", "#modal[open]")
    person.clicks("", css="#modal textarea")
    person.types("The front page is broken")
    browser.picture(pictures / "slack-request.png")
    person.clicks("Request", css="#modal button.primary")
    person.sees("Sent to #access-requests", "#modal[open]")
    person.clicks("Close", css="#modal .actions button")
    person.until("an end of the form", lambda: not browser.ask("document.querySelector('#modal').open"))
    person.sees("Pending", "#content")

    print("Bob approves, and both see it active")
    person.is_now("Bob")
    person.clicks("Approve 2 min", within="#content")
    person.sees("active until", "#content")
    person.until("ana in the group file", has_ana)
    person.sees("Active until", "#content .thread")
    browser.picture(pictures / "slack-card.png")
    person.is_now("Ana")
    person.sees("active until", "#content")
    person.goes_to("jit (direct)")
    person.sees("is yours until", "#content")

    print("Ana is done")
    person.clicks("I'm done", within="#content")
    person.clicks("End access", css="#confirm button")
    person.sees("returned early", "#content")
    person.until("a group file without ana", lambda: not has_ana())
    person.is_now("Bob")
    person.goes_to("#access-requests")
    person.sees("returned early", "#content")
    person.goes_to("App Home")
    person.sees("Recent", "#content")
    assert not browser.wrongs, f"the page has errors: {browser.wrongs}"


def main():
    jitd, pictures = sys.argv[1], pathlib.Path(sys.argv[2])
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not program:
        sys.exit("tests/run: chromium is missing; install it (Debian: apt-get install chromium)")
    pictures.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="jit-browser-", ignore_cleanup_errors=True) as folder:
        demo = subprocess.Popen([jitd, "demo"], stdout=subprocess.PIPE, text=True)
        browser = None
        try:
            told = ""
            while not (page := re.search(r"Slack workspace.*^  (http://\S+)$", told, re.S | re.M)):
                line = demo.stdout.readline()
                assert line, f"the demonstration ended: {told}"
                told += line
            group_file = pathlib.Path(re.search(r"^  cat (\S+)$", told, re.M)[1])
            browser = Browser(program, pathlib.Path(folder))
            browser.open(page[1])
            story(Person(browser), browser, group_file, pictures)
        finally:
            if browser:
                browser.end()
            demo.send_signal(signal.SIGINT)
            code = demo.wait(PATIENCE)
    assert code == 0, f"the demonstration ended with {code}"
    print("browser: asked, approved, active, ended")


if __name__ == "__main__":
    main()
