"""The supervisor with real children: small Python scripts that crash, grow, hang and refuse to end."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from itertools import pairwise
from pathlib import Path

import psutil

from daedalus.supervisor.policy import MemoryLimits, RestartPolicy
from daedalus.supervisor.process import rotate_log
from daedalus.supervisor.supervisor import Notice, Rules, State, Supervisor
from front_door.conftest import alive, until, wait_until

MIB = 1024 * 1024
FOREVER = "import time\nprint('here', flush=True)\nwhile True: time.sleep(60)\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
POLITE = (
    "import signal, sys, time\n"
    "def stop(*_):\n    print('finished', flush=True)\n    sys.exit(0)\n"
    "signal.signal(signal.SIGTERM, stop)\nprint('here', flush=True)\nwhile True: time.sleep(60)\n"
)


def rules(
    first_delay: float = 0.1, shutdown_timeout: float = 10.0, warning: int = 1000 * MIB, critical: int = 2000 * MIB
) -> Rules:
    return Rules(
        RestartPolicy(first_delay=timedelta(seconds=first_delay), max_delay=timedelta(seconds=2)),
        MemoryLimits(warning, critical),
        timedelta(seconds=shutdown_timeout),
    )


class Watched:
    """A running supervisor and what it said."""

    def __init__(self, held_to: Rules) -> None:
        self.notices: list[Notice] = []
        self.supervisor = Supervisor(held_to, self.notices.append)

    def status(self, name: str):
        return next(status for status in self.supervisor.status() if status.name == name)

    async def started(self, log: Path) -> None:
        await until(lambda: log.exists() and "here" in log.read_text(), f"{log.name} says it is there")


@asynccontextmanager
async def supervised(held_to: Rules) -> AsyncIterator[Watched]:
    watched = Watched(held_to)
    loop = asyncio.create_task(watched.supervisor.run())
    try:
        yield watched
    finally:
        loop.cancel()
        with suppress(asyncio.CancelledError):
            await loop
        watched.supervisor.kill_all()


async def test_a_killed_child_is_started_again(script):
    async with supervised(rules()) as watched:
        watched.supervisor.start(script("worker", FOREVER))
        first = watched.status("worker").pid
        os.kill(first, signal.SIGKILL)
        await until(lambda: watched.status("worker").restarts == 1, "the restart")
        assert watched.status("worker").state is State.RUNNING
        assert watched.status("worker").pid != first
        assert "killed by SIGKILL" in watched.notices[0].text


async def test_a_child_that_crashes_is_started_again_after_growing_delays(script, tmp_path):
    # It ends with a signal, which never counts as failing to start, and notes each of its starts.
    starts = tmp_path / "starts"
    crash = (
        f"import os, signal, time\nopen({str(starts)!r}, 'a').write(f'{{time.time()}}\\n')\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    async with supervised(rules(first_delay=0.4)) as watched:
        watched.supervisor.start(script("crasher", crash))
        await until(lambda: starts.exists() and len(starts.read_text().splitlines()) == 4, "four starts", 40)
    times = [float(line) for line in starts.read_text().splitlines()]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    for gap, delay in zip(gaps, [0.4, 0.8, 1.6], strict=True):
        assert delay <= gap < delay + 5.0


async def test_a_child_that_fails_at_every_start_is_given_up_with_its_last_words(script):
    async with supervised(rules()) as watched:
        watched.supervisor.start(script("broken", "import sys\nprint('no such port')\nsys.exit(1)\n"))
        async with asyncio.timeout(15):
            await watched.supervisor.failed.wait()
        failure = watched.supervisor.failure
        assert failure is not None
        assert (failure.service, failure.exit_code, failure.last_lines) == ("broken", 1, ("no such port",))
        assert watched.status("broken").state is State.FAILED
        assert watched.status("broken").restarts == 2


async def test_a_wrong_configuration_is_given_up_at_once(script):
    async with supervised(rules()) as watched:
        watched.supervisor.start(script("misled", "import sys\nprint('unknown key')\nsys.exit(2)\n"))
        async with asyncio.timeout(15):
            await watched.supervisor.failed.wait()
        assert watched.status("misled").restarts == 0
        assert watched.supervisor.failure is not None
        assert watched.supervisor.failure.last_lines == ("unknown key",)


async def test_a_stopped_child_may_finish_and_is_not_started_again(script, tmp_path):
    async with supervised(rules()) as watched:
        watched.supervisor.start(script("polite", POLITE))
        await watched.started(tmp_path / "polite.log")
        assert await watched.supervisor.stop("polite") == 0
        await asyncio.sleep(0.4)
        assert watched.status("polite").state is State.STOPPED
        assert (tmp_path / "polite.log").read_text() == "here\nfinished\n"


async def test_a_child_that_ignores_sigterm_is_killed_after_the_timeout(script, tmp_path):
    async with supervised(rules(shutdown_timeout=0.5)) as watched:
        watched.supervisor.start(script("stubborn", STUBBORN))
        await watched.started(tmp_path / "stubborn.log")
        before = time.monotonic()
        assert await watched.supervisor.stop("stubborn") == -signal.SIGKILL
        assert 0.5 <= time.monotonic() - before < 3
        assert "did not stop within 0.5 s" in watched.notices[-1].text


async def test_a_child_that_waits_for_its_restart_can_be_stopped(script):
    async with supervised(rules(first_delay=30)) as watched:
        watched.supervisor.start(script("worker", FOREVER))
        os.kill(watched.status("worker").pid, signal.SIGKILL)
        await until(lambda: watched.status("worker").state is State.WAITING, "the wait")
        assert await watched.supervisor.stop("worker") is None
        assert watched.status("worker").state is State.STOPPED


async def test_a_child_over_the_critical_size_is_restarted_gracefully_after_one_warning(script, tmp_path):
    # 120 MiB, really touched, on the first start only.
    flag = tmp_path / "grown"
    grower = (
        "import os, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        f"first = not os.path.exists({str(flag)!r})\nopen({str(flag)!r}, 'w').close()\n"
        "held = bytearray(os.urandom(1024)) * (120 * 1024) if first else b''\nprint('here', flush=True)\n"
        "while True: time.sleep(60)\n"
    )
    async with supervised(rules(warning=60 * MIB, critical=100 * MIB)) as watched:
        watched.supervisor.start(script("grower", grower))
        first = watched.status("grower").pid
        await until(lambda: watched.status("grower").restarts == 1, "the restart")
        await until(lambda: watched.status("grower").usage is not None, "a sample of the new process")
        assert watched.status("grower").pid != first
        assert watched.status("grower").usage.rss_bytes < 60 * MIB
        assert [("warning" in notice.text, "critical" in notice.text) for notice in watched.notices] == [
            (True, False),
            (False, True),
        ]


async def test_a_store_of_data_over_the_critical_size_is_only_warned_of(script):
    code = "import time\nheld = bytearray(b'x' * 80 * 1024 * 1024)\ntime.sleep(60)\n"
    async with supervised(rules(warning=30 * MIB, critical=50 * MIB)) as watched:
        watched.supervisor.start(script("store", code), restart_when_large=False)
        await until(lambda: watched.notices, "the warning")
        await asyncio.sleep(3.5)
        assert watched.status("store").restarts == 0
        assert len(watched.notices) == 1


async def test_usage_and_priority_of_a_child_are_as_configured(script, tmp_path):
    async with supervised(rules()) as watched:
        watched.supervisor.start(script("nice", FOREVER, nice=7, cpu_affinity=(0,)))
        await watched.started(tmp_path / "nice.log")
        process = psutil.Process(watched.status("nice").pid)
        assert process.nice() == 7
        assert process.cpu_affinity() == [0]
        assert os.getsid(process.pid) == process.pid != os.getsid(0)
        await until(lambda: watched.status("nice").usage is not None, "a sample")
        assert watched.status("nice").usage.rss_bytes > MIB


async def test_an_impossible_affinity_is_said_and_the_child_runs(script):
    async with supervised(rules()) as watched:
        watched.supervisor.start(script("lost", FOREVER, cpu_affinity=(4096,)))
        assert "cpu_affinity [4096] is refused" in watched.notices[0].text
        assert watched.status("lost").state is State.RUNNING


SUPERVISOR = """
import asyncio, os, sys
from datetime import timedelta
from pathlib import Path
from daedalus.supervisor.policy import MemoryLimits, RestartPolicy
from daedalus.supervisor.process import Command
from daedalus.supervisor.supervisor import Rules, Supervisor

async def main():
    rules = Rules(RestartPolicy(), MemoryLimits(2**40, 2**41), timedelta(seconds=60))
    supervisor = Supervisor(rules, print)
    for script in sys.argv[1:]:
        path = Path(script)
        supervisor.start(Command(path.stem, (sys.executable, "-u", script), path.with_suffix(".log"), os.environ))
    print(*(status.pid for status in supervisor.status()), flush=True)
    await supervisor.run()

asyncio.run(main())
"""


def test_no_child_outlives_a_supervisor_that_is_killed(script, tmp_path):
    paths = [str(script(name, code).argv[-1]) for name, code in [("one", FOREVER), ("two", STUBBORN)]]
    outer = subprocess.Popen([sys.executable, "-c", SUPERVISOR, *paths], stdout=subprocess.PIPE, text=True)
    try:
        assert outer.stdout is not None
        pids = [int(pid) for pid in outer.stdout.readline().split()]
        wait_until(lambda: all((tmp_path / f"{name}.log").exists() for name in ("one", "two")), "the logs")
        wait_until(lambda: all("here" in (tmp_path / f"{name}.log").read_text() for name in ("one", "two")), "here")
        assert all(alive(pid) for pid in pids)
        outer.kill()
        outer.wait()
        wait_until(lambda: not any(alive(pid) for pid in pids), "the children are gone", seconds=5)
    finally:
        outer.kill()
        outer.communicate()


def test_a_large_log_is_moved_aside_while_it_is_written(tmp_path):
    log = tmp_path / "writer.log"
    with log.open("ab", buffering=0) as file:
        file.write(b"x" * 2000)
        assert rotate_log(log, limit_bytes=2000)
        file.write(b"after")
        assert not rotate_log(log, limit_bytes=2000)
    assert log.read_bytes() == b"after"
    assert (tmp_path / "writer.log.1").read_bytes() == b"x" * 2000
