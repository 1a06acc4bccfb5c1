"""Allocator tuning: glibc's malloc."""

from __future__ import annotations

import ctypes

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # glibc, malloc.h
LARGE = 2**30  # bytes


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
