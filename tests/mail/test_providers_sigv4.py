"""Signatures that AWS publishes.

The vectors are of the "aws-sig-v4-test-suite", the last example is "ListUsers" of IAM in "Signature
Version 4 signing process" (docs.aws.amazon.com, AWS General Reference); compared in November 2026.
"""

from datetime import UTC, datetime

import pytest

from app.mail.providers.sigv4 import (
    Call,
    Credentials,
    Place,
    canonical_request,
    sign,
    string_to_sign,
)

AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # noqa: S105 - published by AWS
CREDENTIALS = Credentials("AKIDEXAMPLE", SECRET)
SESSION = (
    "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfI"
    "eoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0"
    "wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDry"
    "pNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA=="
)
PLACE = Place("us-east-1", "service")
URL = "https://example.amazonaws.com/"
UNRESERVED = "-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
FORM = {"Content-Type": "application/x-www-form-urlencoded"}

VECTORS = {
    "get-vanilla": (
        Call("GET", URL, {}),
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "get-vanilla-query-order-key-case": (
        Call("GET", URL + "?Param2=value2&Param1=value1", {}),
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-vanilla-query-order-value": (
        Call("GET", URL + "?Param1=value2&Param1=value1", {}),
        "host;x-amz-date",
        "5772eed61e12b33fae39ee5e7012498b51d56abc0abb7c60486157bd471c4694",
    ),
    "get-vanilla-query-unreserved": (
        Call("GET", f"{URL}?{UNRESERVED}={UNRESERVED}", {}),
        "host;x-amz-date",
        "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197",
    ),
    "get-vanilla-utf8-query": (
        Call("GET", URL + "?\u1234=bar", {}),
        "host;x-amz-date",
        "2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04",
    ),
    "get-header-value-trim": (
        Call("GET", URL, {"My-Header1": " value1", "My-Header2": ' "a   b   c"'}),
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-vanilla": (
        Call("POST", URL, {}),
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "post-x-www-form-urlencoded": (
        Call("POST", URL, FORM, b"Param1=value1"),
        "content-type;host;x-amz-date",
        "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_a_signature_is_the_published_one(name: str) -> None:
    call, names, signature = VECTORS[name]
    headers = sign(call, CREDENTIALS, PLACE, AT)
    assert headers["X-Amz-Date"] == "20150830T123600Z"
    assert headers["Authorization"] == (
        "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
        f"SignedHeaders={names}, Signature={signature}"
    )


def test_a_session_token_is_signed_as_published() -> None:
    credentials = Credentials("AKIDEXAMPLE", SECRET, SESSION)
    headers = sign(Call("POST", URL, {}), credentials, PLACE, AT)
    assert headers["X-Amz-Security-Token"] == SESSION
    assert headers["Authorization"].endswith(
        "SignedHeaders=host;x-amz-date;x-amz-security-token, "
        "Signature=85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead"
    )


def test_each_step_of_the_documented_example_is_as_documented() -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    call = Call("GET", "https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08", form)
    place = Place("us-east-1", "iam")
    headers = sign(call, CREDENTIALS, place, AT)
    signed = {name: headers[name] for name in headers if name != "Authorization"}
    canonical = canonical_request(Call(call.method, call.url, signed))
    assert canonical == (
        "GET\n/\nAction=ListUsers&Version=2010-05-08\n"
        "content-type:application/x-www-form-urlencoded; charset=utf-8\n"
        "host:iam.amazonaws.com\nx-amz-date:20150830T123600Z\n\n"
        "content-type;host;x-amz-date\n"
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    )
    assert string_to_sign(canonical, place, AT) == (
        "AWS4-HMAC-SHA256\n20150830T123600Z\n20150830/us-east-1/iam/aws4_request\n"
        "f536975d06c0309214f805bb90ccff089219ecd68b2577efef23edd43b7e1a59"
    )
    assert headers["Authorization"].endswith(
        "Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"
    )


def test_a_changed_body_changes_the_signature() -> None:
    one, other = (
        sign(Call("POST", URL, FORM, body), CREDENTIALS, PLACE, AT)["Authorization"]
        for body in (b"Param1=value1", b"Param1=value2")
    )
    assert one != other


def test_credentials_do_not_show_their_secrets() -> None:
    shown = repr(Credentials("AKIDEXAMPLE", SECRET, SESSION))
    assert SECRET not in shown
    assert SESSION not in shown
