"""Write every event's JSON Schema to `schemas/json/`. Run as: python -m schemas.export (`make schemas`).

A schema that has changed is first kept in `schemas/json/earlier/`, under the hash of its text: what was ever written
to a topic must stay readable, and a test checks today's events against all of them.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from schemas.events import EVENTS, Event, json_schema

FOLDER = Path(__file__).parent / "json"


def exported(event: type[Event]) -> str:
    """The text of an event's file."""
    return json.dumps(json_schema(event), indent=1, sort_keys=True) + "\n"


def earlier(event: str, folder: Path = FOLDER) -> list[Path]:
    """All earlier versions of an event's schema."""
    return sorted((folder / "earlier").glob(f"{event}-*.json"))


def export(folder: Path = FOLDER) -> list[str]:
    """Write what has changed; returns the names of those events."""
    folder.mkdir(parents=True, exist_ok=True)
    changed = []
    for name, event in EVENTS.items():
        path, text = folder / f"{name}.json", exported(event)
        before = path.read_text("utf-8") if path.exists() else None
        if before == text:
            continue
        if before is not None:
            _keep(folder, name, before)
        path.write_text(text, "utf-8")
        changed.append(name)
    return changed


def _keep(folder: Path, name: str, text: str) -> None:
    (folder / "earlier").mkdir(exist_ok=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    (folder / "earlier" / f"{name}-{digest}.json").write_text(text, "utf-8")


if __name__ == "__main__":
    print(f"schemas/json: {', '.join(export()) or 'nothing'} changed")  # noqa: T201
