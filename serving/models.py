"""The models of a server: configured, reconfigured while they answer, and looked up for a request."""

from __future__ import annotations

import logging
import os
import pathlib
import threading
from collections.abc import Collection, Sequence

import grpc
from tensorflow_serving.apis import model_pb2

from protos.errors import UserError
from serving.loader import Servable
from serving.metrics import ServerMetrics
from serving.model_config import ModelConfig, ModelServerConfig, check_models
from serving.status import StatusError, invalid_argument, not_found
from serving.versions import DEFAULT_RETRIES, LoadRetries, ModelVersions, VersionStatus, servable_not_found

_log = logging.getLogger(__name__)


class Models:
    """Every model by name, and the labels of versions. Changes wait for one another; lookups wait for nothing."""

    def __init__(self, retries: LoadRetries = DEFAULT_RETRIES, labels_for_unavailable: bool = False) -> None:
        """Has no model yet.

        Args:
          retries: of loads that fail.
          labels_for_unavailable: whether a label that is not in use may name a version that is not loaded.
        """
        self.metrics = ServerMetrics()
        self._retries = retries
        self._labels_for_unavailable = labels_for_unavailable
        self._changing = threading.Lock()
        # Both are replaced, never changed, so that lookups need no lock.
        self._models: dict[str, ModelVersions] = {}
        self._labels: dict[str, dict[str, int]] = {}

    def start(self, config: ModelServerConfig) -> None:
        """Loads the first models: at least one version of each. What fails is not waited for.

        Raises:
          UserError: the configuration breaks a rule, or no version of a model can be served.
        """
        with self._changing:
            try:
                models = self._configure(config.model_config_list.config)
            except StatusError as error:
                raise UserError(f"the models cannot be served as configured: {error}") from error
            for model in models:
                model.refresh()
                _require_available(model)

    def reload(self, config: ModelServerConfig) -> None:
        """Serves other models, or the same ones otherwise, and returns when the new ones are available.

        Where a new model cannot be loaded at once, TensorFlow Serving waits through its retries, and for ever
        where its base path does not exist. Here the caller is told after the first attempt; retries go on.

        Raises:
          StatusError: INVALID_ARGUMENT or FAILED_PRECONDITION, and nothing has changed; UNKNOWN where a new
            model is not available.
        """
        if config.WhichOneof("config") != "model_config_list":
            raise invalid_argument(
                "ServerModelConfig type not supported by HandleReloadConfigRequest. Only ModelConfigList is currently"
                " supported"
            )
        with self._changing:
            new = self._configure(config.model_config_list.config)
            self._refresh()
            unavailable = [model for model in new if not model.available()]
            if unavailable:
                raise StatusError(grpc.StatusCode.UNKNOWN, _unavailable_message(unavailable))

    def refresh(self) -> None:
        """Looks for new versions of every model."""
        with self._changing:
            self._refresh()

    def find(self, spec: model_pb2.ModelSpec) -> Servable:
        """The loaded version that a request names by number or label, or else the newest.

        Raises:
          StatusError: NOT_FOUND when the model or version is not loaded; INVALID_ARGUMENT when no model is
            named or there is no such label.
        """
        if not spec.name:
            raise invalid_argument("ModelSpec has no name specified.")
        version = self._version(spec)
        models = self._models
        if spec.name not in models:
            raise servable_not_found(spec.name, version)
        return models[spec.name].get(version)

    def statuses(self, spec: model_pb2.ModelSpec) -> dict[int, VersionStatus]:
        """How the version that a request names by number stands, or all versions seen so far, newest first.

        Raises:
          StatusError: NOT_FOUND for a model or version that was never seen.
        """
        models = self._models
        statuses = models[spec.name].statuses() if spec.name in models else {}
        if not spec.HasField("version"):
            if not statuses:
                raise not_found(f"Could not find any versions of model {spec.name}")
            return statuses
        version = spec.version.value
        if version not in statuses:
            raise not_found(f"Could not find version {version} of model {spec.name}")
        return {version: statuses[version]}

    def available(self) -> dict[str, list[int]]:
        """The versions that answer now, newest first, of every model that is served."""
        return {name: model.available() for name, model in self._models.items() if model.config}

    def has(self, name: str) -> bool:
        """Whether a model of that name is, or was, served."""
        return name in self._models

    def close(self) -> None:
        """Cancels what is running; nothing is answered from now on."""
        for model in self._models.values():
            model.close()

    def _version(self, spec: model_pb2.ModelSpec) -> int | None:
        if spec.HasField("version"):
            return spec.version.value
        if not spec.HasField("version_label"):
            return None
        version = self._labels.get(spec.name, {}).get(spec.version_label)
        if version is None:
            raise invalid_argument(f"Unrecognized servable version label: {spec.version_label}")
        return version

    def _configure(self, configs: Sequence[ModelConfig]) -> list[ModelVersions]:
        """Takes a configuration without loading anything yet and returns the models that are new in it."""
        check_models(configs)
        labels = {config.name: self._checked_labels(config) for config in configs}
        models, new = dict(self._models), []  # a model that was served once stays, for its statuses
        for config in configs:
            model = models.setdefault(config.name, ModelVersions(config, self._retries, self.metrics.load))
            if model.config is None or config.name not in self._models:
                new.append(model)
            model.config = config
        for name in models.keys() - labels.keys():
            models[name].retire()
        self._models, self._labels = models, labels
        return new

    def _checked_labels(self, config: ModelConfig) -> dict[str, int]:
        available = self._models[config.name].available() if config.name in self._models else []
        used = self._labels.get(config.name, {})
        for label, version in config.version_labels.items():
            may_be_unavailable = self._labels_for_unavailable and used.get(label, version) == version
            if version not in available and not may_be_unavailable:
                raise StatusError(
                    grpc.StatusCode.FAILED_PRECONDITION,
                    f"Request to assign label to version {version} of model {config.name}, which is not currently"
                    " available for inference",
                )
        return dict(config.version_labels)

    def _refresh(self) -> None:
        for model in self._models.values():
            try:
                model.refresh()
            except Exception:  # whatever is wrong on disk, what is loaded goes on answering
                _log.exception("looking for new versions of model %s failed", model.name)


def _unavailable_message(models: Collection[ModelVersions]) -> str:
    """TensorFlow Serving's words, with the reason for a model that has no version."""
    parts = []
    for model in models:
        failed = [f"{{name: {model.name} version: {v}}} due to error: {e}" for v, e in model.failures().items()]
        parts += failed or [f"{{name: {model.name}}}: no version found under its base path"]
    return f"{len(parts)} model(s) did not become available: {{{''.join(f'{{{part}}}, ' for part in parts)}}}"


def _require_available(model: ModelVersions) -> None:
    if model.available():
        return
    for version, error in model.failures().items():
        raise UserError(f"version {version} of model {model.name} cannot be served: {error}")
    raise UserError(_no_version_message(model.config))


def _no_version_message(config: ModelConfig) -> str:
    base_path = pathlib.Path(config.base_path)
    found = sorted(os.listdir(base_path))
    if "saved_model.pb" in found:
        return f"{base_path} is itself a SavedModel; give the directory above it, whose versions are named by numbers"
    missing = list(config.model_version_policy.specific.versions)
    wanted = f"version {missing[0]}" if missing else "no version"
    verb = "is not" if missing else "is"
    return (
        f"{wanted} {verb} under {base_path}: found {found}; expected a directory named by"
        f" {'that' if missing else 'a'} number, such as {missing[0] if missing else 1}/, with a SavedModel in it"
    )
