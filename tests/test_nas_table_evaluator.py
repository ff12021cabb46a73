"""Recorded results answer for trainings: by choice, seed and epoch, in any process, and say what they lack."""

import pickle
from collections.abc import Callable, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from nas import result_table
from nas.config import StudyConfig
from nas.evaluators import evaluator, missing_answers
from nas.job import Job, Run, Step
from nas.table_evaluator import TableEvaluator
from searchspace.model_config import ModelConfig
from searchspace.spaces import scaling_space, stacking_space
from studies.frames import trials_frame
from studies.records import Trial, TrialState
from trainer.proxy_config import ProxyConfig

SPACE = stacking_space(channels=(48, 64), group_channels=(16,), l1=(1, 2), l3=(3, 5))
PROXY = ProxyConfig(epochs=3)
Rows = list[dict[str, Any]]


def study(table: Path, **changes: Any) -> StudyConfig:
    return StudyConfig(**{"space": SPACE, "proxy": PROXY, "evaluator": f"table:{table}", **changes})


def rows(epochs: tuple[int, ...] = (1, 2, 3), seeds: tuple[int, ...] = (0, 1)) -> Rows:
    """A row for each choice, seed and epoch, whose top-1 names them."""
    choices = product(*SPACE.domains.values(), seeds, epochs)
    names = (*SPACE.domains, "seed", "epoch")
    return [
        {**dict(zip(names, choice, strict=True)), "top1": top1(*choice), "loss": 1.0, "seconds": 100.0 * choice[-1]} for choice in choices
    ]


def top1(channels: int, group_channels: int, l1: int, l3: int, seed: int = 0, epoch: int = 3) -> float:
    return channels / 1000 + l1 / 100 + l3 / 1000 + seed / 10_000 + epoch / 100_000


def written(folder: Path, content: Rows | pd.DataFrame, name: str = "results.csv") -> Path:
    path = folder / name
    frame = pd.DataFrame(content)
    frame.to_csv(path, index=False) if path.suffix == ".csv" else frame.to_parquet(path)
    return path


def steps(config: StudyConfig, *, seed: int = 0, choice: Mapping[str, Any] | None = None) -> list[Step]:
    """What a worker would report of one candidate."""
    model = config.space.build(choice or {"channels": 64, "group_channels": 16, "l1": 2, "l3": 5})
    run, seen = Run(Job(model=model, proxy=config.proxy, seed=seed), evaluator(config)), []
    while not seen or seen[-1].state is None:
        seen.append(run.step())
    return seen


@pytest.mark.parametrize("name", ["results.csv", "results.parquet"])
@pytest.mark.parametrize("seed", [0, 1])
def test_every_epoch_is_answered_with_what_was_recorded_for_the_choice_and_seed(tmp_path: Path, name: str, seed: int) -> None:
    found = steps(study(written(tmp_path, rows(), name)), seed=seed)
    results = [step.result for step in found]
    assert [result.epoch for result in results if result] == [1, 2, 3]
    assert [result.metrics["top1"] for result in results if result] == [top1(64, 16, 2, 5, seed, epoch) for epoch in (1, 2, 3)]
    assert results[-1] is not None
    assert results[-1].metrics["seconds"] == 300
    assert results[-1].fidelity == {"epochs": 3, "seed": seed, "table": name}
    assert found[-1].state is TrialState.COMPLETE


def test_final_results_alone_are_one_step_at_the_last_epoch_and_without_seeds_answer_any(tmp_path: Path) -> None:
    final = [{key: value for key, value in row.items() if key not in ("epoch", "seed")} for row in rows(epochs=(3,), seeds=(0,))]
    found = steps(study(written(tmp_path, final)), seed=7)
    assert [(step.result.epoch, step.state) for step in found if step.result] == [(3, TrialState.COMPLETE)]


def test_the_evaluator_answers_alike_after_pickling(tmp_path: Path) -> None:
    config = study(written(tmp_path, rows()))
    answer = evaluator(config)
    again = pickle.loads(pickle.dumps(answer))
    model = SPACE.build({"channels": 48, "group_channels": 16, "l1": 1, "l3": 3})
    assert list(again(model, PROXY, seed=1)) == list(answer(model, PROXY, seed=1))


def test_a_process_reads_the_table_once_until_it_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, reads = result_table._read, []
    monkeypatch.setattr(result_table, "_read", lambda path: reads.append(path) or read(path))
    config = study(written(tmp_path, rows()))
    for _ in range(3):
        steps(config)
    assert len(reads) == 1
    written(tmp_path, [{**row, "top1": 0.5} for row in rows()])
    assert steps(config)[0].result.metrics["top1"] == 0.5  # type: ignore[union-attr]
    assert len(reads) == 2


def test_choices_that_cannot_be_read_off_an_architecture_are_looked_up(tmp_path: Path) -> None:
    space = scaling_space(pairs="paper", phi=[1.74], formula=True, with_base=False)
    table = written(
        tmp_path, [{"pair": pair, "phi": space.domains["phi"][0], "top1": i / 100} for i, pair in enumerate(space.domains["pair"])]
    )
    config = study(table, space=space)
    assert missing_answers(evaluator(config), space.feasible()) is None
    for i, pair in enumerate(space.domains["pair"]):
        found = steps(config, choice={"pair": pair, "phi": space.domains["phi"][0]})
        assert found[-1].result is not None
        assert found[-1].result.metrics == {"top1": i / 100}


def trial(number: int, choice: Mapping[str, Any], state: TrialState, proxy: ProxyConfig = PROXY) -> Trial:
    model = SPACE.build(choice)
    fidelity = proxy.fidelity(epochs=proxy.epochs, seed=0)
    metrics = {"top1": top1(**choice), "loss": 0.5, "seconds": 2.0}
    return Trial(
        id=number, number=number, state=state, params=choice, model=model.to_dict(), cost={}, metrics=metrics, fidelity=fidelity, seed=0
    )


@pytest.mark.parametrize("name", ["trials.csv", "trials.parquet"])
def test_what_a_study_wrote_answers_another_with_the_effort_it_was_measured_at(tmp_path: Path, name: str) -> None:
    done = [trial(i, candidate.params, TrialState.COMPLETE) for i, candidate in enumerate(SPACE.feasible())]
    failed = trial(99, {"channels": 64, "group_channels": 16, "l1": 2, "l3": 5}, TrialState.FAILED)
    table = written(tmp_path, trials_frame([failed, *done]), name)
    last = steps(study(table))[-1]
    assert last.result is not None
    assert last.result.metrics == {"top1": pytest.approx(top1(64, 16, 2, 5)), "loss": 0.5, "seconds": 2.0}
    assert last.result.fidelity == {**PROXY.fidelity(epochs=3, seed=0), "table": name}
    with pytest.raises(ValueError, match=f"{name} holds results of dataset=digits, the study asks for dataset=shapes:"):
        evaluator(study(table, proxy=ProxyConfig(epochs=3, dataset="shapes:2000")))
    with pytest.raises(ValueError, match=f"{name} holds results of epochs=3, the study asks for epochs=4"):
        evaluator(study(table, proxy=ProxyConfig(epochs=4)))


def test_a_candidate_that_the_table_lacks_is_named_before_and_fails_with_the_reason(tmp_path: Path) -> None:
    known = [row for row in rows() if (row["channels"], row["l1"]) != (64, 2)]
    config = study(written(tmp_path, known))
    said = missing_answers(evaluator(config), SPACE.feasible())
    assert said is not None
    assert said.startswith("results.csv lacks 2 of 8 feasible candidates: channels=64, group_channels=16, l1=2, l3=3; ")
    end = steps(config)[-1]
    assert end.state is TrialState.FAILED
    assert end.reason == "ValueError: results.csv has no complete result of channels=64, group_channels=16, l1=2, l3=5"
    assert "with seed 5, only [0, 1]" in str(
        steps(config, seed=5, choice={"channels": 48, "group_channels": 16, "l1": 1, "l3": 3})[-1].reason
    )


def test_a_table_of_another_space_answers_nothing_and_is_refused(tmp_path: Path) -> None:
    config = study(written(tmp_path, [{**row, "channels": 80} for row in rows() if row["channels"] == 48]))
    with pytest.raises(ValueError, match="results of none of the 8 feasible candidates"):
        missing_answers(evaluator(config), SPACE.feasible())


def test_a_row_of_another_variant_is_no_answer(tmp_path: Path) -> None:
    end = steps(study(written(tmp_path, [{**row, "variant": "64,16,2,9"} for row in rows()])))[-1]
    assert end.state is TrialState.FAILED
    assert "holds results of another variant: 64,16,2,9, this one is 64,16,2,5" in str(end.reason)


def test_a_table_that_stops_short_of_the_last_epoch_is_no_answer(tmp_path: Path) -> None:
    end = steps(study(written(tmp_path, rows(epochs=(1, 2)))))[-1]
    assert end.state is TrialState.FAILED
    assert "has results of the epochs [1, 2], none of epoch 3" in str(end.reason)


BAD: Mapping[str, tuple[Callable[[Path], Path], str]] = {
    "missing file": (lambda folder: folder / "none.csv", "cannot read .*none.csv: No such file"),
    "another format": (lambda folder: written(folder, rows()).rename(folder / "results.xlsx"), r"a file \.csv or \.parquet, got"),
    "no Parquet": (lambda folder: written(folder, rows()).rename(folder / "results.parquet"), "cannot read .*results.parquet: "),
    "no rows": (lambda folder: written(folder, pd.DataFrame(columns=["channels", "top1"])), "holds no rows"),
    "no choice": (
        lambda folder: written(folder, pd.DataFrame(rows()).drop(columns="l3")),
        r"no column 'l3' \(or 'param_l3'\); it has channels",
    ),
    "no metrics": (
        lambda folder: written(folder, pd.DataFrame(rows())[["channels", "group_channels", "l1", "l3"]]),
        "none of the metrics top1",
    ),
    "no objective": (lambda folder: written(folder, pd.DataFrame(rows()).drop(columns="top1")), "has no top1, an objective of the study"),
    "twice": (lambda folder: written(folder, [*rows(), *rows()]), r"two results of channels=48, .* \(rows 1 and 49\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_table_that_cannot_answer_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, rule = BAD[case]
    with pytest.raises(ValueError, match=rule) as refused:
        evaluator(study(make(tmp_path)))
    assert "\n" not in str(refused.value)


def test_an_unknown_evaluator_is_refused_with_the_known_ones() -> None:
    for text in ("guess", "table:"):
        with pytest.raises(ValueError, match="known: train, table:PATH"):
            evaluator(StudyConfig(evaluator=text))
    assert missing_answers(evaluator(StudyConfig()), []) is None


def test_an_architecture_outside_the_space_is_no_candidate(tmp_path: Path) -> None:
    space = scaling_space(pairs="paper", phi=[1.74], formula=True, with_base=False)
    table = written(tmp_path, [{"pair": pair, "phi": space.domains["phi"][0], "top1": 0.1} for pair in space.domains["pair"]])
    answer = evaluator(study(table, space=space))
    assert isinstance(answer, TableEvaluator)
    with pytest.raises(ValueError, match="is no candidate of the space"):
        next(answer(ModelConfig(channels=16, group_channels=16, depths=(1, 1, 1, 1)), PROXY, seed=0))
