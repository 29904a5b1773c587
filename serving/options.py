"""What a server may be told, and the flags that tell it: tensorflow_model_server's names where it has them."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Mapping

import grpc

from protos.command_line import CommandParser
from protos.errors import UserError
from serving.credentials import read_credentials
from serving.model_config import ModelServerConfig, single_model
from serving.monitoring import Monitoring, read_monitoring
from serving.text_protos import read_text_proto
from serving.versions import DEFAULT_RETRIES, LoadRetries

DEFAULT_PORT = 8500  # TensorFlow Serving's


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """What a server may be told besides its models and port.

    Attributes:
      host: the address to listen at.
      max_threads: requests answered side by side; 0 means four a core, as TensorFlow Serving.
      poll_seconds: how often to look for new versions; 0 means at the start only.
      grace_seconds: what a stop gives requests that have begun.
      retries: of versions that cannot be loaded.
      labels_for_unavailable: whether a label that is not in use may name a version that is not loaded.
      channel_arguments: of gRPC, by name, over those that TensorFlow Serving sets.
      credentials: of TLS; None speaks in the clear.
      monitoring: where metrics are; None is nowhere.
    """

    host: str = "127.0.0.1"
    max_threads: int = 0
    poll_seconds: float = 0.0
    grace_seconds: float = 10.0
    retries: LoadRetries = DEFAULT_RETRIES
    labels_for_unavailable: bool = False
    channel_arguments: Mapping[str, int | str] = dataclasses.field(default_factory=dict)
    credentials: grpc.ServerCredentials | None = None
    monitoring: Monitoring | None = None


DEFAULT_OPTIONS = ServerOptions()


def parser() -> argparse.ArgumentParser:
    """The flags of `python -m serving.server`."""
    made = CommandParser(
        prog="python -m serving.server",
        description=(
            "Serve SavedModels over TensorFlow Serving's gRPC API: PredictionService (Predict, GetModelMetadata),"
            " ModelService (GetModelStatus, HandleReloadConfigRequest) and grpc.health.v1. For development and tests:"
            " production runs the stock tensorflow/serving image on the same directory, and clients see no difference."
            " Flags are named as tensorflow_model_server's where it has them. Nobody is authenticated without mutual"
            " TLS: whoever reaches the port may change what is served."
        ),
        epilog="example: python -m serving.server --model_base_path build/demo/servable --port 8500",
    )
    _add_model_flags(made)
    _add_loading_flags(made)
    _add_listening_flags(made)
    return made


def _add_model_flags(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("what is served")
    group.add_argument("--model_base_path", metavar="DIR", help="directory with numbered versions in it: 1/, 2/, ...")
    group.add_argument("--model_name", default="sparcode", help="what requests call the model (default: %(default)s)")
    group.add_argument(
        "--specific_version",
        type=int,
        action="append",
        default=[],
        metavar="N",
        help="serve version N whether or not it is the newest; may be given again (default: the newest)",
    )
    group.add_argument(
        "--model_config_file",
        metavar="FILE",
        help="text of a ModelServerConfig: several models, version policies and labels; the three above are ignored",
    )
    group.add_argument(
        "--allow_version_labels_for_unavailable_models",
        type=_boolean,
        nargs="?",
        const=True,
        default=False,
        metavar="true|false",
        help="a label that is not in use may name a version that is not loaded; labels at the start need this",
    )


def _boolean(text: str) -> bool:
    """As the stock server's flags are given: --flag, --flag=true, --flag=false."""
    if text not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r}; expected true or false")
    return text == "true"


def _add_loading_flags(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("how versions are loaded")
    group.add_argument(
        "--file_system_poll_wait_seconds",
        type=float,
        default=1.0,
        metavar="S",
        help="how often to look for new versions; 0: at the start only (default: %(default)s)",
    )
    group.add_argument(
        "--max_num_load_retries",
        type=int,
        default=DEFAULT_RETRIES.most,
        metavar="N",
        help="how often a version that cannot be loaded is tried again; never at the start (default: %(default)s)",
    )
    group.add_argument(
        "--load_retry_interval_micros",
        type=int,
        default=int(DEFAULT_RETRIES.seconds * 1e6),
        metavar="US",
        help="time between such attempts (default: %(default)s, a minute)",
    )


def _add_listening_flags(made: argparse.ArgumentParser) -> None:
    group = made.add_argument_group("how it listens")
    group.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 lets the system choose (default: %(default)s)")
    group.add_argument("--port_file", metavar="FILE", help="write the port there once the server answers")
    group.add_argument("--host", default=DEFAULT_OPTIONS.host, help="address to listen at (default: %(default)s)")
    group.add_argument(
        "--rest_api_port",
        type=int,
        default=0,
        metavar="PORT",
        help="of metrics alone: there is no REST API here (default: 0, no port)",
    )
    group.add_argument(
        "--monitoring_config_file",
        metavar="FILE",
        help="text of a MonitoringConfig: metrics for Prometheus on the REST port",
    )
    group.add_argument(
        "--ssl_config_file", metavar="FILE", help="text of an SSLConfig, whose fields hold PEM: TLS and mutual TLS"
    )
    group.add_argument(
        "--grpc_channel_arguments",
        default="",
        metavar="K=V,...",
        help="of gRPC's server, such as grpc.max_receive_message_length=4194304 (default: messages have no limit)",
    )
    group.add_argument(
        "--grpc_max_threads",
        type=int,
        default=0,
        metavar="N",
        help="requests answered side by side (default: 4 a core)",
    )
    group.add_argument(
        "--grace_seconds",
        type=float,
        default=DEFAULT_OPTIONS.grace_seconds,
        metavar="S",
        help="time that requests have to end after SIGTERM or SIGINT (default: %(default)s)",
    )


def models_of(flags: argparse.Namespace) -> ModelServerConfig:
    """The models that the flags name.

    Raises:
      UserError: they name none, or a file that is no configuration.
    """
    if flags.model_config_file:
        return read_text_proto(flags.model_config_file, ModelServerConfig, "--model_config_file")
    if not flags.model_base_path:
        raise UserError("nothing to serve: expected --model_base_path DIR or --model_config_file FILE")
    return single_model(flags.model_name, flags.model_base_path, flags.specific_version)


def options_of(flags: argparse.Namespace) -> ServerOptions:
    """The options that the flags give.

    Raises:
      UserError: a value is malformed, or the file of TLS is not as it should be.
    """
    return ServerOptions(
        host=flags.host,
        max_threads=flags.grpc_max_threads,
        poll_seconds=flags.file_system_poll_wait_seconds,
        grace_seconds=flags.grace_seconds,
        retries=LoadRetries(flags.max_num_load_retries, flags.load_retry_interval_micros / 1e6),
        labels_for_unavailable=flags.allow_version_labels_for_unavailable_models,
        channel_arguments=_channel_arguments(flags.grpc_channel_arguments),
        credentials=read_credentials(flags.ssl_config_file) if flags.ssl_config_file else None,
        monitoring=_monitoring(flags),
    )


def _monitoring(flags: argparse.Namespace) -> Monitoring | None:
    return read_monitoring(flags.monitoring_config_file, flags.rest_api_port) if flags.monitoring_config_file else None


def _channel_arguments(text: str) -> dict[str, int | str]:
    arguments: dict[str, int | str] = {}
    for pair in filter(None, text.split(",")):
        key, equals, value = pair.partition("=")
        if not (key and equals and value):
            raise UserError(f"--grpc_channel_arguments: {pair!r} is no KEY=VALUE; pairs have commas between them")
        try:
            arguments[key] = int(value)  # gRPC knows whole numbers and strings, and insists on the one it expects
        except ValueError:
            arguments[key] = value
    return arguments
