"""Request bodies: read once, by their Content-Type, with nothing let through by accident."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, TypeVar
from urllib.parse import parse_qsl

from fastapi import Request
from pydantic import BaseModel, ValidationError
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException

from app.domain.errors import Fault, Invalid, Unreadable, UnsupportedMedia

M = TypeVar("M", bound=BaseModel)

MAX_FIELDS = 50
"""In a form, unless it has more of its own."""
MAX_FAULTS = 20
"""An answer must not be much larger than what it answers."""
_JSON = "application/json"
_URLENCODED = "application/x-www-form-urlencoded"
_MULTIPART = "multipart/form-data"


def media_type(request: Request) -> tuple[str, str]:
    """Return type and charset of the body, in lower case."""
    essence, _, parameters = request.headers.get("content-type", "").partition(";")
    charset = "utf-8"
    for parameter in parameters.split(";"):
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return essence.strip().lower(), charset


def is_json(request: Request) -> bool:
    """Tell whether the body claims to be JSON."""
    essence = media_type(request)[0]
    return essence == _JSON or essence.endswith("+json")


async def json_object(request: Request) -> dict[str, Any]:
    """Return the object in a JSON body.

    Raises UnsupportedMedia, Unreadable, or Invalid if it is no object or repeats a member.
    """
    essence, charset = media_type(request)
    if not is_json(request):
        raise UnsupportedMedia(f"Send {_JSON}." if essence else "Send a Content-Type.")
    if charset not in {"utf-8", "utf8"}:
        raise Unreadable("JSON is UTF-8 (RFC 8259).")
    try:
        text = (await request.body()).decode()
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Unreadable("The body is not valid JSON in UTF-8.") from error
    if not isinstance(value, dict):
        raise Invalid([Fault("", "Send a JSON object.")])
    return value


def _no_number(_name: str) -> None:
    """Refuse NaN and Infinity, which Python reads and JSON does not know."""
    raise ValueError


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    refuse_repeated([name for name, _ in pairs])
    return dict(pairs)


def refuse_repeated(names: list[str]) -> None:
    """Raise Invalid if a name stands twice, since nobody knows which value was meant."""
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise Invalid([Fault(pointer(name), "Send this once.") for name in twice[:MAX_FAULTS]])


async def form_fields(request: Request, known: Mapping[str, Any]) -> dict[str, str]:
    """Return the known fields of a form body; others are ignored.

    Raises UnsupportedMedia for other kinds and for files, Unreadable, or Invalid if a field
    stands twice.
    """
    essence, charset = media_type(request)
    most = max(MAX_FIELDS, len(known))
    if charset not in {"utf-8", "utf8"}:
        raise Unreadable("Send the form in UTF-8.")
    if essence == _URLENCODED:
        pairs = _urlencoded(await request.body(), most)
    elif essence == _MULTIPART:
        pairs = await _multipart(request, most)
    else:
        raise UnsupportedMedia(f"Send {_JSON}, {_URLENCODED} or {_MULTIPART}.")
    kept = [(name, value) for name, value in pairs if name in known]
    refuse_repeated([name for name, _ in kept])
    return dict(kept)


def _urlencoded(body: bytes, most: int) -> list[tuple[str, str]]:
    try:
        return parse_qsl(
            body.decode(), keep_blank_values=True, errors="strict", max_num_fields=most
        )
    except ValueError as error:
        raise Unreadable("The form cannot be read as UTF-8.") from error


async def _multipart(request: Request, most: int) -> list[tuple[str, str]]:
    body = await request.body()
    try:
        form: FormData = await request.form(max_files=most, max_fields=most)
    except (HTTPException, MultiPartException, UnicodeDecodeError, KeyError) as error:
        raise Unreadable("The multipart form cannot be read.") from error
    items = form.multi_items()
    await form.close()
    if any(isinstance(value, UploadFile) for _, value in items):
        raise UnsupportedMedia("Send no files.")
    if not _is_whole(body):
        raise Unreadable("The multipart form is cut short or not in UTF-8.")
    return [(name, value) for name, value in items if isinstance(value, str)]


def _is_whole(body: bytes) -> bool:
    """Tell whether the form ends and is UTF-8; Starlette reads other bytes as Latin-1."""
    try:
        return body.decode().rstrip().endswith("--")
    except UnicodeDecodeError:
        return False


def checked(model: type[M], values: Mapping[str, Any]) -> M:
    """Return the values as the model; raises Invalid with every fault and no value in it."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise Invalid(faults_of(error.errors(include_url=False, include_input=False))) from error


def faults_of(errors: Any) -> list[Fault]:  # noqa: ANN401 - pydantic's and FastAPI's shapes
    """Return pydantic's errors as faults."""
    return [Fault(pointer(*error["loc"]), _sentence(error)) for error in errors[:MAX_FAULTS]]


def _sentence(error: Mapping[str, Any]) -> str:
    if error["type"] == "extra_forbidden":
        return "There is no such member."
    if error["type"] == "missing":
        return "This is needed."
    message = str(error["msg"]).removeprefix("Value error, ")
    return message if message.endswith(".") else f"{message}."


def pointer(*location: str | int) -> str:
    """Return a JSON pointer (RFC 6901); what cannot be shown as UTF-8 is replaced."""
    parts = (str(part).encode(errors="replace").decode()[:100] for part in location)
    return "".join("/" + part.replace("~", "~0").replace("/", "~1") for part in parts)


def described(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Return the OpenAPI description of a JSON body that `json_object` reads."""
    schema = model.model_json_schema()
    for member in schema["properties"].values():
        member.pop("default", None)  # what is left out is decided elsewhere, or stays as it is
    content = {_JSON: {"schema": schema}}
    return {"requestBody": {"required": required, "content": content}}
