"""TLS of both transports, from the two files that a certificate comes in."""

import asyncio.constants
import ssl

import grpc

# A client that begins a handshake and does not go on holds a connection so long.
_HANDSHAKE_SECONDS = 10.0


def check_pair(cert: str, key: str) -> None:
    """Check a certificate and its key.

    Args:
        cert: file of the certificate in PEM, with the chain after it.
        key: file of its private key in PEM, without a password.

    Raises:
        ValueError: one is missing, is no PEM, has a password, or does not fit the other.
    """
    if not (cert and key):
        raise ValueError("TLS needs both --tls-cert and --tls-key: name two PEM files")

    def refuse_password() -> str:
        raise ValueError(f"--tls-key {key} has a password: save it without, readable only by you")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key, refuse_password)
    except ssl.SSLError as error:
        raise ValueError(
            f"--tls-cert {cert} and --tls-key {key} are not a certificate and its key "
            f"({error.reason or 'no PEM'}): name two PEM files that fit"
        ) from None
    except OSError as error:
        raise ValueError(
            f"cannot read --tls-cert {cert} or --tls-key {key} ({error.strerror})"
        ) from None


def grpc_credentials(cert: str, key: str) -> grpc.ServerCredentials:
    """Return what gRPC serves TLS with, from files as in `check_pair`."""
    with open(cert, "rb") as cert_file, open(key, "rb") as key_file:
        return grpc.ssl_server_credentials([(key_file.read(), cert_file.read())])


def bound_handshakes() -> None:
    """Bound the time of a handshake; uvicorn has no setting for it."""
    asyncio.constants.SSL_HANDSHAKE_TIMEOUT = _HANDSHAKE_SECONDS
