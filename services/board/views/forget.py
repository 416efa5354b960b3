"""Forget a user: everything that the user said goes, and a receipt with counts stays."""

from __future__ import annotations

import streamlit as st

from services.board import decide, forgetting, frame, reading
from services.board.settings import BoardSettings
from shared.errors import BadInputError, LearnbackError
from shared.settings import load

WAITING = "The request is durable. The recorder deletes within a minute; this page shows what it deleted."


def show() -> None:
    """The page."""
    st.title("Forget a user")
    st.caption(
        "Deletes the user's questions, feedback, examples and dead letters, and asks for a rebuild of versions that "
        "learned from them. It cannot be undone."
    )
    with st.container(border=True):
        form()
    if asked := st.session_state.get("erasure"):
        outcome(asked)


def form() -> None:
    """Who is to be forgotten, and the confirmation."""
    left, right = st.columns(2)
    user = left.text_input("User", key="forget-user", help="The id that your app sends as `user`.")
    app = right.text_input("App", key="forget-app", help="The app whose user it is, as its key is named.")
    sure = st.checkbox("Delete everything of this user, for good", key="forget-sure")
    if st.button("Forget this user", type="primary", disabled=not (user and app and sure), key="forget-send"):
        send(user, app)


def send(user: str, app: str) -> None:
    """Post the request; only its own id is remembered."""
    settings = load(BoardSettings)
    try:
        asked = forgetting.ask(user, app, settings.collector_url, decide.read_key(settings.key_file))
    except LearnbackError as error:
        st.error("Nothing was deleted.", icon=":material/block:")
        field = f"{error.field}: " if isinstance(error, BadInputError) and error.field else ""
        st.text(field + str(error))
        return
    st.session_state["erasure"] = asked


@st.fragment(run_every="2s")
def outcome(asked: str) -> None:
    """What was deleted, as soon as it is."""
    with frame.told():
        receipt = reading.ask(forgetting.receipt, asked)
        if receipt is None:
            st.info(WAITING, icon=":material/hourglass_top:")
            return
        st.success("The user is forgotten.", icon=":material/check_circle:")
        row = st.columns(4)
        for column, name, count in (
            (row[0], "Questions", receipt.predictions),
            (row[1], "Feedback", receipt.feedback),
            (row[2], "Examples", receipt.examples),
            (row[3], "Dead letters", receipt.dead_letters),
        ):
            column.metric(name, f"{count:,}", border=True)
        st.caption(
            "A user of whom nothing was stored has a receipt of zeros: check the spelling of the user and the app."
        )


frame.show(show, of_model=False)
