"""Opening the board's pages by Streamlit's own test client, and reading them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from services.board import frame

BOARD = Path(frame.__file__).parent
SECONDS = 30


def open_page(name: str) -> AppTest:
    return AppTest.from_file(BOARD / "views" / f"{name}.py", default_timeout=SECONDS).run()


def words(app: AppTest) -> str:
    """Everything a page says outside tables."""
    kinds = (app.title, app.subheader, app.text, app.caption, app.info, app.error, app.success, app.markdown, app.code)
    return "\n".join(str(element.value) for kind in kinds for element in kind)


def column(app: AppTest, name: str) -> list[Any]:
    """A column of the first table that has it."""
    return next(list(table.value[name]) for table in app.dataframe if name in table.value)
