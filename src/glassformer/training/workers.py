"""Processes that a training starts beside itself, on this machine, and that end with it however it ends."""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, NamedTuple

import psutil
from torch.distributed import TCPStore

from glassformer.errors import GlassformerError
from glassformer.training.processes import PATIENCE, LostProcess, Processes, connected

HERE = "127.0.0.1"
GRACE = 10.0
"""Seconds in which a worker ends by itself, once there is nothing more to do."""
PORT, RANK, WORLD = "GLASSFORMER_PORT", "GLASSFORMER_RANK", "GLASSFORMER_WORLD"


class Worker(NamedTuple):
    """A process beside the first, and the file into which it complains."""

    rank: int
    process: "subprocess.Popen[bytes]"
    complaints: IO[bytes]

    def ended(self) -> str | None:
        """How it ended, in words; None where it runs, or has ended well."""
        status = self.process.poll()
        if not status:
            return None
        self.complaints.seek(0)
        said = self.complaints.read().decode(errors="replace").strip()
        if "Traceback" in said:  # no mistake of the person's: whoever mends it needs all of it
            print(said, file=sys.stderr)
        how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
        return f"process {self.rank} {how}" + (f": {said.splitlines()[-1]}" if said else "")


@contextmanager
def workers(module: str, argument: Path, world: int) -> Iterator[Processes]:
    """`world` processes that train together: this one, which is the first, and others that run `python -m module
    argument` and join by `joined`. All have ended when the block has.

    Raises GlassformerError, with what it said, where one of them ends before its time.
    """
    store = TCPStore(HERE, 0, world, is_master=True, wait_for_workers=False, timeout=PATIENCE)  # any free port
    started: list[Worker] = []
    with ExitStack() as files, _on_this_machine():
        try:
            for rank in range(1, world):
                complaints = files.enter_context(tempfile.TemporaryFile())
                started.append(_start([module, str(argument)], complaints, rank, world, store.port))
            _wait_until_ready(store, started)
            with connected(store=store, rank=0, world_size=world) as processes:
                yield processes
            _wait(started)
            if any(worker.process.poll() for worker in started):
                raise LostProcess("a process ended badly")
        except LostProcess:
            _wait(started, any)
            causes = [cause for cause in (worker.ended() for worker in started) if cause is not None]
            raise GlassformerError(
                f"training with {world} processes ended: {'; '.join(causes) or 'they lost each other'}",
                f"all is saved up to the last checkpoint; go on with: glassformer train --resume --run {argument}",
            ) from None
        finally:
            _end(started)


def _start(command: list[str], complaints: IO[bytes], rank: int, world: int, port: int) -> Worker:
    """`-P` keeps the folder that one happens to be in out of where modules are looked for."""
    environment = os.environ | {PORT: str(port), RANK: str(rank), WORLD: str(world)}
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", *command],
        stdin=subprocess.PIPE,  # which closes when this process ends, see `ending_with_the_first`
        stdout=complaints,
        stderr=complaints,
        env=environment,
    )
    return Worker(rank, process, complaints)


def _wait_until_ready(store: TCPStore, started: list[Worker]) -> None:
    """Joining blocks, so that a worker that ends while it reads its data would never be missed."""
    while not store.check([f"ready-{worker.rank}" for worker in started]):
        if any(worker.process.poll() is not None for worker in started):
            raise LostProcess("a process ended before training began")
        time.sleep(0.02)


def _wait(started: list[Worker], which: Callable[[Iterator[bool]], bool] = all) -> None:
    """Until all of them have ended, or any; not for ever."""
    until = time.monotonic() + GRACE
    while time.monotonic() < until and not which(worker.process.poll() is not None for worker in started):
        time.sleep(0.02)


def _end(started: list[Worker]) -> None:
    """Let them end, and end those that do not."""
    _wait(started)
    for worker in started:
        with suppress(OSError):
            worker.process.kill()
        worker.process.wait()
        if worker.process.stdin is not None:
            worker.process.stdin.close()


@contextmanager
def _on_this_machine() -> Iterator[None]:
    """Gloo takes the network that the machine's name belongs to, which may be none; these processes need only the
    loopback."""
    addresses = psutil.net_if_addrs().items()
    loopback = [name for name, all_of_it in addresses if any(each.address == HERE for each in all_of_it)]
    name = "GLOO_SOCKET_IFNAME"
    if not loopback or name in os.environ:
        yield
        return
    os.environ[name] = loopback[0]
    try:
        yield
    finally:
        del os.environ[name]


# ------------------------------------------------------------------------------------------------ in a worker


def ending_with_the_first() -> None:
    """From now on this process ends when the one that started it does, whatever it is doing."""

    def watch() -> None:
        with suppress(OSError):
            os.read(sys.stdin.fileno(), 1)  # nothing is ever written: it returns when the pipe is closed
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


@contextmanager
def joined() -> Iterator[Processes]:
    """The processes that this worker was started to be one of."""
    rank, world = int(os.environ[RANK]), int(os.environ[WORLD])
    store = TCPStore(HERE, int(os.environ[PORT]), world, is_master=False, timeout=PATIENCE)
    store.set(f"ready-{rank}", "")
    with connected(store=store, rank=rank, world_size=world) as processes:
        yield processes
