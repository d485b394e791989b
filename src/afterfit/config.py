"""afterfit.toml and AFTERFIT_* variables become one frozen, validated object; an unknown key is an error.

Durations are written `30m`, `12h`, `7d` and held as seconds; `false_alarms` is written `1 per 90d`.
"""

from __future__ import annotations

import ipaddress
import math
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from afterfit.errors import ConfigError, list_known

CONFIG_FILE = "afterfit.toml"
TASKS = ("binary", "multiclass", "regression")
LANES = ("auto", "python")
NO_FALLBACK, PRIOR, LAST = FALLBACKS = ("none", "prior", "last")
DURABILITIES = ("commit", "fsync", "async")
REDACTIONS = ("drop", "hash")
TRIGGERS = ("performance", "drift", "schedule:<duration>", "volume:<rows>")
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}


@dataclass(frozen=True)
class RetrainConfig:
    """When to train again, on what, and how long it may take."""

    triggers: tuple[str, ...] = ("performance", "drift", "schedule:30d")
    cooldown: float = 7 * 86400.0  # seconds between the end of one rollout and the next training
    recency: float | None = None  # seconds of history to train on; None: all
    holdout: float = 7 * 86400.0  # seconds of the newest mature rows kept for the gate, never trained on
    min_rows: int = 500  # mature labelled rows needed before training starts
    time_limit: float = 1800.0  # seconds; the training process is killed after it


@dataclass(frozen=True)
class RolloutConfig:
    """How a candidate earns traffic."""

    canary: tuple[float, ...] = (0.01, 0.05, 0.25)
    margin: float = 0.005  # loss (Brier, or clipped relative error) that is tolerated
    alpha: float = 0.05  # chance of a wrong pass, and of a wrong rollback, per rollout
    min_pairs: int = 200  # rows scored by both versions, with outcome, before a step may pass
    min_requests: int = 50  # rows answered by the candidate before a canary step may pass
    deadline: float = 14 * 86400.0  # seconds a step may stay undecided before `on_no_data` speaks
    on_no_data: str = "hold"  # hold | rollback
    approval: bool = False  # a person must approve before everyone gets the candidate
    holdback: float = 0.05  # share kept on the champion while the promotion is provisional
    timeout: float = 1.0  # seconds a version may take to answer


@dataclass(frozen=True)
class ModelConfig:
    """One model under care."""

    name: str
    task: str
    train: str | None = None  # module:function
    window: float = 7 * 86400.0  # seconds
    budget: float = 1.0  # false incidents ...
    budget_period: float = 90 * 86400.0  # ... per this many seconds
    outcome_delay: float = 86400.0  # seconds; a hint until the delay curve is learned
    segment_by: tuple[str, ...] = ()  # features by whose values windows are judged too
    lane: str = "auto"  # auto | python
    deadline: float = 20.0  # seconds a caller may wait in all, for whoever answers
    fallback: str | float | int | bool = (
        NO_FALLBACK  # none | prior | last | a constant: the answer when no version has one
    )
    worker_memory: float | None = None  # MB that a worker process may take; None: half of the machine's
    redact: Mapping[str, str] = field(default_factory=dict)  # feature -> drop | hash, before anything is written
    retrain: RetrainConfig = field(default_factory=RetrainConfig)
    rollout: RolloutConfig = field(default_factory=RolloutConfig)


@dataclass(frozen=True)
class Config:
    """Everything Afterfit is told; made by :func:`load` or :func:`parse`."""

    home: Path = Path(".afterfit")  # everything embedded lives here
    root: Path = Path()  # folder of afterfit.toml; `train` is imported from here
    host: str = "127.0.0.1"  # beyond loopback only with tokens
    port: int = 8600
    tls_certificate: Path | None = None  # PEM with its chain; with tls_key: the gateway speaks https
    tls_key: Path | None = None
    max_body: int = 8  # MiB of one request
    max_rows: int = 10_000  # of one request
    max_concurrency: int = 512  # requests under way at once
    ui_port: int = 5000
    tick: float = 10.0  # seconds between two looks of the controller
    durability: str = "commit"  # commit | fsync | async: what an acknowledged prediction survives
    database: str | None = None  # SQLAlchemy URL of the control store; None: SQLite under home
    tracking_uri: str | None = None  # MLflow; None: SQLite under home
    notify: tuple[str, ...] = ()  # apprise URLs; none: only the log file under home
    models: Mapping[str, ModelConfig] = field(default_factory=lambda: MappingProxyType({}))

    def model(self, name: str) -> ModelConfig:
        """The settings of one model; defaults are not invented for a name that is not configured."""
        if name not in self.models:
            raise ConfigError(
                f"afterfit.toml has no [models.{name}]; {list_known(name, self.models)}. "
                f'Add a section [models.{name}] with at least: task = "binary"'
            )
        return self.models[name]


def duration(text: object, key: str) -> float:
    """Seconds of a duration such as ``"12h"``.

    >>> duration("1.5h", "outcome_delay")
    5400.0
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhdw])", text.strip()) if isinstance(text, str) else None
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f'{key} = {text!r}: wanted a positive duration such as "30m", "12h" or "7d"')
    return float(match[1]) * _UNITS[match[2]]


def config_file(folder: Path) -> Path:
    """The settings of a working folder: its afterfit.toml, or, without one, that of the home in it (the demo's)."""
    own, inner = folder / CONFIG_FILE, folder / Config.home / CONFIG_FILE
    return inner if inner.exists() and not own.exists() else own


def load(path: Path | str = CONFIG_FILE, environ: Mapping[str, str] | None = None) -> Config:
    """Read a TOML file; a missing file gives the defaults with the file's folder as root.

    Raises:
        ConfigError: the file is not TOML, a key is unknown or a value is wrong.
    """
    path = Path(path)
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(
            f"{path} is not valid TOML: {error}. Mend that line, or run `afterfit init` in an "
            "empty folder to see a working file"
        ) from error
    return parse(data, root=path.resolve().parent, environ=environ or {})


def parse(data: Mapping[str, Any], *, root: Path = Path(), environ: Mapping[str, str] | None = None) -> Config:
    """Turn the tables of afterfit.toml into a :class:`Config`. The environment wins over the file.

    >>> parse({"models": {"m": {"task": "binary", "window": "1d"}}}).model("m").window
    86400.0
    """
    environ = environ or {}
    known = {f.name: f for f in fields(Config)}.keys() - {"root"}
    _refuse_unknown(data, known, "afterfit.toml")
    values: dict[str, Any] = {k: v for k, v in data.items() if k != "models"}
    for key in known - {"models"}:
        variable = f"AFTERFIT_{key.upper()}"
        if variable in environ:
            values[key] = _from_text(environ[variable], key)
    home = Path(_typed(values.get("home", ".afterfit"), str, "home"))
    models = {name: _model(name, table) for name, table in _typed(data.get("models", {}), dict, "[models]").items()}
    certificate, tls_key = _tls(values, root)
    return Config(
        home=home if home.is_absolute() else root / home,
        root=root,
        host=_typed(values.get("host", Config.host), str, "host"),
        port=_port(values.get("port", Config.port), "port"),
        ui_port=_port(values.get("ui_port", Config.ui_port), "ui_port"),
        tls_certificate=certificate,
        tls_key=tls_key,
        max_body=_count(values.get("max_body", Config.max_body), "max_body", most=1024),
        max_rows=_count(values.get("max_rows", Config.max_rows), "max_rows", most=1_000_000),
        max_concurrency=_count(values.get("max_concurrency", Config.max_concurrency), "max_concurrency"),
        tick=duration(values["tick"], "tick") if "tick" in values else Config.tick,
        durability=_one_of(values.get("durability", Config.durability), DURABILITIES, "durability"),
        database=_optional(values.get("database"), "database"),
        tracking_uri=_optional(values.get("tracking_uri"), "tracking_uri"),
        notify=_texts(values.get("notify", ()), "notify"),
        models=MappingProxyType(models),
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0"), is_loopback("localhost"), is_loopback("::1")
    (True, False, True, True)
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls(values: Mapping[str, Any], root: Path) -> tuple[Path | None, Path | None]:
    """Certificate and key, relative to the file of settings; both or none."""
    given = [_optional(values.get(name), name) for name in ("tls_certificate", "tls_key")]
    if (given[0] is None) != (given[1] is None):
        has, lacks = ("tls_certificate", "tls_key") if given[0] else ("tls_key", "tls_certificate")
        raise ConfigError(f"{has} is set and {lacks} is not: wanted both, or none for plain http")
    certificate, key = (None if path is None else root / path for path in given)
    return certificate, key


def _model(name: str, table: object) -> ModelConfig:
    where = f"[models.{name}]"
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", name):
        raise ConfigError(f"{where}: a model's name is made of letters, digits, '-', '_' and '.'")
    values = _typed(table, dict, where)
    known = {f.name for f in fields(ModelConfig)} - {"name", "budget", "budget_period"} | {"false_alarms"}
    _refuse_unknown(values, known, where)
    task = values.get("task")
    if task not in TASKS:
        raise ConfigError(f"{where} task = {task!r}: wanted one of {', '.join(TASKS)}")
    train = _optional(values.get("train"), f"{where} train")
    if train is not None and not re.fullmatch(r"[\w.]+:\w+", train):
        raise ConfigError(f'{where} train = {train!r}: wanted "module:function", such as "train:fit"')
    read: dict[str, Any] = {
        key: duration(values[key], f"{where} {key}") for key in ("window", "outcome_delay", "deadline") if key in values
    }
    if "false_alarms" in values:
        read["budget"], read["budget_period"] = _budget(values["false_alarms"], where)
    if "segment_by" in values:
        read["segment_by"] = tuple(dict.fromkeys(_texts(values["segment_by"], f"{where} segment_by")))
    read["redact"] = _redact(values.get("redact", {}), where)
    _refuse_blind(read["redact"], train, read.get("segment_by", ()), where)
    read |= _last_resort(values, task, where)
    made = ModelConfig(
        name=name,
        task=task,
        lane=_one_of(values.get("lane", ModelConfig.lane), LANES, f"{where} lane"),
        train=train,
        retrain=_retrain(_typed(values.get("retrain", {}), dict, f"[models.{name}.retrain]"), name),
        rollout=_rollout(_typed(values.get("rollout", {}), dict, f"[models.{name}.rollout]"), name),
        **read,
    )
    if made.deadline < 2.0 * made.rollout.timeout:
        raise ConfigError(
            f"{where} deadline = {made.deadline:g} s, and one version may take timeout = {made.rollout.timeout:g} s: wanted "
            "a deadline of at least twice that, so that another one can still answer"
        )
    return made


def _last_resort(values: Mapping[str, Any], task: str, where: str) -> dict[str, Any]:
    """What answers when no version does, and how much a version's process may take."""
    read: dict[str, Any] = {}
    if "fallback" in values:
        fallback = values["fallback"]
        known = isinstance(fallback, str) and fallback in FALLBACKS
        number = isinstance(fallback, int | float) and not isinstance(fallback, bool) and math.isfinite(fallback)
        if not known and (not isinstance(fallback, str | int | float) or (task == "regression" and not number)):
            wanted = "a finite number" if task == "regression" else "one of the model's labels"
            raise ConfigError(f"{where} fallback = {fallback!r}: wanted {', '.join(FALLBACKS)}, or {wanted}")
        read["fallback"] = fallback
    if "worker_memory" in values:
        read["worker_memory"] = float(_count(values["worker_memory"], f"{where} worker_memory"))
    return read


def _redact(value: object, where: str) -> dict[str, str]:
    table = _typed(value, dict, f"{where} redact")
    return {str(name): _one_of(how, REDACTIONS, f"{where} redact {name}") for name, how in table.items()}


def _refuse_blind(redact: Mapping[str, str], train: str | None, segment_by: Sequence[str], where: str) -> None:
    """What is not in the log can't be learned from, and can't cut windows."""
    if redact and train is not None:
        raise ConfigError(
            f"{where} has both `train` and `redact`: training rows come from the log, which lacks {', '.join(redact)}. "
            "Leave `train` out and register versions yourself, or keep these features in the log"
        )
    dropped = [name for name in segment_by if redact.get(name) == "drop"]
    if dropped:
        raise ConfigError(f"{where} segment_by names {', '.join(dropped)}, which `redact` drops; hash it instead")


def _retrain(values: Mapping[str, Any], name: str) -> RetrainConfig:
    where = f"[models.{name}.retrain]"
    _refuse_unknown(values, {f.name for f in fields(RetrainConfig)}, where)
    read: dict[str, Any] = {}
    for key in ("cooldown", "holdout", "time_limit"):
        if key in values:
            read[key] = duration(values[key], f"{where} {key}")
    if values.get("recency", "all") != "all":
        read["recency"] = duration(values["recency"], f"{where} recency")
    if "min_rows" in values:
        read["min_rows"] = _count(values["min_rows"], f"{where} min_rows")
    if "triggers" in values:
        triggers = _texts(values["triggers"], f"{where} triggers")
        for trigger in triggers:
            _check_trigger(trigger, where)
        read["triggers"] = triggers
    return RetrainConfig(**read)


def _rollout(values: Mapping[str, Any], name: str) -> RolloutConfig:
    where = f"[models.{name}.rollout]"
    _refuse_unknown(values, {f.name for f in fields(RolloutConfig)}, where)
    read: dict[str, Any] = {}
    if "canary" in values:
        shares = values["canary"]
        if not isinstance(shares, list | tuple) or not all(isinstance(s, int | float) and 0 < s < 1 for s in shares):
            raise ConfigError(
                f"{where} canary = {shares!r}: wanted rising shares between 0 and 1, such as [0.01, 0.05, 0.25]"
            )
        if list(shares) != sorted(set(shares)):
            raise ConfigError(f"{where} canary = {shares!r}: each share must be larger than the one before")
        read["canary"] = tuple(float(s) for s in shares)
    for key, low, high in (("margin", 0.0, 1.0), ("alpha", 0.0, 0.5), ("holdback", 0.0, 0.5)):
        if key in values:
            read[key] = _between(values[key], low, high, f"{where} {key}")
    for key in ("deadline", "timeout"):
        if key in values:
            read[key] = duration(values[key], f"{where} {key}")
    for key in ("min_pairs", "min_requests"):
        if key in values:
            read[key] = _count(values[key], f"{where} {key}")
    if "on_no_data" in values:
        if values["on_no_data"] not in ("hold", "rollback"):
            raise ConfigError(
                f'{where} on_no_data = {values["on_no_data"]!r}: wanted "hold" or "rollback"; '
                "missing evidence never promotes"
            )
        read["on_no_data"] = values["on_no_data"]
    if "approval" in values:
        read["approval"] = _typed(values["approval"], bool, f"{where} approval")
    return _rising(RolloutConfig(**read), where)


def _rising(config: RolloutConfig, where: str) -> RolloutConfig:
    if config.canary and config.canary[-1] > 1.0 - config.holdback:
        raise ConfigError(
            f"{where} canary ends at {config.canary[-1]:g}, above the share 1 - holdback = {1.0 - config.holdback:g} "
            "that follows it; the share of a candidate only rises: take a smaller last step or a smaller holdback"
        )
    return config


def _check_trigger(trigger: str, where: str) -> None:
    kind, _, argument = trigger.partition(":")
    if kind in ("performance", "drift") and not argument:
        return
    if kind == "schedule" and argument:
        duration(argument, f"{where} triggers schedule")
        return
    if kind == "volume" and argument.isdigit() and int(argument) > 0:
        return
    raise ConfigError(f"{where} triggers has {trigger!r}; known: {', '.join(TRIGGERS)}")


def _budget(text: object, where: str) -> tuple[float, float]:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s+per\s+(\S+)", text.strip()) if isinstance(text, str) else None
    if match is None or float(match[1]) <= 0:
        raise ConfigError(f'{where} false_alarms = {text!r}: wanted "1 per 90d", that is false incidents per time')
    return float(match[1]), duration(match[2], f"{where} false_alarms")


def _refuse_unknown(values: Mapping[str, Any], known: set[str], where: str) -> None:
    for key in values:
        if key not in known:
            raise ConfigError(f"{where} has an unknown key {key!r}; {list_known(key, sorted(known))}")


def _from_text(text: str, key: str) -> object:
    """An environment variable is text; only the ports and limits are not."""
    if key in ("port", "ui_port", "max_body", "max_rows", "max_concurrency"):
        return int(text) if text.isdigit() else text
    return text.split(",") if key == "notify" else text


def _typed(value: Any, kind: type, key: str) -> Any:
    if not isinstance(value, kind):
        raise ConfigError(f"{key} = {value!r}: wanted {kind.__name__}, found {type(value).__name__}")
    return value


def _optional(value: object, key: str) -> str | None:
    return None if value is None else str(_typed(value, str, key))


def _one_of(value: object, known: tuple[str, ...], key: str) -> str:
    if not isinstance(value, str) or value not in known:
        raise ConfigError(f"{key} = {value!r}: wanted one of {', '.join(known)}")
    return value


def _texts(value: object, key: str) -> tuple[str, ...]:
    if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
        raise ConfigError(f"{key} = {value!r}: wanted a list of texts")
    return tuple(value)


def _count(value: object, key: str, most: float = math.inf) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        limit = "" if most == math.inf else f" and at most {most:,}"
        raise ConfigError(f"{key} = {value!r}: wanted a whole number of at least 1{limit}")
    return value


def _port(value: object, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= 65535:
        raise ConfigError(f"{key} = {value!r}: wanted a port number, 0 to 65535 (0: any free port)")
    return value


def _between(value: object, low: float, high: float, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low < value < high:
        raise ConfigError(f"{key} = {value!r}: wanted a number between {low:g} and {high:g}")
    return float(value)
