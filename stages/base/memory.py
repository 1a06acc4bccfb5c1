"""Allocator tuning: glibc's malloc, and huge pages."""

from __future__ import annotations

import ctypes
from pathlib import Path

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
LARGE = 2**30  # bytes
MADV_HUGEPAGE, MADV_COLLAPSE = 14, 25  # linux/mman.h; the second since Linux 6.1
HUGE = 2**21  # bytes of a huge page


def keep_freed() -> bool:
    """Keep freed memory for the next tensor instead of giving it back to the system; whether the C library does so.

    A training step frees and asks for the same hundreds of megabytes every time, and each time the system would zero every page
    anew: 10 % of the demo's training on a CPU. The numbers stay the same to the bit. Only glibc is asked.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE) and mallopt(M_TRIM_THRESHOLD, LARGE))


def huge_pages() -> bool:
    """Lay what the heap holds now in pages of 2 MB instead of 4 KB; whether the system did.

    For tables that are read all over, such as dlib's landmark model: three looks at a face took 3.1 ms in place of 4.4.
    The numbers stay the same to the bit. Only Linux is asked, and where it
    refuses nothing happens.
    """
    try:
        madvise = ctypes.CDLL(None).madvise
        heap = next(
            line for line in Path("/proc/self/maps").read_text(encoding="utf-8").splitlines() if line.endswith("[heap]")
        )
    except (AttributeError, OSError, StopIteration, TypeError):
        return False
    madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
    first, end = (int(address, 16) for address in heap.split()[0].split("-"))
    start, stop = -(-first // HUGE) * HUGE, end // HUGE * HUGE
    if start >= stop:
        return False
    return all(madvise(start, stop - start, advice) == 0 for advice in (MADV_HUGEPAGE, MADV_COLLAPSE))
