"""A service account that opens nothing, for libraries that insist on having one.

Beam looks for credentials even where STORAGE_EMULATOR_HOST is set, and without any waits some
20 s for a metadata server at its first gs:// call. A file named by GOOGLE_APPLICATION_CREDENTIALS
whose tokens come from the emulator itself takes that away, in worker processes too.
"""

import json

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

PROJECT = "emulated"


def service_account(token_uri: str) -> str:
    """Return the JSON of a service account with a fresh key, whose tokens `token_uri` hands out."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return json.dumps(
        {
            "type": "service_account",
            "project_id": PROJECT,
            "private_key_id": "emulated",
            "private_key": pem.decode("ascii"),
            "client_email": f"tests@{PROJECT}.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": token_uri,
        }
    )


def token() -> dict[str, object]:
    """Return what a token endpoint answers."""
    return {"access_token": "emulated", "token_type": "Bearer", "expires_in": 3600}
