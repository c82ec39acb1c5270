"""The named endpoints that export, and tell of exports."""

import time
from collections.abc import Iterator
from dataclasses import asdict

import gradio as gr

from core.errors import UserError
from core.export import records
from ui import sampling
from ui.services import Services, friendly

LOOK_SECONDS = 0.3


def add(services: Services) -> None:
    """Adds the endpoints to the page that is open. Forms are those of the Export tab: adapter,
    merged, gguf-f16, gguf-bf16, gguf-q8_0 and llama.cpp's."""
    def export_run(run_id: str, form: str = "merged") -> Iterator[dict]:
        """Exports a run; streams {"phase", "share"}, and at the end the export with its proof. The
        export goes on if the caller leaves."""
        services.exports.export(run_id, form, sampling.gpu_is_taken(services))
        while (job := services.exports.job()).is_working:
            yield {"phase": job.phase, "share": job.share}
            time.sleep(LOOK_SECONDS)
        if job.state != "done":
            raise UserError(job.problem or "The export was cancelled.", job.remedy)
        yield job.done

    def export_status() -> dict:
        """What is or was worked on last."""
        return asdict(services.exports.job())

    def cancel_export() -> dict:
        """Ends the export that is at work; nothing of it is left behind."""
        return asdict(services.exports.cancel())

    def list_exports() -> list:
        """All whole exports with their proofs, the newest first."""
        return records.list_all(services.folders.exports)

    for endpoint in (export_run, export_status, cancel_export, list_exports):
        gr.api(friendly(endpoint), api_name=endpoint.__name__, concurrency_limit=8)
