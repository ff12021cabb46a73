"""A search on a Ray cluster: its own, closed to others and gone without a trace, or one of three nodes that it joins and leaves running."""

import logging
import os
import socket
import stat
import subprocess
import sys
import threading
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.cluster_utils import Cluster

import nas
from nas.engine import cluster as clusters
from nas.engine.cluster import cluster
from nas.errors import NasError
from nas.job import Execution
from nas.packing import Slots, check_address
from searchspace.model_config import ModelConfig
from studies.records import TrialState
from tests.browsing import wait_for
from tests.driven import Search, depths_study
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig

DOCS = Path(__file__).parents[1] / "docs"
TOKEN = "0123456789abcdef" * 4
pytestmark = [pytest.mark.cluster, pytest.mark.xdist_group("ray-cluster")]


@pytest.fixture(scope="module")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("token") / "token"
    path.write_text(TOKEN)
    return path


@pytest.fixture(scope="module")
def three_nodes(token: Path) -> Iterator[Cluster]:
    with clusters._environment({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token), "RAY_USAGE_STATS_ENABLED": "0"}):
        nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(2):
            nodes.add_node(num_cpus=1, num_gpus=1)
        yield nodes
        nodes.shutdown()


@pytest.fixture(autouse=True)
def _environment_is_left_alone() -> Iterator[None]:
    before = dict(os.environ)
    yield
    changed = {name for name in {*before, *os.environ} if before.get(name) != os.environ.get(name)}
    ours = {name for name in changed if name.startswith(("RAY_", "TUNE_", "PYTHON"))}
    assert not ours - {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH", "RAY_USAGE_STATS_ENABLED"}  # the three nodes', once they are started


def without_token(address: str) -> "subprocess.CompletedProcess[str]":
    """What a process of somebody else gets from a cluster."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    program = f"from nas.engine.cluster import _probe; _probe({address!r})"
    return subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)


def test_our_own_cluster_asks_for_a_token_and_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")  # the caller's own, for clusters of its own
    before = dict(os.environ)
    with cluster(Slots(workers=3, gpus=0.5, logical_gpus=1)) as slots:
        assert slots.workers == 2
        address = ray.get_runtime_context().gcs_address
        place = Path(os.environ["RAY_AUTH_TOKEN_PATH"])
        assert stat.S_IMODE(place.stat().st_mode) == 0o600
        assert stat.S_IMODE(place.parent.stat().st_mode) == 0o700
        assert not place.is_relative_to(tmp_path)
        stranger = without_token(address)
        assert "asks for a token that this search does not have; set RAY_AUTH_MODE=token" in stranger.stderr
    assert not place.exists()
    assert list(tmp_path.iterdir()) == []
    assert dict(os.environ) == before
    assert not ray.is_initialized()


def test_a_search_on_three_nodes_survives_the_loss_of_one_and_leaves_the_others(three_nodes: Cluster, tmp_path: Path) -> None:
    lost = three_nodes.add_node(num_cpus=2)
    seen, fourth = tmp_path / "seen", lost.node_id
    seen.mkdir()

    def evaluate(config: Any, proxy: Any, *, seed: int) -> Iterator[Any]:
        from trainer.proxy_config import ProxyResult

        node = ray.get_runtime_context().get_node_id()
        with (seen / node).open("a") as file:
            file.write(f"{config.depths[2]}\n")
        for epoch in (1, 2):
            time.sleep(600 if node == fourth else 1)  # what begins there is still there when the node is lost
            yield ProxyResult(epoch=epoch, metrics={"top1": 0.5}, fidelity=proxy.fidelity(epochs=epoch, seed=seed))

    def remove() -> None:
        wait_for((seen / fourth).exists, what="a trial on the fourth node", patience_s=120)
        three_nodes.remove_node(lost, allow_graceful=False)

    how = Execution(ray_address=three_nodes.address)
    search = Search(
        config=depths_study(range(1, 8), epochs=2), url=f"sqlite:///{tmp_path}/s.db", evaluate=evaluate, engine="ray", workers=5, how=how
    )
    removing = threading.Thread(target=remove, daemon=True)
    removing.start()
    found = search.run()
    removing.join()
    assert [trial.state for trial in found.trials] == [TrialState.COMPLETE] * 7
    attempts = {str(trial.params["l3"]): trial.attempts for trial in found.trials}
    assert all(attempts[depth] > 1 for depth in (seen / fourth).read_text().split())
    assert len(list(seen.iterdir())) > 2
    assert not ray.is_initialized()
    with cluster(Slots(), three_nodes.address) as slots:  # it is still there
        assert slots.workers == 3


@pytest.mark.slow
def test_the_processes_of_a_trial_may_be_on_two_nodes(three_nodes: Cluster, tmp_path: Path) -> None:
    proxy = ProxyConfig(epochs=2, train_fraction=0.1, batch_size=31)
    study = nas.search(
        depths_study([2]).model_copy(update={"proxy": proxy}),
        store=f"sqlite:///{tmp_path}/s.db",
        ray_address=three_nodes.address,
        gpus_per_trial=2,  # each of two nodes has one
        checkpoints=str(tmp_path / "kept"),
        keep_weights="all",
    )
    (trial,) = study.trials()
    assert trial.state is TrialState.COMPLETE
    alone = list(run_proxy(ModelConfig.from_dict(dict(trial.model or {})), proxy, seed=trial.seed))
    reports = study.store.reports(study.record)[trial.number]
    assert [report.metrics["loss"] for report in reports] == [pytest.approx(result.metrics["loss"], rel=1e-5) for result in alone]
    assert len(study.artifacts()) == 1


def test_room_is_what_the_nodes_have_and_too_little_is_said_at_once(three_nodes: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    with cluster(Slots(workers=9, gpus=0.5), three_nodes.address) as slots:
        assert slots == Slots(workers=2, gpus=0.5)
    assert "2 trials at a time find room on the Ray cluster, not 9" in caplog.text
    with (
        pytest.raises(NasError, match=r"each asks for 1 CPU, 4 GPU, and the cluster has .*1 CPU, 1 GPU"),
        cluster(Slots(gpus=4), three_nodes.address),
    ):
        pass
    assert not ray.is_initialized()


def test_a_cluster_that_is_too_small_or_away_leaves_no_study(three_nodes: Cluster, tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path}/s.db"
    for address, gpus, rule in ((three_nodes.address, 4, "no trial finds room"), ("127.0.0.1:1", 1, "no Ray cluster answers")):
        with pytest.raises(NasError, match=rule):
            nas.search(depths_study([2]), store=store, ray_address=address, gpus_per_trial=gpus)
    assert not list(tmp_path.iterdir())
    assert not ray.is_initialized()


def test_a_node_without_this_package_and_an_open_one_are_said(
    three_nodes: Cluster, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = types.ModuleType("only_here")
    exec("def closed(): return True", vars(elsewhere))
    monkeypatch.setitem(sys.modules, "only_here", elsewhere)
    with cluster(Slots(), three_nodes.address):
        nodes = [node for node in ray.nodes() if node["Alive"]]
        with pytest.raises(NasError, match=r"3 of 3 nodes cannot train: .*: ModuleNotFoundError: No module named 'only_here'; install"):
            clusters._answering(nodes, three_nodes.address, elsewhere.closed)
        caplog.clear()
        assert clusters._answering(nodes, three_nodes.address) == nodes
        assert caplog.text == ""
        assert clusters._answering(nodes, three_nodes.address, lambda: False) == nodes
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        f"the Ray cluster at {three_nodes.address} asks for no token: whoever reaches it can run code there; docs/cluster.md sets one"
    ]


@pytest.mark.parametrize(
    "settings",
    [
        {"RAY_AUTH_MODE": None},
        {"RAY_AUTH_TOKEN_PATH": "/nowhere/token"},
        {"RAY_AUTH_TOKEN_PATH": None, "RAY_AUTH_TOKEN": "f" * 64},
        {"RAY_AUTH_TOKEN_PATH": None, "HOME": "/nowhere"},
    ],
)
def test_a_missing_or_wrong_token_is_said(three_nodes: Cluster, settings: dict[str, str | None]) -> None:
    rule = "asks for a token that this search does not have; set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH"
    with clusters._environment(settings), pytest.raises(NasError, match=rule), cluster(Slots(), three_nodes.address):
        pass


@pytest.mark.parametrize("answer", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"])
def test_an_address_where_no_cluster_answers_is_said_soon(answer: bytes | None) -> None:
    host = ray._private.services.get_node_ip_address()
    with socket.create_server((host, 0)) as server:
        address = f"{host}:{server.getsockname()[1]}"
        if answer is None:
            server.close()
        else:
            threading.Thread(target=lambda: greet(server, answer), daemon=True).start()
        begun = time.monotonic()
        with pytest.raises(NasError, match="no Ray cluster"), cluster(Slots(), address):
            pass
        assert time.monotonic() - begun < 30  # Ray alone tries for longer; ours is done in milliseconds


def greet(server: socket.socket, answer: bytes) -> None:
    connection, _ = server.accept()
    with connection:
        connection.recv(64)
        connection.sendall(answer)


@pytest.mark.parametrize(
    ("address", "rule"),
    [
        ("ray://head:10001", "run the driver on the cluster"),
        ("head", "auto or HOST:PORT, got 'head'"),
        (":6379", "auto or HOST:PORT"),
        ("head:0", "auto or HOST:PORT"),
        ("head:65536", "auto or HOST:PORT"),
        ("head:port", "auto or HOST:PORT"),
    ],
)
def test_addresses_that_name_no_cluster_are_refused(address: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        check_address(address)


def test_the_file_for_ray_up_is_what_ray_understands_and_sets_a_token_everywhere() -> None:
    config = yaml.safe_load((DOCS / "cluster" / "ray-up.yaml").read_text())
    validate_config(prepare_config(config))
    for role in ("head", "worker"):
        (start,) = [command for command in config[f"{role}_start_ray_commands"] if "ray start" in command]
        assert start.startswith("RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=")


def executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(0o755)


@pytest.mark.slow
def test_the_slurm_script_makes_a_closed_cluster_of_all_nodes_searches_and_leaves_nothing(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    executable(tools / "scontrol", "#!/bin/sh\necho one; echo two\n")
    executable(tools / "srun", '#!/bin/sh\nwhile [ "$1" != ray ] && [ "$1" != hostname ]; do shift; done\nexec "$@"\n')
    executable(tools / "nas", f'#!/bin/sh\nenv | grep ^RAY_AUTH > {tmp_path}/auth\nexec {sys.executable} -m nas "$@"\n')
    ports = "--min-worker-port=0 --max-worker-port=0 --num-cpus=1"  # two nodes share this machine
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
        "PATH": f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "SLURM_JOB_NODELIST": "both",
        "SLURM_JOB_ID": str(os.getpid()),
        "RAY_HEAD_FLAGS": ports,
        "RAY_NODE_FLAGS": ports,
    }
    flags = ["--trials", "3", "--epochs", "1", "--train-fraction", "10%", "--store", f"sqlite:///{tmp_path}/s.db"]
    done = subprocess.run(
        ["bash", DOCS / "cluster" / "slurm.sh", *flags, "--checkpoints", tmp_path / "kept", "--format", "json"],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    trials = nas.open_study("stacking", store=flags[-1]).trials()
    assert sum(trial.state is TrialState.COMPLETE for trial in trials) == 3
    assert f"RAY_AUTH_TOKEN_PATH={tmp_path}/.nas-ray/{os.getpid()}" in (tmp_path / "auth").read_text().split()
    assert "asks for no token" not in done.stderr
    assert list((tmp_path / ".nas-ray").iterdir()) == []
    assert not (tmp_path / ".ray").exists()
