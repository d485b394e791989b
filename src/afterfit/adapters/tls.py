"""Certificate and key of the gateway's TLS: read and checked before it listens, so that a wrong file is told at once."""

from __future__ import annotations

import ssl
from pathlib import Path

from afterfit.errors import SetupError


def server_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer with this certificate (PEM, with its chain) and its key (PEM, not encrypted).

    Raises:
        SetupError: a file is missing or can't be read, is no PEM, or the key is not the certificate's.
    """
    for what, path in (("tls_certificate", certificate), ("tls_key", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise SetupError(
                f"{what} = {str(path)!r} can't be read: {error.strerror}. Check its path, owner and mode"
            ) from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, _no_password)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise SetupError(
                f"tls_key = {str(key)!r} is not the key of tls_certificate = {str(certificate)!r}: name the two that were "
                "made together"
            ) from error
        raise SetupError(
            f"tls_certificate = {str(certificate)!r} and tls_key = {str(key)!r} are no certificate and key: "
            f"{error.reason or error}. Wanted two PEM files, the first with the chain"
        ) from error
    return context


def _no_password() -> str:
    raise SetupError("tls_key is encrypted, and nobody is there to type its password: wanted a key without one")
