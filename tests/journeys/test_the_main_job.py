import httpx
import pytest

from tests.conftest import DeliverAll, SignUp, links_in

pytestmark = [pytest.mark.anyio, pytest.mark.usefixtures("open_house")]


async def test_somebody_joins_proves_it_and_leaves(
    client: httpx.AsyncClient, sign_up: SignUp, deliver_all: DeliverAll, admin: dict[str, str]
) -> None:
    assert (await sign_up("Ann@Example.org", name="Ann")).status_code == 202
    [asked] = await deliver_all()
    assert asked.to == "Ann@example.org"

    confirmed = await client.post(links_in(asked)["confirm"])
    assert confirmed.status_code == 200
    _, welcome = await deliver_all()

    proof = await client.get("/v1/subscribers/ann@example.org/consent", headers=admin)
    kinds = [(event["kind"], event["confirms"]) for event in proof.json()["events"]]
    assert kinds == [("requested", None), ("confirmed", 1)]
    assert proof.json()["verified"] is True

    one_click = {"List-Unsubscribe": "One-Click"}
    left = await client.post(links_in(welcome)["unsubscribe"], data=one_click)
    assert left.status_code == 200
    listed = await client.get("/v1/subscribers", params={"status": "unsubscribed"}, headers=admin)
    assert [item["email"] for item in listed.json()["items"]] == ["Ann@example.org"]
    assert len(await deliver_all()) == 2
