"""A short soak: versions swapped under load, a bad one among them."""

import dataclasses
import json
import pathlib
import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tensorflow_serving.apis import predict_pb2

from benchmarks.deployments import Deployments, Observed, publish
from benchmarks.soak import faults, main
from protos.errors import UserError
from serving.loadtest.open_loop import Outcome
from serving.loadtest.report import report
from tests.support.contract_model import NUM_ITEMS, ContractModel
from tests.support.served_models import predict_log, write_warmup_records


@pytest.fixture(scope="module")
def servable(contract_models, tmp_path_factory):
    """A version with a warmup file."""
    version = tmp_path_factory.mktemp("soak") / "1"
    shutil.copytree(contract_models[ContractModel] / "1", version)
    request = predict_pb2.PredictRequest()
    request.inputs["history"].dtype = 7
    for size in (1, 1):
        request.inputs["history"].tensor_shape.dim.add(size=size)
    write_warmup_records(version, [predict_log(request).SerializeToString()])
    return version


@pytest.fixture(scope="module")
def export(tmp_path_factory):
    directory = tmp_path_factory.mktemp("export")
    pq.write_table(pa.table({"history": [["1", "2"], [], ["3"]]}), directory / "queries.parquet")
    pq.write_table(pa.table({"item_id": [str(item) for item in range(NUM_ITEMS)]}), directory / "items.parquet")
    return directory


@pytest.mark.long
def test_nothing_fails_while_versions_are_swapped(servable, export, tmp_path):
    flags = ["--servable", servable, "--export", export, "--json", tmp_path / "figures.json"]
    flags += ["--minutes", "0.25", "--rate", "20", "--swaps", "2"]
    assert main([str(flag) for flag in flags]) == 0
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["failed"] == 0
    assert figures["swaps"] == 2
    assert figures["versions"].keys() == {"1", "2", "4"}
    assert figures["requests"] == sum(figures["versions"].values()) > 100
    assert figures["rss_mib_start"] > 100 < figures["rss_mib_end"]


def test_a_bad_version_is_a_whole_one_but_for_its_warmup(servable, tmp_path):
    publish(servable, tmp_path, 7, bad=True)
    copy = tmp_path / "7"
    differing = [path.name for path in _files(copy) if (copy / path).read_bytes() != (servable / path).read_bytes()]
    assert differing == ["tf_serving_warmup_requests"]
    assert _files(servable) == _files(tmp_path / "7")


def _files(directory):
    return sorted(path.relative_to(directory) for path in directory.rglob("*") if path.is_file())


PLAN = Deployments(pathlib.Path("1"), swaps=2, seconds=1)
GOOD = Observed(swaps=2, bad_state="END")


@pytest.mark.parametrize(
    ("failed", "answered", "observed", "fault"),
    [
        (0, {1: 5, 2: 5}, GOOD, None),
        (1, {1: 5}, GOOD, "1 requests failed: {'INTERNAL': 1}"),
        (0, {1: 5, 3: 1}, GOOD, "the bad version 3 answered"),
        (0, {1: 5}, dataclasses.replace(GOOD, swaps=1), "1 versions took over, not 2"),
        (0, {1: 5}, dataclasses.replace(GOOD, bad_state="AVAILABLE"), "the bad version was AVAILABLE"),
        (0, {1: 5}, dataclasses.replace(GOOD, bad_state="not seen"), "the bad version was not seen"),
    ],
)
def test_what_should_not_be_is_said(failed, answered, observed, fault):
    outcome = Outcome()
    outcome.failures["INTERNAL"] += failed
    outcome.versions.update(answered)
    found = report(outcome, (1.0, 1.0))
    assert faults(PLAN, found, observed) == ([fault] if fault else [])


def test_a_servable_without_warmup_is_refused(contract_models, export):
    version = contract_models[ContractModel] / "1"
    with pytest.raises(UserError, match=r"tf_serving_warmup_requests is not there; expected a version directory"):
        main(["--servable", str(version), "--export", str(export)])
    with pytest.raises(UserError, match="--servable and --export go together"):
        main(["--servable", str(version)])
