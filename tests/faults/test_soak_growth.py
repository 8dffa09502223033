"""A process that grows is told from one that only breathes."""

from random import Random

from faults.oracle_usage import MIB
from faults.soak import growth_of
from faults.usage import Life, Sample


def life(rise_per_minute: float, files_per_minute: float = 0.0, minutes: float = 10.0) -> Life:
    """100 MB at first, with noise and a steep first minute."""
    rng = Random(1)
    samples = []
    for number in range(int(minutes * 120)):
        minute = number / 120
        start_up = 60 * MIB * max(0.0, 1 - minute)
        memory = 100 * MIB + minute * rise_per_minute + rng.uniform(-3, 3) * MIB - start_up
        samples.append(Sample(number / 2, int(memory), 20 + int(minute * files_per_minute)))
    return Life("writer", "writer-2", 1, samples)


def test_noise_and_warming_up_are_flat() -> None:
    found = growth_of(life(0.0), 240)
    assert found is not None
    assert found.flat
    assert abs(found.rise_bytes) < 2 * MIB


def test_a_leak_of_memory_or_files_is_not_flat() -> None:
    leaks = growth_of(life(3 * MIB), 240), growth_of(life(0.0, files_per_minute=2.0), 240)
    assert all(leak is not None and not leak.flat for leak in leaks)


def test_a_short_life_says_nothing() -> None:
    assert growth_of(life(0.0, minutes=1.0), 240) is None
    assert growth_of(Life("writer", "writer-1", 1), 0.0) is None
