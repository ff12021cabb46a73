"""Reading and writing transactions of one database, whose failures become one clear error."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import Engine
from sqlalchemy.exc import DatabaseError, IntegrityError
from sqlalchemy.orm import Session

from studies.database import StoreError, shown


class Sessions:
    """Sessions of `engine`; StoreError, which names `url`, when the database fails under one."""

    def __init__(self, engine: Engine, url: str) -> None:
        self.engine = engine
        self._url = url

    @contextmanager
    def read(self) -> Iterator[Session]:
        """A session that only looks."""
        with self._guard(), Session(self.engine, expire_on_commit=False) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """A transaction, committed at the end of the block unless there is an error."""
        engine = self.engine.execution_options(writes=True)
        with self._guard(), Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def _guard(self) -> Iterator[None]:
        """A database that fails under us becomes one clear error; a broken uniqueness stays itself for `Store.open`."""
        try:
            yield
        except IntegrityError:
            raise
        except DatabaseError as error:
            raise StoreError(f"the store {shown(self._url)} failed: {str(error.orig).strip().splitlines()[0]}") from error
