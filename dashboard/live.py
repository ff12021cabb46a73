"""Whether a study is at work, so that its page must follow it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from studies.records import StudySummary, TrialState

WAITING = (TrialState.QUEUED, TrialState.RUNNING)
AFTERGLOW = timedelta(seconds=30)  # between two trials of a search there may be none queued or running


def is_live(summary: StudySummary, *, now: datetime | None = None) -> bool:
    """Whether trials of the study are queued or running, or something happened to it within the last half minute."""
    at_work = any(summary.counts.get(state) for state in WAITING)
    return at_work or (now or datetime.now(UTC)) - summary.updated_at < AFTERGLOW


def any_live(summaries: Sequence[StudySummary]) -> bool:
    """Whether one of the studies is at work."""
    return any(is_live(summary) for summary in summaries)
