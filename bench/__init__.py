"""Every published figure: `python -m bench NAME [--quick] [--json FILE]`.

A bench is one module here with `measure(quick, tell)`: it tells how far it is, and returns its figures.
"""
