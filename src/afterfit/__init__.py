"""Afterfit: everything that happens to a model after `.fit()`. Names are imported when they are first used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from afterfit.adapters.upstream import Upstream as Upstream
    from afterfit.api import adopt as adopt
    from afterfit.api import compare as compare
    from afterfit.api import estimate as estimate
    from afterfit.api import profile as profile
    from afterfit.api import register as register
    from afterfit.causes import cause as cause
    from afterfit.recorder import Recorder as Recorder

__version__ = "0.1.0"
__all__ = ["Recorder", "Upstream", "__version__", "adopt", "cause", "compare", "estimate", "profile", "register"]
_ELSEWHERE = {"Recorder": "afterfit.recorder", "Upstream": "afterfit.adapters.upstream", "cause": "afterfit.causes"}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module(_ELSEWHERE.get(name, "afterfit.api")), name)
    raise AttributeError(f"module 'afterfit' has no attribute {name!r}; it has {', '.join(__all__)}")
