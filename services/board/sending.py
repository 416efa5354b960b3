"""A decision from a page to the collector, and what to say when it was not taken."""

from __future__ import annotations

import streamlit as st

from services.board import decide
from services.board.settings import BoardSettings
from shared.errors import BadInputError, LearnbackError
from shared.settings import load


def send(**fields: object) -> bool:
    """Post what a reviewer decided; False, and why on the page, when it was not taken."""
    settings = load(BoardSettings)
    try:
        decide.post(decide.decision(**fields), settings.collector_url, decide.read_key(settings.key_file))
    except LearnbackError as error:
        st.error("The decision was not taken.", icon=":material/block:")
        field = f"{error.field}: " if isinstance(error, BadInputError) and error.field else ""
        st.text(field + str(error))
        return False
    st.session_state["told"] = f"Decision sent: {fields['decision']}."
    return True


def reviewer() -> str:
    """Who decides: asked once a session, unless the settings say it."""
    st.session_state.setdefault("reviewer", load(BoardSettings).reviewer or "")
    return st.text_input("Reviewer", placeholder="your-name", key="reviewer")
