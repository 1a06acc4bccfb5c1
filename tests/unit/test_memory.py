"""Freed memory is kept where the C library is glibc; elsewhere nothing happens."""

import platform
import subprocess
import sys

import pytest

from stages.base import memory

# Runs in its own process, since the setting holds for a whole one. Touches 64 MiB three times, as torch's allocator would.
PROBE = """
import ctypes, resource
from stages.base import memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 64 * 2**20
def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    block = libc.malloc(size)
    ctypes.memset(block, 1, size)
    libc.free(block)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
if {keep}:
    assert memory.keep_freed()
faults()
print(faults())
"""


def page_faults(*, keep: bool) -> int:
    found = subprocess.run(
        [sys.executable, "-c", PROBE.replace("{keep}", str(keep))], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc is asked to keep freed memory")
def test_freed_memory_is_used_again_without_new_pages() -> None:
    assert page_faults(keep=True) * 10 < page_faults(keep=False)


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory.ctypes, "CDLL", lambda name: object())
    assert memory.keep_freed() is False
