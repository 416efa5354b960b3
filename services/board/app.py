"""The board's entry: what it is called and which pages it has. Run it by `python -m services.board`.

The pages lie in `views`: Streamlit takes a folder `pages` for its own, and shows its files until this has run once.
"""

from __future__ import annotations

from pathlib import Path

import streamlit as st

SIDEBAR = 220  # pixels: names of pages and models are short

st.set_page_config(page_title="Learnback", page_icon=":material/cycle:", layout="wide", initial_sidebar_state=SIDEBAR)
st.logo(str(Path(__file__).with_name("logo.svg")), size="large")
st.navigation(
    [
        st.Page("views/overview.py", title="Overview", icon=":material/monitoring:", default=True),
        st.Page("views/errors.py", title="Errors", icon=":material/error:"),
        st.Page("views/models.py", title="Models", icon=":material/account_tree:"),
        st.Page("views/champion.py", title="Champion", icon=":material/crown:"),
        st.Page("views/review.py", title="Review", icon=":material/rate_review:"),
        st.Page("views/labels.py", title="Labels", icon=":material/label:"),
        st.Page("views/anchor.py", title="Golden anchor", icon=":material/anchor:"),
        st.Page("views/health.py", title="Health", icon=":material/ecg_heart:"),
        st.Page("views/forget.py", title="Forget a user", icon=":material/person_remove:"),
    ]
).run()
