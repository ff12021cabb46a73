"""What a comparison of rankings says in words: nothing that its intervals do not carry."""

import numpy as np
import pytest

from studies.rank_statistics import Floats
from studies.ranking import Ranking, Rival, compare_rankings

TRUTH = np.arange(20, dtype=float) / 40
BLURRED = TRUTH + 0.04 * np.random.default_rng(2).standard_normal(20)
SHUFFLED = TRUTH[np.random.default_rng(0).permutation(20)]


def seeds(scores: Floats, noise: float = 0.01, number: int = 3) -> Floats:
    return scores[:, None] + np.random.default_rng(1).normal(0, noise, (len(scores), number))


def sizes(scores: Floats) -> list[Rival]:
    return [Rival("more FLOPs", "FLOPs", scores), Rival("fewer FLOPs", "FLOPs", -scores)]


def compare(cheap: Floats, rival: Floats = SHUFFLED, metric: str = "top1") -> Ranking:
    return compare_rankings(metric, cheap, seeds(TRUTH, 0.02), sizes(rival), top=(3, 1), seed=0)


def test_a_good_proxy_beats_chance_and_a_useless_rival() -> None:
    ranking = compare(seeds(BLURRED))
    chance, flops, ceiling, pairs = ranking.verdicts
    assert chance.startswith("better than chance: τ = 0.")
    assert flops.startswith("better than FLOPs (")
    assert ceiling.startswith("a perfect proxy would reach τ = 0.9")
    assert "of 190 pairs differ by more than the proxy's own noise" in pairs
    assert [regret.k for regret in ranking.regrets] == [1, 3]
    assert all(regret.proxy < regret.random for regret in ranking.regrets)


def test_a_good_proxy_is_no_better_than_an_equal_rival_of_either_direction() -> None:
    for rival in (TRUTH, -TRUTH):
        flops = compare(seeds(BLURRED), rival).verdicts[1]
        assert flops.startswith(f"no better than FLOPs ({'more' if rival[1] > 0 else 'fewer'} FLOPs): its lead is -0.")


def test_a_useless_proxy_and_one_that_ranks_backwards_are_called_so() -> None:
    useless, backwards = compare(seeds(SHUFFLED), TRUTH), compare(seeds(-TRUTH))
    assert useless.verdicts[0].startswith("indistinguishable from chance: τ = ")
    assert useless.verdicts[1].startswith("no better than FLOPs")
    assert useless.verdicts[2].endswith("this one stays below")
    assert backwards.verdicts[0].startswith("worse than chance, it ranks the wrong way round: τ = -")
    assert backwards.pairs is not None
    assert backwards.pairs.agree < 0.1 * backwards.pairs.beyond_noise


def test_a_loss_ranks_the_other_way_and_is_shown_as_it_is() -> None:
    up, down = compare(seeds(TRUTH)), compare_rankings("loss", -seeds(TRUTH), -seeds(TRUTH, 0.02), sizes(SHUFFLED), top=(1, 3), seed=0)
    assert (up.tau, up.cheap_ranks, up.regrets, up.rivals) == (down.tau, down.cheap_ranks, down.regrets, down.rivals)
    assert down.cheap == tuple(-score for score in up.cheap)
    assert up.cheap_ranks[19] == 1


@pytest.mark.parametrize("side", ["cheap", "reference"])
def test_where_all_scores_are_equal_nothing_is_ranked_and_the_side_is_named(side: str) -> None:
    equal, good = np.full((20, 2), 0.5), seeds(TRUTH, number=2)
    cheap, reference = (equal, good) if side == "cheap" else (good, equal)
    ranking = compare_rankings("top1", cheap, reference, sizes(TRUTH), top=(1,), seed=0)
    assert ranking.tau is None
    assert ranking.verdicts[0] == f"undefined: the {side} side gives all variants the same top-1, so it ranks nothing"
    assert not any("better than" in verdict for verdict in ranking.verdicts)


def test_single_seeds_leave_the_noise_unknown_and_equal_rivals_rank_nothing() -> None:
    ranking = compare_rankings("top1", seeds(TRUTH, number=1), seeds(TRUTH), [Rival("Zen", "Zen", np.ones(20))], top=(1,), seed=0)
    assert ranking.verdicts[1:] == (
        "Zen ranks nothing: the same for all variants",
        "ceiling: not known: needs at least two seeds on both sides",
        "pairs beyond the proxy's own noise: not known: needs at least two seeds on the cheap side",
    )
