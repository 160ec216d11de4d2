"""What this machine is, and how its memory is asked for."""

import ctypes
import functools
import os
import platform
import subprocess
import sys
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
"""Names of glibc's settings in <malloc.h>."""


@functools.cache
def processor() -> str:
    """The processor's name as its maker gives it; `platform.processor()` says only `x86_64` on Linux."""
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def instructions() -> str:
    """What the processor can do, as Linux names it: virtual machines with the same processor may be allowed different
    instructions. Elsewhere empty."""
    return _cpuinfo("flags") or _cpuinfo("Features")


def _cpuinfo(key: str) -> str:
    """What Linux says of the first processor; empty elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")


def bound_kernel_caches() -> None:
    """Keep fewer of the kernels that oneDNN builds on the CPU for each new shape of a product.

    torch keeps a thousand in each of two caches. Batches differ in length and in what is asked, so that in 2,000 steps
    the caches grew by more than a gigabyte; with 64 a step takes as long. Both are read at the first product.
    """
    for name in ("LRU_CACHE_CAPACITY", "ONEDNN_PRIMITIVE_CACHE_CAPACITY"):
        os.environ.setdefault(name, "64")


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next step, which needs as much of the same sizes. As a rule it gives large
    blocks back to the system and gets them page by page again, which took a tenth of a step. Elsewhere: nothing."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
