"""The part of the Hub's HTTP interface that a push and a pull use, for huggingface_hub itself.

hub_server.py PROMPT FOLDER WORD...    push a prompt, pull it by branch and commit, write it to
                                       FOLDER, and run the command of these words
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

FILES: dict[str, bytes] = {}
COMMITS: list[str] = []
REPOSITORY = "ann/reviews"


class Hub(BaseHTTPRequestHandler):
    """One repository; each commit replaces files in it."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def reply(self, value: Any, code: int = 200, **headers: str) -> None:
        """Send JSON, or bytes as they are."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(code)
        for name, text in headers.items():
            self.send_header(name.replace("_", "-"), text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_POST(self) -> None:
        """Make the repository, say how files are to be sent, take a commit."""
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        if self.path.endswith("/repos/create"):
            assert json.loads(body)["visibility"] == "private"
            self.reply({"url": f"{os.environ['HF_ENDPOINT']}/{REPOSITORY}"})
        elif self.path == "/api/validate-yaml":
            assert "library_name: peft" in json.loads(body)["content"]
            self.reply({"errors": [], "warnings": []})
        elif "/preupload/" in self.path:
            names = [file["path"] for file in json.loads(body)["files"]]
            modes = [
                {"path": n, "uploadMode": "regular", "shouldIgnore": False, "oid": None}
                for n in names
            ]
            self.reply({"files": modes})
        elif "/commit/" in self.path:
            for line in body.splitlines():
                entry = json.loads(line)
                if entry["key"] == "file":
                    FILES[entry["value"]["path"]] = base64.b64decode(entry["value"]["content"])
            COMMITS.append(hashlib.sha1(body).hexdigest())
            url = f"{os.environ['HF_ENDPOINT']}/{REPOSITORY}/commit/{COMMITS[-1]}"
            self.reply({"commitOid": COMMITS[-1], "commitUrl": url})
        else:
            self.reply({"error": self.path}, 404)

    def do_GET(self) -> None:
        """Tell of the repository, or send a file of a commit."""
        path = self.path.partition("?")[0]
        if path.startswith(f"/api/models/{REPOSITORY}"):
            if "/tree/" in path:
                tree = [
                    {"type": "file", "path": n, "size": len(c), "oid": hashlib.sha1(c).hexdigest()}
                    for n, c in FILES.items()
                ]
                self.reply(tree)
                return
            siblings = [{"rfilename": name} for name in FILES]
            sha = COMMITS[-1] if COMMITS else "0" * 40
            self.reply({"id": REPOSITORY, "sha": sha, "siblings": siblings})
        elif COMMITS and path.startswith(f"/{REPOSITORY}/resolve/{COMMITS[-1]}/"):
            content = FILES[path.rsplit("/", 1)[1]]
            etag = hashlib.sha1(content).hexdigest()
            self.reply(content, ETag=f'"{etag}"', X_Repo_Commit=COMMITS[-1])
        else:
            self.reply({"error": path}, 404)

    do_HEAD = do_GET  # noqa: N815


def main(prompt: str, folder: str, *words: str) -> None:
    """Serve on loopback, push, pull, run a command."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    os.environ["HF_ENDPOINT"] = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # The address is read when huggingface_hub is imported.
    from cuecard.cli.main import main as run_command  # noqa: PLC0415
    from cuecard.registry import PromptPackage, parse_hub, pull_from_hub, push_to_hub  # noqa: PLC0415

    package = PromptPackage.read(prompt)
    commit = push_to_hub(package, parse_hub(f"hf://{REPOSITORY}"), why="first")
    assert commit == COMMITS[-1]
    assert set(FILES) == {*package.files, "README.md", ".gitattributes"}
    for place in (f"hf://{REPOSITORY}", f"hf://{REPOSITORY}@{commit}"):
        pulled, found = pull_from_hub(parse_hub(place))
        assert found == commit and pulled.files == package.files
    pulled.write(folder)
    run_command(words)


if __name__ == "__main__":
    main(*sys.argv[1:])
