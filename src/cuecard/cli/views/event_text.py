"""What a run's events say to a person."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import PurePosixPath
from typing import Any

from cuecard.parameter_counts import trained_text
from cuecard.training.race.lora_found import EVENT, LoraFound
from cuecard.training.transfer.found import EVENT as TRANSFER
from cuecard.training.transfer.found import TransferFound
from cuecard.validation_text import counted

Event = Mapping[str, Any]

# From this share on, answering is hardly more than always giving one label.
_ONE_ANSWER = 0.98


def event_text(event: Event) -> str | None:
    """One event of a run's log in a line or two; None for events that are not shown."""
    write = _TEXTS.get(event["event"])
    return None if write is None else write(event)


def text_of_part(event: Event) -> str | None:
    """`event_text` after the name of the part of the run that the event is of, if it is of one."""
    text, part = event_text(event), event.get("run")
    return text if text is None or part is None else f"{PurePosixPath(part).name}: {text}"


def duration(seconds: float) -> str:
    """Seconds as a person says them: "48 s", "3 min 05 s", "2 h 10 min"."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def _start(event: Event) -> str:
    rows = ", ".join(f"{count:,} {name}" for name, count in event["rows"].items())
    text = (
        f"Training {event['method']} on {event['backbone']} ({event['device']}, {event['dtype']}): "
        f"{rows} rows, {counted(event['steps'], 'step')}"
    )
    if event["truncated"]:
        cut = counted(event["truncated"], "training row")
        text += f"\n{cut} longer than the limit, truncated to it"
    if "trained_parameters" in event:
        counts = trained_text(event["trained_parameters"], event["parameters"])
        text += f"\nParameters: {counts}"
    return "\n".join([text, *(f"Note: {note}" for note in event.get("notes", ()))])


def _shard(event: Event) -> str:
    return f"Shard {event['shard']} has ended: {event['folder']}"


def _together(event: Event) -> str:
    prompts = counted(event["prompts"], "prompt")
    return f"Training {prompts}, up to {event['together']} in one pass"


def _advice(event: Event) -> str:
    return f"Note: {event['text']}"


def _teachers(event: Event) -> str:
    return (
        f"Training a teacher for each of {event['tasks']} tasks, "
        f"up to {event['together']} in one pass"
    )


def _teacher(event: Event) -> str:
    text = _validation(event)
    return f"Teacher of {event['task']}, {text[0].lower()}{text[1:]}"


def _inputs(event: Event) -> str:
    if event["place"] == "recompute":
        return "The inputs before the prompt are computed in every epoch"
    size = f"{counted(event['tokens'], 'token')}, {event['bytes'] / 2**20:,.0f} MiB"
    place = _PLACES[event["place"]]
    return f"The inputs before the prompt are computed once and kept in {place} ({size})"


def _activations(event: Event) -> str:
    now, kept = (f"{event[name] / 2**20:,.0f} MiB" for name in ("nbytes", "kept_nbytes"))
    return f"Layers run again in the backward pass: about {now} instead of {kept}"


def _resume(event: Event) -> str:
    return f"Resuming after step {event['step']:,} of {event['steps']:,}"


def _lr(event: Event) -> str:
    loss = "diverged" if event["loss"] is None else f"validation loss {event['loss']:.4f}"
    return f"Learning rate {event['lr']:.3g}: {loss} after {counted(event['steps'], 'step')}"


def _race(event: Event) -> str:
    used = [
        f"{event[key][0]:,} of {event[key][1]:,} {name} rows"
        for key, name in (("train_rows", "training"), ("validation_rows", "validation"))
        if key in event
    ]
    return _racing(event) + (f"\n  The budget is enough for {' and '.join(used)}" if used else "")


def _racing(event: Event) -> str:
    if "needs" in event:
        fewest = f"the fewest steps that are made take about {event['needs']:,.1f} s"
        return f"A budget of {event['budget']} is too small: {fewest}"
    setting = event.get("set_by", "--budget")
    budget = f"{event['budget']} in all; {setting} sets it"
    if not event["steps"]:
        if not event["left_out"]:
            return f"One method fits the backbone and the task, and is trained at once ({budget})"
        return f"A budget of {event['budget']} has no room for a race; {setting} sets it"
    count = counted(len(event["contestants"]), "contestant")
    return f"Racing {count} for {counted(event['steps'], 'step')} each ({budget})"


def _raced(event: Event) -> str:
    if event["diverged"]:
        return f"  {_racer(event)}: diverged"
    accuracy = "" if event["accuracy"] is None else f"accuracy {event['accuracy']:.3f}, "
    return f"  {_racer(event)}: validation {accuracy}loss {event['loss']:.4f}"


def _chosen(event: Event) -> str:
    return f"Chosen: {_racer(event)}"


def _racer(event: Event) -> str:
    """Who raced: within a comparison's contestant, one of its candidates."""
    return str(event.get("candidate", event["contestant"]))


def _lora(event: Event) -> str:
    return LoraFound(**{name: value for name, value in event.items() if name != "event"}).text


def _transfer_search(event: Event) -> str:
    left_out = f" ({event['left_out']} left out)" if event["left_out"] else ""
    return (
        f"Library: {counted(event['library'], 'prompt')}{left_out}, scored untrained; training the "
        f"usual start for {counted(event['steps'], 'step')}"
    )


def _transfer_race(event: Event) -> str:
    if not event["starts"]:
        return "There is no saved prompt to try"
    return f"Training from {', '.join(event['starts'])} for {counted(event['steps'], 'step')} each"


def _transfer(event: Event) -> str:
    fields = {name: value for name, value in event.items() if name != "event"}
    return TransferFound.of_dict(fields).text


def _validation(event: Event) -> str:
    accuracy, share = event["validation_accuracy"], event["majority_share"]
    shown = "" if accuracy is None else f"accuracy {accuracy:.3f}, "
    best = ", best so far" if event["best"] else ""
    text = f"Step {event['step']:,}: validation {shown}loss {event['validation_loss']:.4f}{best}"
    if share is not None and share >= _ONE_ANSWER:
        text += f"\n  {share:.0%} of its answers are one and the same label"
    return text


def _best_validation(event: Event) -> str:
    return (
        f"Step {event['step']:,}, the best, on all {event['labels']:,} labels ({event['rows']:,} "
        f"rows): validation accuracy {event['validation_accuracy']:.3f}, loss "
        f"{event['validation_loss']:.4f}"
    )


def _average(event: Event) -> str:
    accuracy, kept = event["validation_accuracy"], "" if event["kept"] else "not "
    shown = "" if accuracy is None else f"accuracy {accuracy:.3f}, "
    return (
        f"Average of the seeds' tensors: validation {shown}loss {event['validation_loss']:.4f}, "
        f"{kept}kept"
    )


def _pooled(event: Event) -> str:
    counts = event.get("tfidf", 0.0)
    tfidf = f", TF-IDF's x {counts:.2f}" if counts else ""
    return (
        f"Pooled head, the state's scores x {event['state']:.2f}, the values' x "
        f"{event['values']:.2f}{tfidf}: validation accuracy {event['validation_accuracy']:.3f}, "
        f"loss {event['validation_loss']:.4f}"
    )


def _test(event: Event) -> str:
    return f"Testing on {counted(event['rows'], 'row')}, for the only time"


def _done(event: Event) -> str:
    what = event.get("trained", "prompt")
    text = (
        f"Trained in {duration(event['seconds'])} ({event['cpu_seconds']:,.0f} CPU-seconds): "
        f"the {what} is of step {event['best_step']:,} of {event['step']:,}, "
        f"learning rate {event['lr']:.3g}"
    )
    if "test" in event:
        text += f", test score {event['test']:.3f}"
    return text if event["alarm"] is None else f"{text}\nWarning: {event['alarm']}"


def _finished(event: Event) -> str:
    return f"The run in {event['folder']} is finished; nothing was trained or tested again"


def _candidate(event: Event) -> str:
    place = f"{event['i']} of {event['n']}"
    rows = f"{event['rows']:,} validation rows"
    return f"  {place}, hand-written: {_read(event)}: {event['score']:.3f} on {rows}"


def _baseline(event: Event) -> str:
    return f"Comparing with {_read(event)}"


def _read(event: Event) -> str:
    variant = "" if event["variant"] == "plain" else f" ({event['variant']})"
    return f"{event['name']}{variant}"


def _vtab(event: Event) -> str:
    return {
        "select": "Choosing settings on a part of the examples",
        "retrain": f"Training on all examples of {event['data']} with what was chosen",
        "tests": f"Everything is trained: testing on {event['data']}",
    }[event["phase"]]


def _contest(event: Event) -> str:
    count = counted(len(event["contestants"]), "contestant")
    return f"Comparing {count} on {counted(event['rows'], 'training row')}"


def _contestant(event: Event) -> str:
    return f"{event['title']}:"


def _search(event: Event) -> str | None:
    from cuecard.cli.views.search import search_text

    text = search_text(event["told"])
    return None if text is None else f"  {text}"


def _contestant_kept(event: Event) -> str:
    return f"{event['contestant']} is finished; nothing was run again"


def _contestant_waits(event: Event) -> str:
    return f"{event['contestant']}: the time is over; what is finished is kept"


def _rate(event: Event) -> str:
    place = event["of"].index(event["lr"]) + 1
    return f"Learning rate {event['lr']:.3g}, {place} of {len(event['of'])}"


def _rate_diverged(event: Event) -> str:
    return f"Learning rate {event['lr']:.3g} diverged"


def _contestant_done(event: Event) -> str:
    if "left_out" in event:
        return f"  left out: {event['left_out']}"
    seen = "" if event["validation"] is None else f"validation score {event['validation']:.3f}, "
    return f"  {seen}test score {event['test']:.3f}, {event['cpu_seconds']:,.1f} CPU-seconds"


_PLACES = {"memory": "memory", "disk": "the run's folder"}

_TEXTS: Mapping[str, Callable[[Event], str | None]] = {
    "start": _start,
    "advice": _advice,
    "vtab": _vtab,
    "shard": _shard,
    "together": _together,
    "teachers": _teachers,
    "teacher_validation": _teacher,
    "resume": _resume,
    "inputs": _inputs,
    "activations": _activations,
    "lr": _lr,
    "race": _race,
    "raced": _raced,
    "chosen": _chosen,
    EVENT: _lora,
    "validation": _validation,
    "best_validation": _best_validation,
    "pooled": _pooled,
    "average": _average,
    "test": _test,
    "done": _done,
    "finished": _finished,
    "candidate": _candidate,
    "transfer_search": _transfer_search,
    "transfer_race": _transfer_race,
    TRANSFER: _transfer,
    "baseline": _baseline,
    "contest": _contest,
    "contestant": _contestant,
    "contestant_kept": _contestant_kept,
    "contestant_waits": _contestant_waits,
    "contestant_done": _contestant_done,
    "rate": _rate,
    "search": _search,
    "rate_diverged": _rate_diverged,
}
