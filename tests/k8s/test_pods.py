"""What holds for all pods, and between pods and what selects, mounts, guards and scales them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.k8s.rendered import APPLIED, JOBS, PIPELINES, SERVING, flags, of_kind, pods, render, selects, servers


@pytest.fixture(params=[name for name in APPLIED if name != "monitoring"])
def applied(request: pytest.FixtureRequest) -> str:
    """What has pods."""
    return request.param


def test_every_image_is_pinned(applied: str) -> None:
    for pod in pods(applied):
        for container in pod.containers:
            name, _, tag = container["image"].rpartition("/")[2].partition(":")
            assert "@sha256:" in container["image"] or tag not in ("", "latest"), f"{pod.name}: {name}"


def test_every_pod_is_locked_down(applied: str) -> None:
    for pod in pods(applied):
        assert pod.spec["automountServiceAccountToken"] is False
        assert pod.spec["securityContext"]["runAsNonRoot"] is True
        assert pod.spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod.containers:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }, f"{pod.name}: {container['name']}"
            assert {"cpu", "memory"} <= container["resources"]["limits"].keys()
            assert {"cpu", "memory"} <= container["resources"]["requests"].keys()


def test_every_volume_is_mounted_and_every_mount_has_one(applied: str) -> None:
    for pod in pods(applied):
        mounted = {mount["name"] for container in pod.containers for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod.spec["volumes"]}, pod.name


def test_every_config_map_and_claim_exists(applied: str) -> None:
    maps = {resource["metadata"]["name"] for resource in of_kind(applied, "ConfigMap")}
    claims = {_place(resource) for name in PIPELINES for resource in of_kind(name, "PersistentVolumeClaim")}
    for pod in pods(applied):
        for volume in pod.spec["volumes"]:
            if "configMap" in volume:
                assert volume["configMap"]["name"] in maps
            if "persistentVolumeClaim" in volume:
                place = (pod.owner["metadata"]["namespace"], volume["persistentVolumeClaim"]["claimName"])
                assert place in claims


def _place(resource: dict[str, Any]) -> tuple[str, str]:
    return resource["metadata"]["namespace"], resource["metadata"]["name"]


def test_service_accounts_exist_and_have_no_token() -> None:
    (account,) = of_kind("overlays/prod", "ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    for name in ("overlays/prod", "overlays/canary"):  # the canary lives in prod's namespace
        assert [server.spec["serviceAccountName"] for server in servers(name)] == [account["metadata"]["name"]]


def test_selectors_take_pods_that_are_there(applied: str) -> None:
    jobs = dict(zip(PIPELINES, JOBS, strict=True)).get(applied)  # they come later, to what is there for them
    labels = [pod.labels for name in filter(None, (applied, jobs)) for pod in pods(name)]
    selectors = [
        resource["spec"]["selector"].get("matchLabels", resource["spec"]["selector"])
        for kind in ("Deployment", "Service", "PodDisruptionBudget")
        for resource in of_kind(applied, kind)
    ]
    selectors += [resource["spec"]["podSelector"]["matchLabels"] for resource in of_kind(applied, "NetworkPolicy")]
    for selector in selectors:
        assert any(selects(selector, pod) for pod in labels), selector


def test_services_lead_to_ports_that_are_there(applied: str) -> None:
    for service in of_kind(applied, "Service"):
        assert service["spec"]["clusterIP"] == "None", "a connection through one address sticks to one pod"
        for pod in pods(applied):
            if selects(service["spec"]["selector"], pod.labels):
                ports = {
                    port["name"]: port["containerPort"]
                    for container in pod.containers
                    for port in container.get("ports", ())
                }
                assert {port["targetPort"]: port["port"] for port in service["spec"]["ports"]}.items() <= ports.items()


# --- The pods that serve ------------------------------------------------------------------------


@pytest.fixture(params=SERVING)
def overlay(request: pytest.FixtureRequest) -> str:
    """The name of an overlay that serves."""
    return request.param


def test_probes_ask_the_health_service_and_despair_in_the_right_order(overlay: str) -> None:
    for server in servers(overlay):
        container = server.container("server")
        said = flags(container)
        assert said["enable_grpc_healthcheck_service"] == "true"
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["grpc"] == {"port": int(said["port"])}
        assert _patience(container["livenessProbe"]) >= 3 * _patience(container["readinessProbe"])
        assert server.owner["spec"]["progressDeadlineSeconds"] > _patience(container["startupProbe"])


def _patience(probe: dict[str, Any]) -> int:
    """Seconds of failure that a probe bears."""
    return probe["periodSeconds"] * probe["failureThreshold"]


def test_a_pod_stays_until_no_client_knows_it(overlay: str) -> None:
    for server in servers(overlay):
        container = server.container("server")
        options = dict(option.split("=") for option in flags(container)["grpc_channel_arguments"].split(","))
        age, grace = (int(options[f"grpc.max_connection_age{part}_ms"]) / 1000 for part in ("", "_grace"))
        # gRPC varies ages by a tenth, and looks at the name service at most every 30 s; it keeps a name for 5.
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert sleep >= 1.1 * age + grace + 30 + 5
        # The server does not act on SIGTERM: what is left after preStop is waited out, then the pod is killed.
        assert sleep < server.spec["terminationGracePeriodSeconds"] <= sleep + 10


def test_a_rollout_takes_nothing_away_first(overlay: str) -> None:
    for server in servers(overlay):
        assert server.owner["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_pods_that_serve_are_guaranteed_what_they_may_use(overlay: str) -> None:
    for server in servers(overlay):
        for container in server.containers:
            assert container["resources"]["requests"] == container["resources"]["limits"], container["name"]


def test_pods_are_spread_over_nodes_and_zones(overlay: str) -> None:
    for server in servers(overlay):
        spread = {constraint["topologyKey"]: constraint for constraint in server.spec["topologySpreadConstraints"]}
        assert set(spread) == {"kubernetes.io/hostname", "topology.kubernetes.io/zone"}
        for constraint in spread.values():
            assert constraint["labelSelector"] == server.owner["spec"]["selector"]


def test_the_autoscaler_takes_away_more_slowly_than_a_pod_starts(overlay: str) -> None:
    deployments = {server.owner["metadata"]["name"]: server for server in servers(overlay)}
    for scaler in of_kind(overlay, "HorizontalPodAutoscaler"):
        server = deployments[scaler["spec"]["scaleTargetRef"]["name"]]
        assert "replicas" not in server.owner["spec"], "an apply would undo what the autoscaler did"
        start = _patience(server.container("server")["startupProbe"])
        down = scaler["spec"]["behavior"]["scaleDown"]
        assert down["stabilizationWindowSeconds"] > start
        assert all(policy["value"] == 1 and policy["periodSeconds"] >= start for policy in down["policies"])
        (metric,) = scaler["spec"]["metrics"]
        assert metric["containerResource"]["container"] == "server"


def test_production_scales_and_survives_a_disruption() -> None:
    for overlay in ("overlays/prod", "overlays/sharded"):
        scalers = of_kind(overlay, "HorizontalPodAutoscaler")
        assert len(scalers) == len(servers(overlay))
        assert all(scaler["spec"]["minReplicas"] >= 2 for scaler in scalers)
        assert len(of_kind(overlay, "PodDisruptionBudget")) == len(servers(overlay))


def test_namespaces_hold_their_pods_to_the_strictest_profile() -> None:
    for overlay in ("dev", "prod", "sharded"):
        (namespace,) = of_kind(f"overlays/{overlay}", "Namespace")
        assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
        name = namespace["metadata"]["name"]
        others = [resource for resource in render(f"overlays/{overlay}") if resource["kind"] != "Namespace"]
        assert {resource["metadata"]["namespace"] for resource in others} == {name}
