"""Which models and which of their versions are served: TensorFlow Serving's ModelServerConfig, and its rules."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Collection, Iterable, Sequence

from tensorflow_serving.config import file_system_storage_path_source_pb2, model_server_config_pb2

from serving.status import invalid_argument

ModelConfig = model_server_config_pb2.ModelConfig
ModelServerConfig = model_server_config_pb2.ModelServerConfig
VersionPolicy = file_system_storage_path_source_pb2.FileSystemStoragePathSourceConfig.ServableVersionPolicy
_PLATFORM = "tensorflow"


def single_model(name: str, base_path: str | os.PathLike[str], versions: Sequence[int] = ()) -> ModelServerConfig:
    """The configuration of one model, served in those versions, or in the newest where none are given."""
    config = ModelServerConfig()
    model = config.model_config_list.config.add(name=name, model_platform=_PLATFORM)
    model.base_path = str(pathlib.Path(base_path).absolute())
    if versions:
        model.model_version_policy.specific.versions.extend(versions)
    return config


def check_models(models: Iterable[ModelConfig]) -> None:
    """Refuses what TensorFlow Serving refuses, in its words.

    Raises:
      StatusError: INVALID_ARGUMENT for a name that is listed twice, a base path that is not absolute, and a
        platform that is not TensorFlow.
    """
    names: set[str] = set()
    for model in models:
        if model.name in names:
            raise invalid_argument(f"Illegal to list model {model.name} multiple times in config list")
        names.add(model.name)
        if not os.path.isabs(model.base_path):
            raise invalid_argument(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )
        _check_platform(model)


def _check_platform(model: ModelConfig) -> None:
    platform = model.model_platform
    if model.model_type:
        if platform:
            raise invalid_argument(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and ModelServerConfig::model_platform."
            )
        if model.model_type != model_server_config_pb2.TENSORFLOW:
            raise invalid_argument(f"ModelServerConfig::model_type choice {model.model_type} not supported.")
        platform = _PLATFORM
    if not platform:
        raise invalid_argument(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform."
        )
    if platform != _PLATFORM:
        raise invalid_argument(f"Model {model.name} requests unsupported platform {platform}")


def wanted_versions(policy: VersionPolicy, found: Collection[int]) -> set[int]:
    """Those of the versions found on disk that a policy serves: by default the newest."""
    choice = policy.WhichOneof("policy_choice")
    if choice == "all":
        return set(found)
    if choice == "specific":
        return set(found) & set(policy.specific.versions)
    return set(sorted(found, reverse=True)[: max(policy.latest.num_versions, 1)])
