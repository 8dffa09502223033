"""Faults of the object store."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from random import Random

from faults.cells import Action, Trial
from faults.rig import Rig
from faults.stores import LocalLake, S3Lake
from faults.tools.disk import FaultyDisk
from faults.tools.s3_faults import S3Faults
from faults.tools.tcp_proxy import TcpProxy


def server(bring: Callable[[S3Faults, Random], None]) -> Action:
    """What `bring` makes the S3 server answer."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        faults = lake_of(rig).faults
        hits = faults.hits
        bring(faults, rng)
        try:
            yield Trial(touched=lambda: faults.hits - hits)
        finally:
            faults.heal()

    return action


def proxy_of(rig: Rig) -> TcpProxy:
    """What stands before the store."""
    return lake_of(rig).proxy


def disk(bring: Callable[[FaultyDisk], None]) -> Action:
    """What `bring` does to the disk of a local store."""

    @contextmanager
    def action(rig: Rig, rng: Random) -> Iterator[Trial]:
        if not isinstance(rig.lake, LocalLake) or rig.lake.disk is None:
            raise TypeError("this run keeps its data on no disk that can fail")
        faulty = rig.lake.disk
        hits = faulty.hits
        bring(faulty)
        try:
            yield Trial(touched=lambda: faulty.hits - hits)
        finally:
            faulty.heal()

    return action


def lake_of(rig: Rig) -> S3Lake:
    """The run's bucket. Raises TypeError where it has none."""
    if not isinstance(rig.lake, S3Lake):
        raise TypeError("this run keeps its data on a disk")
    return rig.lake
