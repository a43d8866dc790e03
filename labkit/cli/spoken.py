"""click in the reader's language."""

import gettext
import os
from functools import partial

import click

from labkit.i18n import LOCALE_DIR, _, language, use_language


class _Spoken:
    """Help in the reader's language: looked up when it is shown, not when it is declared."""

    _help: str | None = None

    @property
    def help(self) -> str | None:
        """The help text, translated."""
        return _(self._help) if self._help else self._help

    @help.setter
    def help(self, text: str | None) -> None:
        self._help = text


class Option(_Spoken, click.Option):
    """An option whose help is translated."""


class Command(_Spoken, click.Command):
    """A command whose help is translated."""


class Group(_Spoken, click.Group):
    """A group whose help, and whose commands' help, is translated."""

    command_class = Command


option = partial(click.option, cls=Option)


def speak(_context: object = None, _option: object = None, lang: str | None = None) -> None:
    """Choose the language, for click's own words as well: it asks the text domain."""
    if lang:
        use_language(lang)
    os.environ["LANGUAGE"] = language()
    gettext.bindtextdomain("labkit", LOCALE_DIR)
    gettext.textdomain("labkit")
