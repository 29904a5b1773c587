"""Which versions are served: found, warmed up, swapped, and what happens when one is bad."""

import gc
import shutil
import threading
import time
import weakref

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

from protos.errors import UserError
from serving.client import RecommendClient
from serving.loader import Servable
from serving.model_config import single_model
from serving.server import EmbeddedServer, ServerOptions
from serving.status import StatusError
from serving.versions import LoadRetries, ModelVersions, State
from tests.support.served_models import predict_log, write_toy_model, write_warmup_records


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A SavedModel to copy, as saving takes a second and copying none."""
    return write_toy_model(tmp_path_factory.mktemp("saved") / "model")


@pytest.fixture
def publish(saved, tmp_path):
    """Publishes a version under a base path, whole at once as an exporter does; returns its directory."""

    def publish(version, *records):
        building = tmp_path / "base" / f".{version}.building"
        shutil.copytree(saved, building)
        if records:
            write_warmup_records(building, records)
        return building.rename(tmp_path / "base" / str(version))

    return publish


@pytest.fixture
def base(tmp_path):
    path = tmp_path / "base"
    path.mkdir()
    return path


def count_request(steps, model="toy"):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = model
    request.model_spec.signature_name = "count"
    request.inputs["steps"].CopyFrom(tf.make_tensor_proto(np.array([steps])))
    return request


def start(base, versions=(), poll_seconds=0.0):
    return EmbeddedServer(base, "toy", 0, ServerOptions(poll_seconds=poll_seconds), versions)


NO_RETRIES = LoadRetries(most=0)


def toy_versions(base, retries=NO_RETRIES):
    [config] = single_model("toy", base).model_config_list.config
    return ModelVersions(config, retries)


def states(versions):
    return {version: State.Name(status.state) for version, status in versions.statuses().items()}


def test_the_newest_version_by_number_answers_and_other_names_are_ignored(base, publish):
    for name in (2, 10, "11a", "-12", ".13", "latest"):
        publish(name)
    (base / "99").write_text("a file is no version")
    with start(base) as server, RecommendClient(server.address, "toy", timeout=20) as client:
        assert client.recommend([["a"]])[0].model_version == 10
        assert [(status.version, status.state) for status in client.status()] == [(10, "AVAILABLE")]


def test_chosen_versions_are_served_side_by_side(base, publish):
    for version in (1, 2, 3):
        publish(version)
    with start(base, versions=(1, 2)) as server, RecommendClient(server.address, "toy", timeout=20) as client:
        assert server.available_versions() == [2, 1]
        assert client.recommend([["a"]])[0].model_version == 2
        assert client.recommend([["a"]], version=1)[0].model_version == 1


@pytest.mark.parametrize(
    ("prepare", "versions", "message"),
    [
        (
            lambda base: base.rmdir(),
            (),
            "model base path .*base is not a directory; expected one with numbered versions",
        ),
        (lambda base: None, (), r"no version is under .*base: found \[\]; expected a directory named by a number"),
        (lambda base: (base / "v1").mkdir(), (), r"found \['v1'\]"),
        (lambda base: (base / "saved_model.pb").touch(), (), "is itself a SavedModel; give the directory above it"),
        (lambda base: (base / "4").mkdir(), (5,), r"version 5 is not under .*base: found \['4'\]; .* such as 5/"),
        (lambda base: (base / "4").mkdir(), (), "version 4 of model toy cannot be served: .*cannot load .*base/4"),
    ],
    ids=["no base path", "empty", "no number", "a SavedModel", "a missing version", "no SavedModel"],
)
def test_a_server_without_a_model_does_not_start_and_says_why(base, prepare, versions, message):
    prepare(base)
    with pytest.raises(UserError, match=message):
        start(base, versions).start()


def test_a_broken_graph_does_not_start(base, publish):
    graph = publish(1) / "saved_model.pb"
    graph.write_bytes(graph.read_bytes()[:100])
    with pytest.raises(UserError, match=r"version 1 of model toy cannot be served: .*cannot load .*base/1"):
        start(base).start()


GOOD = predict_log(count_request(3)).SerializeToString()
UNNAMED = predict_log(count_request(3, model="")).SerializeToString()  # as exporters write it
EMPTY = prediction_log_pb2.PredictionLog().SerializeToString()


def test_good_warmup_requests_do_not_stand_in_the_way(base, publish):
    publish(1, GOOD, UNNAMED, EMPTY)
    with start(base) as server:
        assert server.available_versions() == [1]


def bad_signature():
    request = count_request(3)
    request.model_spec.signature_name = "gone"
    return predict_log(request).SerializeToString()


def classify_log():
    log = prediction_log_pb2.PredictionLog()
    log.classify_log.request.model_spec.name = "toy"
    return log.SerializeToString()


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([GOOD, bad_signature()], 'FAILED_PRECONDITION: warmup record 2 of .*requests failed: .*"gone" not found'),
        ([b"\xff\xff"], "INVALID_ARGUMENT: Failed to parse warmup record 1 of"),
        ([classify_log()], "UNIMPLEMENTED: Unsupported log_type for warmup: classify_log in warmup record 1"),
        ([EMPTY] * 1001, r"INVALID_ARGUMENT: Number of warmup records exceeds the maximum \(1000\)"),
    ],
    ids=["a request that fails", "no message", "another service", "too many"],
)
def test_bad_warmup_fails_the_load(base, publish, records, message):
    publish(1, *records)
    with pytest.raises(UserError, match=message):
        start(base).start()


def test_a_warmup_file_that_is_no_tfrecord_fails_the_load(base, publish):
    warmup = publish(1, GOOD) / "assets.extra" / "tf_serving_warmup_requests"
    warmup.write_bytes(warmup.read_bytes()[:-3])
    with pytest.raises(UserError, match=r"DATA_LOSS: .*verify your warmup data is in TFRecord format: .*requests"):
        start(base).start()


def test_a_new_version_takes_over_and_the_old_one_is_freed(base, publish):
    publish(1)
    versions = toy_versions(base)
    versions.refresh()
    old = weakref.ref(versions.get())
    publish(2)
    versions.refresh()
    assert versions.get().version == 2
    assert states(versions) == {2: "AVAILABLE", 1: "END"}
    with pytest.raises(StatusError, match=r"NOT_FOUND: Servable not found for request: Specific\(toy, 1\)"):
        versions.get(1)
    assert old() is None  # without waiting for the garbage collector's next round


def test_a_bad_version_leaves_the_old_one_answering_until_it_is_mended(base, publish):
    publish(1)
    versions = toy_versions(base)
    versions.refresh()
    publish(2, bad_signature())
    versions.refresh()
    assert versions.get().version == 1
    assert states(versions) == {2: "END", 1: "AVAILABLE"}
    assert "gone" in versions.statuses()[2].error.message
    # Its error is kept, and what it was raised in is not.
    assert 2 not in {each.version for each in gc.get_objects() if isinstance(each, Servable)}
    shutil.rmtree(base / "2")
    versions.refresh()
    publish(2, GOOD)
    versions.refresh()
    assert versions.get().version == 2


def test_a_failed_version_is_not_loaded_again_and_again(base, publish):
    publish(1, bad_signature())
    versions = toy_versions(base)
    versions.refresh()
    first = versions.statuses()[1].error
    versions.refresh()
    assert versions.statuses()[1].error is first


def test_taking_the_newest_version_away_brings_the_one_before_back(base, publish):
    publish(1)
    versions = toy_versions(base)
    versions.refresh()
    publish(2)
    versions.refresh()
    shutil.rmtree(base / "2")
    versions.refresh()
    assert versions.get().version == 1
    assert states(versions) == {2: "END", 1: "AVAILABLE"}


def test_no_request_fails_while_versions_are_swapped(base, publish):
    publish(1)
    answered, stop = [], threading.Event()

    def ask(address):
        with RecommendClient(address, "toy", timeout=20) as client:
            while not stop.is_set():
                answered.append(client.recommend([["a"]])[0].model_version)

    with start(base, poll_seconds=0.05) as server:
        asking = threading.Thread(target=ask, args=[server.address])
        asking.start()
        for version in (2, 3):
            publish(version)
            wait_for(lambda version=version: version in answered)
        stop.set()
        asking.join()
    assert answered == sorted(answered)  # an error would have ended the thread before version 3 answered
    assert set(answered) == {1, 2, 3}


def test_the_version_swapped_out_answers_what_it_has_begun(base, publish):
    publish(1)
    versions = toy_versions(base)
    versions.refresh()
    begun = versions.get()
    publish(2)
    versions.refresh()
    assert versions.available() == [2]
    assert begun.predict(count_request(5)).outputs["total"].int64_val == [5]


def test_closing_ends_a_run_without_a_deadline(base, publish):
    """Its thread would keep the process from exiting."""
    publish(1)
    versions = toy_versions(base)
    versions.refresh()
    codes = []

    def run():
        try:
            versions.get().predict(count_request(10**12))
        except StatusError as error:
            codes.append(error.code.name)

    running = threading.Thread(target=run)
    running.start()
    time.sleep(0.2)
    versions.close()
    running.join(timeout=30)
    assert codes == ["CANCELLED"]


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)
