"""A worker without torch in the trainer's place, for tests of the line: it does what the run's
'instruction' says, notes when it worked, and starts within a moment."""

import stat
import sys
from pathlib import Path
from types import SimpleNamespace

from core.training import launch
from core.training.run import Run

ROOT = Path(__file__).parents[1]

PLAY = f'''#!{sys.executable}
import os, signal, sys, time
from pathlib import Path
sys.path.insert(0, {str(ROOT)!r})
from core.training.run import Run

line = sys.stdin.readline().strip()
if not line:
    sys.exit()
run = Run(Path(line))
with (run.folder / "worked.txt").open("a") as notes:
    notes.write(f"{{time.monotonic()}}\\n")
part = run.config().instruction
run.update(state="running", words="Trains.", total_steps=9, step=3)
if part == "crash":
    run.log.write_text("the last words\\n")
    os.kill(os.getpid(), signal.SIGSEGV)
if part == "children":
    import subprocess
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while part == "children":
    time.sleep(0.02)
if part == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
while part in ("wait", "deaf"):
    time.sleep(0.02)
    if part == "wait" and run.stop_asked() == "save":
        run.update(state="stopped", words="Stopped and saved at step 3.", ended=time.time())
        sys.exit()
if part == "a second":
    time.sleep(1)
if part == "die":
    os.kill(os.getpid(), signal.SIGKILL)
if part == "no space":
    os._exit(28)
run.update(state="finished", words="Finished.", step=9, ended=time.time())
'''


def put_in(folder: Path) -> Path:
    """The worker's program; its path is in the command line of each that was started."""
    script = folder / "actor"
    script.write_text(PLAY)
    script.chmod(script.stat().st_mode | stat.S_IXUSR)
    return script


def stand_in(script: Path) -> None:
    """Let it take the trainer's place in this process for good."""
    launch.sys = SimpleNamespace(executable=str(script))


def times_worked(run: Run) -> int:
    """How often a worker took up this run."""
    notes = run.folder / "worked.txt"
    return len(notes.read_text().splitlines()) if notes.exists() else 0
