"""Becomes a command that dies with the process that started it: `python tether.py SIGNAL PARENT COMMAND...`.

Run by its path with `-I -S`, so that it costs 20 ms and imports nothing of ours. On Linux the kernel sends SIGNAL when
PARENT ends, even by SIGKILL (PR_SET_PDEATHSIG; it survives the exec). It is set here rather than in a `preexec_fn`,
which may deadlock in a parent that has threads. Other systems have no such thing: there children of a killed parent
live on, and hold the data directory's lock (see `embedded.layout`), so that nothing else can write to it.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1


def main(arguments: list[str]) -> None:
    """Never returns unless the command cannot be started."""
    number, parent, command = int(arguments[0]), int(arguments[1]), arguments[2:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, number, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG)")
        if os.getppid() != parent:  # it ended before we had asked to be told
            sys.exit(1)
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
