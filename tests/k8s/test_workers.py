"""The job of several workers: who each of them is, that they alone reach one another, and what their exit codes do."""

from __future__ import annotations

import pytest

from protos.errors import Exit
from tests.k8s.rendered import WORKERS, Pod, flags, of_kind, pods, selects
from trainer.cluster import VARIABLE, read_task


def job() -> Pod:
    (found,) = pods(WORKERS)
    return found


def test_every_worker_is_told_who_it_is_by_names_that_the_service_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, name = job().owner["spec"], job().owner["metadata"]["name"]
    (service,), (container,) = of_kind(WORKERS, "Service"), job().containers
    assert flags(container)["strategy"] == "multi_worker"
    (index, config) = (entry for entry in container["env"] if entry["name"] in ("WORKER", VARIABLE))
    assert index["valueFrom"]["fieldRef"]["fieldPath"].endswith("['batch.kubernetes.io/job-completion-index']")
    assert spec["completionMode"] == "Indexed"
    assert spec["completions"] == spec["parallelism"]
    assert job().spec["subdomain"] == service["metadata"]["name"]
    assert service["spec"]["publishNotReadyAddresses"]
    (port,) = container["ports"]
    hosts = [
        f"{name}-{number}.{service['metadata']['name']}:{port['containerPort']}"
        for number in range(spec["completions"])
    ]
    for number, host in enumerate(hosts):
        monkeypatch.setenv(VARIABLE, config["value"].replace("$(WORKER)", str(number)))
        task = read_task(("chief", "worker"))
        assert str(task) == f"worker {number} at {host}"
        assert task.cluster == {"worker": hosts}


def test_workers_are_reached_by_workers_only() -> None:
    (policy,) = (resource["spec"] for resource in of_kind(WORKERS, "NetworkPolicy"))
    (rule,) = policy["ingress"]
    (peer,) = rule["from"]
    for selector in (policy["podSelector"], peer["podSelector"]):
        assert selects(selector["matchLabels"], job().labels)
        assert not any(
            selects(selector["matchLabels"], pod.labels) for pod in (*pods("pipeline"), *pods("pipeline/jobs"))
        )
    assert rule["ports"] == [{"port": port["containerPort"]} for port in job().containers[0]["ports"]]


def test_a_lost_worker_is_no_failure_of_the_others_and_a_mistake_ends_the_job() -> None:
    rules = job().owner["spec"]["podFailurePolicy"]["rules"]
    by_code = {
        code: rule["action"] for rule in rules if "onExitCodes" in rule for code in rule["onExitCodes"]["values"]
    }
    assert by_code == {Exit.USER_ERROR: "FailJob", Exit.START_AGAIN: "Ignore"}
    assert job().spec["restartPolicy"] == "Never"
