"""Pages put together hold exactly the tasks that fit, in order, wherever a page had to end for want of time."""

import random
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.view.listing import BUDGET_SECONDS, Listing
from schemas.codec import decode
from schemas.status import ErrorInfo, State, Status
from schemas.task import Priority
from tests.support.views import NOW, View, status

TASKS = 1_500
TYPES = ("mail.send", "mail.fetch", "crm.sync")
SECONDS = TASKS // 3


def some(chance: random.Random) -> Iterator[Status]:
    for place in range(TASKS):
        labels = {name: chance.choice("xy") for name in ("tenant", "Region") if chance.random() < 0.7}
        failed = ErrorInfo(type="OSError", message=chance.choice(("Mailbox FULL", "no route")), retriable=True)
        yield status(
            f"{chance.getrandbits(64):016x}-{place}",
            chance.choice(list(State)),
            type=chance.choice(TYPES),
            priority=chance.choice(list(Priority)),
            labels=labels,
            error=failed if chance.random() < 0.2 else None,
            created_at=NOW + timedelta(seconds=chance.randrange(SECONDS)),  # several of one time: the id decides
        )


@pytest.fixture(scope="module")
def tasks(view: View) -> list[Status]:
    return sorted(view.all().values(), key=lambda each: (each.created_at, each.id), reverse=True)


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> View:
    made = View(tmp_path_factory.mktemp("view"))
    made.apply(*some(random.Random(11)))
    return made


def fits(each: Status, listing: Listing) -> bool:
    text = "\n".join(
        [
            each.type,
            *(() if each.error is None else (each.error.type, each.error.message)),
            *(part for label in each.labels.items() for part in label),
        ]
    )
    return (
        listing.type in (None, each.type)
        and listing.state in (None, each.state)
        and listing.priority in (None, each.priority)
        and listing.labels.items() <= each.labels.items()
        and (listing.since is None or each.created_at >= listing.since)
        and (listing.until is None or each.created_at < listing.until)
        and (listing.q is None or listing.q.lower() in text.lower())
    )


TIMES = st.none() | st.integers(-1, SECONDS + 1).map(lambda seconds: NOW + timedelta(seconds=seconds))
LISTINGS = st.builds(
    Listing,
    type=st.none() | st.sampled_from((*TYPES, "none")),
    state=st.none() | st.sampled_from(State),
    priority=st.none() | st.sampled_from(Priority),
    labels=st.dictionaries(st.sampled_from(("tenant", "Region", "none")), st.sampled_from("xyz")),
    since=TIMES,
    until=TIMES,
    q=st.none() | st.sampled_from(("mail", "MAILBOX full", "region", "nowhere")),
    limit=st.sampled_from((1, 100, 1_000)),
)


@settings(deadline=None, max_examples=80)
@given(listing=LISTINGS, in_time=st.booleans())
def test_every_task_that_fits_is_on_one_page(
    view: View, tasks: list[Status], listing: Listing, *, in_time: bool
) -> None:
    expected = [each for each in tasks if fits(each, listing)]
    if listing.limit == 1:
        expected = expected[:20]
    found: list[Status] = []
    while True:
        page = view.page(listing, 0.0, 0.0 if in_time else BUDGET_SECONDS * 2)
        found += [decode(each, Status) for each in page.documents]
        if page.cursor is None or (listing.limit == 1 and len(found) >= 20):
            break
        assert len(page.documents) == listing.limit or not in_time
        listing = replace(listing, cursor=page.cursor)
    assert found == expected


def test_a_page_without_time_goes_on_from_where_it_ended(view: View) -> None:
    first = view.page(Listing(q="nowhere"), 0.0, BUDGET_SECONDS * 2)
    assert (first.documents, first.cursor is None) == ([], False)
    pages = 1
    cursor = first.cursor
    while cursor:
        cursor = view.page(Listing(q="nowhere", cursor=cursor), 0.0, BUDGET_SECONDS * 2).cursor
        pages += 1
    assert pages == TASKS // 256 + 1


@pytest.mark.parametrize(
    "listing",
    [
        Listing(type="none"),
        Listing(type=TYPES[0], state=State.EXPIRED, priority=Priority.LOW),
        Listing(labels={"tenant": "z"}),
        Listing(since=NOW + timedelta(days=1)),
        Listing(until=NOW),
    ],
    ids=str,
)
def test_what_an_index_tells_needs_no_time(view: View, tasks: list[Status], listing: Listing) -> None:
    """These look at no task that does not fit, so that no time can be too short for them."""
    expected = sum(fits(each, listing) for each in tasks)
    page = view.page(replace(listing, limit=1_000), 0.0, BUDGET_SECONDS * 2)
    assert (len(page.documents), page.cursor) == (expected, None)
    assert expected < 256
