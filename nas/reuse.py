"""Results of other studies in place of a training: of the same variant, trained by the same proxy on the same data with the same seed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.config import StudyConfig
from searchspace.model_config import ModelConfig
from searchspace.space import Candidate
from studies.records import METRICS, Report, StudyRecord, Trial, TrialState
from studies.store import Store
from trainer.dataset_spec import SOURCES, parse_dataset
from trainer.proxy_config import WHERE, ProxyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Reused:
    """What an earlier trial reported, epoch by epoch, at what effort in the end, and where it comes from: `study base, trial 7`."""

    reports: tuple[Report, ...]
    fidelity: Mapping[str, Any]
    origin: str


class Reuse:
    """Complete trials of the studies `names` in `store` that a study of `config` would train alike; of several, the first named.

    StoreError names an unknown study and lists the known ones; ValueError where the data cannot be read.
    """

    def __init__(self, store: Store, names: Sequence[str], config: StudyConfig) -> None:
        self._found: dict[tuple[ModelConfig, int], Reused] = {}
        self._seed = config.seed
        self._metrics = {objective.metric for objective in config.objectives} | {bound.metric for bound in config.require}
        studies = [store.study(name) for name in dict.fromkeys(names)]
        if config.evaluator != "train":
            raise ValueError(f"reuse takes the place of a training; {config.evaluator} answers at once, so leave reuse out")
        if not config.trains or not studies:
            return
        proxy = config.proxy
        fingerprint = _fingerprint(proxy)
        wanted = [_data(proxy.fidelity(epochs=proxy.epochs, seed=seed, fingerprint=fingerprint)) for seed in config.trial_seeds]
        for study in studies:
            if self._alike(ProxyConfig.from_dict(study.config["proxy"]), proxy):
                self._take(store, study, wanted)

    def __len__(self) -> int:
        return len(self._found)

    def of(self, candidate: Candidate, *, seed: int | None = None) -> Reused | None:
        """The results that stand for a training of `candidate` with `seed` (default: the study's); None where it has to be trained."""
        return None if candidate.config is None else self._found.get((candidate.config, self._seed if seed is None else seed))

    def _alike(self, other: ProxyConfig, proxy: ProxyConfig) -> bool:
        """Whether where both are trained makes no difference to what is asked; a trial's fidelity has the rest."""
        return "seconds" not in self._metrics or all(getattr(other, name) == getattr(proxy, name) for name in WHERE)

    def _take(self, store: Store, study: StudyRecord, wanted: Sequence[Mapping[str, Any]]) -> None:
        same = [trial for trial in store.trials(study, states=[TrialState.COMPLETE]) if _data(trial.fidelity) in wanted]
        reports = store.reports(study) if same else {}
        for trial in same:
            if trial.model is None or not reports.get(trial.number) or not self._suffices(trial):
                continue
            origin = f"study {study.name}, trial {trial.number}"
            reused = Reused(reports=tuple(reports[trial.number]), fidelity=_trained(trial.fidelity), origin=origin)
            self._found.setdefault((ModelConfig.from_dict(trial.model), trial.fidelity["seed"]), reused)

    def _suffices(self, trial: Trial) -> bool:
        """Whether the trial holds what only its training could tell this study."""
        return all(name in trial.metrics for name in self._metrics if METRICS[name].origin == "trained")


def _data(fidelity: Mapping[str, Any]) -> dict[str, Any]:
    """What decides the numbers of a training; data from files are what they hold, wherever they lie."""
    trained = _trained(fidelity)
    return {name: value for name, value in trained.items() if name != "dataset" or "fingerprint" not in trained}


def _trained(fidelity: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fidelity.items() if name != "latency"}  # measured apart, by each study for itself


def _fingerprint(proxy: ProxyConfig) -> str | None:
    """The hash of the data as they are now, for data from files; these are packed first where they are not yet."""
    spec = parse_dataset(proxy.dataset)
    if not SOURCES[spec.name].files:
        return None
    from trainer.packing.cache import opened

    return opened(spec, proxy.image_size).meta.fingerprint
