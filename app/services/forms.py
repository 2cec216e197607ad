"""What a sign-up form shows and where it posts: one source for every form that is not ours."""

from dataclasses import dataclass

from app.domain.errors import NoPolicy, NotFound
from app.services.catalog import Catalog


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """The texts that a visitor agrees to, how they are named, and the address to post to."""

    newsletter: str
    name: str
    pitch: str
    promise: str
    consent_text: str
    wording: str
    policy_version: str
    policy_url: str
    action: str


def describe(catalog: Catalog, slug: str, base_url: str) -> Form:
    """Return the form of a newsletter. Raises NotFound, or NoPolicy if none is published."""
    newsletter = catalog.newsletters.get(slug)
    if newsletter is None:
        raise NotFound("There is no such newsletter.")
    if not catalog.policies:
        raise NoPolicy("No privacy policy has been published yet.")
    return Form(
        newsletter=newsletter.slug,
        name=newsletter.name,
        pitch=newsletter.pitch,
        promise=newsletter.promise,
        consent_text=newsletter.consent_text,
        wording=newsletter.wording,
        policy_version=catalog.policies[0].version,
        policy_url=catalog.policies[0].url,
        action=f"{base_url}/v1/subscriptions",
    )
