"""Whether a cloud account may use the models behind the aliases, as the cloud tells without asking a model.

Amazon Bedrock has two free requests for this (`GET /inference-profiles`, `GET /foundation-model-availability/…`). They
are signed by boto3, which litellm brings. Vertex AI and Foundry tell it only to the request of a model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import anyio

from .clouds import BEDROCK, account_of
from .login import Login

_WITHIN_S: Final = 5
_AVAILABLE: Final = {
    "authorizationStatus": "AUTHORIZED",
    "entitlementAvailability": "AVAILABLE",
    "regionAvailability": "AVAILABLE",
}


async def available_models(login: Login) -> dict[str, bool | None]:
    """Return for each alias of a cloud's login whether the account may use its model. None: the cloud does not tell.

    Bedrock does not tell it to a role that may not ask, and not for the ARN of an inference profile.
    """
    models = dict(login.models)
    if login.cloud != BEDROCK.name:
        return dict.fromkeys(models)
    available = await anyio.to_thread.run_sync(_ask_bedrock, sorted(set(models.values())), dict(login.place or ()))
    return {alias: available.get(model) for alias, model in models.items()}


def _ask_bedrock(models: list[str], place: Mapping[str, str]) -> dict[str, bool | None]:
    import boto3  # takes a fifth of a second, and only users of Bedrock need it
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = boto3.client(
            "bedrock",
            region_name=account_of(BEDROCK, place)["region"],
            endpoint_url=place.get(BEDROCK.base_url),
            config=Config(connect_timeout=_WITHIN_S, read_timeout=_WITHIN_S, retries={"total_max_attempts": 1}),
        )
        pages = client.get_paginator("list_inference_profiles").paginate(typeEquals="SYSTEM_DEFINED")
        profiles = {found["inferenceProfileId"] for page in pages for found in page["inferenceProfileSummaries"]}
        return {model: _is_available(client, model, profiles) for model in models}
    except (BotoCoreError, ClientError):
        return {}


def _is_available(client: Any, model: str, profiles: set[str]) -> bool | None:
    prefix, _, foundation_model = model.partition("anthropic.")
    if not re.fullmatch(r"([a-z-]+\.)?", prefix):
        return None
    if prefix and model not in profiles:
        return False
    reply = client.get_foundation_model_availability(modelId=f"anthropic.{foundation_model}")
    return all(reply.get(what) == value for what, value in _AVAILABLE.items())
