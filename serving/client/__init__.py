"""A client of served SparCode models that needs no TensorFlow and no NumPy: gRPC and protobuf.

It speaks to `python -m serving.server` and to the stock tensorflow/serving image alike. `python -m serving.client`
is its command.
"""

from serving.client.aio import AsyncRecommendClient
from serving.client.answers import Encoding, Explanation, Recommendation
from serving.client.channel import PredictError, Tls
from serving.client.messages import ModelMetadata, Signature, TensorSpec, VersionStatus
from serving.client.queries import Query, QueryError
from serving.client.sharded import ShardedAnswer, ShardedClient
from serving.client.sync import DEFAULT_ADDRESS, DEFAULT_MODEL, DEFAULT_TIMEOUT_SECONDS, RecommendClient
from serving.wire import TensorError

__all__ = [
    "DEFAULT_ADDRESS",
    "DEFAULT_MODEL",
    "DEFAULT_TIMEOUT_SECONDS",
    "AsyncRecommendClient",
    "Encoding",
    "Explanation",
    "ModelMetadata",
    "PredictError",
    "Query",
    "QueryError",
    "RecommendClient",
    "Recommendation",
    "ShardedAnswer",
    "ShardedClient",
    "Signature",
    "TensorError",
    "TensorSpec",
    "Tls",
    "VersionStatus",
]
