"""Certificates from stored studies: what is matched, what is refused, and what a user gets to read."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

import nas
from nas.cli.fidelity import fidelity
from nas.fidelity import Certificate, certificate
from searchspace.spaces import stacking_space
from studies.rank_statistics import kendall_tau
from studies.records import TrialState
from trainer.proxy_config import ProxyConfig, ProxyResult

SPACE = stacking_space(channels=[16], group_channels=[8], l1=[1], l3=range(1, 14))
CHEAP, DEAR = ProxyConfig(epochs=1), ProxyConfig(epochs=2)


def trained(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
    """Deeper is better; the cheap proxy and each seed blur it."""
    drawn = np.random.default_rng([seed, proxy.epochs, *config.depths])
    for epoch in range(1, proxy.epochs + 1):
        top1 = round(0.3 + config.depths[2] / 40 + float(drawn.normal(0, 0.06 / proxy.epochs)), 3)
        metrics = {"top1": top1, "loss": 2 - top1, "seconds": 1.5 * epoch**2}
        yield ProxyResult(epoch=epoch, metrics=metrics, fidelity=proxy.fidelity(epochs=epoch, seed=seed))


class Searches:
    """Makes studies in one store without training."""

    def __init__(self, url: str) -> None:
        self.url = url

    def __call__(self, name: str, proxy: ProxyConfig, seed: int, evaluate: Callable[..., Any] = trained, **changes: Any) -> nas.Study:
        config = nas.StudyConfig(space=changes.pop("space", SPACE), proxy=proxy, seed=seed)
        return nas.search(config, name=name, store=self.url, engine="local", evaluate=evaluate, **changes)

    def sides(self, seeds: int = 2) -> tuple[list[nas.Study], list[nas.Study]]:
        """Cheap and dear studies, one for each seed."""
        cheap, dear = ([self(f"{name}-{seed}", proxy, seed) for seed in range(seeds)] for name, proxy in (("cheap", CHEAP), ("dear", DEAR)))
        return cheap, dear


@pytest.fixture
def searches(store_url: str) -> Searches:
    return Searches(store_url)


def test_a_certificate_holds_what_the_store_holds(searches: Searches) -> None:
    cheap, dear = searches.sides()
    made = certificate(cheap[::-1], dear)
    assert (made.cheap.studies, made.cheap.seeds, made.cheap.seconds) == (("cheap-0", "cheap-1"), (0, 1), 1.5)
    assert (made.reference.seconds, made.reference.seconds_per_variant, made.cost_ratio) == (6.0, 12.0, 4.0)
    assert made.reference.fidelity["epochs"] == 2
    assert "seed" not in made.reference.fidelity
    assert len(made.variants) == 13
    assert made.missing == {}
    for scores in made.variants:
        stored = [_value(study, scores.model.to_dict()) for study in (*cheap, *dear)]
        assert (*scores.cheap["top1"], *scores.reference["top1"]) == tuple(stored)
    means = [[np.mean(side["top1"]) for side in (scores.cheap, scores.reference)] for scores in made.variants]
    ranking = made.rankings["top1"]
    assert ranking.tau is not None
    assert ranking.tau.value == pytest.approx(kendall_tau(*np.round(np.array(means).T, 9)))
    assert ranking.verdicts[0].startswith("better than chance")
    assert [(rival.name, rival.family) for rival in ranking.rivals] == [
        ("more params", "params"), ("fewer params", "params"), ("more FLOPs", "FLOPs"), ("fewer FLOPs", "FLOPs"),
    ]  # fmt: skip
    assert all(ranking.verdicts[i].startswith("no better than") for i in (1, 2)), "deeper is better, so size says it all"
    assert made.rankings["loss"].cheap_ranks == ranking.cheap_ranks
    assert certificate(cheap, dear) == made
    assert certificate(cheap, dear, seed=1).rankings["top1"].tau != ranking.tau


def _value(study: nas.Study, model: Mapping[str, Any]) -> float | None:
    (value,) = (trial.value("top1") for trial in study.trials() if trial.model == model and trial.state is TrialState.COMPLETE)
    return value


def test_a_variant_counts_only_where_every_study_has_completed_it(searches: Searches) -> None:
    def broken(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        if config.depths[:3] == (1, 1, 5):
            raise RuntimeError("lost")
        yield from trained(config, proxy, seed=seed)

    cheap, dear = searches("cheap", CHEAP, 0), searches("dear", DEAR, 0, broken)
    deeper = searches("deeper", CHEAP, 1, space=stacking_space(channels=[16], group_channels=[8], l1=[1], l3=range(2, 15)))
    made = certificate([cheap, deeper], [dear])
    assert len(made.variants) == 11
    assert {model.short_name: names for model, names in made.missing.items()} == {
        "16,8,1,1": ("deeper",),
        "16,8,1,5": ("dear",),
        "16,8,1,14": ("cheap", "dear"),
    }


def test_under_ten_variants_there_is_no_certificate(searches: Searches) -> None:
    cheap, dear = searches("cheap", CHEAP, 0), searches("dear", DEAR, 0, trials=7)
    with pytest.raises(nas.NasError, match=r"^too few variants for a claim: 7, needs 10 \(6 more are not complete in every study\)$"):
        certificate([cheap], [dear])


def test_a_side_is_one_proxy_on_one_data_set_with_different_seeds(searches: Searches) -> None:
    cheap, dear = searches("cheap", CHEAP, 0), searches("dear", DEAR, 0)

    def changed(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        for result in trained(config, proxy, seed=seed):
            yield ProxyResult(epoch=result.epoch, metrics=result.metrics, fidelity={**result.fidelity, "dataset": "digits, other files"})

    shapes = searches("shapes", ProxyConfig(epochs=1, dataset="shapes:200"), 1)
    longer, again, moved = searches("longer", DEAR, 1), searches("again", CHEAP, 0), searches("moved", CHEAP, 1, changed)
    for one, other, message in (
        ([cheap, shapes], [dear], r"the cheap studies cheap and shapes differ in more than their seed: dataset is digits and shapes:200"),
        (
            [dear],
            [cheap, longer],
            r"the reference studies cheap and longer differ in more than their seed: epochs is 1 and 2; one side has",
        ),
        ([cheap, again], [dear], r"the cheap studies 'cheap' and 'again' have the same seed 0: one training would count twice"),
        (
            [cheap, moved],
            [dear],
            r"cheap and moved \(trial \d+\) differ in more than their seed: dataset is digits and digits, other files",
        ),
        ([cheap], [again], r"the same proxy with the same seed 0 stands on both sides \(cheap; again\)"),
        ([], [dear], r"the cheap side needs at least one study"),
    ):
        with pytest.raises(ValueError, match=message):
            certificate(one, other)
    assert certificate([shapes], [dear]).cheap.fidelity["synthetic"] is True  # a proxy may well have other data than its reference
    with pytest.raises(ValueError, match="got top=14 for 13 variants"):
        certificate([cheap], [dear], top=[14])


def test_stored_scores_are_rivals_in_their_direction_and_constant_ones_rank_nothing(searches: Searches) -> None:
    def scored(config: Any, proxy: ProxyConfig, *, seed: int) -> Iterator[ProxyResult]:
        scores = {"synflow": 10.0 * config.depths[2], "zen": 3.0 + 1e-13 * config.depths[2]}
        for result in trained(config, proxy, seed=seed):
            yield ProxyResult(epoch=result.epoch, metrics={**result.metrics, **scores}, fidelity=result.fidelity)

    ranking = certificate([searches("cheap", CHEAP, 0, scored)], [searches("dear", DEAR, 0)]).rankings["top1"]
    synflow, zen = ranking.rivals[4:]
    assert synflow.name == "log SynFlow"
    assert synflow.tau is not None
    assert synflow.tau.value > 0.8
    assert (zen.name, zen.tau, zen.lead) == ("Zen", None, None)
    assert "Zen ranks nothing: the same for all variants" in ranking.verdicts


def command(url: str, *arguments: str) -> Any:
    app = typer.Typer()
    app.command()(fidelity)
    return CliRunner().invoke(app, [*arguments, "--store", url], env={"COLUMNS": "200"})


def test_the_command_prints_tables_with_verdicts_all_values_as_json_and_variants_as_csv(searches: Searches) -> None:
    cheap, dear = searches.sides()
    arguments = ("cheap-0", "cheap-1", "--reference", "dear-0", "--reference", "dear-1")
    made = certificate(cheap, dear)
    out = " ".join(command(searches.url, *arguments).stdout.split())
    for text in ("13 variants by top-1", "seeds 0, 1; 6.0 s a trial, 12.0 s a variant (dear-0, dear-1)", "as long as 4.0 cheap ones",
                 "Regret in points of top-1", *made.rankings["top1"].verdicts):  # fmt: skip
        assert text in out
    document = json.loads(command(searches.url, *arguments, "--format", "json").stdout)
    assert document == json.loads(json.dumps(made.to_dict()))
    assert [tuple(each["cheap"]["loss"]) for each in document["variants"]] == [each.cheap["loss"] for each in made.variants]
    rows = list(csv.DictReader(io.StringIO(command(searches.url, *arguments, "--by", "loss", "--format", "csv").stdout)))
    assert [int(row["reference_rank"]) for row in rows] == sorted(made.rankings["loss"].reference_ranks)
    assert {row["variant"]: float(row["reference_loss_seed_1"]) for row in rows} == _second_losses(made)
    only = command(searches.url, *arguments, "--top", "2", "--by", "loss").stdout
    assert "Regret in loss" in only
    refused = command(searches.url, "cheap-0", "--reference", "cheap-1", "--top", "99")
    assert isinstance(refused.exception, ValueError)
    assert refused.exit_code == 1


def _second_losses(made: Certificate) -> dict[str, float]:
    return {scores.model.short_name: scores.reference["loss"][1] for scores in made.variants}
