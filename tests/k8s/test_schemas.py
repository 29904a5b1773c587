"""Every rendered resource is what two versions of Kubernetes take, to the letter."""

from __future__ import annotations

import copy

import pytest

from tests.k8s.rendered import APPLIED, of_kind, render

kubernetes_validate = pytest.importorskip(
    "kubernetes_validate", reason="no schemas of Kubernetes: they come with the package kubernetes-validate"
)
# The oldest with the preStop action `sleep`, and the newest whose schemas the package has.
VERSIONS = ["1.30", "1.37"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", APPLIED)
def test_every_resource_is_valid(name: str, version: str) -> None:
    resources = render(name)
    assert resources
    for resource in resources:
        assert kubernetes_validate.validate(resource, version, strict=True) == version


@pytest.mark.parametrize("version", VERSIONS)
def test_a_misspelt_field_is_not(version: str) -> None:
    deployment = copy.deepcopy(of_kind("overlays/prod", "Deployment")[0])
    deployment["spec"]["template"]["spec"]["containers"][0]["readinesProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readinesProbe"):
        kubernetes_validate.validate(deployment, version, strict=True)


@pytest.mark.parametrize("name", APPLIED)
def test_no_resource_is_there_twice(name: str) -> None:
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in render(name)]
    assert len(names) == len(set(names))
