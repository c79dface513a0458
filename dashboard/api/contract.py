"""Operations and the document that tells them: each is declared once, and both come from that."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, TypeVar

from flask import Blueprint, Response, jsonify, request
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.json_schema import models_json_schema
from werkzeug.datastructures import MultiDict

from cxrscreen.errors import UsageError
from cxrscreen.tables import Role
from dashboard import shell
from dashboard.security import needs

OPENAPI = "3.1.0"
PLACES = re.compile(r"<(?:(\w+)(?:\([^)]*\))?:)?(\w+)>")
# What each operation may say beside its answer; all have the shape of Problem.
PROBLEMS = {
    "400": "Something of the request was not understood; the text says what.",
    "401": "No token, or one that is not good.",
    "403": "The token's role does not reach.",
    "404": "There is no such thing.",
    "409": "Not possible now; the text says why.",
    "503": "The database does not answer; try again.",
}

blueprint = Blueprint("api", __name__, url_prefix="/api/v1")

M = TypeVar("M", bound="Shape")
View = TypeVar("View", bound=Callable[..., "Shape"])


class Shape(BaseModel):
    """What is sent or taken. A name that is not known is refused, so that a slip does not go unseen."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True, protected_namespaces=())


class Problem(Shape):
    """What went wrong, in a sentence."""

    error: str


@dataclass(frozen=True)
class Operation:
    rule: str
    method: str
    name: str
    says: str
    answer: type[Shape]
    status: int
    query: type[Shape] | None
    body: type[Shape] | None
    role: Role


_operations: list[Operation] = []


def operation(
    method: str,
    rule: str,
    *,
    status: int = 200,
    query: type[Shape] | None = None,
    body: type[Shape] | None = None,
    role: Role = Role.OPERATOR,
) -> Callable[[View], View]:
    """Answer at an address with the shape that the view is annotated with.

    The view gets the parts of the address, and `asked` or `given` where it takes a query or a body. Its docstring is
    what the document says of it.
    """

    def wrap(view: View) -> View:
        answer = inspect.get_annotations(view, eval_str=True)["return"]
        says = inspect.getdoc(view) or ""
        _operations.append(Operation(rule, method, view.__name__, says, answer, status, query, body, role))

        @functools.wraps(view)
        def answered(**place: Any) -> Response:
            if query is not None:
                place["asked"] = _read(query, _once(request.args))
            if body is not None:
                place["given"] = _read(body, request.get_json(silent=True))
            made = view(**place)
            return Response(made.model_dump_json(by_alias=True), status=status, mimetype="application/json")

        opened = needs(role)(answered) if role is not Role.OPERATOR else answered
        blueprint.add_url_rule(rule, view.__name__, opened, methods=[method])
        return view

    return wrap


def _once(asked: MultiDict[str, str]) -> dict[str, str]:
    """Raises UsageError for a name that is given twice: which was meant?"""
    for name, values in asked.lists():
        if len(values) > 1:
            raise UsageError(f"{name[:40]}: it is given {len(values)} times.")
    return asked.to_dict()


def _read(shape: type[M], told: Any) -> M:
    """Raises UsageError with a line that names the first field that is wrong."""
    if not isinstance(told, dict):
        raise UsageError("The body of this request is an object of JSON.")
    try:
        return shape.model_validate(told)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "The request"
        raise UsageError(f"{where}: {first['msg']}.") from None


@blueprint.get("/openapi.json")
def openapi() -> Response:
    """The document itself; it names no data, so strangers may read it."""
    return jsonify(document(request.script_root))


@functools.lru_cache(maxsize=4)
def document(root: str = "") -> dict[str, Any]:
    """The whole contract, made once for each place that a proxy puts us at; nobody changes it."""
    shapes = {one for each in _operations for one in (each.answer, each.query, each.body) if one} | {Problem}
    chosen = sorted(shapes, key=lambda shape: shape.__name__)
    _, held = models_json_schema(
        [(shape, "serialization") for shape in chosen], ref_template="#/components/schemas/{model}"
    )
    schemas = held["$defs"]
    paths: dict[str, dict[str, Any]] = {}
    for each in _operations:
        path = PLACES.sub(r"{\2}", each.rule)
        paths.setdefault(path, {})[each.method.lower()] = _told(each, schemas)
    for each in _operations:  # a query is told by its parameters
        if each.query is not None:
            schemas.pop(each.query.__name__, None)
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "cxrscreen",
            "version": version("cxrscreen"),
            "summary": "Screen archives of chest X-rays: queue, follow, read what came of it.",
            "description": shell.NOTICE,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": f"{root}{blueprint.url_prefix}"}],
        "security": [{"token": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "Made on the account page."}
            },
            "schemas": dict(sorted(schemas.items())),
        },
    }


def _told(each: Operation, schemas: dict[str, Any]) -> dict[str, Any]:
    first, _, rest = each.says.partition("\n\n")
    rank = f"Needs the role {each.role.value}."
    parameters = [_place(kind, name, each.rule) for kind, name in PLACES.findall(each.rule)]
    if each.query is not None:
        parameters += _asked(schemas[each.query.__name__])
    told: dict[str, Any] = {
        "operationId": each.name,
        "summary": " ".join(first.split()),
        "description": " ".join(f"{rest} {rank}".split()),
        "tags": [each.rule.strip("/").partition("/")[0]],
        "responses": {
            str(each.status): {"description": "Done.", "content": _json(each.answer)},
            **{code: {"description": text, "content": _json(Problem)} for code, text in PROBLEMS.items()},
        },
    }
    if parameters:
        told["parameters"] = parameters
    if each.body is not None:
        told["requestBody"] = {"required": True, "content": _json(each.body)}
    return told


def _json(shape: type[Shape]) -> dict[str, Any]:
    return {"application/json": {"schema": {"$ref": f"#/components/schemas/{shape.__name__}"}}}


def _place(kind: str, name: str, rule: str) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "integer", "minimum": 0} if kind == "id" else {"type": "string"}
    if kind == "any":
        listed = re.search(rf"<any\(([^)]*)\):{name}>", rule)
        schema["enum"] = listed[1].split(",") if listed else []
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _asked(schema: dict[str, Any]) -> list[dict[str, Any]]:
    told = []
    for name, of_name in schema["properties"].items():
        part = {key: value for key, value in of_name.items() if key not in ("title", "description")}
        one = {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": part}
        if "description" in of_name:
            one["description"] = of_name["description"]
        told.append(one)
    return told
