"""How the object store is reached: AWS's own variables, of this process or as the driver told them. Loads nothing.

A node's own credentials come first: those in the environment of its Ray processes, or what its machine gives them.
Where a node has none, those of the driver are used, which travel in a call to the pack, never in a job's metadata, a
runtime environment or a log.
"""

import os
from collections.abc import Mapping, MutableMapping

STORE_VARIABLE = "TRIALWRIGHT_STORE"
CREDENTIALS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
"""They belong together: a node takes all of them from one place."""
_OTHER_CREDENTIALS = (
    "AWS_PROFILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_ROLE_ARN",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)
PLACES = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_CA_BUNDLE")
"""Where the store is; each is taken by itself."""


def own_settings(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """What this process would tell another one of how to reach the store. Secret."""
    return {name: environment[name] for name in (*CREDENTIALS, *PLACES) if environment.get(name)}


def adopt_settings(told: Mapping[str, str], environment: MutableMapping[str, str] = os.environ) -> None:
    """Take over what this process has not of its own.

    Args:
        told: as `own_settings` gives it, of the driver.
        environment: the process's variables.
    """
    if not any(environment.get(name) for name in (*CREDENTIALS, *_OTHER_CREDENTIALS)):
        environment.update({name: told[name] for name in CREDENTIALS if name in told})
    for name in PLACES:
        if name in told and not environment.get(name):
            environment[name] = told[name]
