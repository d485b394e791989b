"""How a model's false-alarm budget is shared: by the inputs, the champion's losses, and what its scores mean.

Half goes to the inputs: most columns, most checks, and the only ones that see a change on the day itself. A quarter each
goes to the two that wait for outcomes: they say more (that the model is worse), and lose little by a smaller part, since
evidence adds up over days and the threshold grows with its logarithm only. Label-free estimates get none: they raise no
alarm.
"""

from __future__ import annotations

from afterfit.config import ModelConfig

INPUTS, LOSSES, MEANING = 0.5, 0.25, 0.25
MOST = 0.05  # chance of a false performance finding in a champion's life, however large the budget


def of_inputs(config: ModelConfig) -> float:
    """Chance of a false finding about data in one window."""
    return INPUTS * config.budget * config.window / config.budget_period


def of_losses(config: ModelConfig) -> float:
    """Chance of a false performance finding in the life of a champion. Champions follow one another after a cool-down at
    the earliest, so that false findings come no more often than the budget's part.

    >>> of_losses(ModelConfig("m", "binary"))  # a quarter of 7 days in 90
    0.019444444444444445
    """
    return min(MOST, LOSSES * config.budget * config.retrain.cooldown / config.budget_period)


def of_meaning(config: ModelConfig, unit: float) -> float:
    """False findings about what scores mean that are allowed in `unit` seconds.

    >>> of_meaning(ModelConfig("m", "binary"), 86400.0)  # one in 360 days
    0.002777777777777778
    """
    return MEANING * config.budget * unit / config.budget_period
