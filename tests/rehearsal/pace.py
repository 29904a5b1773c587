"""How fast the rehearsal's clock runs."""

from __future__ import annotations

import dataclasses
import re

# What gRPC waits between two looks at the name service, unless a client says otherwise.
_DNS_SECONDS = 30


@dataclasses.dataclass(frozen=True)
class Pace:
    """Every period and every grace of the manifests is multiplied by `scale`; at 1 all is as in a cluster."""

    scale: float = 1.0

    def seconds(self, written: float) -> float:
        """How long so many seconds take."""
        return written * self.scale

    def server_flag(self, argument: str) -> str:
        """The ages of connections among the server's arguments, shorter alike."""
        return re.sub(r"(_ms=)(\d+)", lambda match: f"{match[1]}{max(int(int(match[2]) * self.scale), 1)}", argument)

    @property
    def channel_arguments(self) -> tuple[tuple[str, int], ...]:
        """What a client must be told for its own waiting to be shorter alike; nothing at 1."""
        return (
            ()
            if self.scale == 1
            else (("grpc.dns_min_time_between_resolutions_ms", int(_DNS_SECONDS * 1000 * self.scale)),)
        )
