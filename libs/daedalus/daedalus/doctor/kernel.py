"""What the kernel tells only when it is asked: page size, limits, the clock's error. Everything else is in files."""

import ctypes
import os
import resource
import sys
from dataclasses import dataclass

# As timedatectl does: while a clock is kept by NTP, its error stays far below; the kernel stops at 16 s without it.
_MOST_ERROR_US = 16_000_000
_TIME_ERROR = -1


@dataclass(frozen=True, slots=True)
class Clock:
    """Whether something keeps the clock; None where that cannot be asked. `error_seconds`: the kernel's own bound."""

    synchronized: bool | None
    error_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """How many files a process of this user may open; -1 = any number."""

    soft: int
    hard: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """Of this process and its kernel."""

    system: str
    """`Linux`, `Darwin`"""
    machine: str
    """As `uname -m`: `aarch64`, `x86_64`."""
    python_bits: int
    page_size_bytes: int
    open_files: OpenFiles
    clock: Clock
    user_id: int


def ask_kernel() -> Kernel:
    """Of the machine that this runs on."""
    name = os.uname()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Kernel(
        system=name.sysname,
        machine=name.machine,
        python_bits=64 if sys.maxsize > 2**32 else 32,
        page_size_bytes=os.sysconf("SC_PAGE_SIZE"),
        open_files=OpenFiles(_limit(soft), _limit(hard)),
        clock=_clock(),
        user_id=os.geteuid(),
    )


class _Timex(ctypes.Structure):
    """The beginning of the kernel's `struct timex`; the rest is only room for it."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("frequency", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def _clock() -> Clock:
    # modes = 0 only reads, which every user may.
    timex = _Timex()
    adjtimex = getattr(ctypes.CDLL(None), "adjtimex", None)
    if adjtimex is None or adjtimex(ctypes.byref(timex)) == _TIME_ERROR:
        return Clock(None)
    return Clock(timex.maxerror < _MOST_ERROR_US, timex.maxerror / 1e6)


def _limit(number: int) -> int:
    return -1 if number == resource.RLIM_INFINITY else number
