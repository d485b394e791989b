"""The routes that follow from the states: who must be loaded, and with what share of the traffic."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime

from afterfit.config import ModelConfig
from afterfit.lifecycle import Phase, State
from afterfit.records import ModelRoutes, ModelVersion, Role, Routes, Target

Find = Callable[[str, int], ModelVersion]


def routes_for(
    states: Mapping[str, State], find: Find, configs: Mapping[str, ModelConfig], *, number: int, made_at: datetime
) -> Routes:
    """One snapshot for all models that have a champion; the weights of each model's targets sum to 1."""
    models = {
        name: _model(name, state, find, configs[name]) for name, state in states.items() if state.champion is not None
    }
    return Routes(number=number, made_at=made_at, models=models)


def _model(name: str, state: State, find: Find, config: ModelConfig) -> ModelRoutes:
    parts: list[tuple[int, Role, float]] = [
        (version, Role.CHAMPION if version == state.champion else Role.CANARY, weight)
        for version, weight in state.weights.items()
    ]
    if state.phase is Phase.SHADOW and state.candidate is not None:
        parts.append((state.candidate, Role.SHADOW, 0.0))
    if state.history and state.history[-1] not in {version for version, _, _ in parts}:
        parts.append((state.history[-1], Role.STANDBY, 0.0))
    return ModelRoutes(
        model=name,
        task=find(name, parts[0][0]).task,
        targets=tuple(_target(find(name, version), role, weight) for version, role, weight in parts),
        rollout=state.rollout or f"{name}-steady",
        timeout=config.rollout.timeout,
        deadline=config.deadline,
        fallback=config.fallback,
        worker_memory=config.worker_memory,
    )


def _target(version: ModelVersion, role: Role, weight: float) -> Target:
    return Target(version.version, role, weight, version.folder, version.model_sha256)
