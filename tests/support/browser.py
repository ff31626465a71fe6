"""A headless Chromium, driven by the WebDriver protocol of Debian's `chromium-driver`: JSON over HTTP, so nothing else is needed.

https://www.w3.org/TR/webdriver2/
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import waiting

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Browser", "browser", "is_installed"]

ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""How WebDriver's JSON calls an element."""
KEYS: Final = {"enter": "\ue007", "escape": "\ue00c"}


def is_installed() -> bool:
    return shutil.which("chromedriver") is not None and shutil.which("chromium") is not None


class Browser:
    """One window."""

    def __init__(self, port: int, session: str) -> None:
        self._port = port
        self._path = f"/session/{session}"

    def open(self, url: str) -> None:
        self._post("/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """What a function of so many arguments with this body returns."""
        return self._post("/execute/sync", {"script": script, "args": list(arguments)})

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText ?? ''", selector))

    def wait(self, script: str, *arguments: Any, limit_s: float = 120) -> None:
        """Waits until a script returns something true."""
        waiting.until(lambda: self.run(script, *arguments), limit_s=limit_s)

    def click(self, selector: str) -> None:
        self._post(f"/element/{self._find(selector)}/click", {})

    def type(self, selector: str, text: str) -> None:
        """Types as a user does; `{enter}` and `{escape}` are keys."""
        for name, key in KEYS.items():
            text = text.replace(f"{{{name}}}", key)
        self._post(f"/element/{self._find(selector)}/value", {"text": text})

    def resize(self, width: int, height: int) -> None:
        self._post("/window/rect", {"width": width, "height": height})

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(_call(self._port, "GET", f"{self._path}/screenshot")))

    def console(self) -> list[str]:
        """What the page complained of."""
        entries = self._post("/se/log", {"type": "browser"})
        return [entry["message"] for entry in entries if entry["level"] in {"SEVERE", "WARNING"}]

    def _find(self, selector: str) -> str:
        found = self._post("/element", {"using": "css selector", "value": selector})
        return str(found[ELEMENT])

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        return _call(self._port, "POST", self._path + path, body)


@contextlib.contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A browser that keeps its files in `folder`."""
    driver = subprocess.Popen(
        ["chromedriver", "--port=0"],  # noqa: S607 (Debian's, wherever it lies)
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert driver.stdout is not None
    try:
        # `ChromeDriver was started successfully on port 12345.`
        port = next(int(line.rstrip(".\n").rsplit(" ", 1)[1]) for line in driver.stdout if "on port" in line and "successfully" in line)
        arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-dev-shm-usage",
            "--disable-gpu",
            f"--user-data-dir={folder}",
            "--window-size=1100,800",
        ]
        options = {"goog:chromeOptions": {"args": arguments}, "goog:loggingPrefs": {"browser": "ALL"}}
        session = _call(port, "POST", "/session", {"capabilities": {"alwaysMatch": options}})["sessionId"]
        try:
            yield Browser(port, session)
        finally:
            _call(port, "DELETE", f"/session/{session}")
    finally:
        driver.terminate()
        driver.wait()
        driver.stdout.close()


def _call(port: int, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=180)
    try:
        connection.request(method, path, None if body is None else json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        value = json.loads(response.read())["value"]
    finally:
        connection.close()
    if response.status != 200:
        message = f"{method} {path}: {value['error']}: {value['message']}"
        raise RuntimeError(message)
    return value
