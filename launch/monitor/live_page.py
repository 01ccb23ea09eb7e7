"""The page of a study while it runs, served on this machine alone.

A page takes seconds to make, on the machine that may be training: it is made anew when something is new,
and then not for PAUSE times as long as that took, or a minute. What runs now is read every few seconds.
"""

import json
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from launch.monitor.bands import Bands, read_bands
from launch.monitor.progress import StudyProgress, read_progress
from launch.monitor.text import headline, running_line
from launch.store import UNFINISHED, Store

HERE = "127.0.0.1"
SECONDS = 2.0
PAUSE, LONGEST = 20.0, 60.0


def now_lines(seen: StudyProgress, bands: Bands) -> list[str]:
    """How far the stages are that have runs to do, time left, and what each worker trains, with what is
    expected of it; and what is not as it should be."""
    lines = [
        headline(seen, stage, stage)
        for stage, counts in seen.stages.items()
        if any(counts[state] for state in UNFINISHED)
    ]
    if seen.n_workers:
        lines.append(f"{seen.n_workers} worker{'' if seen.n_workers == 1 else 's'} at work")
    for run, at in seen.running:
        lines += [running_line(run, at, columns=110, names=seen.settings), *bands.lines(run.run_id)]
    return lines + bands.doubts()


@dataclass
class LivePage:
    """What is served. `make(version)` returns the page as it is now; `final()` that of a finished study."""

    store: Store
    make: Callable[[str], str]
    final: Callable[[], str]
    html: str = ""
    version: str = ""
    lines: list[str] = field(default_factory=list)
    _due: float = 0.0

    def look(self) -> bool:
        """Reads the study, and makes the page anew if that is due; whether the study goes on."""
        if self.store.finished.exists():
            self.html, self.version, self.lines = self.final(), "finished", ["finished"]
            return False
        seen = read_progress(self.store)
        self.lines = now_lines(seen, read_bands(self.store, seen))
        steps = [at.get("step", 0) for _, at in seen.running]
        version = f"{len(seen.ended)} of {len(seen.states)}, {sum(steps)} steps"
        if version != self.version and time.monotonic() >= self._due:
            began = time.monotonic()
            self.html = self.make(version)
            took = time.monotonic() - began
            self.version, self._due = version, time.monotonic() + min(PAUSE * took, LONGEST)
        return True

    def follow(self) -> None:
        """Looks again and again until the study is finished; what goes wrong is said, and tried again."""
        goes_on = True
        while goes_on:
            try:
                goes_on = self.look()
            except (ValueError, OSError) as error:  # a file that is being replaced, a disk that is full
                print(f"isoflop: {error}", file=sys.stderr)
            time.sleep(SECONDS)


def server_of(page: LivePage, port: int) -> ThreadingHTTPServer:
    """A server of the page on `port` (0: any that is free) of this machine's own address.

    Raises:
      ValueError: the port is in use.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host = self.headers.get("Host", "").rpartition(":")[0]
            if host not in (HERE, "localhost"):  # a page of the web that calls itself this machine
                self.send_error(403)
            elif self.path == "/":
                self._send("text/html", page.html)
            elif self.path == "/now.json":
                self._send("application/json", json.dumps({"version": page.version, "lines": page.lines}))
            else:
                self.send_error(404)

        def _send(self, kind: str, text: str) -> None:
            content = text.encode()
            self.send_response(200)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """A line every two seconds helps nobody."""

    try:
        return ThreadingHTTPServer((HERE, port), Handler)
    except OSError as error:
        raise ValueError(f"--port {port}: {error.strerror}; give another one") from None


def serve(page: LivePage, port: int) -> None:
    """Serves the page until interrupted."""
    page.look()
    with server_of(page, port) as server:
        print(f"http://{HERE}:{server.server_address[1]}/ (Ctrl-C ends it)", flush=True)
        threading.Thread(target=page.follow, daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            print()
