import asyncio
import logging
import threading

import pytest

from dashboard.head_start import head_start, prepare
from studies import page_data
from studies.store import Store
from tests.dashboard_stores import fill


def test_variants_of_the_newest_study_are_known_beforehand(store_url):
    fill(Store(store_url))
    page_data._names.cache_clear()
    prepare(("front",), lambda: Store(store_url, create=False))
    assert page_data._names.cache_info().currsize > 1


def test_a_store_that_cannot_be_opened_is_the_pages_to_tell(store_url, caplog):
    caplog.set_level(logging.INFO)
    prepare((), lambda: Store(store_url, create=False))
    assert not caplog.records


def test_the_server_does_not_wait_for_it(store_url):
    fill(Store(store_url))
    served, opened = threading.Event(), threading.Event()

    def late() -> Store:
        served.wait(60)  # in vain, were the server to wait for it
        opened.set()
        return Store(store_url, create=False)

    async def serve() -> None:
        async with head_start(None, views=(), open_store=late):
            assert not opened.is_set()
            served.set()

    before = set(threading.enumerate())
    asyncio.run(serve())
    for thread in set(threading.enumerate()) - before:
        thread.join(60)
    assert opened.is_set()


def test_a_view_that_does_not_exist_is_a_mistake_of_ours(store_url):
    with pytest.raises(ModuleNotFoundError):
        prepare(("nowhere",), lambda: Store(store_url))
