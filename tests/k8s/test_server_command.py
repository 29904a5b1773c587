"""The command line of tensorflow_model_server: flags that it knows, values of their types, files that are there."""

from __future__ import annotations

import pathlib

import pytest

from tests.k8s.rendered import SERVING, Pod, flags, of_kind, servers

KNOWN = dict(
    line.split("\t")
    for line in (pathlib.Path(__file__).parent / "model_server_flags.tsv").read_text().splitlines()
    if not line.startswith("#")
)
IS_OF_TYPE = {
    "bool": lambda value: value in ("true", "false"),
    "int32": lambda value: value == "$(CPUS)" or abs(int(value)) < 2**31,
    "int64": lambda value: value == "$(CPUS)" or abs(int(value)) < 2**63,
    "float": lambda value: float(value) is not None,
    "string": lambda value: value != "",
}


@pytest.fixture(params=SERVING)
def server(request: pytest.FixtureRequest) -> Pod:
    """The pods of one overlay that serve; of shards, the first."""
    return servers(request.param)[0]


def test_every_flag_is_known_and_of_its_type(server: Pod) -> None:
    container = server.container("server")
    assert container["command"] == ["/usr/bin/tensorflow_model_server"]
    said = flags(container)
    assert len(said) == len(container["args"]), "a flag is given twice"
    for name, value in said.items():
        assert name in KNOWN
        assert IS_OF_TYPE[KNOWN[name]](value), f"--{name}={value} is no {KNOWN[name]}"


def test_the_types_are_told_apart() -> None:
    assert not IS_OF_TYPE["bool"]("yes")
    assert not IS_OF_TYPE["int32"](str(2**31))
    with pytest.raises(ValueError, match="many"):
        IS_OF_TYPE["int64"]("many")


def test_threads_are_as_many_as_the_cpu_limit(server: Pod) -> None:
    container = server.container("server")
    said = flags(container)
    assert said["tensorflow_intra_op_parallelism"] == said["tensorflow_inter_op_parallelism"] == "$(CPUS)"
    assert "tensorflow_session_parallelism" not in said, "it would win over both"
    (cpus,) = (entry for entry in container["env"] if entry["name"] == "CPUS")
    assert cpus["valueFrom"]["resourceFieldRef"] == {"containerName": "server", "resource": "limits.cpu"}
    resources = container["resources"]
    assert resources["requests"] == resources["limits"], "not Guaranteed"
    assert int(resources["limits"]["cpu"]) >= 1, "a whole number of cores"


def test_one_version_is_loaded_once_or_the_pod_ends(server: Pod) -> None:
    said = flags(server.container("server"))
    for name in ("model_config_file_poll_wait_seconds", "file_system_poll_wait_seconds", "max_num_load_retries"):
        assert said[name] == "0"


def test_nothing_is_open_that_need_not_be(server: Pod) -> None:
    assert flags(server.container("server"))["enable_profiler"] == "false"


def test_ports_are_those_of_the_flags(server: Pod) -> None:
    container = server.container("server")
    said, ports = flags(container), {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": int(said["port"]), "metrics": int(said["rest_api_port"])}


@pytest.mark.parametrize("name", SERVING)
def test_every_file_of_a_flag_is_mounted(name: str) -> None:
    maps = {resource["metadata"]["name"]: resource["data"] for resource in of_kind(name, "ConfigMap")}
    for server in servers(name):
        container = server.container("server")
        volumes = {volume["name"]: volume for volume in server.spec["volumes"]}
        mounts = {mount["mountPath"]: volumes[mount["name"]] for mount in container["volumeMounts"]}
        files = {flag: value for flag, value in flags(container).items() if flag.endswith("_file")}
        assert set(files) == {"model_config_file", "batching_parameters_file", "monitoring_config_file"}
        for value in files.values():
            path = pathlib.PurePosixPath(value)
            assert path.name in maps[mounts[str(path.parent)]["configMap"]["name"]]
