"""Headers that every answer carries, and refusals of one sentence."""

from __future__ import annotations

from typing import Any

from tornado.httputil import HTTPServerRequest
from tornado.web import OutputTransform, RequestHandler

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' blob: data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)


class Headers(OutputTransform):
    """Headers that every answer carries."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self._keep = request.path.startswith("/static/") or request.path == "/favicon.ico"

    def transform_first_chunk(self, status_code: int, headers: Any, chunk: bytes, finishing: bool) -> tuple[int, Any, bytes]:
        headers["Content-Security-Policy"] = _POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["Referrer-Policy"] = "same-origin"  # with "no-referrer" browsers send our own form's Origin as null
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers.pop("Server", None)
        if not self._keep:
            headers["Cache-Control"] = "no-store"
        return status_code, headers, chunk


class Refused(RequestHandler):
    """An answer in one sentence."""

    def initialize(self, status: int, sentence: str, **headers: str) -> None:
        self._answer = status, sentence, headers

    def check_xsrf_cookie(self) -> None:
        """Do nothing: nothing is done here that a token would protect."""

    def prepare(self) -> None:
        status, sentence, headers = self._answer
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        for name, value in headers.items():
            self.set_header(name.replace("_", "-"), value)
        self.finish(sentence + "\n")
