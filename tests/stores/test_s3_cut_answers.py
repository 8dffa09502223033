"""S3: the connection ends within an answer, after each of its bytes: that is no answer, and never a shorter one."""

from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from daedalus_common.stores import StoreUnavailable
from daedalus_common.stores.s3 import S3Store
from faults.tools.tcp_proxy import TcpProxy
from support.s3_servers import S3Server
from support.seaweedfs import ADMIN, SeaweedServer

BODY = b"x" * 100


@pytest.fixture
def proxy(seaweedfs: SeaweedServer) -> Iterator[TcpProxy]:
    with TcpProxy(seaweedfs.port) as proxy:
        yield proxy


@pytest.fixture
def store(seaweedfs: SeaweedServer, proxy: TcpProxy) -> S3Store:
    settings = S3Server("SeaweedFS", seaweedfs.endpoint_url, ADMIN).settings(uuid4().hex)
    S3Store(settings).create("a/b", BODY, {"rows": "1"})
    through = S3Server("SeaweedFS", f"http://127.0.0.1:{proxy.port}", ADMIN).settings(settings.prefix)
    return S3Store(through, attempts=1)


CALLS: dict[str, Callable[[S3Store], object]] = {
    "read": lambda store: store.read("a/b"),
    "head": lambda store: store.head("a/b"),
    "list": lambda store: list(store.list()),
    "folders": lambda store: list(store.folders()),
    "open": lambda store: store.open_input("a/b").read(10),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_an_answer_that_is_cut_anywhere_is_no_answer(
    store: S3Store, proxy: TcpProxy, call: Callable[[S3Store], object]
) -> None:
    before = proxy.reply_bytes
    whole = call(store)
    assert whole
    size = proxy.reply_bytes - before
    for count in range(1, size, 1):
        proxy.truncate(count)
        with pytest.raises(StoreUnavailable):
            pytest.fail(f"cut after {count} of {size} bytes it is {call(store)!r}")
    proxy.heal()
    assert call(store) == whole
