"""Feeding: the same batches whether they are taken in place, from a copy or gathered ahead, on one process or shared among several."""

import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import trainer.feeding
from trainer.data import Split, batch_sizes, epoch_batches
from trainer.feeding import Feed

PLACES = ("in place", "copied", "streamed")


def part_of_a_split(count: int) -> Split:
    """Every other image of a larger split, each image its own number."""
    numbers = torch.arange(2 * count)
    images = torch.stack([numbers % 256, numbers // 256], 1).to(torch.uint8).reshape(-1, 1, 1, 2)
    return Split(images, numbers).take(torch.arange(0, 2 * count, 2).numpy())


def feed(split: Split, place: str, **sharing: int) -> Feed:
    """A feed that takes the CPU for a device of its own, unless it works in place."""
    with pytest.MonkeyPatch.context() as patch:
        if place != "in place":
            patch.setattr(trainer.feeding, "_in_place", lambda split, device: False)
            patch.setattr(trainer.feeding, "_fits", lambda split, device: place == "copied")
        return Feed(split, "cpu", **sharing)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def same(ones: Iterator[tuple[torch.Tensor, torch.Tensor]], others: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> bool:
    pairs = list(zip(ones, others, strict=True))
    return all(torch.equal(one, other) for pair in pairs for one, other in zip(*pair, strict=True))


@given(count=st.integers(2, 90), batch_size=st.integers(2, 40), seed=st.integers(0, 2**32), place=st.sampled_from(PLACES))
def test_a_feed_gives_the_batches_of_an_epoch_wherever_the_images_lie(count: int, batch_size: int, seed: int, place: str) -> None:
    split = part_of_a_split(count)
    fed = feed(split, place)
    one, other = seeded(seed), seeded(seed)
    for _ in range(2):  # and the generator moves on alike
        assert same(fed.epoch(batch_size, one), epoch_batches(split, batch_size, other))
    assert fed.steps(batch_size) == len(batch_sizes(count, batch_size))


@given(count=st.integers(0, 90), batch_size=st.integers(1, 40), place=st.sampled_from(PLACES))
def test_in_order_every_image_comes_once_with_its_label(count: int, batch_size: int, place: str) -> None:
    split = part_of_a_split(count)
    batches = list(feed(split, place).in_order(batch_size))
    assert [len(labels) for _, labels in batches] == [min(batch_size, count - start) for start in range(0, count, batch_size)]
    assert torch.equal(torch.cat([split.images[:0], *(images for images, _ in batches)]), split.images)
    assert torch.equal(torch.cat([split.labels[:0], *(labels for _, labels in batches)]), split.labels)


@given(world=st.integers(1, 5), count=st.integers(10, 90), batch_size=st.integers(10, 40), place=st.sampled_from(PLACES))
def test_processes_share_every_batch_in_contiguous_parts_of_two_or_more(world: int, count: int, batch_size: int, place: str) -> None:
    split = part_of_a_split(count)
    alone = torch.cat([labels for _, labels in epoch_batches(split, batch_size, seeded(1))])
    ranks = [list(feed(split, place, rank=rank, world=world).epoch(batch_size, seeded(1))) for rank in range(world)]
    assert torch.equal(torch.cat([labels for step in zip(*ranks, strict=True) for _, labels in step]), alone)
    assert min(len(labels) for rank in ranks for _, labels in rank) >= 2
    sizes = [sum(len(labels) for _, labels in step) for step in zip(*ranks, strict=True)]
    assert sizes == batch_sizes(count, batch_size, world=world)
    assert all(max(shares) - min(shares) <= 1 for shares in zip(*([len(labels) for _, labels in rank] for rank in ranks), strict=True))


@given(world=st.integers(1, 5), count=st.integers(0, 60), batch_size=st.integers(1, 40))
def test_processes_together_evaluate_every_image_once(world: int, count: int, batch_size: int) -> None:
    split = part_of_a_split(count)
    seen = [labels for rank in range(world) for _, labels in feed(split, "in place", rank=rank, world=world).in_order(batch_size)]
    assert all(len(labels) for labels in seen)
    assert sorted(torch.cat([split.labels[:0], *seen]).tolist()) == split.labels.tolist()


def test_on_the_cpu_nothing_is_copied_and_no_thread_is_started() -> None:
    split = part_of_a_split(50)
    threads = threading.active_count()
    batches = Feed(split, "cpu").epoch(10, seeded(0))
    next(batches)
    assert threading.active_count() == threads


def test_a_copy_holds_the_split_s_own_images_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer.feeding, "COPIED_AT_ONCE", 14)  # seven images
    split = part_of_a_split(50)
    copy = trainer.feeding._copied(split, torch.device("cpu"))
    assert copy.indices is None
    assert torch.equal(copy.images, split.images)
    assert torch.equal(copy.labels, split.labels)


def feeding_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "feed"]


def test_the_thread_ends_with_the_epoch_and_with_a_consumer_that_stops_early() -> None:
    fed = feed(part_of_a_split(60), "streamed")
    list(fed.epoch(4, seeded(0)))
    assert feeding_threads() == []
    batches = fed.epoch(4, seeded(0))
    next(batches)
    assert len(feeding_threads()) == 1
    del batches
    assert feeding_threads() == []
    with pytest.raises(ZeroDivisionError):
        sum(1 / (len(labels) - 4) for _, labels in fed.epoch(4, seeded(0)))
    assert feeding_threads() == []


def test_no_more_than_a_few_batches_are_gathered_ahead() -> None:
    taken = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    ahead = trainer.feeding._ahead(items())
    for expected in range(50):
        assert next(ahead) == expected
        assert len(taken) <= expected + 1 + trainer.feeding.AHEAD
    ahead.close()


def test_an_error_of_the_thread_reaches_the_consumer_after_the_batches_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Split.batch_into

    def fails(self: Split, images: torch.Tensor, labels: torch.Tensor, chosen: torch.Tensor) -> None:
        if len(chosen) == 3:
            raise OSError("the disk is gone")
        whole(self, images, labels, chosen)

    monkeypatch.setattr(Split, "batch_into", fails)
    batches = feed(part_of_a_split(23), "streamed").epoch(5, seeded(0))
    assert [len(next(batches)[1]) for _ in range(4)] == [5, 5, 5, 5]
    with pytest.raises(OSError, match="the disk is gone"):
        next(batches)
    assert feeding_threads() == []


@pytest.mark.parametrize(("rank", "world"), [(1, 1), (-1, 2), (0, 0)])
def test_a_rank_outside_its_world_is_refused(rank: int, world: int) -> None:
    with pytest.raises(ValueError, match=f"got rank={rank}, world={world}"):
        Feed(part_of_a_split(5), "cpu", rank=rank, world=world)


def test_batches_too_small_to_share_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 8 images \(4 processes share it\), got samples=50, batch_size=7"):
        Feed(part_of_a_split(50), "cpu", world=4).epoch(7, seeded(0))


@pytest.mark.gpu
@pytest.mark.parametrize("share", [0.0, 0.5])
def test_on_a_gpu_the_batches_are_those_of_the_cpu(monkeypatch: pytest.MonkeyPatch, share: float) -> None:
    monkeypatch.setattr(trainer.feeding, "SHARE_OF_MEMORY", share)
    split = part_of_a_split(5000)
    fed = Feed(split, "cuda")
    for seed in range(3):
        batches = ((images.cpu(), labels.cpu()) for images, labels in fed.epoch(64, seeded(seed)))
        assert same(batches, epoch_batches(split, 64, seeded(seed)))
    assert same(((images.cpu(), labels.cpu()) for images, labels in fed.in_order(64)), Feed(split, "cpu").in_order(64))
