"""An HTTP server on this machine that answers like the hub and like Zenodo, and misbehaves.

It speaks to `mois_core.weights` over sockets, so that what is tested is what a clinic will run.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import threading
import time
import zipfile
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import torch

HUB_FILE = "/facebook/sam2.1-hiera-tiny/resolve/main/sam2.1_hiera_tiny.pt"
RECORD = "/api/records/16273967"
WRITE = 1 << 16


def checkpoint_bytes(seed: int = 0, floats: int = 500_000) -> bytes:
    """Return a ``.pt`` file in the published form, of 2 MB, so that it takes several blocks."""
    weight = torch.rand(floats, generator=torch.Generator().manual_seed(seed))
    file = io.BytesIO()
    torch.save({"model": {"weight": weight}}, file)
    return file.getvalue()


def zip_bytes(members: dict[str, bytes]) -> bytes:
    """Return a zip with these members, under exactly these names."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as zipped:
        for name, content in members.items():
            zipped.writestr(name, content)
    return file.getvalue()


@dataclass
class Behaviour:
    """Files and faults of the server; a test changes them between two calls."""

    hub_file: bytes = b""
    zenodo_file: bytes = b""
    status: int = 200
    cut_after: int | None = None
    ignore_range: bool = False
    refuse_range: bool = False
    corrupt: bool = False
    seconds_per_write: float = 0.0
    wait_at: int | None = None
    """Bytes after which nothing comes until `go_on` is set."""
    go_on: threading.Event = field(default_factory=threading.Event)
    hub_etag: str | None = None
    record: dict | None = None
    login_page: bool = False


@dataclass
class Asked:
    """One request as the server received it."""

    method: str
    host: str
    path: str
    range: str | None


@dataclass
class Server:
    """Server that runs while its ``with`` block runs."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    asked: list[Asked] = field(default_factory=list)

    def __enter__(self) -> Server:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    @property
    def cdn(self) -> str:
        """Address of the server under another host, as the hub keeps large files elsewhere."""
        return f"http://localhost:{self._http.server_port}/cdn"

    def ranges(self) -> list[str | None]:
        """Return the Range header of each request for the bytes of a file."""
        return [
            asked.range
            for asked in self.asked
            if asked.method == "GET" and ("/cdn" in asked.path or asked.path.endswith("/content"))
        ]


def _handler(server: Server) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def log_message(self, *args: object) -> None:
            pass

        def answer(self) -> None:
            # A request to a proxy has the whole address in its first line.
            split = urlsplit(self.path)
            behaviour = server.behaviour
            asked = Asked(self.command, split.netloc or "", split.path, self.headers.get("Range"))
            server.asked.append(asked)
            if behaviour.status != 200:
                self.reply(behaviour.status, b"")
            elif asked.path == HUB_FILE:
                cdn = "http://cdn.invalid/cdn" if asked.host else server.cdn
                sha256 = hashlib.sha256(behaviour.hub_file).hexdigest()
                self.reply(
                    302,
                    b"",
                    {
                        "Location": cdn,
                        "ETag": '"of-the-redirect"',
                        "X-Linked-Etag": f'"{behaviour.hub_etag or sha256}"',
                        "X-Linked-Size": str(len(behaviour.hub_file)),
                        "X-Repo-Commit": "0" * 40,
                    },
                )
            elif asked.path == RECORD:
                record = behaviour.record or zenodo_record(behaviour.zenodo_file)
                self.reply(200, json.dumps(record).encode())
            elif asked.path == f"{RECORD}/files/model.zip/content":
                self.reply_file(behaviour.zenodo_file, asked.range)
            elif asked.path == "/cdn":
                self.reply_file(behaviour.hub_file, asked.range)
            else:
                self.reply(404, b"")

        def reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def reply_file(self, content: bytes, wanted: str | None) -> None:
            behaviour = server.behaviour
            if behaviour.login_page:
                self.reply(200, b"<html>Please log in to the guest network</html>")
                return
            start = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1]) if wanted else 0
            if start and behaviour.refuse_range:
                self.reply(416, b"")
                return
            if behaviour.ignore_range:
                start = 0
            if behaviour.corrupt:
                content = content[:-1] + bytes([content[-1] ^ 1])
            body = memoryview(content)[start:]
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(body)))
            if start:
                size = len(content)
                self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
            self.end_headers()
            end = len(body) if behaviour.cut_after is None else behaviour.cut_after
            try:
                for at in range(0, min(end, len(body)), WRITE):
                    if behaviour.wait_at is not None and at >= behaviour.wait_at:
                        behaviour.go_on.wait(60)
                    self.wfile.write(body[at : min(at + WRITE, end)])
                    time.sleep(behaviour.seconds_per_write)
            except OSError:
                pass
            if end < len(body):
                self.close_connection = True

    return Handler


def zenodo_record(content: bytes, checksum: str | None = None) -> dict:
    """Return what Zenodo's API says of a record with one file."""
    return {
        "id": 16273967,
        "metadata": {"title": "Weights", "license": {"id": "cc-by-4.0"}},
        "files": [
            {
                "key": "model.zip",
                "size": len(content),
                "checksum": checksum or "md5:" + hashlib.md5(content).hexdigest(),
                "links": {"self": "http://elsewhere.invalid/model.zip"},
            }
        ],
    }
