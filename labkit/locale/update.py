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
from babel.messages.extract import extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

LABKIT = Path(__file__).resolve().parent.parent
PO = LABKIT / "locale" / "es" / "LC_MESSAGES" / "labkit.po"
MO = PO.with_suffix(".mo")
HEAD = b"""\
# Spanish. CONTRIBUTING.md says how to change it.
msgid ""
msgstr ""
"Language: es\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"Plural-Forms: nplurals=2; plural=(n != 1);\\n"

"""


def messages() -> set[str]:
    """What labkit says: all that stands in ``_()``, and what the command line says by itself."""
    found = extract_from_dir(LABKIT, [("**.py", "python")], keywords={"_": None})
    return {str(message) for _file, _line, message, *_ in found if message} | _cli()


def _cli() -> set[str]:
    """Help texts and faults: they are looked up by a variable, so no extractor sees them."""
    from labkit.cli import cli

    said = {cli.help or ""}
    for command in (cli, *cli.commands.values()):
        said.add(command.help or "")
        for option in command.params:
            said.add(getattr(option, "help", None) or "")
            if option.name == "fault" and isinstance(option.type, click.Choice):
                said |= set(option.type.choices)
    return said - {""}


def catalogue() -> Catalog:
    """The catalogue as it is written in the repository."""
    with PO.open("rb") as file:
        return read_po(file, locale="es")


def compiled(known: Catalog) -> bytes:
    """The .mo file of a catalogue, the same whenever it is made."""
    known.creation_date = known.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    buffer = io.BytesIO()
    write_mo(buffer, known)
    return buffer.getvalue()


def main() -> int:
    """Write both files. Returns 1 if a translation is missing."""
    known = {str(message.id): str(message.string) for message in catalogue() if message.id}
    new = Catalog(locale="es")
    for text in messages():
        new.add(text, known.get(text, ""))
    buffer = io.BytesIO()
    write_po(buffer, new, width=100, sort_output=True, omit_header=True)
    PO.write_bytes(HEAD + buffer.getvalue())
    MO.write_bytes(compiled(catalogue()))
    missing = [str(message.id) for message in new if message.id and not message.string]
    sys.stdout.writelines(f"to translate in {PO.name}: {text}\n" for text in missing)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
