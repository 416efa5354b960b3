"""The board: what was learned, how fast, where it still fails, and what waits for a person. Reads SQL, writes nothing.

Modules without streamlit know things (`served`, `fixes`, `velocity`, `lineage`, `gate`, `slices`, `review_queue`,
`activity`, `decide`); `reading`, `frame`, `report_card` and `pages/` show them.
"""
