"""Whether a hub answers, asked before libraries that would retry for minutes."""

import http.client
import os
import urllib.error
import urllib.request

from core.errors import UserError

HUB_SECONDS = 5.0


def require_hub(what: str, otherwise: str) -> None:
    """Raise UserError unless the Hugging Face hub (or the mirror in $HF_ENDPOINT) answers.

    `what` is the thing that is wanted, `otherwise` the sentence with the alternatives.
    """
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        raise UserError(f"{what} isn't on this computer, and HF_HUB_OFFLINE forbids the hub.",
                        otherwise)
    endpoint = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
    if not endpoint.startswith(("https://", "http://")):
        raise UserError(f"HF_ENDPOINT is '{endpoint}', which is no web address.",
                        "Set it to the address of the hub or its mirror, or unset it.")
    try:
        request = urllib.request.Request(endpoint, method="HEAD")
        urllib.request.urlopen(request, timeout=HUB_SECONDS).close()
    except urllib.error.HTTPError:
        return  # it answered; what it thinks of the front page doesn't matter
    except (OSError, ValueError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"{what} isn't on this computer, and {endpoint} can't be reached ({reason}).",
            otherwise) from error
