"""Who says whether an answer is right: equality (see `shared.grading`), or a function that the operator names.

`gate.judge = "module:function"` in the policy names a function of input, output and target that tells whether the
output is right, or how right it is from 0 to 1; its module is found where Python finds modules (`PYTHONPATH`). It is
called for each answer that a version gives, so it should be quick, and always say the same of the same.
"""

from __future__ import annotations

from collections.abc import Callable
from pkgutil import resolve_name

from shared.errors import ConfigError, FatalError
from shared.policy import PolicyFile

Judge = Callable[[str, str, str], float]
Judges = Callable[[str], Judge | None]  # of a model; None: equality


def read_judges(policies: PolicyFile) -> Judges:
    """The judge of each model that has one.

    Raises:
        ConfigError: the policy names what is not there, or no function.
    """
    named = {rules.gate.judge for rules in (policies.defaults, *policies.models.values())}
    found = {name: _named(name) for name in named if name is not None}
    return lambda model: found.get(policies.of(model).gate.judge or "")


def _named(name: str) -> Judge:
    try:
        function = resolve_name(name)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(f"gate.judge: {name} cannot be imported ({error}); see PYTHONPATH.") from None
    if not callable(function):
        raise ConfigError(f"gate.judge: {name} is no function.")

    def judge(input_: str, output: str, target: str) -> float:
        try:
            score = float(function(input_, output, target) or 0)
        except Exception as error:  # somebody else's code; what it says may hold a user's words
            raise FatalError(f"gate.judge: {name} failed ({type(error).__name__}); mend it, or take it out.") from None
        if not 0 <= score <= 1:  # nor NaN
            raise FatalError(f"gate.judge: {name} gave a score that is not from 0 to 1; mend it, or take it out.")
        return score

    return judge
