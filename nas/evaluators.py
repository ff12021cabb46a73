"""What answers a study's candidates: a training, or a table of recorded results."""

from collections.abc import Sequence

from nas.config import TABLE, StudyConfig
from nas.job import Evaluator, train_proxy
from searchspace.space import Candidate


def evaluator(config: StudyConfig) -> Evaluator:
    """The evaluator that the study names; ValueError for a table that cannot be read or answers another proxy."""
    if config.evaluator == "train":
        return train_proxy
    from nas.table_evaluator import TableEvaluator

    return TableEvaluator.of(config.evaluator.removeprefix(TABLE), config)


def missing_answers(evaluate: Evaluator, feasible: Sequence[Candidate]) -> str | None:
    """Which feasible candidates a table does not answer, in words, ValueError when it answers none; None where nothing is missing."""
    missing = getattr(evaluate, "missing", None)
    return None if missing is None else missing(feasible)
