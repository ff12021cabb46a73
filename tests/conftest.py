"""What all tests share: one torch thread a process and, where SQLAlchemy is installed, the stores of `store_fixtures.py`."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: workers of pytest-xdist would fight for the cores

import sys
from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from hypothesis import settings
from hypothesis.internal.conjecture import providers

if find_spec("sqlalchemy"):  # a machine that only runs the tests of its GPU may lack it
    from tests.store_fixtures import *  # noqa: F403

settings.register_profile("nas", database=None, deadline=None, derandomize=True)  # every run is judged on the same examples
settings.register_profile("explore", database=None, deadline=None)
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "nas")
settings.load_profile(PROFILE)
if PROFILE == "nas" and hasattr(providers, "Constants"):  # else it draws constants of the modules that other tests have loaded, too
    providers._get_local_constants = providers.Constants


@pytest.fixture(autouse=True)
def _main_stays() -> Iterator[None]:
    """The module that processes of later tests begin with: Streamlit puts the script of its own tests in its place."""
    before = sys.modules["__main__"]
    yield
    sys.modules["__main__"] = before
