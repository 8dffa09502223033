"""One short run of the fault harness: real processes, a fault of every component, every promise judged."""

import pytest

from faults.catalogue import SHORT, short
from faults.matrix import OK, as_text, matrix
from faults.run import run_seed
from support.seaweedfs import weed_binary


@pytest.mark.alone
@pytest.mark.e2e
@pytest.mark.timeout(480)
def test_faults_of_every_component_break_no_promise(tmp_path_factory: pytest.TempPathFactory) -> None:
    cells = [cell for cell in short() if weed_binary() is not None or "s3" not in cell.needs]
    outcome = run_seed(1, cells, tmp_path_factory.mktemp("faults"), print)
    lines = matrix(cells, [outcome])
    told = "\n".join([as_text(lines), *(f"{v.invariant}: {v.text}" for v in outcome.violations)])
    assert outcome.error is None, outcome.error
    assert not outcome.violations, told
    assert [line.result for line in lines] == [OK] * len(cells), told


def test_the_short_run_has_every_component() -> None:
    assert {cell.name for cell in short()} == set(SHORT)
    assert {cell.component for cell in short()} == {"ingestor", "writer", "featurizer", "redis", "store", "exchange"}
