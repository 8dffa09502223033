"""The stack in containers, started once for all tests of this folder."""

from collections.abc import Iterator

import pytest

from support.compose_stack import ComposeStack, why_no_docker


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ComposeStack]:
    reason = why_no_docker()
    if reason:
        pytest.skip(reason)
    with ComposeStack(tmp_path_factory.mktemp("compose")) as stack:
        yield stack
