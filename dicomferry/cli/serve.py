"""`dicomferry serve`: the API and the console, for others."""

import logging
import time
from typing import Annotated

import typer

from dicomferry.cli.options import DEFAULT_ROOT, Root
from dicomferry.cli.output import show, write_fields
from dicomferry.places import Overwrite
from dicomferry.storage.registry import open_storage


def _log_with_times() -> None:
    """Log calls, each line with its time in UTC."""
    formatter = logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%dT%H:%M:%SZ")
    formatter.converter = time.gmtime
    for handler in logging.getLogger().handlers:
        handler.setFormatter(formatter)
    logging.getLogger("dicomferry").setLevel(logging.INFO)


def serve_(
    host: Annotated[
        str, typer.Option(help="Interface; addresses other than localhost require --auth.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port of REST and the console; 0: any free one.")
    ] = 8080,
    grpc_port: Annotated[int, typer.Option(help="Port of gRPC; 0: any free one.")] = 9090,
    auth: Annotated[
        str, typer.Option(metavar="FILE", help="File of tokens, with their permissions.")
    ] = "",
    allow_path: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="Local folder that requests may read and write."),
    ] = None,
    allow_prefix: Annotated[
        list[str] | None,
        typer.Option(
            metavar="gs://…", help="Limit reading and writing in gs:// to these prefixes."
        ),
    ] = None,
    allow_read: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="Folder, or gs://bucket/prefix, that requests may read, not write.",
        ),
    ] = None,
    allow_write: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="Folder, gs://bucket/prefix, bq://project.dataset.table or projects/P/topics/T, "
            "or the beginning of a name, that requests may write, not read.",
        ),
    ] = None,
    overwrite: Annotated[
        Overwrite,
        typer.Option(
            help="Files that exports may replace: none, those of exports of the same store, or any."
        ),
    ] = Overwrite.OWN,
    dataflow_templates: Annotated[
        str,
        typer.Option(
            metavar="gs://…",
            help="Run jobs on Dataflow, from the templates in this folder (`make template`).",
        ),
    ] = "",
    dataflow_project: Annotated[str, typer.Option(help="Project in which these jobs run.")] = "",
    dataflow_region: Annotated[str, typer.Option(help="Region in which these jobs run.")] = "",
    max_jobs: Annotated[
        int,
        typer.Option(
            metavar="N",
            help="Jobs that run at once on this machine, each on all cores; more are queued.",
        ),
    ] = 4,
    max_waiting: Annotated[
        int,
        typer.Option(metavar="N", help="Jobs that may be queued; each uses about 20 MB."),
    ] = 200,
    max_waiting_each: Annotated[
        int, typer.Option(metavar="N", help="Queued jobs that one token may have.")
    ] = 50,
    url: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="Address at which others reach this server, for example behind a proxy; by "
            "default made from --host and --port.",
        ),
    ] = "",
    tls_cert: Annotated[
        str,
        typer.Option(metavar="FILE", help="Certificate with its chain, in PEM; turns TLS on."),
    ] = "",
    tls_key: Annotated[
        str, typer.Option(metavar="FILE", help="Key of the certificate, in PEM.")
    ] = "",
    oidc_issuer: Annotated[
        str,
        typer.Option(
            metavar="URL", help="Accept tokens of this OpenID Connect issuer, besides --auth."
        ),
    ] = "",
    oidc_audience: Annotated[
        str, typer.Option(metavar="AUD", help="Audience of these tokens: their claim aud.")
    ] = "",
    oidc_groups_claim: Annotated[
        str, typer.Option(metavar="CLAIM", help="Claim that lists the caller's groups.")
    ] = "groups",
    root: Root = DEFAULT_ROOT,
) -> None:
    """Serve the API of Google's DicomService over REST and gRPC, and a console for browsers.

    Examples:
    [bold]dicomferry serve --allow-path /data[/bold]
    [bold]CLOUDSDK_API_ENDPOINT_OVERRIDES_HEALTHCARE=http://127.0.0.1:8080/ \
    gcloud healthcare dicom-stores list --dataset default --location local --project local[/bold]
    """
    from dicomferry.server import Settings, serve

    _log_with_times()
    settings = Settings(
        open_storage(root),
        host,
        port,
        grpc_port,
        auth,
        tuple(allow_path or ()),
        tuple(allow_prefix or ()),
        tuple(allow_read or ()),
        tuple(allow_write or ()),
        overwrite,
        dataflow_templates,
        dataflow_project,
        dataflow_region,
        max_jobs,
        max_waiting,
        max_waiting_each,
        url,
        tls_cert,
        tls_key,
        oidc_issuer,
        oidc_audience,
        oidc_groups_claim,
    )

    def announce(rest: int, grpc: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        places = {
            "REST": f"{settings.scheme}://{shown}:{rest}/v1/",
            "gRPC": f"{shown}:{grpc}",
            "page": f"{settings.scheme}://{shown}:{rest}/",
        }
        show(places, lambda: write_fields(places.items()))

    serve(settings, announce)
