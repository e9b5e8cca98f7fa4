from datetime import timedelta

import pytest

from tests.support.waiting import eventually


async def test_the_first_true_value_comes_back() -> None:
    answers = iter([0, None, "there"])
    assert await eventually(lambda: next(answers), within=timedelta(seconds=5)) == "there"


async def test_a_coroutine_function_is_awaited() -> None:
    async def ready() -> int:
        return 7

    assert await eventually(ready) == 7


async def test_a_failing_assert_is_not_yet() -> None:
    seen: list[int] = []

    def third_time() -> bool:
        seen.append(1)
        assert len(seen) == 3, "too early"
        return True

    assert await eventually(third_time)


async def test_the_message_holds_the_claim_and_the_last_value() -> None:
    with pytest.raises(AssertionError, match=r"lag is zero was not true within 0 s; the last value: \[\]"):
        await eventually(list, within=0, what="lag is zero")


async def test_the_message_holds_the_last_failed_assertion() -> None:
    def never() -> bool:
        raise AssertionError("still 3 behind")

    with pytest.raises(AssertionError, match="the last failed assertion: still 3 behind"):
        await eventually(never, within=0)


async def test_other_exceptions_pass_at_once() -> None:
    def broken() -> bool:
        raise KeyError("id")

    with pytest.raises(KeyError):
        await eventually(broken)
