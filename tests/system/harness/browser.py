"""Debian's Chromium without a window, driven over a pair of pipes (--remote-debugging-pipe, DevTools protocol 1.3).

A message is a JSON object that ends with NUL. Chromium reads them from descriptor 3 and writes them to descriptor 4.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.system.harness import needs
from tests.system.harness.waiting import HANG_S

_FLAGS = (
    "--headless", "--remote-debugging-pipe", "--no-first-run", "--no-default-browser-check", "--disable-gpu",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-extensions",
    "--disable-sync", "--disable-dev-shm-usage", "--disable-breakpad", "--force-device-scale-factor=1",
    "--hide-scrollbars", "--password-store=basic",
)  # fmt: skip
#: Parents' ends of the pipes get numbers from here, so that none is 3 or 4.
_FIRST_FD = 10


class BrowserError(AssertionError):
    """Chromium refused a call, ended, or did not answer."""


class Browser:
    """A Chromium with an empty profile below ``directory``. Owns the process and the pipes."""

    def __init__(self, directory: Path, width: int = 1200, height: int = 900) -> None:
        program = needs.program("chromium")
        profile = directory / "profile"
        profile.mkdir(mode=0o700)
        command_out, self._to = _pipe()
        self._from, answer_in = _pipe()
        words = [program, *_FLAGS, f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        if os.geteuid() == 0:
            words.insert(1, "--no-sandbox")  # Chromium refuses to run as root with its sandbox
        environment = {"PATH": os.environ["PATH"], "HOME": str(profile), "LANG": "C.UTF-8", "TZ": "UTC"}
        self.log = directory / "chromium.log"

        def place_pipes() -> None:
            os.dup2(command_out, 3)
            os.dup2(answer_in, 4)

        with open(self.log, "wb") as log:
            self._process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                preexec_fn=place_pipes,
                pass_fds=(3, 4),
                start_new_session=True,
            )
        os.close(command_out)
        os.close(answer_in)
        self._buffer = b""
        self._calls = 0
        #: all events, in their order
        self.events: list[dict[str, Any]] = []

    def call(self, method: str, session: str = "", **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result.

        Raises:
            BrowserError: the method failed.
        """
        self._calls += 1
        message = {"id": self._calls, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        try:
            while data:
                data = data[os.write(self._to, data) :]
        except BrokenPipeError:
            raise BrowserError(self._story(f"Chromium ended before {method}")) from None
        while (answer := self._receive(method)).get("id") != self._calls:
            self.events.append(answer)
        if "error" in answer:
            raise BrowserError(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    def wait_for_event(self, method: str, session: str, since: int = 0) -> dict[str, Any]:
        """The parameters of the first such event of a session; looks at events from number ``since``."""
        while True:
            for event in self.events[since:]:
                if event["method"] == method and event.get("sessionId") == session:
                    parameters: dict[str, Any] = event["params"]
                    return parameters
            since = len(self.events)
            self.events.append(self._receive(method))

    def tab(self) -> Tab:
        """A new, empty tab."""
        return Tab(self)

    def close(self) -> None:
        """End Chromium, all its processes included."""
        with contextlib.suppress(BrowserError):
            self.call("Browser.close")
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(HANG_S)
        os.close(self._to)
        os.close(self._from)

    def _receive(self, what: str) -> dict[str, Any]:
        end = time.monotonic() + HANG_S
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._from], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise BrowserError(self._story(f"no answer to {what} within {HANG_S} s"))
            if not (data := os.read(self._from, 1 << 20)):
                raise BrowserError(self._story(f"Chromium ended during {what}"))
            self._buffer += data
        message, _, self._buffer = self._buffer.partition(b"\0")
        answer: dict[str, Any] = json.loads(message)
        return answer

    def _story(self, text: str) -> str:
        return f"{text}\n{self.log.read_text(errors='replace')[-4000:]}"


class Tab:
    """A tab of a browser. Notes the requests, and all that the console or the policy complains of."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = browser.call("Target.attachToTarget", targetId=self._target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        return self._browser.call(method, self._session, **parameters)

    def open(self, path: Path) -> None:
        """Load a file and wait until the page has loaded."""
        since = len(self._browser.events)
        self.call("Page.navigate", url=path.absolute().as_uri())
        self._browser.wait_for_event("Page.loadEventFired", self._session, since)

    def evaluate(self, expression: str) -> Any:
        """The value of an expression, waited for if it is a promise. Works under any policy of the page."""
        answer = self.call("Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise BrowserError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + HANG_S
        while not self.evaluate(expression):
            if time.monotonic() > end:
                raise BrowserError(f"not true within {HANG_S} s: {expression}; {self.complaints()}")
            self.evaluate("new Promise(requestAnimationFrame)")

    def texts(self, selector: str) -> list[str]:
        """The text that a user reads in each element that the selector names."""
        found: list[str] = self.evaluate(
            f"[...document.querySelectorAll({json.dumps(selector)})].map((each) => each.innerText)"
        )
        return found

    # Keys and mouse, in pixels of the window

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """``kind`` is mouseMoved, mousePressed, mouseReleased or mouseWheel."""
        self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, **more)

    def click(self, x: float, y: float, times: int = 1) -> None:
        for number in range(1, times + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, button="left", buttons=1, clickCount=number)

    def drag(self, begin: tuple[float, float], end: tuple[float, float], modifiers: int = 0) -> None:
        """Press at ``begin``, move, and release at ``end``. ``modifiers``: 8 is Shift."""
        self.mouse("mouseMoved", *begin, modifiers=modifiers)
        self.mouse("mousePressed", *begin, button="left", buttons=1, clickCount=1, modifiers=modifiers)
        middle = ((begin[0] + end[0]) / 2, (begin[1] + end[1]) / 2)
        for point in (middle, end):
            self.mouse("mouseMoved", *point, button="left", buttons=1, modifiers=modifiers)
        self.mouse("mouseReleased", *end, button="left", buttons=0, clickCount=1, modifiers=modifiers)

    def wheel(self, x: float, y: float, down: float, modifiers: int = 0) -> None:
        self.mouse("mouseWheel", x, y, deltaX=0, deltaY=down, modifiers=modifiers)

    def key(self, name: str) -> None:
        text = {"text": name} if len(name) == 1 else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=name, **text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=name)

    def picture(self, path: Path) -> None:
        """Write the visible part of the page as a PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    # The page's requests and complaints

    def requests(self) -> list[str]:
        """The addresses of all requests that the page's policy has not stopped. A stopped request is a complaint."""
        failed = self._events("Network.loadingFailed")
        stopped = {params["requestId"] for params in failed if params.get("blockedReason") == "csp"}
        sent = self._events("Network.requestWillBeSent")
        return [params["request"]["url"] for params in sent if params["requestId"] not in stopped]

    def complaints(self) -> list[str]:
        """Errors and warnings of the console, exceptions, and violations of the page's policy."""
        found = [str(params["exceptionDetails"]) for params in self._events("Runtime.exceptionThrown")]
        calls = self._events("Runtime.consoleAPICalled")
        found += [str(params["args"]) for params in calls if params["type"] in ("error", "warning", "assert")]
        return found + [params["entry"]["text"] for params in self._events("Log.entryAdded")]

    def close(self) -> None:
        self._browser.call("Target.closeTarget", targetId=self._target)

    def _events(self, method: str) -> Iterator[dict[str, Any]]:
        for event in self._browser.events:
            if event["method"] == method and event.get("sessionId") == self._session:
                yield event["params"]


def _pipe() -> tuple[int, int]:
    """The two ends, with numbers that no redirection of ours uses."""
    ends = os.pipe()
    read, write = (fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, _FIRST_FD) for end in ends)
    for end in ends:
        os.close(end)
    return read, write
