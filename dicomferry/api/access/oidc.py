"""OpenID Connect: callers bring an ID token or access token (JWT) of an issuer that is trusted.

What a caller may do is in the auth file: the first line whose `group` is among the groups of the
token counts. Tokens of the file itself are accepted as well.
https://openid.net/specs/openid-connect-core-1_0.html#IDTokenValidation,
https://openid.net/specs/openid-connect-discovery-1_0.html.
"""

import logging
import re
from typing import Any, NamedTuple

import jwt
from google.rpc.code_pb2 import PERMISSION_DENIED, UNAUTHENTICATED, UNAVAILABLE

from dicomferry.api.access.issuer import IssuerError, IssuerKeys, is_issuer_url
from dicomferry.api.access.principal import Principal
from dicomferry.api.access.token_file import TokenFile
from dicomferry.api.errors import ApiError

_LOGGER = logging.getLogger(__name__)
# Signatures of key pairs alone: a token must not choose to be signed with a public key as secret.
_ALGORITHMS = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)
_LEEWAY_SECONDS = 30
_MAX_CHARACTERS = 16 << 10
_JWT = re.compile(r"[\w-]+\.[\w-]+\.[\w-]+", re.ASCII)
_MAX_NAME = 100


class OidcSettings(NamedTuple):
    """Whom to trust.

    Attributes:
        issuer: URL of the issuer, as tokens have it in `iss`.
        audience: what tokens must have in `aud`: the id of this server at the issuer.
        groups_claim: the claim that lists the groups of a caller.
    """

    issuer: str
    audience: str
    groups_claim: str = "groups"

    def check(self) -> None:
        """Check the settings.

        Raises:
            ValueError: the issuer or the audience is missing, or the issuer is no HTTPS URL.
        """
        if not (self.issuer and self.audience):
            raise ValueError("OpenID Connect needs both --oidc-issuer and --oidc-audience")
        if not is_issuer_url(self.issuer):
            raise ValueError(
                f"--oidc-issuer {self.issuer} is not the URL of an issuer: use https://…"
            )


class OidcLogin:
    """An `Authenticator` for tokens of an issuer, and for those of the auth file."""

    def __init__(self, settings: OidcSettings, file: TokenFile) -> None:
        """Keep whom to trust; the issuer is asked for its keys when the first token comes."""
        settings.check()
        self._settings = settings
        self._file = file
        self._keys = IssuerKeys(settings.issuer)

    def authenticate(self, authorization: str | None) -> Principal:
        """Return the principal of a token in an Authorization header.

        Raises:
            ApiError: UNAUTHENTICATED without a valid token; PERMISSION_DENIED for a valid one
                without a known group; UNAVAILABLE while the issuer's keys or the file cannot be
                had.
        """
        scheme, _, token = (authorization or "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not _JWT.fullmatch(token[: _MAX_CHARACTERS + 1]):
            return self._file.authenticate(authorization)
        claims = self._claims(token)
        rights = self._file.of_groups(_groups(claims.get(self._settings.groups_claim)))
        if rights is None:
            raise ApiError(
                PERMISSION_DENIED,
                f"none of your groups ({self._settings.groups_claim}) is in the auth file of this "
                "server: ask its owner to add one",
            )
        return rights.named(_name(rights.name, claims))

    def _claims(self, token: str) -> dict[str, Any]:
        if len(token) > _MAX_CHARACTERS:
            raise _refused("it is too long")
        try:
            header = jwt.get_unverified_header(token)
            key = self._keys.get(str(header.get("kid", "")))
            if key is None:
                raise _refused("its key is not one of the issuer's")
            if key.algorithm_name not in _ALGORITHMS:
                raise _refused("its key is of another kind")
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=_ALGORITHMS,
                audience=self._settings.audience,
                issuer=self._settings.issuer,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except IssuerError as error:
            _LOGGER.error("logins by OpenID Connect are refused: %s", error)
            raise ApiError(
                UNAVAILABLE, "the issuer's keys are not available at the moment; try again"
            ) from None
        except ApiError:
            raise
        except Exception as error:  # whatever a token makes a library raise, it is not accepted
            raise _refused(type(error).__name__) from None
        return claims


def _groups(claim: Any) -> set[str]:
    """Return the groups that a claim lists; a single one can be a string."""
    listed = claim if isinstance(claim, list) else [claim]
    return {group for group in listed if isinstance(group, str)}


def _refused(why: str) -> ApiError:
    return ApiError(
        UNAUTHENTICATED,
        f"this token of OpenID Connect is not accepted ({why}): log in again",
        reason="ACCESS_TOKEN_INVALID",
    )


def _name(rights: str, claims: dict[str, Any]) -> str:
    """Return a name for logs: that of the line, and the subject as far as it is plain."""
    subject = re.sub(r"[^\w.@:|-]", "?", str(claims["sub"])[:_MAX_NAME], flags=re.ASCII)
    return f"{rights}/{subject}"
