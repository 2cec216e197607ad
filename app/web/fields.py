"""The types of incoming values, each cleaned before anything else sees it."""

import re
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from app.domain import address, text
from app.domain.address import EMAIL_LENGTH, Address
from app.domain.errors import NotFound

_SLUG = r"[a-z0-9]+(-[a-z0-9]+)*"
_ORIGIN = r"https?://[a-z0-9.:\[\]-]+"


class Strict(BaseModel):
    """A JSON object: exact types, no unknown members."""

    model_config = ConfigDict(strict=True, extra="forbid", hide_input_in_errors=True)


def _line(maximum: int, *, header: bool = False) -> AfterValidator:
    return AfterValidator(lambda value: text.clean(value, maximum, header=header))


def _shown(**schema: str | int | list[str]) -> Any:  # noqa: ANN401 - pydantic's FieldInfo
    """Describe in OpenAPI what a validator checks."""
    return Field(json_schema_extra=schema)  # type: ignore[arg-type] # its dict is invariant


def _needed(value: str) -> str:
    if not value:
        raise ValueError("This cannot be empty.")
    return value


def _block(maximum: int) -> AfterValidator:
    return AfterValidator(lambda value: text.clean(value, maximum, multiline=True))


def _slug(value: str) -> str:
    if not re.fullmatch(_SLUG, value):
        raise ValueError("Use lower-case letters, digits and single hyphens.")
    return value


def _segment(value: str) -> str:
    """Refuse in a path what no name contains; PostgreSQL could not even look for NUL."""
    try:
        return text.clean(value, EMAIL_LENGTH)
    except ValueError as error:
        raise NotFound("There is nothing at this address.") from error


def _number(value: str) -> int:
    """Read in a path the number of a row; what is none is the number of no row."""
    if not re.fullmatch(r"[1-9][0-9]{0,17}", value):
        raise NotFound("There is nothing at this address.")
    return int(value)


def _web_url(value: str) -> str:
    try:
        parts = urlsplit(value)
        is_good = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good or re.search(r"[\s<>\"\\]", value):
        raise ValueError("Use an http or https address.")
    if not re.fullmatch(r"[A-Za-z0-9._:\[\]-]+", parts.netloc):  # it may stand in a header
        raise ValueError("Use a host in ASCII (xn--...), without a user.")
    return value


def _origin(value: str) -> str:
    _web_url(value)
    if not re.fullmatch(_ORIGIN, value):
        raise ValueError("Use an origin such as https://www.example.org, without a path.")
    return value


def _address(value: object) -> Address:
    if not isinstance(value, str):
        raise ValueError("Send the address as text.")  # noqa: TRY004 - pydantic catches ValueError
    return address.parse(value)


def _written_out(value: object) -> object:
    if isinstance(value, str) and not re.match(r"\d{4}-\d\d-\d\d[Tt ]", value):
        raise ValueError("Use a time such as 2026-01-31T12:00:00Z.")
    return value


def _utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("Use a time between the years 1 and 9999 in UTC.") from error


def _bare_address(value: str) -> str:
    return address.parse(value).email


Line = Annotated[str, _line(200), _shown(maxLength=200)]
NeededLine = Annotated[Line, AfterValidator(_needed), _shown(minLength=1)]
Slug = Annotated[
    str, Field(max_length=63), _line(63), AfterValidator(_slug), _shown(pattern=f"^{_SLUG}$")
]
PathSegment = Annotated[str, AfterValidator(_segment)]
RowNumber = Annotated[
    int,
    BeforeValidator(_number),
    WithJsonSchema({"type": "integer", "minimum": 1, "maximum": 10**18 - 1}),
]
SlugRef = Annotated[str, _line(63)]
Header = Annotated[str, _line(text.NAME_LENGTH, header=True), _shown(maxLength=text.NAME_LENGTH)]
NeededHeader = Annotated[Header, AfterValidator(_needed), _shown(minLength=1)]
Paragraph = Annotated[str, _block(2_000), _shown(maxLength=2_000)]
Document = Annotated[
    str, _block(500_000), AfterValidator(_needed), _shown(minLength=1, maxLength=500_000)
]
Email = Annotated[
    Address,
    PlainValidator(_address),
    WithJsonSchema({"type": "string", "format": "email", "maxLength": EMAIL_LENGTH}),
]
BareAddress = Annotated[
    str, AfterValidator(_bare_address), _shown(format="email", maxLength=EMAIL_LENGTH)
]
PersonName = Annotated[str, AfterValidator(text.person_name), _shown(maxLength=text.NAME_LENGTH)]
Locale = Annotated[str, AfterValidator(text.locale), _shown(examples=["en", "pt-BR"])]
WebUrl = Annotated[
    str,
    _line(text.PAGE_URL_LENGTH),
    AfterValidator(_web_url),
    _shown(format="uri", pattern="^https?://", maxLength=text.PAGE_URL_LENGTH),
]
Origin = Annotated[
    str, _line(255), AfterValidator(_origin), _shown(pattern=f"^{_ORIGIN}$", maxLength=255)
]
Moment = Annotated[AwareDatetime, BeforeValidator(_written_out), AfterValidator(_utc)]
"""A time as RFC 3339 writes it, in UTC; pydantic alone would take numbers for times."""
Version = Annotated[str, _line(50), AfterValidator(_needed), _shown(minLength=1, maxLength=50)]
