"""Where a pod's mounts are on this machine."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping
from typing import Any

from tests.k8s.rendered import Pod


class Volumes:
    """The volumes of one pod, under a directory of its own; claims are shared.

    Args:
      pod: as rendered.
      directory: of the pod.
      claims: where each PersistentVolumeClaim is.
      config_maps: by name, the files in each.
    """

    def __init__(
        self,
        pod: Pod,
        directory: pathlib.Path,
        claims: Mapping[str, pathlib.Path],
        config_maps: Mapping[str, Mapping[str, str]],
    ) -> None:
        self._places = {volume["name"]: _place(volume, directory, claims) for volume in pod.spec["volumes"]}
        for volume in pod.spec["volumes"]:
            self._places[volume["name"]].mkdir(parents=True, exist_ok=True)
        # A file of configuration names paths of the container that reads it.
        readers = {mount["name"]: container for container in pod.containers for mount in container["volumeMounts"]}
        for volume in pod.spec["volumes"]:
            if "configMap" in volume:
                for name, text in config_maps[volume["configMap"]["name"]].items():
                    (self._places[volume["name"]] / name).write_text(self.translate(text, readers[volume["name"]]))

    def translate(self, text: str, container: Mapping[str, Any]) -> str:
        """A text in which the container's mounts are where they are here."""
        places = {mount["mountPath"]: str(self._places[mount["name"]]) for mount in container["volumeMounts"]}
        paths = "|".join(map(re.escape, places))
        # All at once: a place here may well begin with a path there, such as /tmp.
        return re.sub(rf"(?<![\w/.-])({paths})(?![\w.-])", lambda match: places[match[1]], text)


def _place(volume: Mapping[str, Any], directory: pathlib.Path, claims: Mapping[str, pathlib.Path]) -> pathlib.Path:
    if "persistentVolumeClaim" in volume:
        return claims[volume["persistentVolumeClaim"]["claimName"]]
    return directory / volume["name"]
