"""What a search tries next: one door to every way of sampling."""

from nas.samplers.choice import check_sampler
from nas.samplers.keys import Key, params_key
from nas.samplers.sampler import Sampler

__all__ = ["Key", "Sampler", "check_sampler", "params_key"]
