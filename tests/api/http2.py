"""As much of HTTP/2 (RFC 9113) as an attacker needs: frames, and calls of gRPC."""

import socket
import struct
from typing import NamedTuple

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, _END_HEADERS = 1, 4
_INITIAL_WINDOW_SIZE = 4


class Frame(NamedTuple):
    """One frame."""

    kind: int
    flags: int
    stream: int
    payload: bytes


class Connection:
    """A connection that sends what it is told to, and nothing else."""

    def __init__(self, target):
        """Connect to HOST:PORT."""
        host, _, port = target.rpartition(":")
        self.socket = socket.create_connection((host, int(port)), timeout=10)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def greet(self, window=65535):
        """Send the preface; answers can have so many bytes until the window is widened."""
        setting = struct.pack(">HI", _INITIAL_WINDOW_SIZE, window)
        self.socket.sendall(PREFACE)
        self.send(SETTINGS, 0, setting)

    def send(self, kind, stream, payload=b"", flags=0):
        """Send a frame."""
        head = len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4)
        self.socket.sendall(head + payload)

    def call(self, stream, path, message=None):
        """Start a call; its message follows unless it is None."""
        fields = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
        }
        block = b"".join(
            bytes([0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in fields.items()
        )
        self.send(HEADERS, stream, block, _END_HEADERS)
        if message is not None:
            self.send(DATA, stream, b"\0" + len(message).to_bytes(4) + message, END_STREAM)

    def frames(self):
        """Yield the frames that come, until the other side ends the connection."""
        file = self.socket.makefile("rb")
        while len(head := file.read(9)) == 9:
            length = int.from_bytes(head[:3])
            yield Frame(head[3], head[4], int.from_bytes(head[5:]), file.read(length))


def is_closed(connection, seconds):
    """Whether the other side ends a connection within a time, whatever it says before."""
    connection.settimeout(seconds)
    try:
        while connection.recv(1 << 16):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True
