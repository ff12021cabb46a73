"""Where trainings leave their state: each attempt has a folder of its own, which begins with what the newest before it left."""

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from nas.attempts import AttemptFolders, adopt
from studies.records import StudyRecord, Trial, TrialState


def study(created: int = 0) -> StudyRecord:
    return StudyRecord(id=1, name="s", config={}, created_at=datetime.fromtimestamp(created, UTC))


def attempt(trial: int, attempts: int, driver: str = "one") -> Trial:
    record = {"id": trial, "params": {}, "model": None, "cost": {}, "metrics": {}, "fidelity": {}, "seed": 0}
    return Trial(number=trial, state=TrialState.RUNNING, attempts=attempts, driver=driver, **record)  # type: ignore[arg-type]


def leave(folder: str, name: str, text: str, moment: int) -> Path:
    path = Path(folder, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    os.utime(path, (moment, moment))
    return path


def test_an_attempt_begins_with_the_files_of_the_newest_one_before_it_and_shares_nothing_with_it(tmp_path: Path) -> None:
    folders = AttemptFolders(str(tmp_path), study())
    leave(folders.of(attempt(7, 1)), "epoch-1", "old", 1)
    leave(folders.of(attempt(7, 2)), "epoch-1", "one", 2)
    written = leave(folders.of(attempt(7, 2)), "epoch-2", "two", 3)
    leave(folders.of(attempt(7, 2)), ".epoch-3.half", "not whole", 4)
    leave(folders.of(attempt(8, 1)), "epoch-9", "another trial's", 9)
    mine = Path(adopt(folders.of(attempt(7, 3, "two"))))
    assert {path.name: path.read_text() for path in mine.iterdir()} == {"epoch-1": "one", "epoch-2": "two"}
    late = written.with_name(".late")  # a worker that is not dead yet replaces and deletes what it wrote
    late.write_text("late")
    late.replace(written)
    written.with_name("epoch-1").unlink()
    assert {path.name: path.read_text() for path in mine.iterdir()} == {"epoch-1": "one", "epoch-2": "two"}
    leave(str(mine), "epoch-3", "three", 5)
    assert adopt(str(mine)) == mine
    assert len(list(mine.iterdir())) == 3


def test_the_first_attempt_finds_nothing_and_a_folder_that_cannot_be_read_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folders = AttemptFolders(str(tmp_path), study())
    assert not Path(adopt(folders.of(attempt(0, 1)))).exists()
    assert not caplog.records
    (tmp_path / "file").touch()
    broken = AttemptFolders(str(tmp_path / "file"), study())
    adopt(broken.of(attempt(0, 1)))
    assert "the state of an earlier attempt is not found again" in caplog.text


def test_what_finished_trials_left_is_deleted_and_nothing_of_other_trials_and_studies(tmp_path: Path) -> None:
    ours, other = AttemptFolders(str(tmp_path), study()), AttemptFolders(str(tmp_path), study(created=5))
    for folders in (ours, other):
        for number in (1, 11, 2):
            leave(folders.of(attempt(number, 1)), "epoch-1", "state", 1)
    ours.sweep([1, 3])
    assert sorted(path.name for path in tmp_path.glob("*/trial-*")) == sorted(["trial-11", "trial-2", "trial-1", "trial-11", "trial-2"])
    ours.discard(2)
    ours.discard(11)
    assert len(list(tmp_path.iterdir())) == 1  # the last one takes the study's folder with it
