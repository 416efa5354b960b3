"""The board's entry: what it is called and which pages it has. Run it by `python -m services.board`."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

SIDEBAR = 220  # pixels: names of pages and models are short

st.set_page_config(page_title="Learnback", page_icon=":material/cycle:", layout="wide", initial_sidebar_state=SIDEBAR)
st.logo(str(Path(__file__).with_name("logo.svg")), size="large")
st.navigation(
    [
        st.Page("pages/overview.py", title="Overview", icon=":material/monitoring:", default=True),
        st.Page("pages/errors.py", title="Errors", icon=":material/error:"),
        st.Page("pages/models.py", title="Models", icon=":material/account_tree:"),
        st.Page("pages/champion.py", title="Champion", icon=":material/crown:"),
        st.Page("pages/review.py", title="Review", icon=":material/rate_review:"),
        st.Page("pages/labels.py", title="Labels", icon=":material/label:"),
        st.Page("pages/anchor.py", title="Golden anchor", icon=":material/anchor:"),
        st.Page("pages/health.py", title="Health", icon=":material/ecg_heart:"),
        st.Page("pages/forget.py", title="Forget a user", icon=":material/person_remove:"),
    ]
).run()
