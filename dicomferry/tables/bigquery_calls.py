"""Calls of BigQuery: the client, how long an answer is waited for, and what none means.

Each call of the client names `ASKING` or `FOLLOWING`, since its own defaults wait for ever, and
stands in `reaching`.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypedDict

from google.api_core.exceptions import Forbidden, Unauthorized
from google.api_core.retry import Retry
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from google.cloud import bigquery
from google.rpc.code_pb2 import PERMISSION_DENIED, RESOURCE_EXHAUSTED, UNAUTHENTICATED

from dicomferry.storage.network_failures import network_errors, network_failure_text, reason_of
from dicomferry.tables.errors import TableOutOfReachError

if TYPE_CHECKING:
    from dicomferry.tables.bigquery_table import BigQueryTable

REQUEST_SECONDS = 30.0
# "Error messages" of BigQuery's documentation: reasons that have the status 403.
_USED_UP = ("quotaExceeded", "rateLimitExceeded", "billingNotEnabled", "billingTierLimitExceeded")


class Patience(TypedDict):
    """How long a call is tried, as arguments of the client's methods."""

    retry: Retry
    timeout: float


ASKING = Patience(retry=bigquery.DEFAULT_RETRY.with_timeout(60), timeout=REQUEST_SECONDS)
"""Of calls before a load job runs: nothing is lost if they are given up."""
FOLLOWING = Patience(retry=bigquery.DEFAULT_RETRY.with_timeout(300), timeout=REQUEST_SECONDS)
"""Of calls that look after a load job."""


def client_for(destination: "BigQueryTable") -> bigquery.Client:
    """Return a client: application default credentials, or an emulator's.

    The emulator is at BIGQUERY_EMULATOR_HOST, as everywhere in Google's library.

    Raises:
        TableOutOfReachError: there are no credentials.
    """
    with reaching(destination):
        if os.environ.get("BIGQUERY_EMULATOR_HOST"):
            anonymous = AnonymousCredentials()  # type: ignore[no-untyped-call]
            return bigquery.Client(destination.project, credentials=anonymous)
        return bigquery.Client(destination.project)


@contextmanager
def reaching(destination: "BigQueryTable", load_job: str = "") -> Iterator[None]:
    """Translate whatever the client's libraries raise, unless the caller has handled it.

    Args:
        destination: whose rows the calls are about.
        load_job: location.id of a load job that may have begun.

    Raises:
        TableOutOfReachError: BigQuery did not answer, or lets nobody in.
    """
    try:
        yield
    except network_errors() as error:
        failure = _out_of_reach(error, destination)
        if load_job:
            see = f"See whether its load job has run: bq show -j {destination.project}:{load_job}"
            failure = TableOutOfReachError(f"{failure} {see}", failure.code)
        raise failure from error


def _out_of_reach(error: Exception, destination: "BigQueryTable") -> TableOutOfReachError:
    uri = destination.uri
    if isinstance(error, DefaultCredentialsError):
        return TableOutOfReachError(
            f"there are no credentials for {uri}. Log in: gcloud auth application-default login",
            UNAUTHENTICATED,
        )
    if isinstance(error, (Unauthorized, RefreshError)):
        return TableOutOfReachError(
            f"BigQuery does not accept the credentials for {uri}. Log in again: gcloud auth"
            " application-default login",
            UNAUTHENTICATED,
        )
    if isinstance(error, Forbidden) and (reason := reason_of(error)) in _USED_UP:
        return TableOutOfReachError(
            f"BigQuery accepts no rows for {uri} now: a quota of {destination.project} is used up,"
            f" or it has no billing ({reason}).",
            RESOURCE_EXHAUSTED,
        )
    if isinstance(error, Forbidden):
        return TableOutOfReachError(
            f"BigQuery does not let these credentials load {uri}. They need the roles"
            f" BigQuery Data Editor on its dataset and BigQuery Job User on {destination.project}.",
            PERMISSION_DENIED,
        )
    text = network_failure_text(error)
    return TableOutOfReachError(f"BigQuery is not available for {uri} now: {text}.")
