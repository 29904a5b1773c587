"""The version stands in one file of an overlay and goes from there to every place that names it; so do its tracks."""

from __future__ import annotations

import json
import pathlib
import shutil

import pytest
import yaml

from tests.k8s.rendered import Resource, flags, of_kind, render, servers
from tests.k8s.tools import K8S, kustomize, run

OLD, NEW = "1", "20240131"


@pytest.mark.parametrize("overlay", ["dev", "prod", "canary", "sharded"])
def test_one_edit_moves_the_version_everywhere(overlay: str, tmp_path: pathlib.Path) -> None:
    edited = tmp_path / "k8s"
    shutil.copytree(K8S, edited)
    (knob,) = (edited / "overlays" / overlay).rglob("version.yaml")
    text = knob.read_text()
    assert text.count(f'version: "{OLD}"') == 1
    knob.write_text(text.replace(f'version: "{OLD}"', f'version: "{NEW}"'))
    moved = list(yaml.safe_load_all(run(*kustomize(), edited / "overlays" / overlay)))
    before = render(f"overlays/{overlay}")
    found = servers(f"overlays/{overlay}")
    pulls = [container for server in found for container in server.containers if container["name"] == "pull-model"]
    assert len(pulls) == (0 if overlay == "dev" else len(found))  # on a desk the model is in the image
    named = {
        f'"sparcode.dev/version": "{OLD}"': len(found),
        f'"value": "{OLD}"': len(pulls),
        f"\\n{OLD}\\n": len(found),
    }
    expected = _text(before)
    for place, times in named.items():
        assert expected.count(place) == times, place
        expected = expected.replace(place, place.replace(OLD, NEW))
    assert _text(moved) == expected


def _text(resources: list[Resource]) -> str:
    """The resources, without the hashes at the end of the names of ConfigMaps, which change with what is in them."""
    text = json.dumps(resources)
    for resource in resources:
        if resource["kind"] == "ConfigMap":
            name = resource["metadata"]["name"]
            text = text.replace(name, name.rpartition("-")[0])
    return text


@pytest.mark.parametrize("overlay", ["prod", "canary", "canary-live", "sharded", "bucket"])
def test_what_is_pulled_is_what_is_served(overlay: str) -> None:
    for server in servers(f"overlays/{overlay}"):
        assert flags(server.container("pull-model"))["version"] == server.labels["sparcode.dev/version"]


@pytest.mark.parametrize("overlay", ["baked", "dev"])
def test_a_baked_image_is_the_one_of_its_version_that_the_readme_builds(overlay: str) -> None:
    (server,) = servers(f"overlays/{overlay}")
    image = server.container("server")["image"].rpartition("/")[2]
    assert image.endswith(f"-{server.labels['sparcode.dev/version']}")
    assert f"--tag $REGISTRY/{image} " in (K8S / "README.md").read_text()


def test_a_canary_is_dark_until_it_is_made_live() -> None:
    (live,) = (
        service["spec"]["selector"]
        for service in of_kind("overlays/prod", "Service")
        if service["metadata"]["name"] == "sparcode"
    )
    for overlay, takes_traffic in (("prod", True), ("canary", False), ("canary-live", True)):
        (server,) = servers(f"overlays/{overlay}")
        assert (live.items() <= server.labels.items()) is takes_traffic


def test_stable_and_canary_do_not_touch_each_other() -> None:
    stable, canary = render("overlays/prod"), render("overlays/canary")
    names = [{(resource["kind"], resource["metadata"]["name"]) for resource in side} for side in (stable, canary)]
    assert not names[0] & names[1]
    for one, other in (("prod", "canary"), ("canary", "prod")):
        (deployment,), (server,) = of_kind(f"overlays/{one}", "Deployment"), servers(f"overlays/{other}")
        assert not deployment["spec"]["selector"]["matchLabels"].items() <= server.labels.items()
    assert _differing(servers("overlays/prod")[0].spec) == _differing(servers("overlays/canary")[0].spec)


def _differing(spec: dict) -> dict:
    """A pod's specification without what may differ between tracks: all else must be compared like with like."""
    (server,) = (container for container in spec["containers"] if container["name"] == "server")
    return {"args": server["args"], "image": server["image"], "resources": server["resources"]}


def test_no_service_is_over_several_shards() -> None:
    shards = servers("overlays/sharded")
    assert len({server.labels["sparcode.dev/shard"] for server in shards}) == len(shards) == 2
    for service in of_kind("overlays/sharded", "Service"):
        assert sum(service["spec"]["selector"].items() <= server.labels.items() for server in shards) == 1
    assert [flags(server.container("pull-model"))["published"] for server in shards] == [
        f"/published/shard-{shard}-of-2" for shard in range(2)
    ]
