"""Why a request has no answer, in words that say what to do."""

from __future__ import annotations

import os
import socket
import ssl

import httpx

from broker.drive.errors import Unreachable
from broker.drive.http.retrying import Lost

_NOT_YET, _EXPIRED = 9, 10
_UNKNOWN = {18, 19, 20, 21}
"""Of X509_verify_cert_error_string(3): whoever signs for it is nobody that is believed."""


def unanswered(host: str, error: httpx.TransportError) -> Unreachable:
    """Lost, unless to try again would be of no use."""
    cause = _cause(error)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return Unreachable(f"{host} cannot show that it is who it should be: {_untrusted(cause)}")
    if isinstance(cause, ssl.SSLError) and cause.reason == "WRONG_VERSION_NUMBER":
        return Unreachable(f"{host} does not speak TLS, which https:// is: look at the address again")
    if isinstance(error, httpx.TimeoutException):
        why = "nothing came for too long"
    elif isinstance(cause, OSError):
        why = _words(cause)
    else:
        why = str(error).rstrip(".") or type(error).__name__
    return Lost(f"{host} does not answer: {why} (is the server running, and the address right?)")


def _cause(error: BaseException) -> BaseException:
    """What is at the bottom of it."""
    while (below := error.__cause__ or error.__context__) is not None:
        error = below
    return error


def _untrusted(error: ssl.SSLCertVerificationError) -> str:
    said = error.verify_message.rstrip(".")
    if error.verify_code in _UNKNOWN:
        return f"{said}; the certificates of those who certify it can be named (--ca for register, ca in a policy)"
    if error.verify_code in (_NOT_YET, _EXPIRED):
        return f"{said}; if it is good, the clock of this machine is wrong"
    return said


def _words(error: OSError) -> str:
    """asyncio's own are no more than a number and an address."""
    if isinstance(error, ssl.SSLError | socket.gaierror) or error.errno is None:
        return error.strerror or str(error)
    return os.strerror(error.errno)
