"""Start the studio on this machine."""

import asyncio
import logging
import socket
import threading
import webbrowser
from pathlib import Path

import psutil
import uvicorn

from glassformer.errors import UsageError
from glassformer.studio.app import studio
from glassformer.studio.guard import LOCAL

HOST = "127.0.0.1"


def serve(
    folders: list[Path], host: str = HOST, port: int = 0, open_browser: bool = True, treebank: Path | None = None
) -> None:
    """Serve these runs until Ctrl-C; port 0 is a free one. Prints the address first.

    Raises UsageError for a port that is taken, GlassformerError for a folder that is no run.
    """
    app = studio(folders, hosts=names_of(host), treebank=treebank)
    with _bound(host, port) as bound:
        name = f"[{host}]" if ":" in host else host
        address = f"http://{name}:{bound.getsockname()[1]}/"
        print(f"the studio is at {address} (Ctrl-C ends it)", flush=True)
        if host not in LOCAL:
            print(f"warning: whoever reaches {host} can ask these runs", flush=True)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off", timeout_graceful_shutdown=2))
        logging.getLogger("uvicorn.error").addFilter(_is_no_cancellation)
        if open_browser:
            threading.Timer(0.5, webbrowser.open, [address]).start()
        server.run(sockets=[bound])


def _is_no_cancellation(record: logging.LogRecord) -> bool:
    """An answer that is under way is cancelled by a second Ctrl-C, as it should be: no traceback says so."""
    return not (record.exc_info and isinstance(record.exc_info[1], asyncio.CancelledError))


def names_of(host: str) -> frozenset[str]:
    """By which names a page may be asked for that listens there; of 0.0.0.0 and ::, every address of this machine."""
    names = LOCAL | {host.lower()}
    if host in ("0.0.0.0", "::"):
        addresses = (each.address.partition("%")[0] for found in psutil.net_if_addrs().values() for each in found)
        names |= {socket.gethostname().lower(), *addresses}
    return frozenset(names)


def _bound(host: str, port: int) -> socket.socket:
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((host, port))
        bound.listen(128)
    except OSError as error:
        bound.close()
        raise UsageError(
            f"cannot listen on {host} port {port}: {error.strerror or error}", "without --port a free one is taken"
        ) from None
    return bound
