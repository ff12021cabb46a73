"""The SQL schema; a change here needs a migration beside it, and a test compares the two."""

from datetime import UTC, datetime
from typing import Any, cast

from sqlalchemy import (
    JSON,
    BigInteger,
    DateTime,
    Dialect,
    Enum,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    TypeDecorator,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from studies.records import TrialState

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class UtcDateTime(TypeDecorator[datetime]):
    """A moment in UTC; SQLite drops time zones, so they are taken off on the way in and put back on the way out."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Any zone to naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Naive UTC to aware."""
        return None if value is None else value.replace(tzinfo=UTC)


class OutsideName(TypeDecorator[str]):
    """A short text of any origin: what no database holds is written out as an escape.

    UTF-8 has no halves of surrogate pairs, which Python makes of file names in other encodings, and PostgreSQL no NUL.
    """

    impl = String
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        """The text in characters that can be stored."""
        return None if value is None else value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")


class OutsideText(OutsideName):
    """The same of any length."""

    impl = Text
    cache_ok = True


class Row(DeclarativeBase):
    """What all tables share: constraint names and the mapping of Python types."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map = {dict[str, Any]: JSON, datetime: UtcDateTime, str: String(200), float: Float}


class StudyRow(Row):
    """A study and its configuration."""

    __tablename__ = "studies"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    config: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


class TrialRow(Row):
    """One evaluation; `number` counts from 0 within the study.

    `choice` is the parameters as JSON with sorted keys, once a study and seed; a repeat that an older schema let in has none. `driver` is
    the lease under which the trial runs or ran last.
    """

    __tablename__ = "trials"
    __table_args__ = (
        UniqueConstraint("study_id", "number"),
        Index(None, "study_id", "state"),
        Index(None, "study_id", "choice", "seed", unique=True),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    number: Mapped[int]
    state: Mapped[TrialState] = mapped_column(Enum(TrialState, native_enum=False, length=20))
    params: Mapped[dict[str, Any]]
    choice: Mapped[str | None] = mapped_column(Text)
    model: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    cost: Mapped[dict[str, Any]]
    metrics: Mapped[dict[str, Any]]
    premeasured: Mapped[dict[str, Any]] = mapped_column(server_default=text("'{}'"))
    fidelity: Mapped[dict[str, Any]]
    seed: Mapped[int] = mapped_column(BigInteger().with_variant(Integer, "sqlite"))  # up to 2**32; SQLite's integers have 64 bits anyway
    reason: Mapped[str | None] = mapped_column(OutsideText)
    worker: Mapped[str | None] = mapped_column(OutsideName(200))
    driver: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(server_default=text("0"))
    checkpoint: Mapped[str | None] = mapped_column(OutsideText)
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]


class ReportRow(Row):
    """Metrics of a trial after an epoch; measured again after a crash, they replace what stood there."""

    __tablename__ = "reports"

    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"), primary_key=True)
    step: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    metrics: Mapped[dict[str, Any]]


class ArtifactRow(Row):
    """A file of a trial, one of a kind; its path is relative to the store's folder where it lies below it."""

    __tablename__ = "artifacts"
    __table_args__ = (UniqueConstraint("trial_id", "kind"),)

    id: Mapped[int] = mapped_column(primary_key=True)
    trial_id: Mapped[int] = mapped_column(ForeignKey("trials.id", ondelete="CASCADE"))
    kind: Mapped[str]
    path: Mapped[str] = mapped_column(OutsideText)
    size: Mapped[int] = mapped_column(BigInteger)
    sha256: Mapped[str]
    created_at: Mapped[datetime]


class MeasurementRow(Row):
    """A value measured of a candidate before any training; `choice` is its parameters as JSON with sorted keys."""

    __tablename__ = "measurements"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    choice: Mapped[str] = mapped_column(Text, primary_key=True)
    metric: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[float]


class DriverRow(Row):
    """A driver of a study on a server, alive as long as `heartbeat_at` (by the server's clock) is renewed."""

    __tablename__ = "drivers"

    id: Mapped[str] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    host: Mapped[str]
    pid: Mapped[int]
    heartbeat_at: Mapped[datetime]


class LedgerRow(Row):
    """Device-seconds that a driver spent on a category; kept by driver, so that none waits for another's row."""

    __tablename__ = "ledger"

    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"), primary_key=True)
    driver: Mapped[str] = mapped_column(primary_key=True)
    category: Mapped[str] = mapped_column(primary_key=True)
    seconds: Mapped[float]


class FitRow(Row):
    """A scaling law fitted to what a study held at the time, or why none could be."""

    __tablename__ = "fits"

    id: Mapped[int] = mapped_column(primary_key=True)
    study_id: Mapped[int] = mapped_column(ForeignKey("studies.id", ondelete="CASCADE"))
    metric: Mapped[str]
    content: Mapped[dict[str, Any]]
    created_at: Mapped[datetime]


STUDIES, TRIALS, REPORTS, ARTIFACTS, MEASUREMENTS, DRIVERS, LEDGER, FITS = (
    cast(Table, row.__table__) for row in (StudyRow, TrialRow, ReportRow, ArtifactRow, MeasurementRow, DriverRow, LedgerRow, FitRow)
)
