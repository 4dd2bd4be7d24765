"""`dicomferry tokens`: tokens of callers of a server that runs with --auth."""

import json
from typing import Annotated

import typer

from dicomferry.cli.output import errors
from dicomferry.resource_names import parse_store

tokens_app = typer.Typer(
    help="Let others call a server that runs with --auth.", no_args_is_help=True
)


@tokens_app.command("create")
def create_token(
    name: Annotated[str, typer.Argument(help="Whose it is, for logs and the console.")],
    permission: Annotated[
        list[str],
        typer.Option(metavar="PERMISSION", help="healthcare.dicomStores.import, or a pattern."),
    ],
    store: Annotated[
        list[str],
        typer.Option(
            metavar="NAME",
            help="Store that it is for; or a dataset or project, for all in it; * for all.",
        ),
    ],
) -> None:
    """Make a token. Its line for the auth file is printed, and on standard error the token, once.

    Example:
    [bold]dicomferry tokens create airflow --store trial \\
      --permission healthcare.dicomStores.import --permission healthcare.operations.get \\
      >> auth.jsonl && chmod 600 auth.jsonl[/bold]
    """
    from dicomferry.api.access import make_token

    plain = ("*", "projects/")
    resources = [each if each.startswith(plain) else str(parse_store(each)) for each in store]
    token, entry = make_token(name, permission, resources)
    print(json.dumps(entry, ensure_ascii=False))
    errors.print(f"token, shown only now: {token}", soft_wrap=True, highlight=False, markup=False)
