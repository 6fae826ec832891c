"""A server that speaks S3's protocol on loopback; prints its port, runs until it is ended.

With --google, as Google Cloud Storage speaks it, whose XML API is S3's with other headers: a PUT
that must create has `x-goog-if-generation-match: 0`.

One request at a time: the server checks `If-None-Match` and stores in two steps, and only S3 itself
makes one of them.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

# Nothing checks it, but without one only public objects could be read.
_SOMEBODY = (
    "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, "
    "Signature=0"
)


def _google(app: Any) -> Any:
    def translated(environ: dict[str, Any], start_response: Any) -> Any:
        environ["HTTP_AUTHORIZATION"] = _SOMEBODY
        if environ.pop("HTTP_X_GOOG_IF_GENERATION_MATCH", None) == "0":
            environ["HTTP_IF_NONE_MATCH"] = "*"
        return app(environ, start_response)

    return translated


def main() -> None:
    """Serve."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    app: Any = DomainDispatcherApplication(create_backend_app)
    if "--google" in sys.argv:
        app = _google(app)
    server = make_server("127.0.0.1", 0, app, threaded=False)
    print(server.server_port, flush=True)  # noqa: T201
    server.serve_forever()


if __name__ == "__main__":
    main()
