"""What a server says to a request that it does not answer."""

from __future__ import annotations

from typing import Any

CODES = {
    400: "broken_json",
    401: "unauthorised",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "too_slow",
    413: "too_large",
    415: "not_json",
    422: "invalid",
    429: "busy",
    500: "internal",
    503: "shutting_down",
    504: "timeout",
}
"""The `code` of each status."""


class RefusedError(Exception):
    """A request that is not answered, with the status and the reason.

    Attributes:
        status: of HTTP.
        message: what is wrong, wanted and the cure.
        where: the JSON pointer of what is wrong, None if it is no part of the body.
        headers: more of the reply.

    Example:
        >>> RefusedError(422, "/count is 0; wanted a whole number from 1 to 50.", "/count").body()["error"]["code"]
        'invalid'
    """

    def __init__(self, status: int, message: str, where: str | None = None, headers: dict[str, str] | None = None):
        self.status, self.message, self.where, self.headers = status, message, where, headers or {}
        super().__init__(message)

    def body(self) -> dict[str, Any]:
        """The reply's JSON."""
        error: dict[str, Any] = {"code": CODES.get(self.status, "invalid"), "message": self.message}
        return {"error": error | ({} if self.where is None else {"where": self.where})}


def busy(why: str) -> RefusedError:
    """Too much is asked at once."""
    return RefusedError(429, f"{why}; try again in a second.", headers={"Retry-After": "1"})
