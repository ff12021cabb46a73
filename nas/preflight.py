"""What is looked at before a search touches a store: whether its candidates can be measured, and how many at a time, where it is to run."""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from nas.config import StudyConfig
from nas.engine import ENGINES
from nas.errors import NasError
from nas.evaluators import missing_answers
from nas.job import Evaluator, check_callable, train_proxy
from nas.packing import Slots, check_address, gpu_slots
from nas.premeasure import check_premeasuring
from searchspace.cost import COST_METRICS, cost
from searchspace.feasible import FeasibleSet
from searchspace.model_config import ModelConfig
from searchspace.space import SearchSpace
from studies.constraints import Constraint, check_constraints
from studies.records import METRICS
from trainer.dataset_spec import SOURCES, parse_dataset

log = logging.getLogger(__name__)
MOST_BUILT = 2000  # candidates that are looked at one by one


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """Where a search is to run: None is for what follows from the machine, from the study or from the cluster at `ray_address`."""

    engine: str = "ray"
    workers: int | None = None
    cpus: float | None = None
    gpus: float | None = None
    ray_address: str | None = None

    def __post_init__(self) -> None:
        if self.engine not in ENGINES:
            raise ValueError(f"unknown engine {self.engine!r}; known: {', '.join(ENGINES)}")
        if self.workers is not None and (type(self.workers) is not int or self.workers < 1):
            raise ValueError(f"workers must be at least 1 and whole, got {self.workers!r}")
        for name in ("cpus", "gpus"):
            if type(value := getattr(self, name)) is bool or not isinstance(value, int | float | None):
                raise ValueError(f"{name}_per_trial must be a number, got {value!r}")
        if self.ray_address is not None and not isinstance(self.ray_address, str):
            raise ValueError(f"ray_address must be text, auto or HOST:PORT, got {self.ray_address!r}")
        if self.cpus is not None:
            Slots(cpus=self.cpus)  # its rules are ours
        check_address(self.ray_address)
        if self.engine != "local":
            return
        if self.workers not in (None, 1):
            raise ValueError(f"the local engine trains in this process, one trial at a time, got workers={self.workers}; use --engine ray")
        for name in ("cpus", "gpus", "ray_address"):
            if (value := getattr(self, name)) is not None:
                raise ValueError(f"the local engine trains in this process and has no use for {name}={value!r}; use --engine ray")


def check_candidates(config: StudyConfig) -> None:
    """ValueError unless the space has feasible candidates that can meet the study's bounds, and whose proxies can be built and measured."""
    feasible = config.space.feasible_set()
    _check_reachable(config.require, config.space)
    check_premeasuring(config, len(feasible))
    for model in _architectures(feasible):
        if config.trains or config.scores:
            cost(config.proxy.proxy_of(model), config.proxy.image_size)
        if config.latency_setting is not None:
            cost(model, config.latency.image_size)


def check_until(until: Sequence[Constraint], config: StudyConfig) -> None:
    """ValueError where no trial of a study can end its search so, and where only one that is bad enough in an objective would."""
    check_constraints(until, config.reported)
    _check_reachable(until, config.space)
    better = {objective.metric: ">=" if objective.direction == "maximize" else "<=" for objective in config.objectives}
    for bound in until:
        if (sense := better.get(bound.metric, bound.sense)) != bound.sense:
            wish = "larger" if sense == ">=" else "smaller"
            written = bound.text.replace(bound.sense, sense)
            raise ValueError(f"until {bound.text} says nothing of success: the study looks for a {wish} {bound.metric}; write {written}")


def check_answers(config: StudyConfig, evaluate: Evaluator, asked: Asked) -> None:
    """ValueError where the evaluator cannot be called, answers none of the candidates looked at, or cannot run in several processes."""
    if config.trains or not callable(evaluate):  # without a training it is never called
        check_callable(evaluate)
    if asked.gpus is not None and asked.gpus > 1 and evaluate is not train_proxy:
        raise ValueError(f"only the real training shares a trial among several GPUs, got gpus={asked.gpus:g} with another evaluator")
    feasible = config.space.feasible_set()
    looked_at = [feasible.candidate(index) for index in range(min(len(feasible), MOST_BUILT))]
    if (lacking := missing_answers(evaluate, looked_at)) is not None:
        log.warning("%s", lacking)


def check_devices(config: StudyConfig, asked: Asked) -> None:
    """NasError where CUDA is asked for and not there; what the nodes of a cluster have is looked at once it is joined."""
    trained = [config.proxy.device] if asked.ray_address is None else []
    latency = [] if config.latency_setting is None else [config.latency_setting.device]
    if not any(device.startswith("cuda") for device in [*trained, *latency]):
        return
    import torch

    if not torch.cuda.is_available():
        why = "torch finds no CUDA device" if torch.version.cuda else "this torch is built without CUDA"
        raise NasError(f"no CUDA device here ({why}); use --device cpu")


def slots_for(config: StudyConfig, asked: Asked, data_bytes: int) -> Slots:
    """Room for as many trials at a time as asked; else one a processor, or as many as the GPUs' memory or the cluster to join holds."""
    if asked.engine == "local":
        return Slots(workers=1)
    workers, cpus, processors = asked.workers or 0, asked.cpus or 1.0, len(os.sched_getaffinity(0))
    on_gpus = config.proxy.device.startswith("cuda")
    if asked.ray_address is not None or asked.gpus is not None:
        return Slots(workers=workers, cpus=cpus, gpus=float(on_gpus) if asked.gpus is None else asked.gpus)
    if not on_gpus:
        return Slots(workers=workers or max(1, int(processors / cpus)), cpus=cpus)
    import torch

    memory = [torch.cuda.get_device_properties(gpu).total_memory for gpu in range(torch.cuda.device_count())]
    models = _architectures(config.space.feasible_set())
    fitting = gpu_slots(models, config.proxy, memory, processors=max(1, int(processors / cpus)), data_bytes=data_bytes)
    # A share lies on one GPU: three trials on two GPUs are two on one of them.
    return Slots(workers=workers, cpus=cpus, gpus=1 / math.ceil(workers / len(memory))) if workers else replace(fitting, cpus=cpus)


def data_bytes(config: StudyConfig) -> int:
    """The size of the images if they are in files, which are read, and packed if they are not yet."""
    spec = parse_dataset(config.proxy.dataset)
    if not SOURCES[spec.name].files or not (config.trains or config.scores):
        return 0
    from trainer.packing.cache import opened

    return int(opened(spec, config.proxy.image_size).images.nbytes)


def _check_reachable(bounds: Sequence[Constraint], space: SearchSpace) -> None:
    """ValueError, with what comes nearest, where no feasible candidate meets all bounds on what its architecture costs."""
    exact = [bound for bound in bounds if METRICS[bound.metric].origin == "cost"]
    if not exact:
        return
    feasible = space.feasible_set()
    misses = np.maximum.reduce([_miss(bound, feasible.costs(bound.metric)) for bound in exact])
    nearest = int(np.argmin(misses))
    if misses[nearest] <= 0:
        return
    built = feasible.candidate(nearest).config
    assert built is not None, "a feasible candidate has been built"
    metrics = list(dict.fromkeys(bound.metric for bound in exact))
    sizes = ", ".join(f"{metric} {feasible.costs(metric)[nearest]:,.0f}" for metric in metrics)  # all digits: a bound to be met
    asked = " and ".join(bound.text for bound in exact)
    setting = space.memory_setting if "memory" in metrics else ""
    raise ValueError(f"no feasible candidate of space {space.name} meets {asked}; the nearest is {built.short_name} with {sizes}{setting}")


def _miss(bound: Constraint, costs: NDArray[np.float64]) -> NDArray[np.float64]:
    """How far each cost is beyond a bound as a share of the cost, (n,); at most 0 where it is met."""
    return (costs - bound.bound) / costs if bound.sense == "<=" else (bound.bound - costs) / costs


def _architectures(feasible: FeasibleSet) -> Iterator[ModelConfig]:
    """The feasible candidates' networks; of very many, one of each width and the ends of every cost."""
    for index in range(len(feasible)) if len(feasible) <= MOST_BUILT else _telling(feasible):
        built = feasible.candidate(index).config
        assert built is not None, "a feasible candidate has been built"
        yield built


def _telling(feasible: FeasibleSet) -> Sequence[int]:
    """Candidates with the largest and the smallest of every cost, and one for each choice of everything but depths."""
    ends = {int(pick(feasible.costs(metric))) for metric in COST_METRICS for pick in (np.argmin, np.argmax)}
    chosen = [column for column, name in enumerate(feasible.space.domains) if name not in ("l1", "l3")]
    _, firsts = np.unique(feasible.positions()[:, chosen], axis=0, return_index=True)
    return sorted(ends | set(firsts.tolist()))
