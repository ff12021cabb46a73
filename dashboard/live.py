"""Whether a study is at work, so that its page must follow it."""

from datetime import UTC, datetime, timedelta

from studies.records import StudySummary

PATIENCE = timedelta(minutes=15)  # a running trial says nothing for an epoch; a killed driver's says nothing ever again
AFTERGLOW = timedelta(seconds=30)  # between two trials of a search there may be none queued or running


def is_live(summary: StudySummary, *, now: datetime | None = None) -> bool:
    """Whether something happened to the study within the last half minute, or a quarter of an hour while a trial is running."""
    return (now or datetime.now(UTC)) - summary.updated_at < (PATIENCE if summary.running else AFTERGLOW)
