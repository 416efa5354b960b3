"""The tree of versions on the board: who serves, who served, who never did, and who was trained anew."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from services.board import charts, lineage
from shared.tables import open_database
from tests.board_rows import MODEL, Rows


def test_a_refresh_hangs_by_a_dotted_line(tmp_path: Path) -> None:
    engine = open_database(f"sqlite:///{tmp_path}/board.db")
    rows = Rows(engine)
    first = rows.version(0, 1)
    second = rows.version(1, 2, parent=0)
    rows.champion(first, 1.5)
    rows.write()
    made, origin = lineage.versions(engine, MODEL)
    assert f'"{first}" -> "{second}";' in charts.lineage((made, origin))
    anew = replace(made, trigger="refresh")
    assert f'"{first}" -> "{second}" [style=dotted];' in charts.lineage((anew, origin))
    assert not origin.refreshed
