"""A headless Chromium, driven by its DevTools protocol over two pipes.

It is told what to do in JSON, a message ends with a NUL byte, and there is no port that anybody else
could connect to. What the page says on its console, and what it asks for, is written down.
"""

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

from harness import eventually

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-extensions",
         "--hide-scrollbars", "--remote-debugging-pipe"]
ANSWER_S = 60


class Browser:
    """One tab. A context manager."""

    def __init__(self):
        self.profile = tempfile.mkdtemp(prefix="browser-")
        in_read, self.pipe_in = os.pipe()
        self.pipe_out, out_write = os.pipe()
        self.process = self.launch(in_read, out_write)
        self.buffer = b""
        self.last_id = 0
        self.session = None
        self.complaints = []  # what went wrong in the page
        self.requests = []  # addresses that it asked for
        self.attach()

    def launch(self, in_read, out_write):
        """Chromium reads its orders from descriptor 3 and answers on 4."""
        def pipes():
            high = [os.dup(in_read) if in_read < 5 else in_read,
                    os.dup(out_write) if out_write < 5 else out_write]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        process = subprocess.Popen(
            ["chromium", *FLAGS, f"--user-data-dir={self.profile}", "about:blank"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            close_fds=False, preexec_fn=pipes, env=os.environ | {"HOME": self.profile})
        os.close(in_read)
        os.close(out_write)
        return process

    def attach(self):
        page = eventually(self.first_page, what="Chromium has a page")
        self.session = self.call("Target.attachToTarget", targetId=page["targetId"],
                                 flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def first_page(self):
        targets = self.call("Target.getTargets")["targetInfos"]
        return next((target for target in targets if target["type"] == "page"), None)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        os.close(self.pipe_in)
        os.close(self.pipe_out)
        shutil.rmtree(self.profile, ignore_errors=True)

    # The protocol.

    def call(self, method, **params):
        """The result of a call; what happens meanwhile is written down."""
        self.last_id += 1
        message = {"id": self.last_id, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.pipe_in, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.last_id:
                assert "error" not in answer, (method, answer["error"])
                return answer["result"]
            self.happened(answer.get("method"), answer.get("params"))

    def receive(self):
        end = time.monotonic() + ANSWER_S
        while b"\0" not in self.buffer:
            ready = select.select([self.pipe_out], [], [], max(0, end - time.monotonic()))[0]
            assert ready, "Chromium does not answer"
            got = os.read(self.pipe_out, 1 << 16)
            assert got, "Chromium has ended"
            self.buffer += got
        message, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(message)

    def happened(self, what, params):
        if what == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif what == "Runtime.exceptionThrown":
            self.complaints.append(params["exceptionDetails"])
        elif what == "Runtime.consoleAPICalled":
            self.complaints.append(params["args"])
        elif what == "Log.entryAdded":
            self.complaints.append(params["entry"])

    # What tests do.

    def open(self, address, width=1200, height=900, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                  deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=address)

    def run(self, expression):
        """The value of an expression of JavaScript in the page."""
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True,
                           awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def screenshot(self, path):
        size = self.run("[document.documentElement.scrollWidth, "
                        "document.documentElement.scrollHeight]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        shot = self.call("Page.captureScreenshot", captureBeyondViewport=True, clip=clip)
        with open(path, "wb") as file:
            file.write(base64.b64decode(shot["data"]))
