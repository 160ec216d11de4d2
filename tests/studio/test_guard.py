"""The guard before the studio answers whatever a client may send as Host and Origin, and lets only its own page in."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

from glassformer.studio.guard import Guard

HOST = b"127.0.0.1:8123"


async def application(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


def status(*headers: tuple[bytes, bytes]) -> int:
    """What a request with these headers is answered."""
    sent = list[dict[str, Any]]()

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    asyncio.run(Guard(application)({"type": "http", "headers": list(headers)}, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("host", [HOST, b"localhost", b"localhost:1", b"[::1]:8123", b"LOCALHOST:80"])
def test_its_own_page_is_answered(host: bytes) -> None:
    assert status((b"host", host)) == 200
    assert status((b"host", host), (b"origin", b"http://" + host)) == 200


@pytest.mark.parametrize(
    "origin",
    [
        b"http://[",
        b"http://[::1",
        b"http://127.0.0.1:8123x",
        b"http://]",
        b"//127.0.0.1:8123",
        b"127.0.0.1:8123",
        b"",
        b"null",
        b"http://[evil]:1",
        b"http://127.0.0.1:8123/",
        b"http://\xff",
        b"ftp://127.0.0.1:8123",
        b"http://\t" + HOST,
    ],
)
def test_a_malformed_or_strange_origin_is_refused(origin: bytes) -> None:
    assert status((b"host", HOST), (b"origin", origin)) == 403


@pytest.mark.parametrize(
    "host", [b"", b"[", b"[::1", b"127.0.0.1:x", b"127.0.0.1:99999", b"a@127.0.0.1", b"127.0.0.1/a", b"\xff", b"[::g]"]
)
def test_a_malformed_host_is_refused(host: bytes) -> None:
    assert status((b"host", host)) == 403


def test_none_and_two_are_refused() -> None:
    assert status() == 403
    assert status((b"host", HOST), (b"host", HOST)) == 403
    own = (b"origin", b"http://" + HOST)
    assert status((b"host", HOST), own, (b"origin", b"http://evil.example")) == 403


@given(some.sampled_from([b"host", b"origin"]), some.binary(max_size=30))
def test_whatever_is_sent_is_answered(name: bytes, value: bytes) -> None:
    headers = {b"host": HOST, name: value}
    assert status(*headers.items()) in (200, 403)
