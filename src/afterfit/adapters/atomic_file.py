"""Small files that are whole or absent: written aside, flushed, and moved into place; and a lock between processes."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from afterfit.errors import StoreError


def write_atomic(path: Path, text: str) -> None:
    """Replace `path` by `text`, so that a reader sees the old or the new content and a power cut loses neither.

    Folders are made as needed.

    Raises:
        StoreError: the folder can't be made or written to, or the disk is full.

    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> write_atomic(Path(folder.name) / "a" / "b.json", "{}")
    >>> (Path(folder.name) / "a" / "b.json").read_text()
    '{}'
    >>> folder.cleanup()
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text.encode("utf-8"))
                file.flush()
                os.fsync(file.fileno())
            os.replace(aside, path)
        except BaseException:
            os.unlink(aside)
            raise
        _flush_folder(path.parent)
    except OSError as error:
        raise cannot_write(path, error) from error


def read_if_there(path: Path) -> str | None:
    """The text of a file, None when there is none.

    Raises:
        StoreError: the file is there and can't be read, or is not UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise StoreError(f"{path} can't be read: {error}. Check its owner and mode, or restore it") from error


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on `path` (made if missing, never removed); excludes processes and threads alike."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise cannot_write(path, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)  # closing gives the lock back, as does the death of the process


def cannot_write(path: Path, error: OSError) -> StoreError:
    """The error for a file that can't be written, in words."""
    return StoreError(
        f"{path} can't be written: {error.strerror or error}. Afterfit needs a folder that this user may write to, "
        f"with space left: check {path.parent}, or set `home` in afterfit.toml to another folder"
    )


def _flush_folder(folder: Path) -> None:
    """Make a rename survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
