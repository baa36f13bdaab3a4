"""Kombu's Redis transport, less what fails when the broker goes away with work in flight.

A connection that is lost takes its channel with it, and the messages that were being worked on. On
closing such a channel kombu puts them back, and when their work is done it acknowledges them, both
over the connection that is gone: an AttributeError that ends the whole worker. Neither is needed:
the rows find again what the broker has lost, and work that comes twice finds itself done.
"""

from typing import Any

from kombu.transport import TRANSPORT_ALIASES, redis


class _Unacknowledged(redis.QoS):
    """Leaves alone what belongs to a channel that is closed."""

    def ack(self, delivery_tag: str) -> None:
        if not self.channel.closed:
            super().ack(delivery_tag)  # type: ignore[no-untyped-call]  # kombu has no types

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:
        if not self.channel.closed:
            super().reject(  # type: ignore[no-untyped-call]  # as above
                delivery_tag, requeue=requeue
            )


class _Channel(redis.Channel):
    QoS: Any = _Unacknowledged
    do_restore = False


class Transport(redis.Transport):
    """What `redis://`, `rediss://` and `redis+socket://` mean to this process."""

    Channel: Any = _Channel


def install() -> None:
    """Have kombu use it from now on; doing so twice changes nothing."""
    for scheme in ("redis", "rediss", "redis+socket"):
        if scheme in TRANSPORT_ALIASES:
            TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"
