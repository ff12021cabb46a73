"""What a search says of itself while it runs, away from a terminal."""

from dataclasses import replace

import pytest

from nas.progress import ProgressView
from nas.progress_record import Progress
from studies.records import Objective


def test_a_search_that_ends_before_its_first_trial_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    begun = Progress("s", "digits", 0, (), 19, 0, None, None, None)
    view = ProgressView(Objective.of("top1"))
    for progress in (begun, begun, *(replace(begun, ended=f"the time is up: {seconds}s of 8s") for seconds in (22.6, 24.2))):
        view(progress)
    assert capsys.readouterr().err.splitlines() == ["study 's': 19 trials of digits", "study 's' ends here: the time is up: 22.6s of 8s"]
