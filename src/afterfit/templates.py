"""What `afterfit init` writes: a small commented afterfit.toml and a train.py that works unchanged."""

from __future__ import annotations

from pathlib import Path

from afterfit.errors import InputError

TOML = """\
# What Afterfit is told; everything else has a default (docs/configuration.md).
[models.my-model]
task = "binary"              # binary | multiclass | regression
train = "train:fit"          # called with (X, y, sample_weight) when it is time to train again
window = "1d"                # how much data one look at drift covers
false_alarms = "1 per 90d"   # the only knob of monitoring

[models.my-model.retrain]
triggers = ["performance", "drift", "schedule:30d"]

[models.my-model.rollout]
canary = [0.05, 0.25]        # shares of the traffic a candidate has to earn
margin = 0.005               # loss that is tolerated
"""

TRAIN = '''\
"""Your model: `python train.py` trains and registers the first version; Afterfit calls fit() for the next ones."""

import afterfit as af
from sklearn.datasets import load_breast_cancer
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import train_test_split


def fit(X, y, sample_weight=None):
    """A fitted estimator. Put your own pipeline here."""
    return HistGradientBoostingClassifier(random_state=0).fit(X, y, sample_weight=sample_weight)


if __name__ == "__main__":
    # Put your own data here: one row an example, only what is known when a prediction is asked for.
    X, y = load_breast_cancer(return_X_y=True, as_frame=True)
    X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.3, stratify=y, random_state=0)
    version = af.register("my-model", fit(X_train, y_train), X_train, y_train, holdout=(X_test, y_test))
    print(f"registered version {version.version}; `afterfit up` serves it")
'''


def write(folder: Path) -> list[Path]:
    """Write both files; neither is ever overwritten.

    Raises:
        InputError: one of them is there already; nothing is written then.
    """
    files = {folder / "afterfit.toml": TOML, folder / "train.py": TRAIN}
    there = [path.name for path in files if path.exists()]
    if there:
        raise InputError(f"{' and '.join(there)} in {folder.resolve()} exist already; nothing was written")
    folder.mkdir(parents=True, exist_ok=True)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
    return list(files)
