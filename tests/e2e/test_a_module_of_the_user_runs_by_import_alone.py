import msgspec

from tests.support.stacks import RunningStack


def test_a_task_of_the_users_type_succeeds(stack: RunningStack) -> None:
    status = stack.run_json("submit", "shop.parcel", '{"grams": 1500}', "--wait", "--label", "shelf=7")
    assert status["state"] == "succeeded"
    assert status["result"] == {"kilograms": 1.5}
    again = stack.run_json("status", status["id"])
    assert again == status
    listed = stack.run_json("list", "--label", "shelf=7")["tasks"]
    assert [task["id"] for task in listed] == [status["id"]]


def test_the_users_type_is_told_with_its_schema(stack: RunningStack) -> None:
    types = {each["name"]: each for each in stack.run_json("types")["types"]}
    assert types["shop.parcel"]["payload_schema"]["required"] == ["grams"]


def test_results_of_it_are_read_in_another_terminal(stack: RunningStack) -> None:
    status = stack.run_json("submit", "shop.parcel", '{"grams": 20}', "--wait")
    done = stack.run("results", "shop.parcel", "--json")
    assert done.returncode == 0, done.stderr
    outcomes = [msgspec.json.decode(line) for line in done.stdout.splitlines()]
    assert {"kilograms": 0.02} in [outcome["result"] for outcome in outcomes if outcome["id"] == status["id"]]


def test_the_topics_are_as_they_should_be(stack: RunningStack) -> None:
    assert stack.run_json("topics", "plan", "--import", "shop")["changes"] == []
    assert stack.run("topics", "verify", "--import", "shop").returncode == 0
