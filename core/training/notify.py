"""Tells a webhook that a run has ended. Whatever goes wrong there never harms the run."""

import json
import logging
import urllib.error
import urllib.request
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from core.errors import UserError
from core.training.run import Run

SECONDS = 8.0
LOG = logging.getLogger(__name__)


def tell_end(run: Run) -> bool:
    """Send the end of a run to its webhook, if it has one; whether that was taken. The address may
    hold a token, so only its host is ever logged."""
    try:
        url = run.config().webhook_url
    except UserError:  # settings that can't be read name no webhook
        return False
    if not url:
        return False
    try:
        request = urllib.request.Request(
            url, json.dumps(message(run)).encode(), method="POST",
            headers={"Content-Type": "application/json", "User-Agent": "TuneDesk"})
        with urllib.request.urlopen(request, timeout=SECONDS):
            return True
    except (OSError, ValueError, HTTPException) as error:  # URLError is an OSError
        code = error.code if isinstance(error, urllib.error.HTTPError) else type(error).__name__
        LOG.warning("The webhook at %s did not take the message: %s", urlsplit(url).hostname, code)
        print(f"The webhook at {urlsplit(url).hostname} did not take the message: {code}",
              flush=True)
        return False


def message(run: Run) -> dict[str, Any]:
    """All that is sent; 'text' is what chat services show."""
    status, effect = run.status(), run.effect()
    return {"text": f"{run.id}: {status.state}. {status.words}", "run": run.id,
            "state": status.state, "words": status.words, "remedy": status.remedy,
            "step": status.step, "total_steps": status.total_steps,
            "seconds": round(status.ended - status.started) if status.started else 0,
            "held_out_loss": {"before": effect[0], "after": effect[1]} if effect else None}
