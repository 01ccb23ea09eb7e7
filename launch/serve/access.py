"""Who may ask a server. Pure functions."""

import hmac
import ipaddress


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def may_ask(token: str | None, authorization: str, host: str) -> bool:
    """Whether a request is answered.

    Without a token it must have been sent to this machine by a name of its own: a page of another site that a
    browser here shows can make its name lead here (DNS rebinding), but not change the name that it asks for.

    Args:
      token: of access; None: there is none.
      authorization, host: headers of the request, host without its port.
    """
    if token is None:
        return is_loopback(host)
    given = authorization.removeprefix("Bearer ").encode(errors="replace")
    return hmac.compare_digest(given, token.encode())
