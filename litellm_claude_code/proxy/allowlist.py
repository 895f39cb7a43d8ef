"""The endpoints of litellm's proxy that are served, and what a request to each may have. This module does no I/O.

`shapes.py` has the table of the fields.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl, urlencode

from .._litellm import Body
from ..models import PROVIDER
from .mending import mend
from .refused import Refused
from .shapes import FIELDS, check_fields

_MODEL: Final = re.compile(r"[\w./\[\]@-]{1,200}", re.ASCII)
_ONE_MODEL: Final = re.compile(rf"/v1/models/({PROVIDER}/)?\w[\w.\[\]@-]{{0,199}}", re.ASCII)


@dataclass(frozen=True, kw_only=True)
class Route:
    """A request to an endpoint that is served."""

    path: str
    """The path at litellm's proxy."""
    has_body: bool = False
    query: str = ""
    asks_model: bool = False
    """Whether litellm makes a model request for it, although it has no body."""


METRICS: Final = "/metrics"
"""Answered by the gate itself."""
OPEN: Final = ("/health/liveliness", "/health/readiness")
"""Served without a key, because probes have none. By default, litellm's replies say only whether it is healthy, and the
state of its database."""

_GETS: Final = (*OPEN, METRICS, "/health", "/v1/models", "/models")


def find_route(method: str, path: str, query: str) -> Route:
    """Return the route of a request. Raises `Refused` if its method and path are not served.

    A HEAD is answered as a GET, whose body the server leaves out. `/health` makes no request to a model;
    `/health?model=…` makes one to that model.
    """
    is_post = path in FIELDS
    if not is_post and path not in _GETS and not _ONE_MODEL.fullmatch(path):
        served = [*(path for path in FIELDS if path.startswith("/v1")), "/v1/models"]
        raise Refused(404, f"This server does not have this endpoint. Use {', '.join(served)} or /health.")
    allow = ("POST",) if is_post else ("GET", "HEAD")
    if method not in allow:
        raise Refused(405, f"This endpoint does not have this method. Use {allow[0]}.", allow=", ".join(allow))
    if is_post:
        return Route(path=path, has_body=True)
    if path == "/health":
        return _health(query)
    return Route(path=path.replace(f"/{PROVIDER}/", "/"))


def _health(query: str) -> Route:
    # litellm accepts more parameters, and takes an empty `model` to mean all models.
    if not query:
        return Route(path="/health/readiness")
    match parse_qsl(query, keep_blank_values=True):
        case [("model", model)] if _MODEL.fullmatch(model):
            return Route(path="/health", query=urlencode({"model": model}), asks_model=True)
    raise Refused(400, "/health accepts only the name of one model, as in /health?model=sonnet.")


def read_body(value: object, route: Route) -> Body:
    """Return the fields of a body for litellm, without those that are null. Raises `Refused` if it is not allowed."""
    if not isinstance(value, dict):
        raise Refused(400, "The body must be a JSON object.")
    body = mend({field: value for field, value in value.items() if value is not None}, route.path)
    unknown = sorted(body.keys() - FIELDS[route.path].keys())
    if unknown:
        names = ", ".join(f"`{name[:40]}`" for name in unknown[:10])
        raise Refused(400, f"The request has fields that this server does not accept: {names}. Leave them out.")
    if not isinstance(body.get("model"), str) or not _MODEL.fullmatch(body["model"]):
        raise Refused(400, "`model` must be the name of one model. /v1/models lists them.")
    check_fields(body, route.path)
    return body


def requests_in(body: Body) -> int:
    """Return how many model requests a body asks for. The body must have passed `read_body`."""
    n: int = body.get("n", 1)
    prompts = body.get("prompt")
    return n * (len(prompts) if isinstance(prompts, list) else 1)
