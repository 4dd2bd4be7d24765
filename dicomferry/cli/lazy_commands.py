"""Commands whose modules are imported when they run: help and completion of names need none."""

import importlib
from collections.abc import Mapping
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

HELP_OPTIONS = ["-h", "--help"]


class LazyCommand(TyperCommand):
    """The name and the help of a command, until `load` imports the rest."""

    def __init__(
        self, name: str, help_line: str, where: str, *, has_common_options: bool = True
    ) -> None:
        """Name a command.

        Args:
            name: of the command.
            help_line: the first sentence of its help.
            where: `module:name` of its function, or of the `typer.Typer` that has it.
            has_common_options: whether it has those of `settings`.
        """
        super().__init__(name, help=help_line)
        self._where = where
        self._has_common_options = has_common_options

    def load(self) -> Any:
        """Import the command, and add the options that all have."""
        module, _, attribute = self._where.partition(":")
        found = getattr(importlib.import_module(module), attribute)
        if isinstance(found, typer.Typer):
            command: Any = typer.main.get_group(found).commands[self.name or ""]
        else:
            app = typer.Typer(add_completion=False, rich_markup_mode="rich")
            app.command(self.name)(found)
            command = typer.main.get_command(app)
        if self._has_common_options:
            from dicomferry.cli.settings import common_options

            command.params += common_options()
        _leave_out_types(command.get_params(typer.Context(command, help_option_names=HELP_OPTIONS)))
        return command


class LazyGroup(TyperGroup):
    """A group of lazy commands, and of groups of them."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the options of the group itself."""
        return _leave_out_types(super().get_params(ctx))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments name, and import it."""
        name, command, rest = super().resolve_command(ctx, args)
        return name, command.load() if isinstance(command, LazyCommand) else command, rest


def _leave_out_types(options: list[Any]) -> list[Any]:
    """Let help show no type of options that take no value, as if they took one."""
    for each in options:
        if getattr(each, "is_bool_flag", False):
            each.metavar = ""
    return options


def lazy_group(name: str, help_line: str, where: str, commands: Mapping[str, str]) -> LazyGroup:
    """Return a group of commands.

    Args:
        name: of the group.
        help_line: its help.
        where: `module:name` of the `typer.Typer` that has the commands.
        commands: the first sentence of each one's help, by its name.
    """
    lazy = [LazyCommand(each, line, where) for each, line in commands.items()]
    return LazyGroup(
        name=name, help=help_line, commands=lazy, no_args_is_help=True, rich_markup_mode="rich"
    )
