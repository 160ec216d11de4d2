"""What stands between the studio and whoever talks to it: only this machine's own pages, and nothing too large."""

import json
from typing import Any
from urllib.parse import urlsplit

LARGEST_BODY = 256 * 1024
LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})
HEADERS = (
    (
        b"content-security-policy",
        b"default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; "
        b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


class Guard:
    """ASGI around an application: refuses a strange Host (a page elsewhere whose name points at this machine), a
    strange Origin (a page elsewhere that posts to this one), and a body over LARGEST_BODY; adds the headers of a page
    that nobody may frame or feed."""

    def __init__(self, app: Any, hosts: frozenset[str] = LOCAL) -> None:
        self.app, self.hosts = app, hosts

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        """One request."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self.app(scope, receive, send)
            return
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        hosts = [value for name, value in headers if name == "host"]
        if len(hosts) != 1 or host_of(hosts[0]) not in self.hosts:
            await refuse(send, 403, "this address is not the studio's", "open the address that the studio printed")
            return
        own = [f"{scheme}://{hosts[0]}" for scheme in ("http", "https")]
        if any(value not in own for name, value in headers if name == "origin"):
            await refuse(send, 403, "another page's requests are not answered", "use the studio's own page")
            return
        body = await self.body(receive, dict(headers).get("content-length", ""))
        if body is None:
            kilobytes = LARGEST_BODY // 1024
            await refuse(send, 413, f"the request is larger than {kilobytes} KB", "send a shorter text")
            return
        sent = False

        async def replay() -> Any:
            nonlocal sent
            if not sent:
                sent = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await receive()

        async def with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        await self.app(scope, replay, with_headers)

    async def body(self, receive: Any, declared: str) -> bytes | None:
        """The whole body; None where it is too large, without reading it to its end."""
        if declared.isdecimal() and int(declared) > LARGEST_BODY:
            return None
        found = bytearray()
        while True:
            message = await receive()
            found += message.get("body", b"")
            if len(found) > LARGEST_BODY:
                return None
            if not message.get("more_body", False):
                return bytes(found)


def host_of(header: str) -> str | None:
    """The name that a Host header says, without its port; None where it is malformed."""
    try:
        parts = urlsplit(f"//{header}")
        whole = parts.netloc == header and parts.username is None
        return parts.hostname if whole and (parts.port or 0) >= 0 else None  # to ask for a wrong port raises
    except ValueError:
        return None


async def refuse(send: Any, status: int, error: str, mend: str) -> None:
    """Answer with an error as the API has them."""
    body = json.dumps({"error": error, "mend": mend}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode()), *HEADERS]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
