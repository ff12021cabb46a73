"""What answers a study's candidates: a training, or a table of recorded results."""

from collections.abc import Sequence

from nas.config import StudyConfig
from nas.job import Evaluator, train_proxy
from searchspace.space import Candidate

TABLE = "table:"


def evaluator(config: StudyConfig) -> Evaluator:
    """The evaluator that the study names; ValueError for an unknown one and for a table that cannot be read or answers another proxy."""
    if config.evaluator == "train":
        return train_proxy
    if not config.evaluator.startswith(TABLE) or config.evaluator == TABLE:
        raise ValueError(f"unknown evaluator {config.evaluator!r}; known: train, {TABLE}PATH with a CSV or Parquet file")
    from nas.table_evaluator import TableEvaluator

    return TableEvaluator.of(config.evaluator.removeprefix(TABLE), config)


def missing_answers(evaluate: Evaluator, feasible: Sequence[Candidate]) -> str | None:
    """Which feasible candidates a table does not answer, in words, ValueError when it answers none; None where nothing is missing."""
    missing = getattr(evaluate, "missing", None)
    return None if missing is None else missing(feasible)
