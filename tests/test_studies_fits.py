"""Fitted laws in the store: kept beside each other, newest first, and wherever their study goes."""

from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from studies.database import StoreError
from studies.store import Store
from tests.store_writers import CONFIG
from tests.test_studies_store import migrate

CONTENT = {"law": {"floor": 0.1}, "best": None, "refused": "too few points", "predictions": []}


def test_fits_stay_beside_each_other_and_the_newest_comes_first(any_store_url: str) -> None:
    store = Store(any_store_url)
    study, other = store.open("s", CONFIG), store.open("other", CONFIG)
    first = store.fits.add(study, "error", CONTENT)
    second = store.fits.add(study, "loss", {**CONTENT, "refused": None})
    assert store.fits.of(study) == [second, first]
    assert (first.metric, first.content, second.content["refused"]) == ("error", CONTENT, None)
    assert first.created_at <= second.created_at
    assert store.fits.of(other) == []


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_fit_with_a_number_that_is_not_finite_is_never_stored(store_url: str, value: float) -> None:
    store = Store(store_url)
    study = store.open("s", CONFIG)
    with pytest.raises(ValueError, match="not JSON compliant"):
        store.fits.add(study, "error", {"law": {"floor": value}})
    assert store.fits.of(study) == []


def test_copies_have_the_fits_and_deleted_studies_take_theirs_along(any_store_url: str) -> None:
    store = Store(any_store_url)
    study = store.open("s", CONFIG)
    fits = [store.fits.add(study, metric, CONTENT) for metric in ("error", "loss")]
    copied = store.copy(study, "t")
    assert [replace(fit, id=0) for fit in store.fits.of(copied)] == [replace(fit, id=0) for fit in reversed(fits)]
    store.delete(study)
    assert store.fits.of(study) == []
    assert len(store.fits.of(copied)) == 2


def test_a_store_without_fits_is_migrated_and_keeps_its_studies(any_store_url: str) -> None:
    migrate(any_store_url, "0003")
    engine = create_engine(any_store_url)
    with engine.begin() as connection:
        values = "VALUES ('old', '{}', '2026-01-02 03:04:05')"
        connection.execute(text(f"INSERT INTO studies (name, config, created_at) {values}"))
    engine.dispose()
    with pytest.raises(StoreError, match="older schema 0003"):
        Store(any_store_url, create=False)
    store = Store(any_store_url)
    assert store.fits.of(store.study("old")) == []
    assert store.fits.add(store.study("old"), "error", CONTENT).content == CONTENT
