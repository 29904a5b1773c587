"""A container as a process of this machine: its command line, and how its health is asked."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from serving.options import parser
from tests.rehearsal.pace import Pace
from tests.rehearsal.volumes import Volumes

ROOT = pathlib.Path(__file__).parents[2]
_STOCK_SERVER = "/usr/bin/tensorflow_model_server"
_KNOWN = frozenset(option for action in parser()._actions for option in action.option_strings)


def command_line(
    container: Mapping[str, Any], volumes: Volumes, address: str, pace: Pace, name_server: str
) -> list[str]:
    """What runs here for the container: the embedded server for the stock one, this Python for the image's.

    The server gets the flags that it knows, and the address of its pod; names are asked of the cluster's name server.
    """
    values = {entry["name"]: entry["value"] for entry in container.get("env", ()) if "value" in entry}
    arguments = [_expand(volumes.translate(text, container), values) for text in container.get("args", ())]
    if container["command"] == [_STOCK_SERVER]:
        known = [pace.server_flag(text) for text in arguments if text.partition("=")[0] in _KNOWN]
        return [sys.executable, "-m", "serving.server", *known, f"--host={address}"]
    command = [sys.executable if text == "python" else text for text in container["command"]]
    arguments = [text.replace("dns:///", f"dns://{name_server}/") for text in arguments]
    return [*command, *arguments, *([f"--host={address}"] if "ports" in container else [])]


def _expand(argument: str, values: Mapping[str, str]) -> str:
    for name, value in values.items():
        argument = argument.replace(f"$({name})", value)
    return argument


def start(command: list[str], log: pathlib.Path) -> subprocess.Popen[bytes]:
    """Runs a command from the root of the checkout; its output goes to the end of `log`."""
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    with log.open("ab") as output:
        return subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, "PYTHONPATH": path}, stdout=output, stderr=subprocess.STDOUT
        )


def is_healthy(probe: Mapping[str, Any], address: str, container: Mapping[str, Any], pace: Pace) -> bool:
    """Runs one probe, as the kubelet does: gRPC's health service, or a GET that must succeed."""
    timeout = max(pace.seconds(probe.get("timeoutSeconds", 1)), 1.0)
    if "grpc" in probe:
        return _grpc_serves(f"{address}:{probe['grpc']['port']}", timeout)
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    port = ports.get(probe["httpGet"]["port"], probe["httpGet"]["port"])
    try:
        with urllib.request.urlopen(f"http://{address}:{port}{probe['httpGet']['path']}", timeout=timeout) as answer:
            return answer.status < 400
    except (urllib.error.URLError, OSError):
        return False


def _grpc_serves(target: str, timeout: float) -> bool:
    with grpc.insecure_channel(target) as channel:
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.RpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
