"""`tallystick policy`: the bank's rules, from the file to being in force."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tallystick import actions, agents, policy, subjects
from tallystick.cli.doubts import doubts
from tallystick.cli.operator import As, operator, perform
from tallystick.cli.options import Data, read_moment
from tallystick.cli.runtime import connected, console, errors, print_whole, refusals_as_lines, run
from tallystick.kit import Invalid, dumps

app = typer.Typer(help="Policies: the bank's rules of who may do what.", no_args_is_help=True)
PolicyFile = Annotated[Path, typer.Argument(help="A policy in YAML or JSON; `default` and `demo` are those that come with it.")]
_SHOWN = 200


@app.command("check")
def check(file: PolicyFile) -> None:
    """Say whether a file is a policy; exit status 1 where it is not, with every place that is wrong.

    What can be read and is probably not meant, such as a type of action that there is not, is told as well.
    """
    found = _read(file)
    # The types of all rooms are known, and those of plug-ins.
    assert agents, subjects
    actions.load_plug_ins()
    for doubt in doubts(found.document, actions.names()):
        errors.print(f"warning: {doubt}", markup=False, soft_wrap=True, style="yellow")
    console.print(f"policy={found.name} rules={len(found.rules)} digest={found.digest}", markup=False, soft_wrap=True)


@app.command("apply")
def apply(
    file: PolicyFile,
    effective_from: Annotated[
        str | None, typer.Option("--effective-from", help="From when on it is in force; by default from now on.")
    ] = None,
    as_: As = None,
    data: Data = None,
) -> None:
    """Put a policy in force."""
    found = _read(file)

    async def work() -> None:
        moment = None if effective_from is None else read_moment(effective_from)
        async with connected(data) as database:
            payload = actions.ApplyPolicy(policy.canonical(found), moment)
            applied: policy.Applied = await perform(database, operator(as_), payload, roles=("admin", "operator"))
        at = applied.effective_from.isoformat()
        console.print(f"policy={applied.name} digest={applied.digest} effective_from={at}", markup=False, soft_wrap=True)

    run(work)


@app.command("diff")
def diff(
    first: PolicyFile,
    second: Annotated[Path | None, typer.Argument(help="Another file; by default the policy in force is compared.")] = None,
    data: Data = None,
) -> None:
    """Show what differs between two policies, rule by rule; exit status 1 where something does."""
    new = _read(first if second is None else second)

    async def work() -> None:
        if second is not None:
            old = _read(first)
        else:
            async with connected(data) as database, database.read() as tx:
                old = await policy.current(tx)
        lines = list(_differences(old, new))
        for line in lines:
            console.print(line, markup=False, soft_wrap=True)
        console.print(f"{old.name} {old.digest[:12]} -> {new.name} {new.digest[:12]}: {len(lines)} differences", markup=False)
        if lines:
            raise typer.Exit(1)

    run(work)


@app.command("show")
def show(
    digest: Annotated[str | None, typer.Argument(help="The digest, or its beginning; by default the policy in force.")] = None,
    json: Annotated[bool, typer.Option("--json", help="The document, as canonical JSON.")] = False,
    data: Data = None,
) -> None:
    """Show a policy that was applied."""

    async def work() -> None:
        async with connected(data) as database, database.read() as tx:
            found = await policy.current(tx) if digest is None else await policy.get(tx, await _whole(tx, digest))
            applied = await policy.applied_last(tx, found.digest)
            since = await policy.in_force_since(tx)
            coming = await policy.coming(tx) if digest is None else []
        if json:
            console.print(policy.canonical(found), markup=False, soft_wrap=True)
            return
        table = Table("rule", "kind", "otherwise", "about")
        for rule in found.rules:
            table.add_row(rule.id, rule.kind, rule.otherwise, rule.about or "")
        console.print(table)
        told = f"policy={found.name} rules={len(found.rules)} digest={found.digest} {_standing(applied, since)}"
        console.print(told, markup=False, soft_wrap=True)
        for one in coming:
            told = f"policy={one.name} digest={one.digest} applied by {one.applied_by}"
            console.print(f"coming on {one.effective_from}: {told}", markup=False, soft_wrap=True)

    run(work)


def _standing(applied: policy.Applied | None, since: policy.Applied | None) -> str:
    if applied is None:
        return "never applied"
    if since is not None and since.digest == applied.digest:
        return f"in force since {applied.effective_from}, applied by {applied.applied_by}"
    if since is None or applied.effective_from > since.effective_from:
        return f"not in force, but from {applied.effective_from} on, applied by {applied.applied_by}"
    return f"not in force any more, applied by {applied.applied_by}, from {applied.effective_from}"


@app.command("test")
def test(
    file: PolicyFile,
    cases: Annotated[Path, typer.Argument(help="Cases in YAML or JSON: facts, the outcome they are to have, and the rules.")],
) -> None:
    """Try a policy on cases; exit status 1 where one has another outcome than it should, or by other rules."""
    found = _read(file)
    with refusals_as_lines():
        text = _text(cases)
    try:
        given = policy.read_cases(text, cases.name)
    except policy.Malformed as wrong:
        _print_problems(wrong)
    with refusals_as_lines():
        tried = [policy.try_case(found, case) for case in given]
    table = Table("case", "expected", "outcome", "rules", "")
    for one in tried:
        rules = ", ".join(reason.rule for reason in one.verdict.reasons if reason.outcome == one.verdict.outcome)
        wanted = one.case.outcome + (
            f" ({', '.join(sorted(one.case.rules))})" if one.case.rules is not None and not one.ok else ""
        )
        table.add_row(one.case.name, wanted, one.verdict.outcome, rules, "ok" if one.ok else "DIFFERS")
    console.print(table)
    wrong_ones = sum(not one.ok for one in tried)
    console.print(f"{len(tried)} cases, {wrong_ones} differ")
    if wrong_ones:
        raise typer.Exit(1)


@app.command("replay")
def replay(
    since: Annotated[
        str | None, typer.Option("--since", help="Only decisions since then: a day, or a time with its offset.")
    ] = None,
    candidate: Annotated[
        Path | None, typer.Option("--candidate", help="A policy that decides in place of those that did.")
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print a line of JSON for each difference; the counts go to standard error.")
    ] = False,
    data: Data = None,
) -> None:
    """Evaluate past decisions again. Without a candidate each has to come out byte by byte, or the exit status is 1."""
    other = None if candidate is None else _read(candidate)

    async def work() -> None:
        moment = None if since is None else read_moment(since)
        async with connected(data) as database, database.read() as tx:
            columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:,} of {task.total:,}"))
            shown = (*columns, TimeElapsedColumn(), TimeRemainingColumn())
            with Progress(*shown, console=errors, disable=as_json or not errors.is_terminal) as progress:
                bar = progress.add_task("decisions", total=await policy.count_since(tx, moment))
                found = await policy.replay(
                    tx,
                    candidate=other,
                    since=moment,
                    progress=lambda count: progress.advance(bar, count),
                    tell=_print_difference if as_json else lambda _: None,
                )
        _print_replayed(found, as_json=as_json)
        if found.differing and other is None:
            raise typer.Exit(1)

    run(work)


def _print_difference(one: policy.Difference) -> None:
    typer.echo(
        dumps(
            {
                "decision": str(one.id), "at": one.at.isoformat(), "principal": one.principal, "action": one.action,
                "before": one.before, "after": one.after, "rules": list(one.rules),
            }
        )
    )  # fmt: skip


def _print_replayed(found: policy.Replayed, *, as_json: bool) -> None:
    to = errors if as_json else console
    if found.differences and not as_json:
        table = Table("decision", "at", "principal", "action", "was", "would be", "rules")
        for one in found.differences[:_SHOWN]:
            at = f"{one.at:%Y-%m-%d %H:%M:%S}"
            table.add_row(str(one.id), at, one.principal, one.action, one.before, one.after, ", ".join(one.rules))
        print_whole(table)
        if found.differing > _SHOWN:
            console.print(f"... and {found.differing - _SHOWN:,} more: --json tells all of them", soft_wrap=True)
    for (before, after), count in sorted(found.changes.items()):
        to.print(f"{before} -> {after}: {count:,}", markup=False, soft_wrap=True)
    if found.erased:
        to.print(f"{found.erased:,} were erased with their customers, and are not evaluated", soft_wrap=True)
    to.print(f"decisions={found.decisions} differ={found.differing}")


def _read(file: Path) -> policy.Policy:
    if str(file) in ("default", "demo") and not file.exists():
        return policy.packaged(str(file))
    with refusals_as_lines():
        text = _text(file)
    try:
        return policy.parse(text, file.name)
    except policy.Malformed as wrong:
        _print_problems(wrong)


def _print_problems(wrong: policy.Malformed) -> NoReturn:
    for problem in wrong.problems:
        errors.print(problem, markup=False, soft_wrap=True, style="red")
    count = len(wrong.problems)
    errors.print("1 problem" if count == 1 else f"{count} problems")
    raise typer.Exit(1)


def _text(file: Path) -> bytes:
    try:
        if file.exists() and not file.is_file() and not file.is_dir():
            raise Invalid("file_unreadable", f"{file} is no regular file")
        with file.open("rb") as stream:
            text = stream.read(policy.MAX_TEXT + 1)
        if len(text) > policy.MAX_TEXT:
            raise Invalid("file_too_large", f"{file} may have {policy.MAX_TEXT // 2**20} MiB")
        return text
    except OSError as error:
        raise Invalid("file_unreadable", f"{file}: {error.strerror}") from None


async def _whole(tx: Any, digest: str) -> str:
    if len(digest) == len(policy.EMPTY.digest):
        return digest
    for one in await policy.policies(tx, limit=1000):
        if one.digest.startswith(digest):
            return one.digest
    return digest


def _differences(old: policy.Policy, new: policy.Policy) -> Any:
    top = sorted((set(old.document) | set(new.document)) - {"rules"})
    for key in top:
        before, after = old.document.get(key), new.document.get(key)
        if before != after:
            yield f"~ {key}: {_short(before)} -> {_short(after)}"
    olds = {rule["id"]: rule for rule in old.document.get("rules", ())}
    news = {rule["id"]: rule for rule in new.document.get("rules", ())}
    for rule_id in sorted(set(olds) | set(news)):
        if rule_id not in news:
            yield f"- {rule_id}: {_short(olds[rule_id])}"
        elif rule_id not in olds:
            yield f"+ {rule_id}: {_short(news[rule_id])}"
        else:
            before, after = olds[rule_id], news[rule_id]
            for key in sorted(set(before) | set(after)):
                if before.get(key) != after.get(key):
                    yield f"~ {rule_id}.{key}: {_short(before.get(key))} -> {_short(after.get(key))}"


def _short(value: Any) -> str:
    return dumps(value).decode()
