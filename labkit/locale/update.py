"""``python labkit/locale/update.py``: bring the Spanish catalogue up to date and compile it.

Collects every message, keeps the translations that there are, drops what nobody says any more, and
lists what waits for a translation. For developers; it is not part of the package.
"""

import io
import sys
from datetime import UTC, datetime
from pathlib import Path

import click
from babel.messages.catalog import Catalog
from babel.messages.catalog import Message as BabelMessage
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from labkit.i18n import use_language

LABKIT = Path(__file__).resolve().parent.parent
PO = LABKIT / "locale" / "es" / "LC_MESSAGES" / "labkit.po"
MO = PO.with_suffix(".mo")
Message = str | tuple[str, ...]  # several: singular and plural
# What click says by itself. It asks the text domain that the command line sets.
CLICK: set[Message] = {
    "Aborted!",
    "Argument {name!r} takes {nargs} values.",
    "Commands",
    "Error: {message}",
    "Invalid value for {param_hint}: {message}",
    "Invalid value: {message}",
    "Missing argument",
    "Missing command.",
    "Missing parameter",
    "No such command {name!r}.",
    "No such option {name!r}.",
    "Option {name!r} does not take a value.",
    "Options",
    "Show the version and exit.",
    "Show this message and exit.",
    "Try '{command} {option}' for help.",
    "Usage:",
    "default: {default}",
    "directory",
    "file",
    "{name} {filename!r} is a directory.",
    "{name} {filename!r} is a file.",
    "{value!r} is not a valid {number_type}.",
    "{value} is not in the range {range}.",
    ("Did you mean {possibility}?", "(Did you mean one of: {possibilities}?)"),
    ("Option {name!r} requires an argument.", "Option {name!r} requires {nargs} arguments."),
    ("{value!r} is not {choice}.", "{value!r} is not one of {choices}."),
}
HEAD = b"""\
# Spanish. CONTRIBUTING.md says how to change it.
msgid ""
msgstr ""
"Language: es\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

"""


def messages() -> set[Message]:
    """What labkit says: all that stands in ``_()``, and what the command line says by itself."""
    found = extract_from_dir(LABKIT, [("**.py", "python")], keywords={"_": None})
    return {str(message) for _file, _line, message, *_ in found if message} | _cli() | CLICK


def _cli() -> set[Message]:
    """Help texts and faults: they are looked up by a variable, so no extractor sees them."""
    from labkit.cli import cli

    use_language("en")
    said: set[Message] = {cli.help or ""}
    for command in (cli, *cli.commands.values()):
        said.add(command.help or "")
        for option in command.params:
            said.add(getattr(option, "help", None) or "")
            if option.name == "fault" and isinstance(option.type, click.Choice):
                said |= set(option.type.choices)
    use_language(None)
    return said - {""}


def catalogue() -> Catalog:
    """The catalogue as it is written in the repository."""
    with PO.open("rb") as file:
        return read_po(file, locale="es")


def spanish(message: BabelMessage) -> list[str]:
    """The translation of a message: one text, or singular and plural."""
    return [message.string] if isinstance(message.string, str) else list(message.string or ())


def compiled(known: Catalog) -> bytes:
    """The .mo file of a catalogue, the same whenever it is made."""
    known.creation_date = known.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    buffer = io.BytesIO()
    write_mo(buffer, known)
    return buffer.getvalue()


def main() -> int:
    """Write both files. Returns 1 if a translation is missing."""
    known = {message.id: message.string for message in catalogue()}
    new = Catalog(locale="es")
    for text in messages():
        new.add(text, known.get(text, ""))
    buffer = io.BytesIO()
    write_po(buffer, new, width=100, sort_output=True, omit_header=True)
    PO.write_bytes(HEAD + buffer.getvalue())
    MO.write_bytes(compiled(catalogue()))
    missing = [message.id for message in new if message.id and not all(spanish(message))]
    sys.stdout.writelines(f"to translate in {PO.name}: {text}\n" for text in missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
