"""Checkpoints on a disk, on an object store and on other file systems are whole, found again and never worth a training."""

import logging
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pyarrow.fs as arrow
import pytest
from moto.server import ThreadedMotoServer

from searchspace.stacking import stack
from trainer.proxy import run_proxy
from trainer.proxy_config import ProxyConfig, ProxyResult
from trainer.storage import Folder, RemoteFolder, adopt, below, check_place, discard, is_url, local_path, open_folder

SMALL = stack(32, 16, 1, 2)
PROXY = ProxyConfig(epochs=3, train_fraction=0.1)
SECRET = "not-for-anybodys-eyes"
pytestmark = pytest.mark.xdist_group("object-store")


def started() -> ThreadedMotoServer:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    return server


def bucket_of(server: ThreadedMotoServer) -> str:
    host, port = server.get_host_and_port()
    url = f"s3://{uuid4()}/run?endpoint_override=http://{host}:{port}"
    arrow.FileSystem.from_uri(f"{url}&allow_bucket_creation=true")[0].create_dir(url[5:41])
    return url


@pytest.fixture(autouse=True)
def _credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")


@pytest.fixture(scope="module")
def object_store() -> Iterator[ThreadedMotoServer]:
    server = started()
    yield server
    server.stop()


@pytest.fixture
def bucket(object_store: ThreadedMotoServer, _credentials: None) -> str:
    return bucket_of(object_store)


@pytest.fixture(params=["path", "file", "s3", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "s3":
        return str(request.getfixturevalue("bucket"))
    return {"path": str(tmp_path / "a b"), "file": f"file://{tmp_path}/a%20b", "memory": f"memory://{uuid4()}/run"}[request.param]


def numbers(results: list[ProxyResult]) -> list[dict[str, float]]:
    return [{name: value for name, value in result.metrics.items() if name != "seconds"} for result in results]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in caplog.records if record.levelno == logging.WARNING and record.name.startswith("trainer")]


class InterruptedWriteError(Exception):
    pass


def write_half(folder: Folder) -> None:
    with folder.writing("epoch-1") as path:
        path.write_bytes(b"half of it")
        raise InterruptedWriteError


def test_files_are_whole_or_not_there_wherever_they_lie(place: str) -> None:
    folder = open_folder(below(place, "deep", "er"), "epoch-*")
    assert folder.names() == []
    for content in (b"first", b"second, longer"):
        with folder.writing("epoch-1") as path:
            path.write_bytes(content)
        with folder.reading("epoch-1") as path:
            assert path.read_bytes() == content
    with pytest.raises(InterruptedWriteError):
        write_half(folder)
    with folder.reading("epoch-1") as path:
        assert path.read_bytes() == b"second, longer"
    with folder.writing("epoch-2") as path:
        path.write_bytes(b"another")
    assert sorted(folder.names()) == ["epoch-1", "epoch-2"]
    assert open_folder(below(place, "deep", "er"), "weights-*").names() == []
    folder.delete("epoch-1")
    assert folder.names() == ["epoch-2"]
    with pytest.raises(OSError, match="epoch-1"), folder.reading("epoch-1") as path:
        path.read_bytes()


def test_a_truncated_object_is_said_and_the_training_goes_on_from_the_one_before(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    first = run_proxy(SMALL, PROXY, seed=1, checkpoints=bucket)
    before = [next(first), next(first)]
    first.close()
    folder = RemoteFolder(bucket)
    assert sorted(folder.names()) == ["epoch-0001.safetensors", "epoch-0002.safetensors"]
    with folder.reading("epoch-0002.safetensors") as whole:
        half = whole.read_bytes()[:-10_000]
    with folder.writing("epoch-0002.safetensors") as path:
        path.write_bytes(half)
    after = list(run_proxy(SMALL, PROXY, seed=1, checkpoints=bucket))
    assert after[0] == before[0]
    assert numbers(after[:2]) == numbers(before)
    (said,) = warnings(caplog)
    assert said.startswith(f"a damaged checkpoint is passed over: {folder}/epoch-0002.safetensors: ")
    assert sorted(folder.names()) == ["epoch-0002.safetensors", "epoch-0003.safetensors"]
    assert list(run_proxy(SMALL, PROXY, seed=1, checkpoints=bucket)) == after  # all from the newest object


def test_a_store_that_goes_away_costs_its_checkpoints_and_not_the_training(caplog: pytest.LogCaptureFixture) -> None:
    server = started()
    training = run_proxy(SMALL, PROXY, seed=1, checkpoints=bucket_of(server))
    results = [next(training)]
    assert warnings(caplog) == []
    server.stop()
    results.append(next(training))
    training.close()
    assert [result.epoch for result in results] == [1, 2]
    (said,) = warnings(caplog)
    assert said.startswith("no checkpoint after epoch 2: cannot write s3://")
    assert SECRET not in caplog.text


def test_a_bucket_that_is_not_there_is_said_with_every_checkpoint(bucket: str, caplog: pytest.LogCaptureFixture) -> None:
    gone = bucket.replace("/run", "-gone/run")
    (result,) = run_proxy(SMALL, ProxyConfig(epochs=1, train_fraction=0.1), seed=1, checkpoints=gone)
    assert result.epoch == 1
    assert [said.partition(":")[0] for said in warnings(caplog)][-1] == "no checkpoint after epoch 1"
    assert SECRET not in caplog.text


@pytest.mark.parametrize("kind", ["s3", "memory"])
def test_an_attempt_takes_over_the_newest_attempt_before_it_once(kind: str, request: pytest.FixtureRequest) -> None:
    trial = str(request.getfixturevalue("bucket")) if kind == "s3" else f"memory://{uuid4()}/run"
    assert adopt(below(trial, "attempt-1")) == below(trial, "attempt-1")  # nothing before it
    for attempt, content in (("attempt-1", b"older"), ("attempt-2", b"newer")):
        with open_folder(below(trial, attempt), "*").writing("epoch-0001.safetensors") as path:
            path.write_bytes(content)
    third = open_folder(adopt(below(trial, "attempt-3")), "*")
    with third.reading("epoch-0001.safetensors") as path:
        assert path.read_bytes() == b"newer"
    with open_folder(below(trial, "attempt-1"), "*").writing("epoch-0002.safetensors") as path:
        path.write_bytes(b"of a dying worker")
    assert open_folder(adopt(below(trial, "attempt-3")), "*").names() == ["epoch-0001.safetensors"]
    discard(trial)
    assert RemoteFolder(trial).listed(deep=True) == []
    discard(trial)  # nothing left to delete


def test_a_store_that_cannot_be_asked_costs_only_the_state_before(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError("no route to it")

    monkeypatch.setattr(RemoteFolder, "listed", refuse)
    assert adopt("s3://bucket/trial-1/attempt-2?region=eu-1") == "s3://bucket/trial-1/attempt-2?region=eu-1"
    discard("s3://bucket/trial-1")
    assert warnings(caplog) == [
        "the state of an earlier attempt is not found again: s3://bucket/trial-1/attempt-2: no route to it",
        "s3://bucket/trial-1 is not deleted: no route to it",
    ]


def test_places_are_paths_or_urls_and_what_is_below_them_is_alike(tmp_path: Path) -> None:
    assert below("s3://bucket/a/?region=eu-1", "b", "c") == "s3://bucket/a/b/c?region=eu-1"
    assert below(f"file://{tmp_path}", "b") == below(str(tmp_path), "b") == str(tmp_path / "b")
    assert local_path("file:///shared/a%20b") == Path("/shared/a b")
    assert [is_url(place) for place in ("s3://a/b", "memory://a", "file:///a", "/a", "a://b/c", "C:/a")] == [
        True,
        True,
        False,
        False,
        True,
        False,
    ]


@pytest.mark.parametrize(
    ("place", "rule"),
    [
        ("s3://", "names its bucket"),
        (f"s3://somebody:{SECRET}@bucket/run", "give them to every worker by its environment"),
        (f"s3://bucket/run?secret_key={SECRET}", "give them to every worker by its environment"),
        ("nosuch://host/run", "Protocol not known: nosuch"),
        ("az://container/run", "adlfs"),
    ],
)
def test_a_place_that_no_worker_could_open_is_refused_without_its_secrets(place: str, rule: str) -> None:
    with pytest.raises(ValueError, match=rule) as refused:
        check_place(place)
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize(
    "place", ["checkpoints", "/shared/a", "file:///shared/a", "s3://bucket/run?region=eu-1", "memory://a/b", "gs://b/c"]
)
def test_places_that_can_be_opened_are_taken(place: str) -> None:
    check_place(place)
