from tests.support.stacks import RunningStack


def test_the_demo_says_that_all_twelve_tasks_succeeded(stack: RunningStack) -> None:
    assert "12 of 12 tasks succeeded" in stack.output
    assert stack.output.count("→ succeeded") == 12
    assert "Traceback" not in stack.output


def test_it_prints_where_dashboard_documentation_and_broker_are(stack: RunningStack) -> None:
    assert f"Dashboard  {stack.url}/" in stack.output
    assert f"API docs   {stack.url}/docs" in stack.output
    assert "Kafka      127.0.0.1:" in stack.output


def test_every_type_ran_on_every_priority(stack: RunningStack) -> None:
    tasks = stack.run_json("list", "--limit", "200")["tasks"]
    lanes = {(task["type"], task["priority"]) for task in tasks if "demo" in task["labels"]}
    assert lanes == {(t, p) for t in ("chat", "data", "email", "file") for p in ("high", "normal", "low")}
