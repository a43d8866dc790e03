"""The notebooks run from top to bottom and are the same in both languages."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
PAIRS = sorted(path.name for path in (NOTEBOOKS / "en").glob("*.ipynb"))

# What Jupyter's own libraries warn of is not ours to mend.
pytestmark = pytest.mark.filterwarnings("ignore")


def code(notebook: nbformat.NotebookNode) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


@pytest.mark.parametrize("name", PAIRS)
def test_both_languages_have_the_same_code(name: str) -> None:
    english, spanish = (nbformat.read(NOTEBOOKS / lang / name, 4) for lang in ("en", "es"))
    assert code(english) == code(spanish)
    assert len(english.cells) == len(spanish.cells)


@pytest.mark.parametrize("name", PAIRS)
@pytest.mark.parametrize("lang", ["en", "es"])
def test_committed_without_outputs(lang: str, name: str) -> None:
    notebook = nbformat.read(NOTEBOOKS / lang / name, 4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert not any(cell.outputs or cell.execution_count for cell in cells)


@pytest.mark.parametrize("lang", ["en", "es"])
def test_first_look_kills_a_worker_and_loses_nothing(
    lang: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LABKIT_LANG", lang)
    notebook = nbformat.read(NOTEBOOKS / lang / "first_look.ipynb", 4)
    NotebookClient(notebook, timeout=60, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = str([cell.get("outputs") for cell in notebook.cells])
    assert "image/png" in said
    assert "waiting=0, leased=0, delayed=0, dead=0" in said
    assert {"en": "was killed", "es": "mat"}[lang] in said
