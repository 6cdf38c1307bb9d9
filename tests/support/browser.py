"""Drives headless Chromium through its debugging pipe: pages, pictures of them, and what goes wrong in them."""

from __future__ import annotations

import base64
import fcntl
import io
import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
OPTIONS = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking --disable-component-update --disable-sync --use-angle=swiftshader --enable-unsafe-swiftshader --remote-debugging-pipe --window-size=1200,800"  # fmt: skip


def find() -> str | None:
    """The browser's path, if there is one."""
    return os.environ.get("AG3D_CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)


class Browser:
    """One page. Every wait for it ends, with an error, after a minute."""

    _session: str | None = None

    def __init__(self, program: str, folder: Path) -> None:
        theirs, self._write = os.pipe()
        self._read, answers = os.pipe()
        high = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 100) for one in (theirs, answers)]

        def connect() -> None:
            for place, one in zip((3, 4), high):  # where the protocol wants them
                os.dup2(one, place, inheritable=True)

        command = [program, *OPTIONS.split(), f"--user-data-dir={folder}", "about:blank"]
        self._process = subprocess.Popen(
            command, preexec_fn=connect, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for one in (theirs, answers, *high):
            os.close(one)
        self._buffer = b""
        self._number = 0
        self.faults: list[str] = []  # errors of the page, in the order of their coming
        self.requests: list[str] = []  # addresses that the page asked for
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._write, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._next()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer
                return answer["result"]

    def _next(self, seconds: float = 60) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._read], [], [], max(0, end - time.monotonic()))
            if not ready:
                raise TimeoutError("the browser does not answer")
            part = os.read(self._read, 1 << 20)
            if not part:
                raise RuntimeError("the browser ended")
            self._buffer += part
        text, self._buffer = self._buffer.split(b"\0", 1)
        message = json.loads(text)
        self._note(message.get("method", ""), message.get("params", {}))
        return message

    def _note(self, method: str, found: dict[str, Any]) -> None:
        if method == "Runtime.exceptionThrown":
            self.faults.append(str(found["exceptionDetails"].get("exception", found["exceptionDetails"])))
        elif method == "Runtime.consoleAPICalled" and found["type"] in ("error", "warning", "assert"):
            self.faults.append(" ".join(str(value.get("value", value)) for value in found["args"]))
        elif method == "Log.entryAdded" and found["entry"]["level"] in ("error", "warning"):
            if "GPU stall due to ReadPixels" not in found["entry"]["text"]:  # pictures of the page cause it
                self.faults.append(found["entry"]["text"])
        elif method == "Network.requestWillBeSent":
            self.requests.append(found["request"]["url"])

    def open(self, address: str) -> None:
        """Go to a page and wait until it is whole."""
        self.call("Page.navigate", url=address)
        self.until("location.href != 'about:blank' && document.readyState == 'complete'")

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def until(self, expression: str, seconds: float = 60) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + seconds
        while not self.run(expression):
            assert time.monotonic() < end, f"still not so: {expression}; faults: {self.faults}"
            time.sleep(0.1)

    def picture(self, selector: str = "") -> np.ndarray:
        """What is on the screen, or the part of it where an element is: uint8 [H,W,3]."""
        area = {}
        if selector:
            box = self.run(f"(({{x,y,width,height}})=>({{x,y,width,height}}))(document.querySelector('{selector}').getBoundingClientRect())")  # fmt: skip
            area = {"clip": {**box, "scale": 1}}
        data = self.call("Page.captureScreenshot", format="png", **area)["data"]
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB"))

    def close(self) -> None:
        os.close(self._write)
        os.close(self._read)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
