"""What systemd is told of a service."""

import os
import socket

__all__ = ["notify"]


def notify(state: str) -> None:
    """Tell the service manager a state, such as `READY=1`, where it asked to be told (`sd_notify(3)`). Without one this does nothing."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address or not hasattr(socket, "AF_UNIX"):
        return
    # An `@` stands for the zero byte of an address in Linux's abstract namespace.
    place = "\0" + address[1:] if address.startswith("@") else address
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as messages:
        try:
            messages.sendto(state.encode(), place)
        except OSError:
            # The manager has gone; the service need not go with it.
            return
