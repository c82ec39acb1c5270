"""An export without a page: made in this process, followed on the terminal."""

from typing import Any

from core.errors import UserError
from core.export.forms import FORMS
from core.export.records import refusal
from core.files import Folders
from core.training.run import list_runs


def export_run(run_id: str, form: str, folders: Folders) -> int:
    """Export a run; prints what the page would show. The exit code is 0 where the proof passed."""
    from core.quiet import quieten

    quieten()
    from core.export.work import Exporter

    if form not in FORMS:
        raise UserError(f"There is no form '{form}' of export.", f"Choose of {', '.join(FORMS)}.")
    run_id = _newest(folders) if run_id == "last" else run_id
    told = ""
    for report in Exporter(folders).export(run_id, form):
        if "done" in report:
            return _tell(report["done"])
        words = report["phase"]
        if words != told:
            print(words, flush=True)
            told = words
    return 1


def _newest(folders: Folders) -> str:
    for run in list_runs(folders.runs):
        if (run.adapter / "adapter_config.json").is_file():
            return run.id
    raise UserError("No run has an adapter yet.", "Train one first.")


def _tell(record: dict[str, Any]) -> int:
    proof = record["proof"]
    print(f"Asked {proof['rows']} ({proof['place']}):")
    for check in proof["checks"]:
        print(f"  {check['name']}: {check['found']:.3g}, needs at "
              f"{'most' if check['at_most'] else 'least'} {check['bound']:.3g}"
              f"{'' if check['passed'] else '  <- not passed'}")
    print("The proof passed." if proof["passed"] else f"The proof did NOT pass. {refusal(proof)}")
    print(f"The export is in {record['folder']}")
    return 0 if proof["passed"] else 1
