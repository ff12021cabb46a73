"""The Ray cluster that a search runs on: one of our own on this machine, or a running one that is joined and never stopped."""

import logging
import math
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray._private.services import canonicalize_bootstrap_address
from ray._raylet import (  # type: ignore[attr-defined]  # made by Cython
    AuthenticationMode,
    AuthenticationTokenLoader,
    Config,
    GcsClient,
    get_authentication_mode,
)
from ray.core.generated.gcs_pb2 import GcsNodeInfo
from ray.exceptions import AuthenticationError, GetTimeoutError, NodeDiedError, RayError, TaskUnschedulableError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from nas.errors import NasError
from nas.packing import Slots, check_address, slots_on

log = logging.getLogger(__name__)
PROBE_S = 5.0
WORKER_S = 60.0  # a worker's first start, its imports from a cold network disk included
QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # it would wait for the running epochs and then throw them away
}
TOKEN_HELP = "set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH to the file with the cluster's token"  # noqa: S105  # no token


def asks_for_token() -> bool:
    """Whether the Ray processes of this node let only those in who know the cluster's token."""
    return bool(get_authentication_mode() == AuthenticationMode.TOKEN)


@contextmanager
def cluster(slots: Slots, address: str | None = None) -> Iterator[Slots]:
    """A Ray cluster for as long as the search runs, and the room that it really has: our own, or the one at `address`, left running.

    NasError soon where it cannot be started or reached, and where no trial would ever find room; the caller's environment comes back.
    """
    check_address(address)
    with _silent_tune(), _own(slots) if address is None else _joined(address) as joined:
        nodes = [node for node in ray.nodes() if node["Alive"]]
        found = slots_on(_resources(nodes), slots)
        if joined is not None:
            found = slots_on(_resources(_answering(nodes, joined)), slots)
        if found.workers < slots.workers:
            log.warning("%d trials at a time find room on the Ray cluster, not %d", found.workers, slots.workers)
        yield found


def check_joinable(slots: Slots, address: str) -> None:
    """NasError where a running cluster cannot be reached or no trial would find room on it; a look that joins nothing."""
    check_address(address)
    with _environment(QUIET):
        nodes = _probe(_found(address)).get_all_node_info().values()
    slots_on([dict(node.resources_total) for node in nodes if node.state == GcsNodeInfo.ALIVE], slots)


@contextmanager
def _silent_tune() -> Iterator[None]:
    """Tune's own lines left out: a failed trial is stored and shown by us."""
    tune = logging.getLogger("ray.tune")
    before = tune.level
    tune.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        tune.setLevel(before)


@contextmanager
def _own(slots: Slots) -> Iterator[None]:
    """A cluster on this machine that asks for a token, which lies in a folder of ours and goes with it."""
    processors = len(os.sched_getaffinity(0))
    named = slots.workers > 0 and slots.cpus <= processors  # more trials than processors are the user's choice
    with tempfile.TemporaryDirectory(prefix="nas-ray-") as folder:
        token = Path(folder, "token")
        token.touch(mode=0o600)
        token.write_text(secrets.token_hex(32))
        with _environment({**QUIET, "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_AUTH_TOKEN": None}):
            try:
                ray.init(
                    address="local",
                    num_cpus=math.ceil(slots.workers * slots.cpus) if named else processors,
                    num_gpus=slots.logical_gpus,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level="ERROR",
                )
            except Exception as error:  # a node that is slow to start raises no class of its own
                raise NasError(f"cannot start Ray on this machine: {error}; --engine local searches without it") from error
            with ExitStack() as leaving:
                leaving.callback(ray.shutdown)
                yield


@contextmanager
def _joined(address: str) -> Iterator[str]:
    """A running cluster, by its HOST:PORT, which stays when we leave."""
    with _environment(QUIET):
        found = _found(address)
        _probe(found)
        try:
            ray.init(address=found, log_to_driver=False, logging_level="ERROR")
        except Exception as error:
            raise NasError(f"cannot join the Ray cluster at {found}: {error}; the search runs on one of its nodes") from error
        with ExitStack() as leaving:
            leaving.callback(ray.shutdown)
            yield found


def _resources(nodes: Sequence[Mapping[str, Any]]) -> list[Mapping[str, float]]:
    return [node["Resources"] for node in nodes]


def _answering(nodes: Sequence[Mapping[str, Any]], address: str, facts: Callable[[], bool] = asks_for_token) -> list[Mapping[str, Any]]:
    """The nodes that are still there, each of which can start a worker that finds this package, NasError if not.

    One warning where a node asks for no token.
    """
    task = ray.remote(num_cpus=0, max_retries=0)(facts)
    asked = [task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote() for node in nodes]
    ray.wait(asked, num_returns=len(asked), timeout=WORKER_S)
    answers: list[bool] = []
    there, failed = [], []
    for node, answer in zip(nodes, asked, strict=True):
        place = node["NodeManagerAddress"]
        try:
            answers.append(ray.get(answer, timeout=0))
            there.append(node)
        except (TaskUnschedulableError, NodeDiedError):  # it has just died; Ray takes some seconds to see that
            log.warning("node %s of the Ray cluster is gone", place)
        except GetTimeoutError:
            failed.append(f"{place}: no worker has started within {WORKER_S:g} s")
        except RayError as error:
            failed.append(f"{place}: {(str(error).strip() or type(error).__name__).splitlines()[-1]}")
    if failed:
        raise NasError(f"{len(failed)} of {len(nodes)} nodes cannot train: {failed[0]}; install there what is installed here")
    if not all(answers):
        log.warning("the Ray cluster at %s asks for no token: whoever reaches it can run code there; docs/cluster.md sets one", address)
    return there


def _found(address: str) -> str:
    """HOST:PORT of the cluster; `auto` takes RAY_ADDRESS, else the one that runs on this machine."""
    try:
        found = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError, OSError) as error:
        raise NasError(f"no Ray cluster runs on this machine and RAY_ADDRESS names none; start one with `ray start`: {error}") from error
    check_address(found)
    return str(found)


def _probe(address: str) -> GcsClient:
    """A client of what answers; NasError within seconds where nobody does or the token is refused: Ray itself would try for a minute."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host.strip("[]"), int(port)), timeout=PROBE_S) as connection:
            speaks = os.environ.get("RAY_USE_TLS") == "1" or _speaks_http2(connection)
    except OSError as error:
        raise NasError(f"no Ray cluster answers at {address}: {error}; start it with `ray start`, or name the right address") from None
    if not speaks:
        raise NasError(f"what answers at {address} is no Ray cluster; name the address that `ray start --head` has printed")
    try:
        if asks_for_token():
            AuthenticationTokenLoader.instance().has_token()  # an error without one, for which Ray itself would abort the process
        return GcsClient(address=address)
    except AuthenticationError:
        raise NasError(f"the Ray cluster at {address} asks for a token that this search does not have; {TOKEN_HELP}") from None
    except RayError as error:
        raise NasError(f"what answers at {address} is no Ray cluster of this version: {str(error).splitlines()[0]}") from None


def _speaks_http2(connection: socket.socket) -> bool:
    """Whether the other side greets as gRPC does, with a SETTINGS frame (RFC 9113, 3.4)."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0]))
    return connection.recv(9)[3:4] == bytes([4])


@contextmanager
def _environment(values: Mapping[str, str | None]) -> Iterator[None]:
    """These environment variables, known to Ray too, which reads some once only; what was there before comes back."""
    before = {name: os.environ.get(name) for name in (*values, "PYTHONBREAKPOINT")}  # the last one is Ray's own doing
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: Mapping[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
