"""Callers of the service: flats as in training; with `--feed broken`, a feed that now gives the size in square feet."""

from __future__ import annotations

import argparse

import httpx
from train import flats


def main() -> None:
    """Ask for each flat, and tell what came true."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--feed", choices=("healthy", "broken"), default="healthy")
    parser.add_argument("--rows", type=int, default=600)
    parser.add_argument("--seed", type=int, default=2)
    options = parser.parse_args()
    X, y = flats(options.rows, options.seed)
    if options.feed == "broken":
        X["size"] = (X["size"] * 10.764).round(1)
    with httpx.Client(base_url=options.url, timeout=30.0) as service:
        for row, let in zip(X.to_dict("records"), y.tolist(), strict=True):
            id = service.post("/predict", json=row).raise_for_status().json()["id"]
            service.post("/truth", json={"id": id, "let": bool(let)}).raise_for_status()
    print(f"{len(X)} flats asked for, with outcome")  # noqa: T201


if __name__ == "__main__":
    main()
