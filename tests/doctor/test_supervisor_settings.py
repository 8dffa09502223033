"""What `supervisor:` of the configuration says reaches the supervisor and its children."""

from datetime import timedelta
from pathlib import Path

from daedalus.embedded.layout import Layout
from daedalus.embedded.services import Surroundings, rules_of
from daedalus_common.config import parse_config

MIB = 2**20


def test_by_default_a_service_is_warned_of_at_3000_mb_restarted_at_3500_and_has_120_s_to_stop() -> None:
    config = parse_config({})
    rules = rules_of(config)
    assert (rules.memory.warning_size_bytes, rules.memory.critical_size_bytes) == (3000 * MIB, 3500 * MIB)
    assert rules.shutdown_timeout == timedelta(seconds=120)
    assert config.supervisor.gc_interval == timedelta(minutes=5)


def test_every_key_of_the_supervisor_reaches_its_rules_or_its_children(tmp_path: Path) -> None:
    wanted = {
        "memory_warning_mb": 800.0,
        "memory_critical_mb": 1000.0,
        "shutdown_timeout_seconds": 60.0,
        "restart_delay_seconds": 2.0,
        "max_restart_delay_seconds": 30.0,
        "gc_interval_seconds": 100.0,
        "nice": 5,
        "cpu_affinity": [2, 3],
    }
    config = parse_config({"supervisor": wanted})
    assert set(wanted) == set(type(config.supervisor).model_fields)
    rules = rules_of(config)
    assert (rules.memory.warning_size_bytes, rules.memory.critical_size_bytes) == (800 * MIB, 1000 * MIB)
    assert rules.shutdown_timeout == timedelta(seconds=60)
    assert rules.restart.first_delay == timedelta(seconds=2)
    assert rules.restart.max_delay == timedelta(seconds=30)
    assert config.supervisor.gc_interval == timedelta(seconds=100)
    command = Surroundings(Layout(tmp_path), config, {}, ()).service("writer")
    assert (command.nice, command.cpu_affinity) == (5, (2, 3))
