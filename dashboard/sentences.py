"""Every sentence that a person may meet on a page, read out of templates, scripts and code into the catalogue.

`python -m dashboard.sentences` brings the .po files up to the sources; what is new is empty there until somebody
translates it, and a test fails until then.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

from babel.messages import extract, pofile
from babel.messages.catalog import Catalog

from cxrscreen import audit, findings, tables, timeline, worklist
from cxrscreen.imaging import reasons
from dashboard import audit as audit_page
from dashboard import catalogue, deeds
from dashboard.catalogue import HERE, PLACE

SHARED, WORKER = HERE.parent / "cxrscreen", HERE.parent / "worker"
# Calls whose arguments are sentences for people; those of the command line's own modules reach no page.
TELLING = {
    *("UsageError", "OutsideRoots", "NoModel", "NotFound", "Conflict", "BundleDamaged", "StackError", "CxrscreenError"),
    *("Forbidden", "Unauthorized", "TooManyRequests", "abort", "flash", "answer", "__init__"),
    *("Rejected", "Cut", "TooLarge", "NoRoom", "Mangled", "NotBytes", "OtherVersion", "_miss", "finish", "Drift"),
}
ELSEWHERE = {"local.py", "programs.py", "schema.py", "keymark.py", "child.py", "findings.py", "sentences.py"}
# Names that sentences are kept under: of a dictionary its values, of pairs their second halves.
LISTS = {
    *("TITLES", "TEXTS", "FACTS", "SORT_NAMES", "EXAMPLES", "PARTS", "MISSING", "SAID", "said", "RIGHTS", "detail")
}
STATES = (
    *(tables.Role, tables.JobKind, tables.JobState, tables.EntryStatus, tables.ModelState, tables.NightState),
    *(tables.Band, tables.Verdict, tables.Way),
)
# Of no fixed list: the first column of a job's account, the owners of a case, the figures of a bundle.
WORDS = (
    "found",
    "me",
    "nobody",
    "sensitivity",
    "specificity",
    "balanced accuracy",
    "accuracy",
    "AUROC",
    "AUROC within a source",
    "validation",
    "cross-validation",
    "folds",
)
# Of a threshold that nobody set; of a picture that is unlike the training; of a worker.
NOTES = (
    *("brought by the bundle", "the default of the settings", "distance {n0}", "ingest", "screen"),
    *("waiting for work", "job {0}, batch {1}: {2} images", "job {0}: reading its sources", "job {0} waits: {1}"),
)
# What cronsim makes of the schedules that people have. It knows English only; rarer ones stay in it.
CRON = (
    *("At {0} every day", "At {0} and {1} every day", "At {0} on {w1}", "At {0} on {w1} and {w2}"),
    *("At {0} on {w1} through {w2}", "At {0} on the first day of every month", "At {0} on the last day of every month"),
    *("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
)


def gathered() -> Catalog:
    found = Catalog(fuzzy=False)
    for method, pattern in (("jinja2", "templates/*.html"), ("python", "*.py"), ("javascript", "static/js/*.js")):
        options = {"trim_blocks": "true", "lstrip_blocks": "true"} if method == "jinja2" else {}
        comments = [catalogue.SCRIPT] if method == "javascript" else []
        for path in sorted(HERE.glob(pattern)):
            with path.open("rb") as source:
                for _, id_, _, context in extract.extract(method, source, options=options):
                    found.add(id_, context=context, auto_comments=comments)
    for sentence in _below():
        found.add(sentence, flags=["python-brace-format"] if PLACE.search(sentence) else ())
    return found


def _below() -> Iterator[str]:
    """What the code below the pages says: words of fixed lists, arguments of errors and messages."""
    for states in STATES:
        yield from (state.value for state in states)
    yield from (*worklist.STATES, *WORDS, *NOTES, *CRON)
    yield from (*audit_page.SUBJECTS, *deeds.DETAILS, *deeds.RENAMED.values(), *deeds.WAYS_IN)
    for done in audit.ACTIONS.values():
        yield from done.values()
    yield from (*reasons.SENTENCES.values(), *timeline.WORDS.values(), *findings.TITLES.values())
    for path in sorted([*HERE.glob("*.py"), *SHARED.glob("*.py"), *SHARED.glob("imaging/*.py"), *WORKER.glob("*.py")]):
        if path.name not in ELSEWHERE:
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                yield from (text for text in _told(node) if _is_sentence(text))


def _told(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Call) and _name(node.func) in TELLING:
        for argument in [*node.args, *(word.value for word in node.keywords if word.arg in ("said", "reference"))]:
            yield from _texts(argument)
    elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id in LISTS:
        value = node.value
        if isinstance(value, ast.Dict):
            for one in value.values:
                yield from _texts(one)
        elif isinstance(value, ast.Tuple):
            for pair in value.elts:
                yield from _texts(pair.elts[-1]) if isinstance(pair, ast.Tuple) else ()
        else:
            yield from _texts(value)


def _name(function: ast.expr) -> str:
    return function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")


def _texts(node: ast.expr) -> Iterator[str]:
    """The text of a literal with its places numbered; both of an either-or."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    elif isinstance(node, ast.JoinedStr):
        place, text = 0, ""
        for part in node.values:
            if isinstance(part, ast.Constant):
                text += str(part.value)
            elif isinstance(part, ast.FormattedValue):
                text += f"{{{_kind(part)}{place}}}"
                place += 1
        yield text
    elif isinstance(node, ast.IfExp):
        yield from _texts(node.body)
        yield from _texts(node.orelse)


def _kind(part: ast.FormattedValue) -> str:
    """What a place holds, as `PLACE` tells it: a state's word, a number with a point or commas, or another value."""
    if ast.unparse(part.value).endswith((".value", ".state")):
        return "w"
    written = ast.unparse(part.format_spec).strip("'\"") if part.format_spec else ""
    return "n" if written.endswith(("f", "g", ",")) else ""


def _is_sentence(text: str) -> bool:
    bare = PLACE.sub("", text).strip()
    return any(letter.isalpha() for letter in bare) and (" " in bare or text[:1].isupper()) and text[:1] != "/"


def update() -> None:
    """A sentence that is gone from the sources goes from the catalogue."""
    fresh = gathered()
    for file in catalogue.files():
        told = catalogue.read(file)
        told.update(fresh, no_fuzzy_matching=True)
        told.obsolete.clear()
        with file.open("wb") as target:
            pofile.write_po(target, told, sort_output=True, width=120, no_location=True, omit_header=False)


if __name__ == "__main__":
    update()
    catalogue.compile_all()
