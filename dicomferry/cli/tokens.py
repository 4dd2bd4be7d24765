"""`dicomferry tokens`: tokens of callers of a server that runs with --auth."""

import json
from typing import Annotated

import typer

from dicomferry.cli.output import errors, show
from dicomferry.resource_names import parse_store

tokens_app = typer.Typer(
    help="Create tokens for callers of a server that runs with --auth.", no_args_is_help=True
)


@tokens_app.command("create")
def create_token(
    name: Annotated[
        str, typer.Argument(help="Name of the token's owner, for logs and the console.")
    ],
    permission: Annotated[
        list[str],
        typer.Option(
            metavar="PERMISSION", help="Such as healthcare.dicomStores.import; with * a pattern."
        ),
    ],
    store: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="Store that the token may use; a dataset or project: all in it; *: all.",
        ),
    ],
    read: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="Limit reading to this folder or gs://bucket/prefix, of those the server allows.",
        ),
    ] = None,
    write: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLACE",
            help="Limit writing to this place, of those the server allows: a folder, "
            "gs://bucket/prefix, bq://project.dataset.table or projects/P/topics/T.",
        ),
    ] = None,
) -> None:
    """Create a token: print its line for the auth file, and the token on standard error.

    Example:
    [bold]dicomferry tokens create airflow --store trial \\
      --permission healthcare.dicomStores.import --permission healthcare.operations.get \\
      >> auth.jsonl && chmod 600 auth.jsonl[/bold]
    """
    from dicomferry.api.access import make_token

    plain = ("*", "projects/")
    resources = [each if each.startswith(plain) else str(parse_store(each)) for each in store]
    places = {field: texts for field, texts in (("read", read), ("write", write)) if texts}
    token, entry = make_token(name, permission, resources, **places)
    show(entry, lambda: print(json.dumps(entry, ensure_ascii=False)))
    errors.print(f"token, shown only now: {token}", soft_wrap=True, highlight=False, markup=False)
