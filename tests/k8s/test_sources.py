"""Versions from elsewhere than the volume: the components that the README has one add to prod and canary."""

from __future__ import annotations

import pathlib
import shutil

import pytest
import yaml

from tests.k8s.rendered import Resource, flags, pods_of, render
from tests.k8s.tools import K8S, kustomize, run

ADDED_TO = ["prod", "canary"]


def with_component(copy: pathlib.Path, component: str, **more: object) -> None:
    """Adds a component to the overlays in a copy of k8s/, as the README says."""
    shutil.copytree(K8S, copy)
    for overlay in ADDED_TO:
        path = copy / "overlays" / overlay / "kustomization.yaml"
        text = yaml.safe_load(path.read_text())
        text["components"].append(f"../../components/{component}")
        path.write_text(yaml.safe_dump({**text, **more}))


def rendered(copy: pathlib.Path, overlay: str) -> list[Resource]:
    """The resources of an overlay of a copy."""
    return list(yaml.safe_load_all(run(*kustomize(), copy / "overlays" / overlay)))


def without_names_of_config(resources: list[Resource]) -> list[tuple[str, str]]:
    """Kinds and names, those of ConfigMaps without the hash of what is in them."""
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in resources]
    return [(kind, name.rpartition("-")[0] if kind == "ConfigMap" else name) for kind, name in names]


@pytest.mark.parametrize("overlay", [*ADDED_TO, "canary-live"])
def test_every_track_pulls_from_the_bucket(overlay: str, tmp_path: pathlib.Path) -> None:
    with_component(tmp_path / "k8s", "bucket")
    resources = rendered(tmp_path / "k8s", overlay)
    assert without_names_of_config(resources) == without_names_of_config(render(f"overlays/{overlay}"))
    (pod,) = pods_of(resources)
    pull = flags(pod.container("pull-model"))
    assert pull["published"].startswith("gs://")
    assert pull["version"] == pod.labels["sparcode.dev/version"]
    assert not [volume for volume in pod.spec["volumes"] if "persistentVolumeClaim" in volume]
    for policy in (resource for resource in resources if resource["kind"] == "NetworkPolicy"):
        assert policy["spec"]["egress"], "a pod that may call nobody pulls nothing"


@pytest.mark.parametrize("overlay", [*ADDED_TO, "canary-live"])
def test_every_track_serves_the_model_of_its_image(overlay: str, tmp_path: pathlib.Path) -> None:
    images = yaml.safe_load((K8S / "overlays" / "baked" / "kustomization.yaml").read_text())["images"]
    with_component(tmp_path / "k8s", "baked", images=images)
    (pod,) = pods_of(rendered(tmp_path / "k8s", overlay))
    (server,) = pod.containers
    assert server["image"].endswith(f":{images[0]['newTag']}")
    assert "/models" not in {mount["mountPath"] for mount in server["volumeMounts"]}
    assert not [volume for volume in pod.spec["volumes"] if "persistentVolumeClaim" in volume]


@pytest.mark.parametrize("component", ["bucket", "baked"])
def test_the_overlay_of_its_name_shows_what_prod_becomes(component: str, tmp_path: pathlib.Path) -> None:
    more = yaml.safe_load((K8S / "overlays" / component / "kustomization.yaml").read_text())
    images = {"images": more["images"]} if "images" in more else {}
    with_component(tmp_path / "k8s", component, **images)
    assert rendered(tmp_path / "k8s", "prod") == render(f"overlays/{component}")
