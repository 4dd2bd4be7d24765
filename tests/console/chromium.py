"""One Chromium for many pages, through its DevTools protocol on a pipe: no library, no port."""

import base64
import fcntl
import json
import os
import select
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager

PROGRAM = shutil.which("chromium") or shutil.which("chromium-browser")
_FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--remote-debugging-pipe",
]  # fmt: skip
# Numbers that the two ends have in Chromium.
_COMMANDS, _ANSWERS = 3, 4
_SECONDS = 60


class DevToolsError(Exception):
    """Chromium refused a command, or a script of a page failed."""


class Chromium:
    """A browser with one tab."""

    def __init__(self, commands: int, answers: int) -> None:
        self._commands, self._answers = commands, answers
        self._read = b""
        self._number = 0
        self._url = ""
        self._session: dict[str, str] = {}
        self.events: list[dict] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": session["sessionId"]}
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **params: object) -> dict:
        """Send a command and return its result."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self._number:
            self.events.append(answer)
        if "error" in answer:
            raise DevToolsError(answer["error"])
        return answer["result"]

    def open(self, url: str) -> None:
        """Load a page with all that it shows; forget what earlier ones said."""
        self.events.clear()
        self._url = url
        self.call("Page.navigate", url=url)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def run(self, script: str) -> object:
        """Return the value of an expression in the page, of a promise what it resolves to."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        if "exceptionDetails" in answer:
            raise DevToolsError(answer["exceptionDetails"])
        return answer["result"].get("value")

    def look(self, width: int, scheme: str) -> None:
        """Show pages in a window of a width, in pixels, light or dark."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 500,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def picture(self) -> bytes:
        """Return the whole page as PNG."""
        answer = self.call("Page.captureScreenshot", captureBeyondViewport=True)
        return base64.b64decode(answer["data"])

    @property
    def complaints(self) -> list[dict]:
        """What the page wrote to its console, its faults and what its policy forbade."""
        self.run("1")  # what came before has been read then
        said = [e["params"] for e in self.events if e["method"] == "Log.entryAdded"]
        kinds = ("Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [
            *(event for event in self.events if event["method"] in kinds),
            *(each for each in said if self._is_complaint(each["entry"])),
        ]

    def _is_complaint(self, entry: dict) -> bool:
        # The status of a page of an error is none, nor is advice.
        return entry["level"] != "verbose" and entry.get("url") != self._url

    def _next(self) -> dict:
        while b"\0" not in self._read:
            if not select.select([self._answers], [], [], _SECONDS)[0]:
                raise DevToolsError("Chromium does not answer")
            more = os.read(self._answers, 1 << 20)
            if not more:
                raise DevToolsError("Chromium has ended")
            self._read += more
        message, _, self._read = self._read.partition(b"\0")
        return json.loads(message)


@contextmanager
def chromium(folder: os.PathLike) -> Iterator[Chromium]:
    """Run Chromium with its files in a folder."""
    assert PROGRAM
    ends = [_high(end) for pair in (os.pipe(), os.pipe()) for end in pair]
    its_commands, commands, answers, its_answers = ends
    pid = os.posix_spawn(
        PROGRAM,
        [PROGRAM, *_FLAGS, f"--user-data-dir={folder}"],
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, its_commands, _COMMANDS),
            (os.POSIX_SPAWN_DUP2, its_answers, _ANSWERS),
            (os.POSIX_SPAWN_OPEN, 2, os.devnull, os.O_WRONLY, 0),
        ],
        setpgroup=0,
    )
    os.close(its_commands)
    os.close(its_answers)
    try:
        yield Chromium(commands, answers)
    finally:
        os.close(commands)
        os.close(answers)
        os.killpg(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def _high(end: int) -> int:
    """Move a file descriptor out of the way of those that Chromium gets."""
    moved = fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(end)
    return moved
