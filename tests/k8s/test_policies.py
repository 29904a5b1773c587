"""Who may talk to whom."""

from __future__ import annotations

from tests.k8s.rendered import Pod, flags, of_kind, pods, selects, servers


def test_only_frontends_reach_grpc_and_only_prometheus_the_metrics() -> None:
    (policy,) = of_kind("overlays/prod", "NetworkPolicy")
    assert all(selects(policy["spec"]["podSelector"]["matchLabels"], server.labels) for server in _all_servers())
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    assert policy["spec"]["egress"] == []
    allowed = {tuple(port["port"] for port in rule["ports"]): rule["from"] for rule in policy["spec"]["ingress"]}
    assert allowed == {
        (8500,): [{"podSelector": {"matchLabels": {"sparcode.dev/frontend": "true"}}}],
        (8501,): [
            {
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
            }
        ],
    }


def test_a_server_calls_nobody_but_the_bucket_where_there_is_one() -> None:
    (policy,) = of_kind("overlays/bucket", "NetworkPolicy")
    (prod,) = of_kind("overlays/prod", "NetworkPolicy")
    assert policy["spec"]["ingress"] == prod["spec"]["ingress"]
    assert {port["port"] for rule in policy["spec"]["egress"] for port in rule["ports"]} == {53, 443, 80, 988}
    (server,) = servers("overlays/bucket")
    assert flags(server.container("pull-model"))["published"].startswith("gs://")
    assert not [volume for volume in server.spec["volumes"] if "persistentVolumeClaim" in volume]


def _all_servers() -> list[Pod]:
    return [*servers("overlays/prod"), *servers("overlays/canary"), *servers("overlays/canary-live")]


def test_every_pod_of_the_pipeline_is_fenced_and_the_worker_pool_for_its_pod_alone() -> None:
    policies = [resource["spec"] for resource in of_kind("pipeline", "NetworkPolicy")]
    for pod in (*pods("pipeline"), *pods("pipeline/jobs")):
        guards = [policy for policy in policies if selects(policy["podSelector"]["matchLabels"], pod.labels)]
        assert len(guards) == 1, pod.name
    opened = {port["port"] for policy in policies for rule in policy.get("ingress", ()) for port in rule["ports"]}
    (pool,) = (
        container for pod in pods("pipeline") for container in pod.containers if container["name"] == "beam-workers"
    )
    assert pool["ports"][0]["containerPort"] not in opened


def test_flink_takes_jobs_from_all_that_build_an_index_and_nobody_else() -> None:
    (policy,) = (one["spec"] for one in of_kind("pipeline", "NetworkPolicy") if "flink" in one["metadata"]["name"])
    (submits,) = (rule for rule in policy["ingress"] if {"port": 8081} in rule["ports"])
    (peer,) = submits["from"]
    every = [*pods("pipeline"), *pods("pipeline/jobs")]
    let_in = {pod.name for pod in every if selects(peer["podSelector"]["matchLabels"], pod.labels)}
    assert let_in == {"CronJob sparcode-publish", "Job sparcode-index"}
