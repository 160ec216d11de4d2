"""What a person watches while a model trains: a live bar on a terminal, plain lines elsewhere."""

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.text import Text

from glassformer.formatting import loss_within, share_within, without_marks


class TerminalDisplay:
    """A progress bar with loss, tokens per second and time left, and a line for each evaluation. Where the output is
    no terminal the bar is left out and only the lines remain. Everything goes to standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(stderr=True)
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def start(self, step: int, steps: int) -> None:
        """Training begins (again) at `step`."""
        if not self.console.is_terminal:
            return
        columns = (
            TextColumn("training"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}"),
            TextColumn("{task.fields[speed]} tokens/s"),
            TimeRemainingColumn(),
            TextColumn("left"),
        )
        self._bar = Progress(*columns, console=self.console, transient=True)
        self._task = self._bar.add_task("", total=steps, completed=step, loss="  -  ", speed="-")
        self._bar.start()

    def step(self, record: dict[str, Any]) -> None:
        """One more step."""
        if self._bar is None or self._task is None:
            return
        loss = "not finite" if record["loss"] is None else f"{record['loss']:.3f}"
        speed = f"{record['tokens_per_second']:,.0f}"
        self._bar.update(self._task, completed=record["step"], loss=loss, speed=speed)

    def evaluation(self, record: dict[str, Any]) -> None:
        """A line: the step, the loss, the accuracy, the verdict; and warnings."""
        named = {key: share for key, share in record.items() if key.split("/")[-1] == "accuracy"}  # of several heads
        accuracy = "".join(
            f", {key.removesuffix('accuracy').replace('/', ' ')}"
            f"{share_within(share, record.get(f'{key}_interval'))} right"
            for key, share in named.items()
        )
        verdict = f"  {record['verdict']}" if "verdict" in record else ""
        loss = loss_within(record["loss"], record.get("loss_interval"))
        self.say(f"step {record['step']:>6}  validation loss {loss}{accuracy}{verdict}")
        for warning in record.get("warnings", []):
            self.say(f"warning: {warning}")

    def say(self, text: str) -> None:
        """A line that stays. As plain text: words in brackets are no markup."""
        self.console.print(Text(without_marks(text)), soft_wrap=True)

    def stop(self) -> None:
        """The bar goes away."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
