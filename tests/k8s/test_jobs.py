"""The jobs of the pipeline: flags that the commands know, and the Flink that the locked job server is for."""

from __future__ import annotations

import importlib
import os
import pathlib
import re

import pytest
import yaml

from beam_index.options import parse
from pipeline.publishing.options import parse as parse_publish
from pipeline.publishing.runs import Runs
from tests.k8s.rendered import SERVING, WORKERS, Pod, flags, of_kind, pods, servers
from tests.k8s.tools import K8S, ROOT, run

LOCK = ROOT / "requirements" / "flink" / "lock.sha256"


def job(name: str, place: str = "pipeline/jobs") -> Pod:
    """A job by its name."""
    (found,) = (pod for pod in pods(place) if pod.owner["metadata"]["name"] == f"sparcode-{name}")
    return found


def flink(part: str) -> Pod:
    """One of Flink's two Deployments."""
    (found,) = (pod for pod in pods("pipeline") if pod.labels.get("sparcode.dev/flink") == part)
    return found


@pytest.mark.parametrize(
    ("place", "name", "module"),
    [
        ("pipeline/jobs", "train", "trainer.task"),
        ("pipeline/jobs", "export", "serving.export"),
        (WORKERS, "train", "trainer.task"),
    ],
)
def test_the_command_knows_the_flags(place: str, name: str, module: str, capsys: pytest.CaptureFixture[str]) -> None:
    (container,) = job(name, place).containers
    assert container["command"] == ["python", "-m", module]
    with pytest.raises(SystemExit):
        importlib.import_module(module).main(["--help"])
    known = set(re.findall(r"--[\w.-]+", capsys.readouterr().out))
    assert {f"--{flag}" for flag in flags(container)} <= known


def test_the_export_of_shards_writes_what_their_servers_pull() -> None:
    (export,) = (one for one in of_kind("overlays/sharded/jobs", "Job") if one["metadata"]["name"] == "sparcode-export")
    (container,) = export["spec"]["template"]["spec"]["containers"]
    assert export["spec"]["completionMode"] == "Indexed"
    shards = servers("overlays/sharded")
    assert export["spec"]["completions"] == len(shards)
    written = {}
    for number in range(len(shards)):
        args = [argument.replace("$(JOB_COMPLETION_INDEX)", str(number)) for argument in container["args"]]
        said = flags({**container, "args": args})
        assert said["shard"] == f"{number}/{len(shards)}"
        written[str(number)] = said["output"]
    pulled = {pod.labels["sparcode.dev/shard"]: flags(pod.container("pull-model")) for pod in shards}
    assert written == {shard: f"{pull['published']}/{pull['version']}" for shard, pull in pulled.items()}


def test_the_index_build_takes_its_flags_and_beam_its_own() -> None:
    (container,) = job("index").containers
    assert container["command"] == ["python", "-m", "beam_index.build"]
    build, beam = parse(container["args"])
    assert str(build.output) == "/work/index"
    assert beam.get_all_options()["flink_master"] == "sparcode-flink:8081"


def publishing() -> Pod:
    """The pod of the nightly job."""
    (cron,) = of_kind("pipeline", "CronJob")
    (found,) = (pod for pod in pods("pipeline") if pod.owner is cron)
    return found


def test_publishing_takes_its_flags_and_no_two_run_at_once() -> None:
    (container,) = publishing().containers
    assert container["command"] == ["python", "-m", "pipeline.publish"]
    options = parse_publish(container["args"])
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert options.to in mounts
    assert {"/work"} == {str(options.work_dir.parent), str(pathlib.Path(options.data).parent)}
    assert publishing().owner["spec"]["concurrencyPolicy"] == "Forbid"


def test_the_readme_fetches_queries_from_where_publishing_has_them(tmp_path: pathlib.Path) -> None:
    ((name, script),) = re.findall(r"exec deployment/(\S+) -- sh -c '(.*?)' >", (K8S / "README.md").read_text())
    (pod,) = (pod for pod in pods("pipeline") if pod.owner["metadata"]["name"] == name)
    assert "/work" in {mount["mountPath"] for mount in pod.containers[0]["volumeMounts"]}
    runs = Runs(tmp_path / parse_publish(publishing().containers[0]["args"]).work_dir.relative_to("/work"))
    for number, text in enumerate(("older", "newer")):
        with runs.locked():
            queries = runs.take_up({"run": number}, warm_start=False).training / "export" / "queries.parquet"
        queries.parent.mkdir(parents=True)
        queries.write_text(text)
        os.utime(queries, (1_700_000_000 + number, 1_700_000_000 + number))
    assert run("sh", "-c", script.replace("/work/", f"{tmp_path}/")) == "newer"


def test_a_pod_is_replaced_only_when_it_is_gone() -> None:
    (cron,) = of_kind("pipeline", "CronJob")
    specs = [cron["spec"]["jobTemplate"]["spec"], *(one["spec"] for one in of_kind("pipeline/jobs", "Job"))]
    assert [spec["podReplacementPolicy"] for spec in specs] == ["Failed"] * 4


def test_what_is_pinned_is_never_removed() -> None:
    protected = parse_publish(publishing().containers[0]["args"]).protect
    for overlay in SERVING:
        for server in servers(overlay):
            assert int(server.labels["sparcode.dev/version"]) in protected, overlay


def test_training_has_a_gpu() -> None:
    resources = job("train").containers[0]["resources"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "1"


def test_flink_is_the_one_of_the_locked_job_server() -> None:
    (locked,) = re.findall(r"flink-runtime-(\S+)\.jar", LOCK.read_text())
    for part, name in (("job-manager", "job-manager"), ("task-manager", "task-manager")):
        assert flink(part).container(name)["image"].startswith(f"flink:{locked}-")
    assert flags(job("index").containers[0])["flink_version"] == locked.rpartition(".")[0]


def test_a_build_has_as_many_parts_as_slots_and_a_pool_for_each() -> None:
    manager, build = flink("task-manager"), flags(job("index").containers[0])
    slots = _flink_config()["taskmanager"]["numberOfTaskSlots"]
    assert "replicas" not in manager.owner["spec"], "an apply would start them again between builds"
    (replicas,) = re.findall(
        rf"^kubectl --namespace \S+ scale deployment/{manager.owner['metadata']['name']} --replicas=(\d+)$",
        (K8S / "README.md").read_text(),
        re.MULTILINE,
    )
    assert int(build["parallelism"]) == int(replicas) * slots
    pool = manager.container("beam-workers")
    assert build["environment_config"] == f"localhost:{flags(pool)['service_port']}"
    assert build["environment_type"] == "EXTERNAL"


def test_flinks_ports_are_those_of_its_configuration() -> None:
    config = _flink_config()
    managers = {port["name"]: port["containerPort"] for port in flink("job-manager").containers[0]["ports"]}
    assert managers == {
        "rpc": config["jobmanager"]["rpc"]["port"],
        "blob": config["blob"]["server"]["port"],
        "rest": config["rest"]["port"],
    }
    tasks = {port["name"]: port["containerPort"] for port in flink("task-manager").container("task-manager")["ports"]}
    assert tasks == {"rpc": config["taskmanager"]["rpc"]["port"], "data": config["taskmanager"]["data"]["port"]}
    (service,) = of_kind("pipeline", "Service")
    assert config["jobmanager"]["rpc"]["address"] == service["metadata"]["name"]
    assert (
        flags(job("index").containers[0])["flink_master"] == f"{service['metadata']['name']}:{config['rest']['port']}"
    )


def test_flinks_java_fits_in_its_container() -> None:
    config = _flink_config()
    for part, section in (("job-manager", "jobmanager"), ("task-manager", "taskmanager")):
        gibibytes = int(config[section]["memory"]["process"]["size"].removesuffix("g"))
        limit = int(flink(part).container(part)["resources"]["limits"]["memory"].removesuffix("Mi"))
        assert gibibytes * 1024 < limit


def test_all_workers_share_the_work_and_no_other_place() -> None:
    for pod in (job("train"), job("index"), flink("task-manager"), flink("job-manager")):
        claims = {
            volume["name"]: volume["persistentVolumeClaim"]["claimName"]
            for volume in pod.spec["volumes"]
            if "persistentVolumeClaim" in volume
        }
        assert claims == {"work": "sparcode-work"}
        for container in pod.containers:
            mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
            assert mounts["work"] == "/work"


def _flink_config() -> dict:
    (found,) = (resource for resource in of_kind("pipeline", "ConfigMap") if "config.yaml" in resource["data"])
    return yaml.safe_load(found["data"]["config.yaml"])
