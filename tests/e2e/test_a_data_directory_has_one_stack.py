from tests.support.stacks import RunningStack


def test_a_second_stack_on_the_same_data_is_refused(stack: RunningStack) -> None:
    done = stack.run("up", "--port", "0", "--kafka-port", "0")
    assert done.returncode == 2
    assert done.stderr.startswith("laneway: --data-dir")
    assert str(stack.process.pid) in done.stderr
    assert stack.run_json("types")["types"]
